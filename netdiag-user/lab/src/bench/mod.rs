//! What `netdiag lab bench` measures with: two nodes, floods of small packets between their pods,
//! and what is attached to the first node meanwhile.
mod flood;
mod tracer;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::case::Case;
use super::cluster::Cluster;
use super::plan::{A, B, Place};
use super::runner;
use super::scenarios::BENCH;
use super::state::Options;

pub use flood::Flooded;
pub use tracer::{Tracer, Used};

/// The port whose packets node A's firewall drops.
pub const STORM_PORT: u16 = 9999;
const FLOOD_PORT: u16 = 9000;
/// Fills the neighbour tables and caches.
const WARM_UP: Duration = Duration::from_millis(200);

/// What is attached to node A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Attached {
    Nothing,
    /// Programs that do nothing, at the hooks where netdiag's are.
    Empty,
    Netdiag,
}

/// Small packets as fast as one sender can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// Through the overlay to a pod on the other node.
    Flood,
    /// Into a rule of node A that drops them.
    Storm,
}

/// The lab, standing; it goes when this is dropped.
pub struct Bench {
    // Before the cluster: a tracer ends before its node does.
    tracer: Option<Tracer>,
    cluster: Cluster,
}

impl Bench {
    pub async fn build() -> Result<Self> {
        let options = Options {
            scenario: BENCH.name.to_owned(),
            seed: 1,
            healthy: true,
            ipv6: false,
            offload: true,
            with: None,
        };
        let bench = Self {
            tracer: None,
            cluster: runner::build(Case::alone(&BENCH), options).await?,
        };
        for load in [Load::Flood, Load::Storm] {
            bench.run(load, WARM_UP).await?;
        }
        Ok(bench)
    }

    /// Takes off what is attached and attaches this instead; returns when every hook is in place.
    pub async fn attach(&mut self, what: Attached) -> Result<()> {
        self.tracer = None;
        if what != Attached::Nothing {
            let empty = what == Attached::Empty;
            self.tracer = Some(Tracer::start(&self.cluster, empty).await?);
        }
        Ok(())
    }

    /// The process that attached something, if any did.
    pub fn tracer(&self) -> Option<&Tracer> {
        self.tracer.as_ref()
    }

    pub async fn run(&self, load: Load, time: Duration) -> Result<Flooded> {
        let plan = &self.cluster.plan;
        let (from, to) = (Place::Pod(A, 0), Place::Pod(B, 0));
        let port = match load {
            Load::Flood => FLOOD_PORT,
            Load::Storm => STORM_PORT,
        };
        let ends = [from, to].map(|place| self.cluster.netns(plan.netns(place)));
        let [from, receiver] = ends;
        let target = SocketAddr::new(plan.address(to), port);
        flood::flood(from?, receiver?, target, time).await
    }
}
