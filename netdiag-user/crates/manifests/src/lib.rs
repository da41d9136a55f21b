//! What a cluster is given so that netdiag runs on each of its nodes, as typed objects: no template
//! can leave a field of them misspelt.
mod arch;
mod daemonset;
mod dashboard;
mod documents;
mod kustomize;
mod monitoring;
mod monitors;
mod names;
mod options;
mod pod;
mod profile;
mod rbac;
mod rules;
mod scrape;
mod seccomp;
mod yaml;

pub use arch::Arch;
pub use daemonset::arguments;
pub use documents::{What, documents, plain_dashboard, plain_rules, plain_scrape};
pub use kustomize::{BASE, File, files};
pub use names::{Image, Label, Name};
pub use options::{Alerts, Listen, Monitor, Options, runbook_url, scale};
pub use pod::{CONTAINER, HOST_ROOT, IMAGE, pod_spec};
pub use profile::Profile;
pub use seccomp::{Seccomp, seccomp};
pub use yaml::{Document, stream};

use netdiag_diagnosis as diagnosis;
use netdiag_sys as sys;
