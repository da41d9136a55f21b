//! What `netdiag lab bench` measures with: two nodes, loads between their pods, and what is
//! attached to the first node meanwhile.
mod attached;
mod axes;
mod cpu;
mod identity;
mod line;
mod links;
mod many;
mod own;
mod peer;
mod rounds;
mod sizes;
mod starting;
mod tcp;
mod threads;
mod tracer;
mod udp;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::case::Case;
use super::cluster::Cluster;
use super::netns::Netns;
use super::plan::{A, B, Place};
use super::runner;
use super::scenarios::BENCH;
use super::state::Options;
use cpu::Meter;
use many::Spread;
use peer::Peer;
use tracer::{Tracer, Used};

pub use attached::{Attached, Levels, Load};
pub use line::{Line, Tell};
pub use sizes::{Part, Sizes};
pub use threads::Flooded;

/// The port whose packets node A's firewall drops.
pub const STORM_PORT: u16 = 9999;
const UDP_PORT: u16 = 9000;
const TCP_PORT: u16 = 8000;
/// What a tool does at its beginning is over by then.
const BEGINNING: Duration = Duration::from_millis(300);
/// Fills the neighbour tables and caches.
const WARM_UP: Duration = Duration::from_millis(200);

/// The lab, standing; it goes when this is dropped.
pub struct Bench {
    // Before the cluster: what is attached ends before its node does.
    running: Option<Running>,
    meter: Meter,
    cluster: Cluster,
}

/// What is attached, by the process that attached it.
enum Running {
    Netdiag(Tracer),
    Peer(Peer),
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
            running: None,
            meter: Meter::new()?,
            cluster: runner::build(Case::alone(&BENCH), options).await?,
        };
        for load in Load::ALL {
            bench.run(load, WARM_UP).await?;
        }
        Ok(bench)
    }

    /// Measures these parts.
    pub async fn measure(
        &mut self,
        sizes: &Sizes,
        levels: &Levels,
        parts: &[Part],
        tell: Tell<'_>,
    ) -> Result<()> {
        for part in parts {
            match part {
                Part::Rounds => rounds::run(self, sizes, levels, tell).await?,
                Part::Timed => rounds::timed(self, sizes, levels, tell).await?,
                Part::Flows => axes::flows(self, sizes, levels, tell).await?,
                Part::Drops => axes::drops(self, sizes, levels, tell).await?,
                Part::Links => starting::run(self, sizes, levels, tell).await?,
                Part::Own => own::run(self, sizes, levels, tell).await?,
                Part::Identity => identity::run(self, sizes, levels, tell).await?,
            }
        }
        Ok(())
    }

    /// Takes off what is attached and attaches this instead; returns when every hook is in place.
    async fn attach(&mut self, what: &Attached) -> Result<()> {
        self.running = None;
        let started = match what {
            Attached::Nothing => return Ok(()),
            Attached::Empty | Attached::Netdiag(_) => {
                Running::Netdiag(Tracer::start(&self.cluster, what).await?)
            }
            _ => {
                let peer = Peer::start(&self.cluster, what).await;
                Running::Peer(peer.with_context(|| what.to_string())?)
            }
        };
        self.running = Some(started);
        tokio::time::sleep(BEGINNING).await;
        Ok(())
    }

    /// Takes it off; another tool must have seen something.
    async fn detach(&mut self) -> Result<()> {
        match self.running.take() {
            Some(Running::Peer(peer)) => peer.end().await,
            _ => Ok(()),
        }
    }

    /// The process that attached something, if any did.
    fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| match running {
            Running::Netdiag(tracer) => tracer.pid,
            Running::Peer(peer) => peer.pid,
        })
    }

    fn used(&self) -> Result<Option<Used>> {
        match &self.running {
            None => Ok(None),
            Some(Running::Netdiag(tracer)) => tracer.used().map(Some),
            Some(Running::Peer(peer)) => Ok(Some(Used {
                cpu_seconds: cpu::process(peer.pid)?.as_secs_f64(),
                rss_bytes: tracer::resident(peer.pid)?,
                map_bytes: netdiag_kernel::cost::map_bytes(peer.pid)?,
            })),
        }
    }

    /// The first pods of both nodes, and where the second is.
    fn ends(&self) -> Result<((&Netns, &Netns), Ipv4Addr)> {
        let plan = &self.cluster.plan;
        let (from, to) = (Place::Pod(A, 0), Place::Pod(B, 0));
        let netns = |place| self.cluster.netns(plan.netns(place));
        match plan.address(to) {
            IpAddr::V4(address) => Ok(((netns(from)?, netns(to)?), address)),
            IpAddr::V6(address) => bail!("the bench's pods have IPv4, not {address}"),
        }
    }

    async fn run(&self, load: Load, time: Duration) -> Result<Flooded> {
        let (ends, address) = self.ends()?;
        let at = |port| SocketAddr::from((address, port));
        match load {
            Load::Udp => udp::flood(&self.meter, ends, at(UDP_PORT), time).await,
            Load::Storm => udp::flood(&self.meter, ends, at(STORM_PORT), time).await,
            Load::Tcp => tcp::transfer(&self.meter, ends, at(TCP_PORT), time).await,
        }
    }

    /// Packets of so many flows through the overlay to ports of the other pod.
    async fn flows(&self, flows: u32, time: Duration) -> Result<Flooded> {
        let ((from, to), address) = self.ends()?;
        let ports = (0..many::targets(flows)).map(|at| UDP_PORT + at as u16);
        let spread = Spread {
            flows,
            targets: ports.map(|port| SocketAddrV4::new(address, port)).collect(),
            pace: None,
            most: u64::MAX,
        };
        many::flood(&self.meter, from, Some(to), spread, time).await
    }

    /// Packets into the rule that drops them, to so many addresses that all flows differ.
    async fn storm(&self, storm: Storm) -> Result<Flooded> {
        let ((from, _), address) = self.ends()?;
        let hosts = 0..many::targets(storm.flows);
        let host = |at| Ipv4Addr::from_bits(address.to_bits() + at);
        let spread = Spread {
            flows: storm.flows,
            targets: hosts
                .map(|at| SocketAddrV4::new(host(at), STORM_PORT))
                .collect(),
            pace: storm.pace,
            most: storm.most,
        };
        many::flood(&self.meter, from, None, spread, storm.time).await
    }
}

/// A storm of drops.
#[derive(Clone, Copy, Debug)]
struct Storm {
    flows: u32,
    /// Packets a second, where it is not as many as can be.
    pace: Option<u32>,
    most: u64,
    time: Duration,
}
