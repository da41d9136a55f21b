//! One flow's way, hop by hop: what was counted at each, and what became of it.
use netdiag_lang::{mark, retold, say, t};

use super::{
    Ink, cause,
    figures::{count, figure},
    ink::Tone,
    line::Line,
    page::{heading, paragraph},
    table::padded,
};
use crate::{
    causes::Ends,
    history::Moment,
    model::{
        path::{Course, End, Fate, FateKind, Path, Step, Way},
        pod::label,
        text::{counted, listed},
    },
};

pub fn lines(id: &str, flow: &Ends, moment: &Moment<'_>, ink: &Ink, room: usize) -> Vec<Line> {
    let Some(cause) = moment.reading.cause(id) else {
        let text = t!("the cause of this flow's trouble is not named at this reading");
        return paragraph(text, 0, Tone::Dim, room);
    };
    let Some(path) = cause.way(flow) else {
        let mut lines = vec![Line::new(cause::way(&flow.flow(), ink), Tone::Strong)];
        let text = t!(
            "its way is not known at this reading: no hop has it, or nobody looked at this page \
             then"
        );
        lines.extend(paragraph(text, 0, Tone::Dim, room));
        return lines;
    };
    let arrow = ink.own("→");
    let ends = format!(
        "{} {arrow} {}",
        end(&path.source, ink),
        end(&path.destination, ink)
    );
    let mut lines = paragraph(&ends, 0, Tone::Strong, room);
    lines.extend(paragraph(&ink.text(&path.summary), 0, Tone::Plain, room));
    let protocol = path.protocol.as_deref().unwrap_or(t!("all protocols"));
    let flows = counted(path.flows as u64, mark!("flow"));
    let text = t!("{protocol}: {flows}, {} answered", path.answered);
    lines.push(Line::new(text, Tone::Dim));
    lines.extend(way(t!("Request"), &path.request, path, ink, room));
    lines.extend(way(t!("Reply"), &path.reply, path, ink, room));
    lines
}

fn end(end: &End, ink: &Ink) -> String {
    let addresses = end.addresses.iter().map(|address| match end.port {
        Some(port) => crate::model::address::endpoint(*address, port),
        None => address.to_string(),
    });
    let addresses = listed(&addresses.collect::<Vec<_>>());
    let pod = end.pod.as_ref().filter(|pod| pod.name.is_some());
    match (pod, &end.service) {
        (Some(pod), _) => format!("{} ({addresses})", ink.text(&label(pod))),
        (None, Some(service)) => format!("svc {} ({addresses})", ink.text(service)),
        (None, None) => addresses,
    }
}

/// Title, width, and whether it is a number.
const COLUMNS: [(&str, usize, bool); 8] = [
    (mark!("HOP"), 16, false),
    ("", 8, false),
    (mark!("PACKETS"), 8, true),
    (mark!("LARGEST"), 8, true),
    (mark!("LIMIT"), 6, true),
    (mark!("RETRANS"), 8, true),
    (mark!("+TIME"), 8, true),
    (mark!("BYTES"), 7, true),
];

fn way(title: &str, way: &Way, path: &Path, ink: &Ink, room: usize) -> Vec<Line> {
    if way.steps.is_empty() && way.fates.is_empty() {
        return Vec::new();
    }
    let mut lines = heading(title).to_vec();
    let titles = COLUMNS.map(|(title, ..)| say(title).to_owned());
    lines.push(Line::new(row(&titles, room), Tone::Head));
    for step in &way.steps {
        lines.push(Line::plain(row(&cells(step, ink), room)));
        lines.extend(carried(step, ink));
    }
    for fate in &way.fates {
        lines.extend(became(fate, ink, room));
    }
    let stopped = path.at.as_ref().filter(|_| way.fates.iter().any(is_loss));
    if let Some(at) = stopped {
        let text = t!("they reached {} last", ink.text(at));
        lines.extend(paragraph(&text, 2, Tone::Dim, room));
    }
    lines
}

/// The columns that fit, from the left.
fn row(cells: &[String; 8], room: usize) -> String {
    let mut text = String::new();
    let mut taken = 0;
    for (cell, (_, wide, right)) in cells.iter().zip(COLUMNS) {
        taken += wide + 1;
        if taken > room + 1 {
            break;
        }
        text.push_str(&padded(cell, wide, right, 0));
        text.push(' ');
    }
    text
}

fn cells(step: &Step, ink: &Ink) -> [String; 8] {
    let name = ink.cut(&ink.text(&step.interface), COLUMNS[0].1);
    let side = retold(&step.direction).into_owned();
    let number = |n: u64| count(n as f64);
    let some = |n: Option<u32>| n.map_or_else(String::new, |n| n.to_string());
    let over = step.fits.is_some_and(|fits| step.largest > fits);
    let sign = if over { "!" } else { "" };
    if step.course == Course::NotSeen {
        let mut cells = [(); 8].map(|()| String::new());
        cells[0] = name;
        cells[1] = side;
        cells[2] = t!("not seen").into();
        return cells;
    }
    [
        name,
        side,
        number(step.packets),
        format!("{sign}{}", step.largest),
        some(step.fits.or(step.mtu)),
        number(step.retransmits),
        step.latency.map_or_else(String::new, time),
        figure(step.bytes as f64),
    ]
}

/// What is beside the usual: a tunnel, a hop that no route leads to.
fn carried(step: &Step, ink: &Ink) -> Option<Line> {
    let carried = step.carried.as_deref().map(|it| ink.text(it));
    let off = (step.course == Course::Unexpected).then(|| t!("no route leads here").to_owned());
    let told: Vec<String> = carried.into_iter().chain(off).collect();
    let text = format!("  {} {}", ink.glyph("└", "`"), listed(&told));
    (!told.is_empty()).then(|| Line::new(text, Tone::Dim))
}

/// `12 us`, `3.4 ms`.
fn time(seconds: f64) -> String {
    match seconds {
        ..0.000_999_5 => format!("{:.0} us", seconds * 1e6),
        ..0.999_5 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

fn is_loss(fate: &Fate) -> bool {
    !matches!(fate.kind, FateKind::Arrived | FateKind::Refused)
}

fn became(fate: &Fate, ink: &Ink, room: usize) -> Vec<Line> {
    let (sign, tone) = match is_loss(fate) {
        true => (ink.glyph("╳", "X"), Tone::Critical),
        false => (ink.glyph("·", "-"), Tone::Plain),
    };
    let text = format!("{sign} {}", ink.text(&fate.text));
    paragraph(&text, 2, tone, room)
}
