//! A pod, a hop or a drop reason: all of its numbers with their trends, and the causes that name it.
use netdiag_lang::{mark, retold, say, t};

use super::{
    Ink,
    command::offered,
    figures::{count, figure},
    ink::{Tone, width},
    line::Line,
    page::{heading, paragraph},
    spark::trend,
    table::{padded, tone},
};
use crate::{
    app::Target,
    history::Moment,
    items,
    metric::Metric,
    model::{pod::label, verdict::Finding},
    reading::Row,
    shell,
    tab::Tab,
};

pub fn lines(tab: Tab, key: u64, moment: &Moment<'_>, ink: &Ink, room: usize) -> Vec<Line> {
    let row = moment.reading.table(tab).and_then(|table| table.get(key));
    let Some(row) = row else {
        return paragraph(t!("it is not there at this reading"), 0, Tone::Dim, room);
    };
    let mut lines = vec![Line::new(ink.text(&row.label.name), Tone::Strong)];
    let what = match tab {
        Tab::Reasons => t!("dropped in"),
        Tab::Hops => t!("role"),
        Tab::Pods | Tab::Causes => t!("address"),
    };
    let second = retold(&row.label.second);
    for (what, text) in [(what, &*second), (t!("link"), &row.label.link)] {
        if !text.is_empty() {
            lines.push(Line::plain(format!("{what} {}", ink.text(text))));
        }
    }
    lines.extend(numbers(tab, row, moment, ink, room));
    lines.extend(victims(row, ink));
    lines.extend(causes(tab, row, moment, ink));
    if tab == Tab::Reasons {
        let manual = shell!("netdiag explain {}", row.label.name);
        lines.extend(heading(t!("What it means")));
        lines.extend(offered(&manual, ink, room));
    }
    lines
}

const fn metrics(tab: Tab) -> &'static [(&'static str, Metric)] {
    match tab {
        Tab::Pods => &[
            (mark!("packets sent"), Metric::In),
            (mark!("packets received"), Metric::Out),
            (mark!("bytes"), Metric::Bytes),
            (mark!("drops"), Metric::Drops),
            (mark!("retransmits"), Metric::Retransmits),
            (mark!("oversize"), Metric::Oversize),
        ],
        Tab::Hops => &[
            (mark!("packets in"), Metric::In),
            (mark!("packets out"), Metric::Out),
            (mark!("bytes"), Metric::Bytes),
            (mark!("drops"), Metric::Drops),
            (mark!("retransmits"), Metric::Retransmits),
            (mark!("oversize"), Metric::Oversize),
        ],
        Tab::Reasons | Tab::Causes => &[
            (mark!("drops"), Metric::Drops),
            (mark!("bytes dropped"), Metric::DroppedBytes),
        ],
    }
}

fn numbers(tab: Tab, row: &Row, moment: &Moment<'_>, ink: &Ink, room: usize) -> Vec<Line> {
    let (rate, total) = (padded("/s", 26, true, 0), padded(t!("TOTAL"), 8, true, 0));
    let title = format!("{rate}{total}  ");
    let left = room.saturating_sub(width(&title));
    let mut lines = vec![
        Line::default(),
        Line::new(format!("{title}{}", t!("TREND")), Tone::Head),
    ];
    for (name, metric) in metrics(tab) {
        let rate = figure(moment.row_rate(tab, row.key, *metric));
        let total = count(metric.of(&row.counts) as f64);
        let trend = trend(ink, &moment.row_trend(tab, row.key, *metric, left), left);
        let text = format!("{}{rate:>8}{total:>8}  ", padded(say(name), 18, false, 0));
        lines.push(Line::plain(text).with(trend, Tone::Info));
    }
    lines
}

fn victims(row: &Row, ink: &Ink) -> Vec<Line> {
    if row.victims.is_empty() {
        return Vec::new();
    }
    let mut lines = heading(t!("Lost by")).to_vec();
    for (name, packets) in row.victims.iter() {
        lines.push(Line::plain(format!("  {packets:>8}  {}", ink.text(name))));
    }
    lines
}

/// Causes whose finding names it.
fn causes(tab: Tab, row: &Row, moment: &Moment<'_>, ink: &Ink) -> Vec<Line> {
    let all = moment.reading.causes.iter();
    let mut about = all.filter(|it| names(&it.finding, tab, row)).peekable();
    let mut lines = heading(t!("Causes that name it")).to_vec();
    if about.peek().is_none() {
        lines.push(Line::new(t!("  none so far"), Tone::Dim));
    }
    for cause in about {
        let finding = &cause.finding;
        let word = items::severity(finding.severity);
        let line = Line::new(padded(word, 8, false, 1), tone(finding.severity))
            .with(&finding.cause, Tone::Strong)
            .with(
                format!("  {}", ink.text(&retold(&finding.summary))),
                Tone::Plain,
            );
        lines.push(line.leads(Target::Cause(finding.id.clone())));
    }
    lines
}

fn names(finding: &Finding, tab: Tab, row: &Row) -> bool {
    let name = row.label.name.as_str();
    let mut evidence = finding.evidence.iter();
    match tab {
        Tab::Pods => finding.pods.iter().any(|pod| label(pod) == name),
        Tab::Hops => {
            let at = evidence.any(|it| it.at.as_deref() == Some(name));
            let flows = finding.flows.iter();
            let mut last = flows.filter_map(|flow| flow.last_seen_at.as_deref());
            at || last.any(|at| at == name)
        }
        Tab::Reasons => evidence.any(|it| it.reason.as_deref() == Some(name)),
        Tab::Causes => false,
    }
}
