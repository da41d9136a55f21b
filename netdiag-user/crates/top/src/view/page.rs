//! A page of lines: what is at hand is marked, and what leads on can be opened.
use netdiag_lang::{mark, retold, say, t};
use ratatui::buffer::Buffer;

use super::{
    Canvas, Ink, cause,
    ink::{Tone, wrap},
    line::Line,
    row, way,
};
use crate::{
    app::{App, Target},
    history::Moment,
    keys::HELP,
    model::{text::filled, verdict::NotChecked},
};

pub fn draw(app: &mut App, canvas: &Canvas<'_>, buffer: &mut Buffer) {
    app.height = canvas.height();
    let Some(target) = app.pages.last().map(|page| page.target.clone()) else {
        return;
    };
    let room = canvas.width().saturating_sub(2);
    let lines = match app.moment() {
        Some(moment) if target == Target::Unseen => {
            unseen(&app.not_shown, &moment, canvas.ink, room)
        }
        Some(moment) => lines(&target, &moment, canvas.ink, room),
        None => Vec::new(),
    };
    let Some(page) = app.pages.last_mut() else {
        return;
    };
    page.leads = lines.iter().map(|line| line.lead.clone()).collect();
    page.scroll.show(canvas.height().max(1), lines.len());
    let scroll = page.scroll;
    let shown = lines.into_iter().enumerate().skip(scroll.top);
    for (row, (n, line)) in shown.take(canvas.height()).enumerate() {
        let own = n == scroll.at;
        let mark = match (own, line.lead.is_some()) {
            (true, _) => "> ",
            (false, true) => canvas.ink.glyph("› ", "+ "),
            (false, false) => "  ",
        };
        let line = line.after(mark);
        // A line of text is not lit: that one stands there says the sign.
        line.put(canvas, row, own && line.lead.is_some(), buffer);
    }
}

pub fn lines(target: &Target, moment: &Moment<'_>, ink: &Ink, room: usize) -> Vec<Line> {
    match target {
        Target::Cause(id) => cause::lines(id, moment, ink, room),
        Target::Way(id, flow) => way::lines(id, flow, moment, ink, room),
        Target::Row(tab, key) => row::lines(*tab, *key, moment, ink, room),
        Target::Unseen => unseen(&[], moment, ink, room),
        Target::Help => help(ink, room),
    }
}

/// A heading with a line free above it.
pub fn heading(text: &str) -> [Line; 2] {
    [Line::default(), Line::new(text, Tone::Strong)]
}

/// Text in several lines, all of them that far from the left.
pub fn paragraph(text: &str, indent: usize, tone: Tone, room: usize) -> Vec<Line> {
    let lines = wrap(text, room.saturating_sub(indent));
    let line = |text: String| Line::new(" ".repeat(indent) + &text, tone);
    lines.into_iter().map(line).collect()
}

fn unseen(beside: &[NotChecked], moment: &Moment<'_>, ink: &Ink, room: usize) -> Vec<Line> {
    let reading = moment.reading;
    let mut lines = vec![Line::new(t!("Not checked"), Tone::Strong)];
    for it in reading.not_checked.iter().chain(beside) {
        let text = t!(
            "{}: {}",
            ink.text(&retold(&it.what)),
            ink.text(&retold(&it.why))
        );
        lines.extend(paragraph(&text, 2, Tone::Plain, room));
    }
    if reading.not_checked.is_empty() && beside.is_empty() {
        lines.push(Line::plain(t!(
            "  everything that netdiag looks at was seen"
        )));
    }
    if !reading.cannot_tell.is_empty() {
        lines.extend(heading(t!("Cannot tell")));
    }
    for it in reading.cannot_tell.iter() {
        let causes = it.causes.join(t!(" or "));
        let text = t!(
            "{causes}: {}: {}",
            ink.text(&retold(&it.what)),
            ink.text(&retold(&it.why))
        );
        lines.extend(paragraph(&text, 2, Tone::Plain, room));
    }
    lines.extend(heading(t!("This screen")));
    for text in [
        t!("rates are those between two readings; totals count from when the run began"),
        t!(
            "hops count each packet once per link and direction: a packet that crosses four \
             links counts four times"
        ),
        t!("a cause stays until the run ends: SEEN says how long ago its evidence was seen last"),
    ] {
        lines.extend(paragraph(text, 2, Tone::Plain, room));
    }
    lines
}

fn help(ink: &Ink, room: usize) -> Vec<Line> {
    const NAMES: usize = 16;
    let mut lines = vec![Line::new(t!("Keys"), Tone::Strong)];
    for (keys, does) in HELP {
        let text = wrap(say(does), room.saturating_sub(NAMES + 2));
        for (n, part) in text.into_iter().enumerate() {
            let name = if n == 0 { say(keys) } else { "" };
            let line = Line::new(format!("  {}", filled(name, NAMES)), Tone::Strong);
            lines.push(line.with(part, Tone::Plain));
        }
    }
    lines.extend(heading(t!("Columns")));
    for (title, says) in COLUMNS {
        let text = wrap(say(says), room.saturating_sub(NAMES + 2));
        for (n, part) in text.into_iter().enumerate() {
            let name = if n == 0 { say(title) } else { "" };
            let line = Line::new(format!("  {}", filled(name, NAMES)), Tone::Strong);
            lines.push(line.with(ink.own(&part), Tone::Plain));
        }
    }
    lines
}

const COLUMNS: &[(&str, &str)] = &[
    (
        mark!("SENT/s RECV/s"),
        mark!("packets a second that a pod sends and receives, at its link"),
    ),
    (
        mark!("IN/s OUT/s"),
        mark!("packets a second into the node's stack by a link, and out by it"),
    ),
    (
        mark!("RETR/s"),
        mark!("TCP segments a second that were sent again"),
    ),
    (
        mark!("OVER/s"),
        mark!("packets a second larger than what the way ahead takes"),
    ),
    (
        mark!("PKT/s"),
        mark!("packets a second that a cause's evidence counts"),
    ),
    (
        mark!("TREND"),
        mark!("the number that the table is sorted by, reading by reading, else packets"),
    ),
];
