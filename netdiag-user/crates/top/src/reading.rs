//! One reading as it is kept: small rows with names, the findings, and what the node is.
use std::sync::Arc;

use jiff::Timestamp;

use super::{causes::Cause, counts::Counts, tab::Tab};
use crate::model::{
    level::Level,
    verdict::{CannotTell, NotChecked},
};

/// What a row is called; the same for each reading that has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// A pod's name, a link's, a drop reason's.
    pub name: String,
    /// A pod's address, a link's role, the function that drops.
    pub second: String,
    /// The link, where the row is none itself.
    pub link: String,
}

/// A row: its name, and what was counted of it since the run began.
#[derive(Clone, Debug)]
pub struct Row {
    pub key: u64,
    pub label: Arc<Label>,
    pub counts: Counts,
    /// Who lost most of it, of a drop reason.
    pub victims: Arc<[(String, u64)]>,
}

/// Rows in the order of their keys, as many as are kept.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    /// Rows that found no room.
    pub left_out: usize,
}

/// Rows that a table keeps of a reading.
const MOST: usize = 1024;

impl Table {
    pub fn new(mut rows: Vec<Row>) -> Self {
        let left_out = rows.len().saturating_sub(MOST);
        if left_out > 0 {
            rows.sort_by_key(|row| std::cmp::Reverse(row.counts.weight()));
            rows.truncate(MOST);
        }
        rows.sort_by_key(|row| row.key);
        rows.shrink_to_fit();
        Self { rows, left_out }
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub fn get(&self, key: u64) -> Option<&Row> {
        let at = self.rows.binary_search_by_key(&key, |row| row.key).ok()?;
        self.rows.get(at)
    }
}

/// What is said of the node and of netdiag itself.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub node: String,
    pub kernel: String,
    pub level: Option<Level>,
    pub hooks: u64,
    /// `CLOCK_MONOTONIC` ns.
    pub started: u64,
    /// Of all hops, drops and sockets.
    pub total: Counts,
    pub flows: usize,
    /// Events that netdiag could not deliver, flows that it could not keep.
    pub lost: u64,
    pub overflowed: u64,
    /// Records of single packets that found no room: the packets are counted.
    pub samples_not_kept: u64,
    /// Dropped packets whose pods were not looked up: of too many pairs of addresses.
    pub without_pod: u64,
}

#[derive(Clone, Debug)]
pub struct Reading {
    /// `CLOCK_MONOTONIC` ns.
    pub now: u64,
    pub time: Timestamp,
    pub head: Head,
    pub pods: Table,
    pub hops: Table,
    pub reasons: Table,
    pub causes: Vec<Cause>,
    pub cannot_tell: Arc<[CannotTell]>,
    pub not_checked: Arc<[NotChecked]>,
}

impl Reading {
    /// Seconds since the run began.
    pub fn watched(&self) -> f64 {
        self.now.saturating_sub(self.head.started) as f64 / 1e9
    }

    /// The rows of a tab; causes are none.
    pub fn table(&self, tab: Tab) -> Option<&Table> {
        match tab {
            Tab::Causes => None,
            Tab::Pods => Some(&self.pods),
            Tab::Hops => Some(&self.hops),
            Tab::Reasons => Some(&self.reasons),
        }
    }

    pub fn cause(&self, id: &str) -> Option<&Cause> {
        self.causes.iter().find(|cause| cause.finding.id == id)
    }

    /// Bytes that it takes, about.
    pub fn weight(&self) -> usize {
        let tables = [&self.pods, &self.hops, &self.reasons];
        let rows: usize = tables.iter().map(|table| table.rows.len()).sum();
        let causes: usize = self.causes.iter().map(Cause::weight).sum();
        size_of::<Self>() + rows * size_of::<Row>() + causes
    }
}
