//! The rows of a table as they are shown: columns, order, filter.
use std::cmp::Ordering;

use jiff::Timestamp;
use netdiag_lang::{mark, t};

use super::{causes::Cause, history::Moment, metric::Metric, reading::Row, tab::Tab};
use crate::model::{pod::label, verdict::Severity};

/// By which a row is the same one in the next reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// A finding's `id`.
    Cause(String),
    Row(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    Name,
    Second,
    Link,
    /// What came a second.
    Rate(Metric),
    /// What came since the run began.
    Total(Metric),
    Trend,
    Severity,
    /// How many pods a cause names.
    Pods,
    /// How long ago it was seen last.
    Seen,
    /// Packets a second that a cause's evidence counts.
    CauseRate,
    Summary,
}

pub struct Column {
    pub title: &'static str,
    pub shows: Shows,
    /// Characters that it needs, and that it may have where there is room.
    pub least: usize,
    pub most: usize,
    /// The higher, the sooner it gives way on a narrow screen.
    pub rank: u8,
}

impl Column {
    /// Numbers stand right, the largest first.
    pub const fn is_number(&self) -> bool {
        match self.shows {
            Shows::Rate(_) | Shows::Total(_) | Shows::Pods | Shows::Seen | Shows::CauseRate => true,
            Shows::Name
            | Shows::Second
            | Shows::Link
            | Shows::Trend
            | Shows::Severity
            | Shows::Summary => false,
        }
    }

    pub const fn sorts(&self) -> bool {
        !matches!(self.shows, Shows::Trend | Shows::Summary)
    }
}

const fn column(title: &'static str, shows: Shows, [least, most]: [usize; 2], rank: u8) -> Column {
    Column {
        title,
        shows,
        least,
        most,
        rank,
    }
}

const WIDE: usize = 400;
const TREND: [usize; 2] = [8, 30];

/// The first one that sorts is the first order of the table.
const CAUSES: &[Column] = &[
    column(mark!("SEVERITY"), Shows::Severity, [9, 9], 0),
    column(mark!("CAUSE"), Shows::Name, [20, 36], 0),
    column(mark!("PODS"), Shows::Pods, [4, 4], 4),
    column(mark!("SEEN"), Shows::Seen, [6, 6], 2),
    column(mark!("PKT/s"), Shows::CauseRate, [6, 6], 3),
    column(mark!("TREND"), Shows::Trend, [8, 16], 2),
    column(mark!("SUMMARY"), Shows::Summary, [24, WIDE], 1),
];

const PODS: &[Column] = &[
    column(mark!("POD"), Shows::Name, [18, 60], 0),
    column(mark!("DROPS/s"), Shows::Rate(Metric::Drops), [7, 7], 0),
    column(mark!("DROPS"), Shows::Total(Metric::Drops), [6, 6], 4),
    column(mark!("SENT/s"), Shows::Rate(Metric::In), [6, 6], 1),
    column(mark!("RECV/s"), Shows::Rate(Metric::Out), [6, 6], 1),
    column(mark!("RETR/s"), Shows::Rate(Metric::Retransmits), [6, 6], 2),
    column(mark!("OVER/s"), Shows::Rate(Metric::Oversize), [6, 6], 5),
    column(mark!("TREND"), Shows::Trend, TREND, 3),
    column(mark!("ADDRESS"), Shows::Second, [15, 39], 6),
    column(mark!("LINK"), Shows::Link, [15, 15], 7),
];

const HOPS: &[Column] = &[
    column(mark!("HOP"), Shows::Name, [15, 15], 0),
    column(mark!("ROLE"), Shows::Second, [6, 6], 1),
    column(mark!("DROPS/s"), Shows::Rate(Metric::Drops), [7, 7], 0),
    column(mark!("DROPS"), Shows::Total(Metric::Drops), [6, 6], 6),
    column(mark!("IN/s"), Shows::Rate(Metric::In), [6, 6], 0),
    column(mark!("OUT/s"), Shows::Rate(Metric::Out), [6, 6], 0),
    column(mark!("B/s"), Shows::Rate(Metric::Bytes), [6, 6], 4),
    column(mark!("RETR/s"), Shows::Rate(Metric::Retransmits), [6, 6], 2),
    column(mark!("OVER/s"), Shows::Rate(Metric::Oversize), [6, 6], 5),
    column(mark!("TREND"), Shows::Trend, TREND, 3),
];

const REASONS: &[Column] = &[
    column(mark!("REASON"), Shows::Name, [16, 40], 0),
    column(mark!("DROPS/s"), Shows::Rate(Metric::Drops), [7, 7], 0),
    column(mark!("DROPS"), Shows::Total(Metric::Drops), [6, 6], 1),
    column(mark!("B/s"), Shows::Rate(Metric::DroppedBytes), [6, 6], 5),
    column(mark!("TREND"), Shows::Trend, TREND, 2),
    column(mark!("DROPPED IN"), Shows::Second, [16, 48], 3),
    column(mark!("LINK"), Shows::Link, [10, 15], 4),
];

pub const fn columns(tab: Tab) -> &'static [Column] {
    match tab {
        Tab::Causes => CAUSES,
        Tab::Pods => PODS,
        Tab::Hops => HOPS,
        Tab::Reasons => REASONS,
    }
}

/// By which a table is sorted at first: what is lost comes first.
pub fn first_order(tab: Tab) -> usize {
    let wanted =
        |column: &Column| matches!(column.shows, Shows::Severity | Shows::Rate(Metric::Drops));
    columns(tab).iter().position(wanted).unwrap_or_default()
}

/// Of which number the trend is drawn: of the one that sorts, else of what there is most to say.
pub fn trend_of(tab: Tab, sort: usize) -> Metric {
    match columns(tab).get(sort).map(|column| column.shows) {
        Some(Shows::Rate(metric) | Shows::Total(metric)) => metric,
        _ if tab == Tab::Reasons => Metric::Drops,
        _ => Metric::Packets,
    }
}

#[derive(Clone, Copy)]
pub enum Item<'a> {
    Cause(&'a Cause),
    Row(&'a Row),
}

impl Item<'_> {
    pub fn id(&self) -> Id {
        match self {
            Self::Cause(cause) => Id::Cause(cause.finding.id.clone()),
            Self::Row(row) => Id::Row(row.key),
        }
    }

    pub fn is(&self, id: &Id) -> bool {
        match (self, id) {
            (Self::Cause(cause), Id::Cause(id)) => cause.finding.id == *id,
            (Self::Row(row), Id::Row(key)) => row.key == *key,
            _ => false,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Cause(cause) => &cause.finding.cause,
            Self::Row(row) => &row.label.name,
        }
    }

    /// Whether it contains the text, whose letters are small.
    fn has(&self, text: &str) -> bool {
        let has = |own: &str| own.to_lowercase().contains(text);
        match self {
            Self::Cause(cause) => {
                let finding = &cause.finding;
                let pod = || finding.pods.iter().any(|pod| has(&label(pod)));
                has(&finding.cause)
                    || has(&finding.summary)
                    || has(severity(finding.severity))
                    || pod()
            }
            Self::Row(row) => {
                let label = &row.label;
                let victim = || row.victims.iter().any(|(name, _)| has(name));
                has(&label.name) || has(&label.second) || has(&label.link) || victim()
            }
        }
    }

    fn weight(&self) -> (u64, u64) {
        match self {
            Self::Cause(_) => (0, 0),
            Self::Row(row) => row.counts.weight(),
        }
    }
}

pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => t!("CRITICAL"),
        Severity::Warning => t!("WARNING"),
        Severity::Info => t!("INFO"),
    }
}

/// Seconds from when something was seen last until then.
pub fn age(time: Timestamp, seen: &str) -> Option<f64> {
    let seen: Timestamp = seen.parse().ok()?;
    Some(time.duration_since(seen).as_secs_f64().max(0.0))
}

/// What a column's number is; nothing where it has none.
pub fn number(moment: &Moment<'_>, tab: Tab, item: &Item<'_>, shows: Shows) -> Option<f64> {
    match (shows, item) {
        (Shows::Rate(metric), Item::Row(row)) => Some(moment.row_rate(tab, row.key, metric)),
        (Shows::Total(metric), Item::Row(row)) => Some(metric.of(&row.counts) as f64),
        (Shows::CauseRate, Item::Cause(cause)) => Some(moment.cause_rate(&cause.finding.id)),
        (Shows::Pods, Item::Cause(cause)) => Some(cause.finding.pods.len() as f64),
        (Shows::Seen, Item::Cause(cause)) => age(moment.reading.time, &cause.finding.last_seen),
        _ => None,
    }
}

/// By which column, and whether from its other end.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub column: usize,
    pub reverse: bool,
}

/// The rows of a tab that contain the filter's text, in that order.
pub fn items<'a>(moment: &Moment<'a>, tab: Tab, order: Order, filter: &str) -> Vec<Item<'a>> {
    let text = filter.to_lowercase();
    let reading = moment.reading;
    let mut items: Vec<Item<'a>> = match reading.table(tab) {
        None => family(&reading.causes)
            .into_iter()
            .map(Item::Cause)
            .collect(),
        Some(table) => table.rows().iter().map(Item::Row).collect(),
    };
    if !text.is_empty() {
        items.retain(|item| item.has(&text));
    }
    sort(moment, tab, order, &mut items);
    items
}

/// Each root with all that follows from it below, whatever lies between.
fn family(causes: &[Cause]) -> Vec<&Cause> {
    let roots = causes.iter().filter(|c| c.finding.root.is_none());
    // Of those whose root is not asked for.
    let is_orphan = |cause: &&Cause| cause.finding.root.is_some() && root(causes, cause).is_none();
    let orphans = causes.iter().filter(is_orphan);
    let mut all = Vec::with_capacity(causes.len());
    for head in roots.chain(orphans) {
        with_consequences(causes, head, &mut all);
    }
    all
}

/// Ends: each has one root, so from a head nothing is reached twice.
fn with_consequences<'a>(causes: &'a [Cause], cause: &'a Cause, all: &mut Vec<&'a Cause>) {
    all.push(cause);
    let id = Some(&cause.finding.id);
    for below in causes.iter().filter(|c| c.finding.root.as_ref() == id) {
        with_consequences(causes, below, all);
    }
}

fn root<'a>(causes: &'a [Cause], cause: &Cause) -> Option<&'a Cause> {
    let id = cause.finding.root.as_ref()?;
    causes.iter().find(|c| c.finding.id == *id)
}

/// How many others a cause follows from, one from the other.
pub fn depth(causes: &[Cause], cause: &Cause) -> usize {
    let above = std::iter::successors(root(causes, cause), |it| root(causes, it));
    above.take(causes.len()).count()
}

fn sort(moment: &Moment<'_>, tab: Tab, order: Order, items: &mut Vec<Item<'_>>) {
    let Some(column) = columns(tab).get(order.column) else {
        return;
    };
    if column.shows == Shows::Severity {
        // They come so.
        if order.reverse {
            items.reverse();
        }
        return;
    }
    let keyed = items.drain(..).map(|item| {
        let number = number(moment, tab, &item, column.shows);
        (number, item)
    });
    let mut keyed: Vec<_> = keyed.collect();
    keyed.sort_by(|(one, a), (other, b)| {
        let by = match column.is_number() {
            // The age is the one of which the least comes first.
            true if column.shows == Shows::Seen => compare(*one, *other),
            true => compare(*other, *one),
            false => text(column, a).cmp(text(column, b)),
        };
        let by = if order.reverse { by.reverse() } else { by };
        by.then_with(|| b.weight().cmp(&a.weight()))
            .then_with(|| a.name().cmp(b.name()))
    });
    items.extend(keyed.into_iter().map(|(_, item)| item));
}

fn compare(one: Option<f64>, other: Option<f64>) -> Ordering {
    let number = |it: Option<f64>| it.unwrap_or(f64::NEG_INFINITY);
    number(one).total_cmp(&number(other))
}

fn text<'a>(column: &Column, item: &'a Item<'_>) -> &'a str {
    match (column.shows, item) {
        (Shows::Second, Item::Row(row)) => &row.label.second,
        (Shows::Link, Item::Row(row)) => &row.label.link,
        _ => item.name(),
    }
}
