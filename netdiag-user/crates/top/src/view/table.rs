//! A table of rows, and the row at hand in full below it.
use netdiag_lang::{retold, say, t};
use ratatui::buffer::Buffer;

use super::{
    Canvas,
    figures::{age, count, figure},
    ink::{Tone, width, wrap},
    line::Line,
    page,
    spark::trend,
};
use crate::{
    app::{App, List, Target},
    history::Moment,
    items::{self, Column, Id, Item, Shows, columns, number, trend_of},
    model::{
        text::listed,
        verdict::{Confidence, Severity},
    },
    tab::Tab,
};

/// Lines below the table that tell of the row at hand; where there is much room, its page.
const PREVIEW: usize = 4;
const LARGE: usize = 26;
const GAP: usize = 1;
/// A sign before the row at hand.
const MARK: usize = 2;

pub fn draw(app: &mut App, canvas: &Canvas<'_>, tall: bool, buffer: &mut Buffer) {
    let preview = match (tall, canvas.height()) {
        (false, _) => 0,
        (true, LARGE..) => canvas.height() / 2,
        (true, _) => PREVIEW,
    };
    let height = canvas.height().saturating_sub(1 + preview);
    app.height = height;
    let (items, at) = app.listed();
    let all = items.len();
    let selected = items.get(at).map(Item::id);
    let mut scroll = app.list().scroll;
    scroll.at = at;
    scroll.show(height.max(1), all);
    if let Some(moment) = app.moment() {
        let sheet = Sheet::of(canvas, app.tab, app.list(), &moment);
        sheet.header().put(canvas, 0, false, buffer);
        let shown = items.iter().enumerate().skip(scroll.top).take(height);
        for (row, (n, item)) in shown.enumerate() {
            sheet
                .row(item, n == at)
                .put(canvas, row + 1, n == at, buffer);
        }
        if items.is_empty() {
            nothing(app, canvas).put(canvas, 1, false, buffer);
        }
        if preview > 0 {
            let top = u16::try_from(height + 1).unwrap_or(u16::MAX);
            let below = canvas.rows(top, canvas.area.height);
            sheet.preview(items.get(at), all, &below, buffer);
        }
    }
    let list = app.list_mut();
    list.scroll = scroll;
    if list.selected.is_none() {
        list.selected = selected;
    }
}

fn nothing(app: &App, canvas: &Canvas<'_>) -> Line {
    let text = match (app.filter.is_empty(), app.tab) {
        (false, _) => t!("no row contains the text of the filter: Esc clears it"),
        (true, Tab::Causes) => t!("no cause named so far; n: what is not checked"),
        (true, Tab::Pods) => t!("no pod of this node is known"),
        (true, Tab::Hops) => t!("no packet passed a hop so far"),
        (true, Tab::Reasons) => t!("no packet was dropped so far"),
    };
    Line::new(canvas.ink.cut(text, canvas.width()), Tone::Dim)
}

/// The columns that fit, with their widths.
struct Sheet<'a> {
    canvas: &'a Canvas<'a>,
    moment: &'a Moment<'a>,
    tab: Tab,
    list: &'a List,
    columns: Vec<(usize, &'static Column, usize)>,
}

impl<'a> Sheet<'a> {
    fn of(canvas: &'a Canvas<'a>, tab: Tab, list: &'a List, moment: &'a Moment<'a>) -> Self {
        Self {
            canvas,
            moment,
            tab,
            list,
            columns: fitted(columns(tab), canvas.width().saturating_sub(MARK)),
        }
    }

    fn header(&self) -> Line {
        let ink = self.canvas.ink;
        let mut line = Line::new(" ".repeat(MARK), Tone::Head);
        for (number, column, wide) in &self.columns {
            let sorted = *number == self.list.order.column;
            let sign = match (sorted, self.list.order.reverse) {
                (false, _) => "",
                (true, false) => ink.glyph("▾", "v"),
                (true, true) => ink.glyph("▴", "^"),
            };
            // The sign stands in the gap where the title fills its column.
            let title = format!("{}{sign}", say(column.title));
            let right = column.is_number();
            line = line.with(padded(&title, *wide, right, 0), Tone::Head);
            let over = width(&title).saturating_sub(*wide);
            line = line.with(" ".repeat(GAP.saturating_sub(over)), Tone::Head);
        }
        line
    }

    fn row(&self, item: &Item<'_>, selected: bool) -> Line {
        let mark = if selected { "> " } else { "  " };
        let mut line = Line::plain(mark);
        for (_, column, wide) in &self.columns {
            let (text, tone) = self.cell(item, column, *wide);
            let text = self.canvas.ink.cut(&text, *wide);
            let text = padded(&text, *wide, column.is_number(), 0);
            line = line.with(text, tone).with(" ".repeat(GAP), Tone::Plain);
        }
        line
    }

    fn cell(&self, item: &Item<'_>, column: &Column, wide: usize) -> (String, Tone) {
        let ink = self.canvas.ink;
        let value = || number(self.moment, self.tab, item, column.shows);
        let shown = |text: fn(f64) -> String| value().map_or_else(String::new, text);
        match column.shows {
            Shows::Severity => severity(item),
            Shows::Name => (self.name(item), Tone::Plain),
            Shows::Second | Shows::Link => (self.label(item, column.shows), Tone::Dim),
            Shows::Summary => (self.summary(item), Tone::Plain),
            Shows::Rate(metric) => {
                let bad = !matches!(trouble(metric), Tone::Plain);
                let some = value().is_some_and(|rate| rate > 0.0);
                let tone = if bad && some {
                    Tone::Warning
                } else {
                    Tone::Plain
                };
                (shown(figure), tone)
            }
            Shows::CauseRate => (shown(figure), Tone::Plain),
            Shows::Total(_) | Shows::Pods => (shown(count), Tone::Plain),
            Shows::Seen => (shown(age), Tone::Plain),
            Shows::Trend => (trend(ink, &self.trend(item, wide), wide), Tone::Info),
        }
    }

    fn name(&self, item: &Item<'_>) -> String {
        let ink = self.canvas.ink;
        match item {
            Item::Cause(cause) if cause.finding.root.is_some() => {
                let depth = items::depth(&self.moment.reading.causes, cause);
                let indent = "  ".repeat(depth.saturating_sub(1));
                format!("{indent}{} {}", ink.glyph("└", "`"), cause.finding.cause)
            }
            _ => ink.text(item.name()),
        }
    }

    fn label(&self, item: &Item<'_>, shows: Shows) -> String {
        let Item::Row(row) = item else {
            return String::new();
        };
        match shows {
            Shows::Link => self.canvas.ink.text(&row.label.link),
            _ => self.canvas.ink.text(&retold(&row.label.second)),
        }
    }

    fn summary(&self, item: &Item<'_>) -> String {
        match item {
            Item::Cause(cause) => self.canvas.ink.text(&retold(&cause.finding.summary)),
            Item::Row(_) => String::new(),
        }
    }

    fn trend(&self, item: &Item<'_>, most: usize) -> Vec<f64> {
        match item {
            Item::Cause(cause) => self.moment.cause_trend(&cause.finding.id, most),
            Item::Row(row) => {
                let metric = trend_of(self.tab, self.list.order.column);
                self.moment.row_trend(self.tab, row.key, metric, most)
            }
        }
    }

    /// The row at hand in full: what its columns had no room for.
    fn preview(
        &self,
        item: Option<&Item<'_>>,
        all: usize,
        below: &Canvas<'_>,
        buffer: &mut Buffer,
    ) {
        let ink = self.canvas.ink;
        let rule = ink.glyph("─", "-").repeat(below.width());
        Line::new(rule, Tone::Dim).put(below, 0, false, buffer);
        let Some(item) = item else {
            return;
        };
        let room = below.width().saturating_sub(1);
        let mut lines = match (below.height() > PREVIEW, item) {
            (true, _) => page::lines(&self.target(item), self.moment, ink, room),
            (false, Item::Cause(cause)) => {
                let how = confidence(cause.finding.confidence);
                let title = t!("{}, {how}", cause.finding.cause);
                let mut lines = vec![Line::new(title, Tone::Strong)];
                let text = wrap(&ink.text(&retold(&cause.finding.summary)), room);
                lines.extend(text.into_iter().map(Line::plain));
                lines
            }
            (false, Item::Row(row)) => {
                let label = &row.label;
                let second = retold(&label.second);
                let parts = [&label.name, &*second, &label.link].map(|it| ink.text(it));
                let parts: Vec<String> = parts.into_iter().filter(|it| !it.is_empty()).collect();
                let mut lines = vec![Line::new(parts.join("  "), Tone::Strong)];
                lines.extend(self.told(row, all));
                lines
            }
        };
        let height = below.height().saturating_sub(1);
        if lines.len() > height && height > PREVIEW {
            lines.truncate(height - 1);
            let text = t!("{} Enter shows the rest", ink.more());
            lines.push(Line::new(text, Tone::Dim));
        }
        lines.truncate(height);
        for (n, line) in lines.iter().enumerate() {
            line.put(below, n + 1, false, buffer);
        }
    }

    fn target(&self, item: &Item<'_>) -> Target {
        match item.id() {
            Id::Cause(id) => Target::Cause(id),
            Id::Row(key) => Target::Row(self.tab, key),
        }
    }

    fn told(&self, row: &crate::reading::Row, all: usize) -> Vec<Line> {
        let ink = self.canvas.ink;
        let mut lines = Vec::new();
        if !row.victims.is_empty() {
            let each = row.victims.iter();
            let each = each.map(|(name, packets)| format!("{} ({packets})", ink.text(name)));
            let text = t!("lost by {}", listed(&each.collect::<Vec<_>>()));
            lines.push(Line::plain(text));
        } else {
            let counts = &row.counts;
            let text = t!(
                "since the run began: {} packets in, {} out, {} dropped, {} retransmitted, \
                 {} oversize",
                count(counts.in_packets as f64),
                count(counts.out_packets as f64),
                count(counts.drops as f64),
                count(counts.retransmits as f64),
                count(counts.oversize as f64),
            );
            lines.push(Line::plain(text));
        }
        let left_out = self
            .moment
            .reading
            .table(self.tab)
            .map_or(0, |it| it.left_out);
        if left_out > 0 {
            let text = t!("{all} rows are shown, {left_out} more with less to tell are not");
            lines.push(Line::new(text, Tone::Dim));
        }
        let unnamed = self.moment.reading.head.without_pod;
        if unnamed > 0 && self.tab == Tab::Pods {
            let text = t!("{unnamed} dropped packets are not told by pod: too many addresses");
            lines.push(Line::new(text, Tone::Dim));
        }
        lines
    }
}

const fn trouble(metric: crate::metric::Metric) -> Tone {
    use crate::metric::Metric;
    match metric {
        Metric::Drops | Metric::DroppedBytes | Metric::Retransmits | Metric::Oversize => {
            Tone::Warning
        }
        Metric::In | Metric::Out | Metric::Packets | Metric::Bytes => Tone::Plain,
    }
}

fn severity(item: &Item<'_>) -> (String, Tone) {
    match item {
        Item::Cause(cause) => {
            let severity = cause.finding.severity;
            (items::severity(severity).to_owned(), tone(severity))
        }
        Item::Row(_) => (String::new(), Tone::Plain),
    }
}

pub const fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Critical => Tone::Critical,
        Severity::Warning => Tone::Warning,
        Severity::Info => Tone::Info,
    }
}

pub fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Confirmed => t!("confirmed"),
        Confidence::Configured => t!("by configuration, not met by traffic yet"),
        Confidence::Suspected => t!("suspected"),
    }
}

/// Filled with spaces to so many columns.
pub fn padded(text: &str, wide: usize, right: bool, over: usize) -> String {
    let fill = " ".repeat((wide + over).saturating_sub(width(text)));
    match right {
        true => fill + text,
        false => text.to_owned() + &fill,
    }
}

/// Which columns have room, and how much of it each.
fn fitted(all: &'static [Column], room: usize) -> Vec<(usize, &'static Column, usize)> {
    let mut columns: Vec<_> = all.iter().enumerate().collect();
    let least = |columns: &[(usize, &Column)]| -> usize {
        columns.iter().map(|(_, column)| column.least + GAP).sum()
    };
    while least(&columns) > room + GAP && columns.len() > 1 {
        let worst = columns.iter().enumerate();
        let worst = worst.max_by_key(|(_, (_, column))| column.rank);
        let Some((at, _)) = worst else { break };
        columns.remove(at);
    }
    let mut free = (room + GAP).saturating_sub(least(&columns));
    let mut fitted: Vec<_> = columns
        .into_iter()
        .map(|(number, column)| (number, column, column.least.min(room)))
        .collect();
    // Names first, then trends, then sentences.
    let turn = |shows| match shows {
        Shows::Trend => 1,
        Shows::Summary => 2,
        _ => 0,
    };
    for now in 0..=2 {
        for (_, column, wide) in &mut fitted {
            if turn(column.shows) == now {
                let more = (column.most - column.least).min(free);
                *wide += more;
                free -= more;
            }
        }
    }
    fitted
}
