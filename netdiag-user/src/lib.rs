//! netdiag names the cause of lost packets on a Kubernetes node.
//!
//! # The way of the evidence
//!
//! Each part is a crate in a folder of its name beside this one, which puts them together and
//! hands them on.
//!
//! | part | what it does |
//! |---|---|
//! | [`kernel`] | loads and attaches the eBPF programs, reads their maps |
//! | [`host`], [`pods`], `cri`, `kubernetes` | the node's configuration, its pods, what the runtime and the API say |
//! | [`model`] | what all of these say, as values; knows nobody |
//! | `forwarding` | what the kernel must do with a packet, computed from the node's state |
//! | [`pipeline`] | one reading as facts: names for numbers, pods for addresses, journeys for flows |
//! | [`causes`] | each cause's opinion of the facts, one file each; none knows another |
//! | [`diagnosis`] | the arbiter joins opinions to findings, these to events, verdicts and paths, of one node or of several |
//! | [`output`] | renders and never computes |
//! | `report` | one page of an incident, for its ticket or a chat |
//! | [`agent`] | what a run that goes on for weeks keeps and serves |
//! | `fleet` | recordings of several nodes, fetched by the Kubernetes API or by ssh |
//! | [`recording`] | readings as a file, from which the same verdict comes |
//! | `manifests` | what a cluster is given for the agent, as typed objects |
//! | `lab` | real incidents in namespaces, for tests and for people |
//! | `top` | readings as a full screen: tables, pages, time travel |
//! | [`sys`] | system calls, bounded files and programs |
//! | [`cli`] | puts them together |
//!
//! # What always holds
//!
//! - A part knows only those below it: Cargo keeps the order, and `cargo xtask check` reads which
//!   crate depends on which; [`causes`] and [`diagnosis`] share one, in which it reads the imports.
//! - The same readings and answers give the same findings, live and in a replay.
//! - No rule decides by a name, an address, a port or a size that a stranger chose.
//! - What could not be looked at is told, and is never "no".
//! - Whatever comes from outside has a longest length, and is counted where it is cut.
pub mod cli;

pub use netdiag_agent as agent;
#[cfg(feature = "cri")]
pub use netdiag_cri as cri;
pub use netdiag_diagnosis::{self as diagnosis, causes};
#[cfg(feature = "k8s")]
pub use netdiag_fleet as fleet;
pub use netdiag_host as host;
pub use netdiag_kernel as kernel;
#[cfg(feature = "k8s")]
pub use netdiag_kubernetes as kubernetes;
#[cfg(feature = "lab")]
pub use netdiag_lab as lab;
#[cfg(feature = "k8s")]
pub use netdiag_manifests as manifests;
pub use netdiag_model::{self as model, shell};
pub use netdiag_output as output;
pub use netdiag_pipeline as pipeline;
pub use netdiag_pods as pods;
pub use netdiag_recording as recording;
#[cfg(feature = "report")]
pub use netdiag_report as report;
pub use netdiag_sys as sys;
#[cfg(feature = "top")]
pub use netdiag_top as top;
