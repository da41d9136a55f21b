//! What node it is, what passes on it, how well netdiag sees, and which table or page this is.
use netdiag_lang::{mark, t};
use ratatui::buffer::Buffer;

use super::{
    Canvas, cause,
    figures::figure,
    ink::{Tone, width},
    line::Line,
};
use crate::{
    app::{App, Page, Source, Target},
    history::Moment,
    metric::Metric,
    model::text::counted,
    tab::Tab,
};

pub fn draw(app: &App, canvas: &Canvas<'_>, buffer: &mut Buffer) {
    let Some(moment) = app.moment() else {
        Line::new(t!("netdiag top: no reading yet"), Tone::Strong).put(canvas, 0, false, buffer);
        return;
    };
    title(app, &moment, canvas).put(canvas, 0, false, buffer);
    let place = canvas.height() - 1;
    if canvas.height() > 2 {
        totals(app, &moment, canvas).put(canvas, 1, false, buffer);
    }
    match app.pages.is_empty() {
        true => tabs(app, &moment, canvas).put(canvas, place, false, buffer),
        false => crumbs(app, &moment, canvas).put(canvas, place, false, buffer),
    }
}

/// The parts that fit side by side, the first ones first.
fn fitting(parts: Vec<(String, Tone)>, dot: &str, room: usize) -> Line {
    let mut line = Line::default();
    for (text, tone) in parts {
        let joint = if line.width() == 0 { "" } else { dot };
        let wide = width(joint) + width(&text);
        if line.width() + wide > room {
            break;
        }
        line = line.with(joint, Tone::Dim).with(text, tone);
    }
    line
}

fn title(app: &App, moment: &Moment<'_>, canvas: &Canvas<'_>) -> Line {
    let (ink, reading) = (canvas.ink, moment.reading);
    let head = &reading.head;
    let state = match (app.source, app.is_paused()) {
        (Source::Live, false) => t!("live").to_owned(),
        (Source::Live, true) => t!("PAUSED").to_owned(),
        (Source::Recording, _) => t!("recording").to_owned(),
    };
    let room = canvas.width().saturating_sub(width(&state) + 1);
    let name = ink.cut(&ink.text(&head.node), room.saturating_sub(12));
    let level = head.level.map(|level| t!("level {level}"));
    let mut parts = vec![
        ("netdiag top".to_owned(), Tone::Strong),
        (name, Tone::Strong),
        (t!("watched {:.1} s", reading.watched()), Tone::Plain),
    ];
    parts.extend(level.map(|text| (text, Tone::Plain)));
    parts.push((counted(head.hooks, mark!("hook")), Tone::Plain));
    parts.push((format!("Linux {}", ink.text(&head.kernel)), Tone::Dim));
    let line = fitting(parts, &ink.own(" · "), room);
    let gap = canvas.width().saturating_sub(line.width() + width(&state));
    let tone = match app.is_paused() {
        true => Tone::Warning,
        false => Tone::Dim,
    };
    line.with(" ".repeat(gap), Tone::Plain).with(state, tone)
}

fn totals(app: &App, moment: &Moment<'_>, canvas: &Canvas<'_>) -> Line {
    let (ink, reading) = (canvas.ink, moment.reading);
    let head = &reading.head;
    let rate = |metric| moment.total_rate(metric);
    let tone = |number: f64| match number > 0.0 {
        true => Tone::Warning,
        false => Tone::Plain,
    };
    let drops = rate(Metric::Drops);
    let (again, oversize) = (rate(Metric::Retransmits), rate(Metric::Oversize));
    let seen = match (head.lost, head.overflowed) {
        (0, 0) => (t!("no event missed").to_owned(), Tone::Plain),
        (lost, 0) => (t!("{} LOST", counted(lost, mark!("event"))), Tone::Warning),
        (0, flows) => (
            t!("{} MISSED", counted(flows, mark!("flow"))),
            Tone::Warning,
        ),
        (lost, flows) => {
            let lost = counted(lost, mark!("event"));
            (t!("{lost} LOST, {flows} flows MISSED"), Tone::Warning)
        }
    };
    let unseen = reading.not_checked.len() + reading.cannot_tell.len() + app.not_shown.len();
    let mut parts = vec![(t!("{} drops/s", figure(drops)), tone(drops))];
    // Each packet is counted all the same, which is no loss to be told beside it.
    let samples = head.samples_not_kept;
    parts.extend(Some(seen).filter(|_| samples == 0 || head.lost + head.overflowed > 0));
    if samples > 0 {
        let samples = figure(samples as f64);
        parts.push((
            t!("samples not kept: {samples}, counts are exact"),
            Tone::Plain,
        ));
    }
    if unseen > 0 {
        parts.push((t!("{unseen} not checked (n)"), Tone::Plain));
    }
    parts.extend([
        (t!("{} retransmits/s", figure(again)), tone(again)),
        (t!("{} oversize/s", figure(oversize)), tone(oversize)),
        (
            t!("{} packets/s at hops", figure(rate(Metric::Packets))),
            Tone::Plain,
        ),
        (t!("{} flows at hops", head.flows), Tone::Dim),
    ]);
    fitting(parts, &ink.own(" · "), canvas.width())
}

fn tabs(app: &App, moment: &Moment<'_>, canvas: &Canvas<'_>) -> Line {
    let ink = canvas.ink;
    let short = canvas.width() < 60;
    let mut line = Line::default();
    for tab in Tab::ALL {
        let number = tab.number() + 1;
        let rows = match moment.reading.table(tab) {
            Some(table) => table.rows().len(),
            None => moment.reading.causes.len(),
        };
        let own = tab == app.tab;
        let text = match (own, short) {
            (true, _) => format!("[{number} {} {rows}]", tab.title()),
            (false, false) => format!(" {number} {} {rows} ", tab.title()),
            (false, true) => format!(" {number} "),
        };
        let tone = if own { Tone::Strong } else { Tone::Dim };
        line = line.with(text, tone);
    }
    if !app.filter.is_empty() && !app.typing {
        line = line.with(format!("  /{}", ink.text(&app.filter)), Tone::Warning);
    }
    line
}

/// The way that led here.
fn crumbs(app: &App, moment: &Moment<'_>, canvas: &Canvas<'_>) -> Line {
    let ink = canvas.ink;
    let name = |page: &Page| match &page.target {
        Target::Cause(id) => match moment.reading.cause(id) {
            Some(cause) => cause.finding.cause.clone(),
            None => t!("a cause").into(),
        },
        Target::Way(_, flow) => cause::way(&flow.flow(), ink),
        Target::Row(tab, key) => {
            let row = moment.reading.table(*tab).and_then(|table| table.get(*key));
            row.map_or_else(|| t!("a row").into(), |row| ink.text(&row.label.name))
        }
        Target::Unseen => t!("not checked").into(),
        Target::Help => t!("help").into(),
    };
    let mut line = Line::new(app.tab.title(), Tone::Dim);
    for (n, page) in app.pages.iter().enumerate() {
        let tone = match n + 1 == app.pages.len() {
            true => Tone::Strong,
            false => Tone::Dim,
        };
        line = line.with(" > ", Tone::Dim).with(name(page), tone);
    }
    line
}
