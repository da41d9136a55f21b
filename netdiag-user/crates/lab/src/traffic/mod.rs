//! Real traffic between pods, made by threads that live in the pods' namespaces. Every flow is
//! bounded in rate, size and time, and every thread looks at the stop flag ten times a second.
mod dns;
mod in_step;
mod ping;
mod socket;
mod tcp;
mod udp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

pub use dns::lookup;

use super::cluster::Cluster;
use super::netns::Netns;
use super::plan::{Place, Plan};

/// How often a waiting thread looks whether it is to stop.
const SLICE: Duration = Duration::from_millis(100);
pub const DNS_PORT: u16 = 53;
/// Datagrams that come together.
const METRICS: usize = 20;

/// What a client does, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A request and an answer of some bytes over a new TCP connection.
    Request,
    /// So many bytes from the server, over a new TCP connection.
    Download(u32),
    /// So many bytes to the server.
    Upload(u32),
    /// A datagram that comes back.
    Datagram,
    /// Twenty datagrams that nobody answers, for somebody who reads them at once, or twenty a
    /// second.
    Metrics {
        slow: bool,
    },
    Ping,
    /// An echo request to each of so many addresses, from the target's on.
    Sweep(u16),
    /// Connections that are kept open, up to so many; some more each time.
    Hold(u32),
    /// A look whether somebody serves that port: a connection, and whatever comes by it.
    Probe,
    /// A connection to a port where nobody listens.
    Refused,
    /// A datagram to such a port.
    RefusedDatagram,
    /// A connection to another such port each time, as a scanner goes about it.
    Scan,
    /// A question for a name that does not exist.
    Nxdomain,
    /// Questions at the same moment as everybody else who does this, from the same port; each on
    /// that one of the CPUs.
    InStep {
        cpu: usize,
    },
    /// A question for the addresses of a name, of a real name server.
    Resolve(&'static str),
}

/// What a sender does about "fragmentation needed".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Pmtu {
    #[default]
    Obeys,
    /// Obeys, but every transfer starts without what the last one learned, as one to a new
    /// destination does.
    Forgets,
    /// Neither obeys nor lets anyone fragment. Over IPv4 before Linux 5.17 it is as `Forgets`: pods have no
    /// min_pmtu of their own.
    Ignores,
}

/// How a TCP server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Serving {
    #[default]
    Usual,
    /// On its loopback address only.
    Loopback,
    /// On all of its addresses.
    Everywhere,
    /// With so short a queue.
    Narrow(i32),
    /// With so short a queue, and it never accepts.
    Stuck(i32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    pub from: Place,
    pub to: Place,
    pub port: u16,
    pub work: Work,
    /// Pause between two tries.
    pub every: Duration,
    pub pmtu: Pmtu,
    pub serving: Serving,
    /// What the client asks, where it is not the server itself: a Service's address.
    pub asks: Option<SocketAddr>,
    /// Address to send from, where it is not the usual one.
    pub source: Option<IpAddr>,
}

impl Flow {
    pub fn new(work: Work, from: Place, to: Place, port: u16, every_ms: u64) -> Self {
        let every = Duration::from_millis(every_ms);
        Self {
            from,
            to,
            port,
            work,
            every,
            pmtu: Pmtu::Obeys,
            serving: Serving::Usual,
            asks: None,
            source: None,
        }
    }

    /// Where its server listens, where the lab has one for it.
    pub fn server_address(&self, plan: &Plan) -> Option<SocketAddr> {
        self.server().map(|server| server.address(plan))
    }

    fn server(&self) -> Option<Server> {
        let proto = match self.work {
            Work::Request | Work::Download(_) | Work::Upload(_) | Work::Hold(_) => Proto::Tcp,
            Work::Datagram => Proto::Udp,
            Work::Metrics { slow } => Proto::Sink { slow },
            Work::Nxdomain => Proto::Dns,
            Work::Ping
            | Work::Probe
            | Work::Sweep(_)
            | Work::Refused
            | Work::RefusedDatagram
            | Work::Scan
            | Work::Resolve(_)
            | Work::InStep { .. } => {
                return None;
            }
        };
        Some(Server {
            at: self.to,
            port: self.port,
            proto,
            pmtu: self.pmtu,
            serving: self.serving,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proto {
    Tcp,
    Udp,
    /// Takes datagrams and answers none.
    Sink {
        slow: bool,
    },
    Dns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Server {
    at: Place,
    port: u16,
    proto: Proto,
    pmtu: Pmtu,
    serving: Serving,
}

impl Server {
    fn address(&self, plan: &Plan) -> SocketAddr {
        let own = plan.address(self.at);
        let address = match (self.serving, own) {
            (Serving::Loopback, IpAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
            (Serving::Loopback, IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
            (Serving::Everywhere, IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (Serving::Everywhere, IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            (_, own) => own,
        };
        SocketAddr::new(address, self.port)
    }
}

/// How a flow fared.
#[derive(Debug, Default)]
pub struct Count {
    pub done: AtomicU64,
    pub failed: AtomicU64,
}

/// A client's flow, with the addresses filled in.
#[derive(Clone, Debug)]
struct Client {
    work: Work,
    target: SocketAddr,
    source: Option<IpAddr>,
    pmtu: Pmtu,
}

/// Traffic that runs until this is dropped.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    counts: Vec<(String, Arc<Count>)>,
}

impl Traffic {
    /// Starts the servers, and when they listen the clients.
    pub fn start(cluster: &Cluster, flows: &[Flow]) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut traffic = Self {
            stop,
            threads: Vec::new(),
            counts: Vec::new(),
        };
        let mut servers: Vec<Server> = Vec::new();
        for server in flows.iter().filter_map(Flow::server) {
            if !servers
                .iter()
                .any(|it| (it.at, it.port, it.proto) == (server.at, server.port, server.proto))
            {
                traffic.serve(cluster, server)?;
                servers.push(server);
            }
        }
        for flow in flows {
            traffic.send(cluster, flow)?;
        }
        Ok(traffic)
    }

    /// One line a flow, for people.
    pub fn summary(&self) -> Vec<String> {
        let lines = self.counts.iter().map(|(name, count)| {
            let (done, failed) = (
                count.done.load(Ordering::Relaxed),
                count.failed.load(Ordering::Relaxed),
            );
            format!("{name}: {done} done, {failed} failed")
        });
        lines.collect()
    }

    /// How often each flow succeeded.
    pub fn done(&self) -> Vec<u64> {
        let done = |(_, count): &(String, Arc<Count>)| count.done.load(Ordering::Relaxed);
        self.counts.iter().map(done).collect()
    }

    /// Flows that did not succeed since, by name.
    pub fn stuck(&self, since: &[u64]) -> Vec<&str> {
        let done = self.done();
        let rows = self.counts.iter().zip(done).zip(since);
        let stuck = rows.filter(|((_, now), before)| now <= before);
        stuck.map(|(((name, _), _), _)| name.as_str()).collect()
    }

    fn serve(&mut self, cluster: &Cluster, server: Server) -> Result<()> {
        let plan = &cluster.plan;
        let netns = cluster.netns(plan.netns(server.at))?;
        let at = server.address(plan);
        let stop = self.stop.clone();
        match server.proto {
            Proto::Tcp => {
                let listener = netns.run(|| tcp::listen(at, server))?;
                self.spawn(netns, move || tcp::serve(&listener, server, &stop))
            }
            Proto::Udp => {
                let socket = netns.run(|| udp::bind(at))?;
                self.spawn(netns, move || udp::serve(&socket, &stop))
            }
            Proto::Sink { slow } => {
                let socket = netns.run(|| udp::bind(at))?;
                self.spawn(netns, move || udp::sink(&socket, slow, &stop))
            }
            Proto::Dns => {
                let socket = netns.run(|| udp::bind(at))?;
                self.spawn(netns, move || dns::serve(&socket, &stop))
            }
        }
    }

    fn send(&mut self, cluster: &Cluster, flow: &Flow) -> Result<()> {
        let plan = &cluster.plan;
        let mut client = Client {
            work: flow.work,
            target: flow
                .asks
                .unwrap_or(SocketAddr::new(plan.address(flow.to), flow.port)),
            source: flow.source,
            pmtu: flow.pmtu,
        };
        let count = Arc::new(Count::default());
        self.counts.push((describe(plan, flow), count.clone()));
        let (stop, every) = (self.stop.clone(), flow.every);
        self.spawn(cluster.netns(plan.netns(flow.from))?, move || {
            if let Work::InStep { cpu } = client.work {
                return in_step::run(&client, cpu, &count, &stop);
            }
            let mut held = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match client.once(&mut held, &stop) {
                    Ok(()) => count.done.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        log::trace!("{:?} to {}: {error}", client.work, client.target);
                        count.failed.fetch_add(1, Ordering::Relaxed)
                    }
                };
                if client.work == Work::Scan {
                    client.target.set_port(client.target.port() + 1);
                }
                pause(every, &stop);
            }
        })
    }

    fn spawn(&mut self, netns: &Netns, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let netns = netns.clone();
        let thread = thread::Builder::new()
            .name("traffic".to_owned())
            .spawn(move || match netns.enter() {
                Ok(()) => work(),
                Err(error) => log::error!("{error:#}"),
            });
        self.threads.push(thread.context("cannot start a thread")?);
        Ok(())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        for line in self.summary() {
            log::debug!("{line}");
        }
    }
}

impl Client {
    fn once(&self, held: &mut Vec<TcpStream>, stop: &AtomicBool) -> std::io::Result<()> {
        socket::forget_paths(self.pmtu);
        match self.work {
            Work::Request => tcp::exchange(self, (64, 200), stop),
            Work::Download(bytes) => tcp::exchange(self, (64, bytes), stop),
            Work::Upload(bytes) => tcp::exchange(self, (bytes, 64), stop),
            Work::Datagram => udp::exchange(self.target, &[0x5a; 120]).map(drop),
            Work::Metrics { .. } => udp::pour(self.target, METRICS),
            Work::Ping => ping::exchange(self.target.ip()),
            Work::Sweep(count) => ping::sweep(self.target.ip(), count, stop),
            Work::Hold(most) => tcp::hold(self, most, held, stop),
            Work::Probe => tcp::probe(self, stop),
            Work::Refused | Work::Scan => tcp::refused(self, stop),
            Work::RefusedDatagram => udp::refused(self.target),
            Work::Nxdomain => dns::ask(self.target),
            Work::Resolve(name) => dns::resolve(self.target, name),
            // It has a loop of its own.
            Work::InStep { .. } => Ok(()),
        }
    }
}

fn pause(time: Duration, stop: &AtomicBool) {
    let until = Instant::now() + time;
    while !stop.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(SLICE));
    }
}

fn describe(plan: &Plan, flow: &Flow) -> String {
    let name = |place| match place {
        Place::Pod(node, pod) => {
            let pod = &plan.nodes[node].pods[pod];
            format!("{}/{}", pod.namespace, pod.name)
        }
        Place::Node(node) => plan.nodes[node].name.clone(),
        Place::Outside => "outside".to_owned(),
    };
    format!(
        "{:?} {} -> {} port {}",
        flow.work,
        name(flow.from),
        name(flow.to),
        flow.port
    )
}
