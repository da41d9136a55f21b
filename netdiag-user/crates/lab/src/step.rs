//! A fault as data: one change to a lab that stands.
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::cgroup::{self, filter::Filter};
use super::cluster::Cluster;
use super::link_filter::LinkFilter;
use super::net::{End, Mac, Net, Refusal};
use super::nft::{self, Chain};
use super::sys::enter_before_exec;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Installs firewall rules in the namespace.
    Firewall { netns: String, chain: Chain },
    /// Writes sysctls in the namespace, as paths below /proc/sys.
    Sysctl {
        netns: String,
        key: String,
        value: String,
    },
    /// Writes limits of the whole machine, as paths below /proc/sys, and gives them back when the
    /// lab is gone. Refused on a machine that is anybody else's.
    MachineSysctl { key: String, value: String },
    /// Takes a link up or down.
    Link {
        netns: String,
        device: String,
        up: bool,
    },
    /// Gives a link another MTU.
    Mtu {
        netns: String,
        device: String,
        mtu: u32,
    },
    /// Takes a route away.
    Unroute { netns: String, to: (IpAddr, u8) },
    /// Adds a route that refuses.
    Refuse {
        netns: String,
        to: (IpAddr, u8),
        refusal: Refusal,
    },
    /// A pod's link comes to the node's bridge, or goes.
    PodLink {
        netns: String,
        device: String,
        /// The namespace of its other end.
        inside: String,
        come: bool,
    },
    /// Sends a datagram that nobody takes: from then on the two know each other's link-layer address, as
    /// nodes do that have run for long.
    Greet { netns: String, to: IpAddr },
    /// Takes an entry of the neighbour table away.
    NoNeighbour {
        netns: String,
        device: String,
        ip: IpAddr,
    },
    /// Takes an entry of a VXLAN device's forwarding table away.
    NoForwarding {
        netns: String,
        device: String,
        mac: Mac,
    },
    /// Runs a program of that name in the namespace, in a memory cgroup of so many bytes, until
    /// the kernel kills it.
    OutOfMemory {
        netns: String,
        name: String,
        limit: u64,
    },
    /// Makes the lab's cgroup for daemons, with a program that drops some of their packets.
    Deny(Filter),
    /// Hangs a program on a link that drops some of its packets.
    Filter(LinkFilter),
    /// Runs a program of this machine's in the namespace, with that text as its input; it must
    /// succeed. The scenario names it in its needs. `{dir}` and `{root}` as in
    /// [`Cluster::fill`].
    Run {
        netns: String,
        program: &'static str,
        arguments: Vec<String>,
        input: String,
    },
}

impl Step {
    pub async fn apply(&self, cluster: &Cluster) -> Result<()> {
        match self {
            Self::Firewall { netns, chain } => nft::install(cluster.netns(netns)?, chain),
            Self::Sysctl { netns, key, value } => cluster.netns(netns)?.sysctls(&[(key, value)]),
            Self::MachineSysctl { key, value } => cluster.machine_sysctl(key, value),
            Self::Link { netns, device, up } => {
                let change = |link: LinkMessageBuilder<LinkUnspec>| {
                    if *up { link.up() } else { link.down() }
                };
                cluster.net(netns)?.set(device, change).await
            }
            Self::Mtu { netns, device, mtu } => {
                let change = |link: LinkMessageBuilder<LinkUnspec>| link.mtu(*mtu);
                cluster.net(netns)?.set(device, change).await
            }
            Self::Unroute { netns, to } => cluster.net(netns)?.unroute(*to).await,
            Self::Refuse { netns, to, refusal } => cluster.net(netns)?.refuse(*to, *refusal).await,
            Self::PodLink {
                netns,
                device,
                inside,
                come,
            } => pod_link(cluster, netns, device, inside, *come).await,
            Self::Greet { netns, to } => greet(cluster, netns, *to),
            Self::NoNeighbour { netns, device, ip } => {
                cluster.net(netns)?.no_neighbour(device, *ip).await
            }
            Self::NoForwarding { netns, device, mac } => {
                cluster.net(netns)?.no_forwarding(device, *mac).await
            }
            Self::OutOfMemory { netns, name, limit } => {
                cgroup::memory::kill(cluster, netns, name, *limit)
            }
            Self::Deny(filter) => cgroup::filter::make(&cluster.plan.id, filter),
            Self::Filter(filter) => filter.attach(cluster).await,
            Self::Run {
                netns,
                program,
                arguments,
                input,
            } => run(cluster, netns, program, arguments, input),
        }
    }
}

async fn pod_link(
    cluster: &Cluster,
    netns: &str,
    device: &str,
    inside: &str,
    come: bool,
) -> Result<()> {
    let (net, pod) = (cluster.net(netns)?, cluster.net(inside)?);
    if !come {
        return net.remove(device).await;
    }
    let end = |net, name| End {
        net,
        name,
        mac: None,
    };
    Net::veth(end(net, device), end(pod, device), cluster.plan.mtu.pod).await?;
    pod.up(device).await?;
    net.attach(device, &cluster.plan.bridge).await
}

/// The service "discard" (RFC 863), which nobody has.
const DISCARD: u16 = 9;

fn greet(cluster: &Cluster, netns: &str, to: IpAddr) -> Result<()> {
    let any: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let send = move || {
        let socket = UdpSocket::bind((any, 0)).context("cannot open a socket")?;
        let sent = socket.send_to(b"netdiag", (to, DISCARD));
        sent.map(drop)
            .with_context(|| format!("cannot send to {to}"))
    };
    cluster.netns(netns)?.run(send)
}

fn run(
    cluster: &Cluster,
    netns: &str,
    program: &str,
    arguments: &[String],
    input: &str,
) -> Result<()> {
    let mut command = Command::new(program);
    let filled = arguments.iter().map(|a| cluster.fill(netns, a));
    command.args(filled).stdin(Stdio::piped());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    enter_before_exec(&mut command, cluster.netns(netns)?.file()?);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    // A program that does not read is judged by its exit code.
    let _ = stdin.write_all(cluster.fill(netns, input).as_bytes());
    drop(stdin);
    let done = child
        .wait_with_output()
        .with_context(|| format!("cannot wait for {program}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{program} failed: {}", said.trim());
    Ok(())
}
