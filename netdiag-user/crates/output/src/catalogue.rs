//! The manual pages: causes, drop reasons, and what is possible here.
use anyhow::Result;
use netdiag_lang::{Lang, retold, say, t};

use super::{
    Format, Sink, document, line,
    style::{BOLD, DIM, GREEN, RED, YELLOW, beside, paint, wrap, wrap_commands},
};
use crate::{
    causes::{self, Cause},
    kernel::support::Feature,
    model::{
        reason::{Reasons, by_place::Place},
        text::{filled, listed, width as wide},
    },
};

/// All causes, and this kernel's drop reasons.
pub fn catalogue(reasons: &Reasons) -> Result<()> {
    line(&paint(BOLD, t!("Causes (netdiag explain ID)")))?;
    let longest = causes::ALL.iter().map(|c| c.id.len()).max().unwrap_or(0);
    let mut sink = Sink::open(None)?;
    for cause in causes::ALL {
        let label = format!(" {}", cause.id);
        sink.write(&beside(&label, longest + 3, say(cause.title), sink.room()))?;
    }
    if reasons.is_empty() {
        return line(t!(
            "\nThis kernel has no BTF that its drop reasons could be read from."
        ));
    }
    line(&paint(BOLD, t!("\nDrop reasons of this kernel")))?;
    let names: Vec<_> = reasons.iter().map(|(_, name)| name).collect();
    sink.write(&wrap(&names.join(" "), sink.width(), " "))
}

pub fn manual(cause: &Cause) -> Result<()> {
    let mut sink = Sink::open(None)?;
    let manual = match netdiag_lang::chosen() {
        Lang::English => cause.manual(),
        Lang::Chinese => cause.manual_zh().to_owned(),
    };
    sink.write(&pages(cause, &manual, sink.width()))
}

/// Its headings, and its paragraphs as wide as the reader's terminal.
fn pages(cause: &Cause, manual: &str, width: usize) -> String {
    let title = t!("{}: {}", cause.id, say(cause.title));
    let mut out = wrap(&title, width, "").replacen(cause.id, &paint(BOLD, cause.id), 1);
    out.push('\n');
    let mut paragraph: Vec<&str> = Vec::new();
    for text in manual.lines().chain([""]) {
        let heading = text.strip_prefix("# ");
        if (heading.is_some() || text.is_empty()) && !paragraph.is_empty() {
            out.push_str(&wrap_commands(&paragraph.join(" "), width, "  "));
            paragraph.clear();
        }
        match heading {
            Some(heading) => out.push_str(&format!("{}\n", paint(BOLD, heading))),
            None if text.is_empty() => out.push('\n'),
            None => paragraph.push(text),
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// A drop reason: which causes it leads to, and how to see it by hand.
pub fn reason(number: u32, name: &str) -> Result<()> {
    let mut sink = Sink::open(None)?;
    let width = sink.room();
    let head = t!(
        "{name}: drop reason {number} of this kernel (enum skb_drop_reason, \
         include/net/dropreason-core.h; its number differs between kernels)"
    );
    sink.write(&wrap(&head, width, "").replacen(name, &paint(BOLD, name), 1))?;
    let related: Vec<_> = causes::ALL
        .iter()
        .filter(|c| c.manual().contains(name))
        .map(|c| c.id)
        .collect();
    let related = match related.is_empty() {
        true => t!("No cause of the catalogue is decided by it alone.").into(),
        false => t!("Causes that use it: {}", listed(&related)),
    };
    sink.write(&wrap(&related, width, ""))?;
    sink.write(&wrap(
        &t!(
            "By hand: perf record -ag -e skb:kfree_skb --filter 'reason == {number}' sleep 10; perf script; or netdiag run"
        ),
        width,
        "",
    ))
}

/// Where packets end on kernels that give no reasons.
pub fn places(places: &[&Place], format: Format) -> Result<()> {
    let mut sink = Sink::open(None)?;
    if !matches!(format, Format::Table | Format::Wide) {
        return document(&mut sink, &places, format);
    }
    for place in places {
        let functions: Vec<String> = place.functions.iter().map(|it| every(it)).collect();
        sink.write(&paint(BOLD, &wrap(&functions.join(", "), sink.width(), "")))?;
        let mut told = vec![(t!("means:"), say(place.means).to_owned())];
        told.extend(place.reason.map(|it| (t!("reason:"), it.to_owned())));
        if !place.decides.is_empty() {
            told.push((t!("look at:"), say(place.decides).to_owned()));
        }
        for (label, text) in told {
            let label = format!("  {}", filled(label, 9));
            sink.write(&beside(&label, 12, &text, sink.room()))?;
        }
    }
    Ok(())
}

/// One that ends with an underscore stands for all that begin so.
fn every(function: &str) -> String {
    match function.ends_with('_') {
        true => format!("{function}*"),
        false => function.to_owned(),
    }
}

pub fn features(features: &[Feature], format: Format) -> Result<()> {
    let mut sink = Sink::open(None)?;
    if !matches!(format, Format::Table | Format::Wide) {
        return document(&mut sink, &features, format);
    }
    let longest = features.iter().map(|f| wide(&retold(f.name))).max();
    let column = WORD + longest.unwrap_or(0) + 3;
    for feature in features {
        let (style, word) = match (feature.available, feature.essential) {
            (true, _) => (GREEN, t!("yes")),
            (false, true) => (RED, t!("NO")),
            (false, false) => (YELLOW, t!("without")),
        };
        let label = format!("{} {}", filled(word, WORD), retold(feature.name));
        let text = beside(&label, column, &retold(&feature.detail), sink.room());
        sink.write(&text.replacen(word, &paint(style, word), 1))?;
        if !feature.remedy.is_empty() {
            let label = " ".repeat(WORD);
            let remedy = t!("needs: {}", retold(&feature.remedy));
            let text = beside(&label, WORD + 1, &remedy, sink.room());
            sink.write(
                &text
                    .lines()
                    .map(|l| paint(DIM, l) + "\n")
                    .collect::<String>(),
            )?;
        }
    }
    Ok(())
}

/// Columns that the word before a feature takes.
const WORD: usize = 7;

#[cfg(test)]
mod tests {

    use super::*;

    fn plain(cause: &Cause, manual: &str) -> String {
        anstream::adapter::strip_str(&pages(cause, manual, 80)).to_string()
    }

    #[test]
    fn a_manual_fits_the_terminal() {
        for cause in causes::ALL {
            let english = plain(cause, &cause.manual());
            assert!(english.contains("\nFix\n"), "{english}");
            let chinese = plain(cause, cause.manual_zh());
            for line in english.lines().chain(chinese.lines()) {
                assert!(wide(line) <= 80, "{}: {line}", cause.id);
            }
            // It is broken where the line is full, not at its few spaces.
            let paragraph = chinese.lines().filter(|line| line.starts_with("  "));
            let widest = paragraph.map(wide).max();
            assert!(widest > Some(70), "{chinese}");
        }
    }

    #[test]
    fn a_command_of_a_manual_is_on_one_line() {
        for cause in causes::ALL {
            for manual in [cause.manual().as_str(), cause.manual_zh()] {
                for line in plain(cause, manual).lines() {
                    assert!(line.matches('`').count() % 2 == 0, "{}: {line}", cause.id);
                }
            }
        }
    }
}
