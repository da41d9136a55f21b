//! Timelines, of each node beside the others: bars of what was counted, marks of what happened once.
use maud::{Markup, html};
use netdiag_lang::{mark, say, t};

use super::{
    tables::{Head, rest, table},
    text::shown,
};
use crate::{Kind, Timeline, model::text::counted, page::first};

const HEIGHT: u64 = 40;
/// Of the strip that marks stand on.
const STRIP: f64 = 1000.0;

pub fn timelines(all: &[Timeline]) -> Markup {
    let (some, more) = first(all);
    html! {
        @if !some.is_empty() {
            section aria-labelledby="time" {
                h2 id="time" { (t!("Over time")) }
                div.cards.wide {
                    @for (n, it) in some.iter().enumerate() { (one(it, n + 1)) }
                }
                (rest(more, mark!("more node")))
            }
        }
    }
}

fn one(line: &Timeline, number: usize) -> Markup {
    html! {
        div.card {
            p.title.name { (shown(&line.node)) }
            @for kind in line.kinds() {
                (bars(line, kind, &format!("time-{number}-{}", kind as usize)))
            }
            (marks(line, &format!("time-{number}-marks")))
            p.axis { span { "0 s" } span { (format!("{:.1} s", line.length())) } }
            (happened(line))
            details {
                summary { (t!("Counts as a table")) }
                (counts(line))
            }
        }
    }
}

fn bars(line: &Timeline, kind: Kind, id: &str) -> Markup {
    let most = line.of(kind).max().unwrap_or(0);
    let total = line.total(kind);
    let told = match line.busiest(kind) {
        None => t!("{}: none", kind.name()),
        Some((begins, ends)) => t!(
            "{}: {total}, most of them from {begins:.1} to {ends:.1} s",
            kind.name()
        ),
    };
    html! {
        p.track { span { (kind.name()) } span.number { (total) } }
        @if most > 0 {
            svg.bars viewBox=(format!("0 0 {} {HEIGHT}", line.pieces())) preserveAspectRatio="none"
                role="img" aria-labelledby=(id) {
                title id=(id) { (told) }
                @for (n, count) in line.of(kind).enumerate().filter(|(_, count)| *count > 0) {
                    @let tall = height(count, most);
                    @let (begins, ends) = line.span(n);
                    rect x=(n) y=(HEIGHT - tall) width="0.9" height=(tall) {
                        title { (t!("{begins:.1} to {ends:.1} s: {count}")) }
                    }
                }
            }
        }
    }
}

/// At least so much that one can see it.
fn height(count: u64, most: u64) -> u64 {
    let share = u128::from(count) * u128::from(HEIGHT) / u128::from(most.max(1));
    u64::try_from(share).unwrap_or(HEIGHT).clamp(2, HEIGHT)
}

fn marks(line: &Timeline, id: &str) -> Markup {
    html! {
        @if !line.marks.is_empty() {
            p.track { span { (t!("what happened")) } span.number { (line.marks.len()) } }
            svg.bars.marks viewBox="0 0 1000 40" preserveAspectRatio="none" role="img"
                aria-labelledby=(id) {
                title id=(id) {
                    (t!("{}, listed below", counted(line.marks.len() as u64, mark!("event"))))
                }
                @for it in &line.marks {
                    @let x = (it.at / line.length().max(0.001) * STRIP).clamp(0.0, STRIP - 4.0);
                    rect x=(format!("{x:.0}")) y="0" width="4" height=(HEIGHT) {
                        title { (format!("{:.1} s: ", it.at)) (say(it.what)) " " (shown(&it.text)) }
                    }
                }
            }
        }
    }
}

fn happened(line: &Timeline) -> Markup {
    const HEAD: [Head; 3] = [
        (mark!("Time"), true),
        (mark!("What"), false),
        (mark!("Which"), false),
    ];
    let row = |it: &crate::Mark| {
        vec![
            format!("+{:.1} s", it.at),
            say(it.what).to_owned(),
            it.text.clone(),
        ]
    };
    let rows: Vec<_> = line.marks.iter().map(row).collect();
    html! {
        @if !rows.is_empty() {
            (table(t!("What happened"), &HEAD, &rows))
            @if line.more > 0 {
                p.muted { (t!("and {}", counted(line.more, mark!("more event")))) }
            }
        }
    }
}

/// A row for each piece of time in which something was counted.
fn counts(line: &Timeline) -> Markup {
    let kinds: Vec<Kind> = line.kinds().collect();
    let mut head: Vec<Head> = vec![(mark!("From"), true)];
    head.extend(kinds.iter().map(|it| (it.name(), true)));
    let row = |n: usize| {
        let each = kinds.iter().map(|it| line.of(*it).nth(n).unwrap_or(0));
        let each: Vec<u64> = each.collect();
        let (begins, _) = line.span(n);
        let mut row = vec![format!("{begins:.1} s")];
        row.extend(each.iter().map(ToString::to_string));
        each.iter().any(|it| *it > 0).then_some(row)
    };
    let rows: Vec<_> = (0..line.pieces()).filter_map(row).collect();
    table(t!("Counts over time"), &head, &rows)
}
