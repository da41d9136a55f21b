//! What a change would do, for people.
use netdiag_lang::{mark, retold, t};

use super::style::{BOLD, DIM, GREEN, RED, YELLOW, clean, paint, wrap};
use crate::model::{
    foretold::{Changed, Fate, Foretold, Kind},
    text::counted,
};

/// Of each kind, unless all are wanted.
const FIRST: usize = 10;

pub fn render(foretold: &Foretold, width: usize, all: bool) -> String {
    let most = if all { usize::MAX } else { FIRST };
    let commands = foretold
        .commands
        .iter()
        .map(|it| format!("  {}\n", clean(it)));
    let mut out = commands.collect::<String>();
    let parts = [
        (
            Kind::Dies,
            foretold.die,
            RED,
            t!("would not get through any more"),
        ),
        (
            Kind::Lives,
            foretold.live,
            GREEN,
            t!("would get through, and do not now"),
        ),
        (Kind::Same, foretold.unchanged, DIM, t!("stay as they are")),
        (
            Kind::Unknown,
            foretold.unknown,
            YELLOW,
            t!("cannot be told"),
        ),
    ];
    for (kind, number, style, what) in parts {
        if number == 0 {
            continue;
        }
        let head = t!("{}: {what}", counted(number, mark!("conversation")));
        out.push_str(&format!("{}\n", paint(style, &head)));
        let all = foretold.conversations.iter();
        let all: Vec<&Changed> = all.filter(|one| one.kind() == kind).collect();
        let lines = all.iter().take(most);
        out.extend(lines.map(|one| wrap(&clean(&line(one)), width, "    ")));
        let more = all.len().saturating_sub(most);
        if more > 0 {
            out.push_str(&paint(
                DIM,
                &t!("    and {more} more (-o wide shows more)\n"),
            ));
        }
    }
    for it in &foretold.not_checked {
        let row = t!("not checked: {}: {}", retold(&it.what), retold(&it.why));
        out.push_str(&wrap(&clean(&row), width, "  "));
    }
    format!(
        "{}\n{out}",
        paint(BOLD, &t!("{}, with", clean(&foretold.node)))
    )
}

fn line(one: &Changed) -> String {
    let whom = format!("{} {} → {}", one.protocol, one.source, one.destination);
    let whom = match one.conversations {
        0 | 1 => whom,
        n => format!("{whom} ({n})"),
    };
    match (&one.now, &one.then) {
        (Fate::Ends { at: now }, Fate::Ends { at: then }) => {
            t!("{whom}: {}; then: {}", retold(now), retold(then))
        }
        (Fate::Ends { at }, _) => t!("{whom}: now: {}", retold(at)),
        (_, Fate::Ends { at }) => t!("{whom}: {}", retold(at)),
        _ => whom,
    }
}
