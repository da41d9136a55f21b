//! What the agent sees and names, for an OpenTelemetry collector: logs of findings, deaths and the
//! hops of suspicious flows, and the series of the metrics page.
//!
//! | part | what it does |
//! |---|---|
//! | [`target`] | where it goes, and the word of who is not there |
//! | `exporter`, `queue`, `metrics` | the SDK's pipelines, with a bounded queue that never waits |
//! | `watch` | what of a reading is told, and when |
//! | `finding`, `drops`, `legs`, `tunnels`, `facts` | one kind of record each |
//! | [`queries`] | ClickHouse views and questions over these records |
mod drops;
mod exporter;
mod facts;
mod finding;
mod legs;
mod metrics;
pub mod queries;
mod queue;
mod record;
mod suspects;
pub mod target;
mod tunnels;
mod watch;

pub use exporter::{Exporter, Identity};
pub use target::Target;
pub use watch::Watch;

use netdiag_agent as agent;
use netdiag_model as model;
use netdiag_pipeline as pipeline;
use netdiag_sys as sys;
