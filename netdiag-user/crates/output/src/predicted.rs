//! A computed way for people: whose stack, what happens there, what decides.
use netdiag_lang::t;

use super::style::{BOLD, DIM, GREEN, RED, YELLOW, clean, paint, wrap};
use crate::model::predicted::{Branch, Does, Forecast, Predicted, Stop};

pub fn render(all: &[Predicted], width: usize) -> String {
    all.iter().map(|one| told(one, width)).collect()
}

fn told(one: &Predicted, width: usize) -> String {
    let title = t!(
        "Computed from what was read, nothing was sent: {} {} → {}, {} bytes",
        one.protocol,
        one.source,
        one.destination,
        one.bytes
    );
    let mut out = format!("\n{}", painted(&title, width));
    for command in &one.after {
        out += &wrap(
            &clean(&t!("  as if this was done: {command}")),
            width,
            "    ",
        );
    }
    out += &steps(&one.request, 1, width);
    for (number, way) in one.reply.iter().enumerate() {
        let title = match one.reply.len() {
            1 => t!("Its answer").to_owned(),
            all => t!("Its answer, from the {} of {all} ends", number + 1),
        };
        out += &format!("\n{}", painted(&title, width));
        out += &steps(&way.steps, 1, width);
    }
    out + &foot(one, width)
}

fn painted(title: &str, width: usize) -> String {
    let lines = wrap(&clean(title), width, "");
    lines.lines().map(|l| paint(BOLD, l) + "\n").collect()
}

fn steps(all: &[Stop], inside: usize, width: usize) -> String {
    let space = "  ".repeat(inside);
    let mut out = String::new();
    let mut whose = "";
    for step in all {
        if step.whose != whose {
            whose = &step.whose;
            out += &wrap(&clean(&format!("{space}{whose}")), width, &space);
        }
        let mark = match step.does {
            Does::Refuses => paint(RED, "✗"),
            Does::Unknown => paint(YELLOW, "?"),
            Does::Delivers | Does::Leaves => paint(GREEN, "✓"),
            _ => " ".into(),
        };
        let hang = format!("{space}    ");
        let line = clean(&format!("{} {}", step.station.word(), step.text));
        let text = wrap(&format!("{hang}{line}"), width, &hang);
        out += &format!("{space}  {mark} {}", text.trim_start());
        if let Some(by) = &step.by {
            let hang = format!("{hang}  ");
            let line = format!("{hang}{}", clean(&t!("by {by}")));
            out += &paint(DIM, &wrap(&line, width, &hang));
            // To be pasted, it stays in one line.
            let shown = step.shown_by.iter();
            let shown = shown.map(|it| format!("{hang}$ {}\n", clean(&it.to_string())));
            out.extend(shown);
        }
        let all = step.branches.len();
        for (number, branch) in step.branches.iter().enumerate() {
            out += &way(branch, (number, all), inside + 2, width);
        }
    }
    out
}

fn way(branch: &Branch, (number, all): (usize, usize), inside: usize, width: usize) -> String {
    let space = "  ".repeat(inside);
    let title = match branch.share {
        Some(share) => t!("{} of {all}, {:.0} % of all:", number + 1, share * 100.0),
        None => t!("{} of {all}:", number + 1),
    };
    let title = match all {
        1 => String::new(),
        _ => wrap(&format!("{space}{title}"), width, &space),
    };
    title + &steps(&branch.steps, inside, width)
}

fn foot(one: &Predicted, width: usize) -> String {
    let (style, word) = match one.outcome {
        Forecast::Arrives => (GREEN, t!("ARRIVES")),
        Forecast::Leaves => (GREEN, t!("LEAVES")),
        Forecast::Refused => (RED, t!("REFUSED")),
        Forecast::Unknown => (YELLOW, t!("UNKNOWN")),
    };
    let line = format!("{word}  {}", clean(&one.summary));
    let text = wrap(&line, width, "").replacen(word, &paint(style, word), 1);
    let mut out = format!("\n{text}");
    let Some(fix) = &one.fix else {
        return out;
    };
    out += &wrap(&clean(&format!("  {}", fix.summary)), width, "  ");
    for command in fix.looks().chain(fix.repairs()) {
        out += &format!("    $ {}\n", clean(&command.to_string()));
    }
    if let Some(tried) = &one.tried {
        out += &paint(
            DIM,
            &wrap(&clean(&format!("  {}", tried.told())), width, "  "),
        );
    }
    out
}
