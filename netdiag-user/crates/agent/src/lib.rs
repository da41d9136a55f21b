//! What `netdiag agent` keeps and serves: a view that slides along, counters that never fall, a page
//! of metrics, its health, its configuration.
//!
//! | part | what it does |
//! |---|---|
//! | [`baseline`] | what a reading has beyond an earlier one |
//! | [`window`] | what was seen in the last minutes, as a run that began then would have it |
//! | [`standing`] | which findings stand, and which have not been named for long enough |
//! | [`meter`], [`series`] | counters by reason, hop and workload, of a bounded number of series |
//! | [`page`] | all of it as Prometheus reads it |
//! | [`sending`] | what became of what was to be sent away |
//! | [`canary`], [`sight`] | packets that netdiag drops itself, and whether it saw them |
//! | [`serve`] | `/metrics`, `/healthz`, `/readyz` |
//! | [`history`], [`snapshot`] | the last minutes on the node's disk, and one recording of them |
//! | [`config`] | what is configured, from flags, environment and file |
pub mod baseline;
pub mod canary;
pub mod config;
pub mod history;
pub mod meter;
pub mod page;
pub mod sending;
pub mod series;
pub mod serve;
pub mod sight;
pub mod snapshot;
pub mod standing;
#[cfg(test)]
mod testing;
pub mod window;

use netdiag_diagnosis as diagnosis;
use netdiag_model as model;
use netdiag_pipeline as pipeline;
use netdiag_recording as recording;
use netdiag_sys as sys;
