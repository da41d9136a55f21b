//! What is told: a JSON line for each measurement.
use anyhow::Result;
use netdiag_kernel::cost::ProgramCost;
use serde::Serialize;

use super::{Attached, Flooded, Load, Used};

/// Takes each line as it comes; an error ends the bench.
pub type Tell<'a> = &'a mut dyn FnMut(&Line) -> Result<()>;

#[derive(Debug, Serialize)]
#[serde(tag = "part", rename_all = "lowercase")]
pub enum Line {
    /// One load; the step counts what was attached, nothing included, through all rounds.
    Round {
        round: u32,
        step: u32,
        #[serde(flatten)]
        sample: Sample,
    },
    Timed {
        #[serde(flatten)]
        sample: Sample,
    },
    Axis {
        axis: &'static str,
        at: u32,
        #[serde(flatten)]
        sample: Sample,
    },
    /// How long links take to be made, while so many stand and nobody starts.
    Adds {
        links: u32,
        seconds: Vec<f64>,
    },
    Start {
        attached: Attached,
        links: u32,
        /// Until bridges, tunnels and uplinks were covered.
        infrastructure: f64,
        /// Until every link was.
        covered: f64,
        /// How long links took to be made meanwhile.
        adds: Vec<f64>,
    },
    /// From a link's coming to its programs' running.
    New {
        attached: Attached,
        links: u32,
        seconds: Vec<f64>,
    },
    Idle {
        attached: Attached,
        seconds: f64,
        tracer: Used,
    },
    /// A storm as a few clients make it.
    Storm(Stormed),
    /// Very many drops of very many flows.
    Flooded(Stormed),
    Identity {
        attached: Attached,
        flows: u32,
        /// Packets that the rule was sent.
        sent: u64,
        /// Drops that were told, each row with its place.
        told: u64,
        /// Named as lost: drops, or samples of drops that are told all the same.
        lost: u64,
    },
    Skipped {
        what: String,
        why: String,
    },
}

/// One load with something attached.
#[derive(Debug, Serialize)]
pub struct Sample {
    pub attached: Attached,
    pub load: Load,
    #[serde(flatten)]
    pub flooded: Flooded,
    /// What its process took meanwhile, and has now.
    pub tracer: Option<Used>,
    /// Empty unless the kernel timed them.
    pub programs: Vec<ProgramCost>,
}

/// What the process took in a storm, and has after it.
#[derive(Debug, Serialize)]
pub struct Stormed {
    pub attached: Attached,
    pub flows: u32,
    pub sent: u64,
    pub seconds: f64,
    pub tracer: Used,
}
