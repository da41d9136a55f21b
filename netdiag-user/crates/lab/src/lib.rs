//! The incidents in network namespaces on this machine.
//!
//! A lab is a small cluster: two nodes, two switches, a host outside and four pods, each a
//! network namespace of its own, with the kernel's real bridges, tunnels and routes between
//! them. A scenario adds one real fault and real traffic; netdiag then runs inside a node exactly
//! as it would on a node. Nothing outside these namespaces is touched, but for limits of the whole
//! machine, which scenarios change in a VM that was booted for them and nowhere else.
#![expect(
    clippy::disallowed_methods,
    reason = "the lab reads what it made itself, on a machine that it may break"
)]
pub mod bench;
pub mod case;
pub mod cgroup;
pub mod cluster;
pub mod cni;
pub mod confirm;
pub mod containerd;
pub mod daemon;
pub mod diagnosis;
pub mod fix;
pub mod guarded;
pub mod incident;
pub mod judge;
pub mod keeper;
pub mod kube_proxy;
#[cfg(feature = "cri")]
pub mod kubelet;
pub mod link;
pub mod link_filter;
pub mod nameserver;
pub mod needs;
pub mod net;
pub mod netns;
pub mod nft;
pub mod offload;
pub mod parts;
pub mod plan;
pub mod replica;
pub mod rng;
pub mod root;
pub mod runner;
pub mod scenarios;
pub mod sidecar;
pub mod state;
pub mod step;
pub mod sys;
pub mod timeline;
pub mod topology;
pub mod traffic;

#[cfg(feature = "cri")]
use netdiag_cri as cri;
use netdiag_kernel as kernel;
use netdiag_model::{self as model, shell};

/// Why a scenario cannot be had on this machine. It ends with exit code 3, not with an error.
#[derive(Debug)]
pub struct Skipped(pub String);

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "skipped: {}", self.0)
    }
}

impl std::error::Error for Skipped {}
