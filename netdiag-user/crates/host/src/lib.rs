//! The node's configuration: links, routes, neighbours, FDB by netlink, sysctls under a root
//! path, and what the pods' own namespaces say.
mod budget;
pub mod cgroups;
pub mod counters;
pub mod gather;
pub mod journal;
pub mod link_times;
pub mod links;
pub mod listing;
pub mod namespaces;
pub mod neighbours;
mod nsids;
pub mod owner;
pub mod pod_side;
pub mod probe;
pub mod routes;
pub mod rules;
mod short;
pub mod snapshot;
pub mod stack;
pub mod sysctl;
pub mod turns;

#[cfg(feature = "cri")]
use netdiag_cri as cri;
use netdiag_model as model;
use netdiag_sys as sys;
