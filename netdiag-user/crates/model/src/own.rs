//! What netdiag itself takes, as each summary tells it.
mod events;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use events::{DropEvents, Events, LostDrops, LostRecords, RecordEvents};

/// Since the beginning of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OwnCost {
    /// Processor time of this process: its own code, and what it had the kernel do.
    pub user_seconds: f64,
    pub system_seconds: f64,
    /// Resident memory at the end.
    pub rss_bytes: u64,
    /// Kernel memory behind the maps.
    pub map_bytes: u64,
    /// Records of single events that came through the ring.
    pub delivered: u64,
    /// How long the kernel timed the programs: a second now and then, because timing costs, too.
    pub timed_seconds: f64,
    /// Runs within that time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<ProgramCost>,
    /// What became of each event, counted when the programs had been taken off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
}

/// Runs of one program while they were timed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProgramCost {
    /// The first 15 characters, which is what the kernel keeps.
    pub name: String,
    pub runs: u64,
    pub ns: u64,
}

impl ProgramCost {
    pub fn ns_per_run(&self) -> u64 {
        self.ns / self.runs.max(1)
    }
}
