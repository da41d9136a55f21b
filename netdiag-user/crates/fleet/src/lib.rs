//! Several nodes at once: a recording of each is brought here, for one verdict of all.
//!
//! What is asked is netdiag itself, by commands that people type too: an agent's pod gives the last
//! minutes that it kept (`netdiag agent snapshot -`), every other node records from now on
//! (`netdiag diagnose --record /dev/stdout`), in a pod that is there for that long and no longer, or
//! by the user's own ssh. A recording is a stream of whole blocks, so what came before a node fell
//! silent counts.
mod cluster;
mod exec;
mod fetch;
mod job;
mod kept;
mod once;
mod ssh;
mod wanted;

use std::path::PathBuf;

pub use self::{
    cluster::{AGENTS, Choice, Cluster, InPod},
    fetch::{Asking, Source, Way, fetch},
    job::Brief,
    once::Once,
    ssh::Remote,
    wanted::Wanted,
};
use netdiag_kubernetes as kubernetes;
use netdiag_model as model;
use netdiag_sys as sys;

/// What came of one node.
#[derive(Debug)]
pub struct Came {
    pub node: String,
    /// Its recording; nothing where no byte of one came.
    pub file: Option<PathBuf>,
    /// Why that is not all that was wanted.
    pub trouble: Option<String>,
}
