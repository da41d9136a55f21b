//! What a kernel must have for a scenario, found out by trying it in a namespace that is thrown
//! away.
use std::path::Path;

use anyhow::{Result, bail};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{LinkBridge, LinkGre, LinkIpIp, LinkVeth, LinkVxlan};

use super::link::is_unsupported;
use super::netns;
use super::nft::{self, Chain, Hook};
use super::{Skipped, cgroup};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Veth,
    Bridge,
    Vxlan,
    Ipip,
    Gre,
    NfTables,
    /// The token bucket filter, and tc(8) to set it with.
    Tbf,
    /// A connection tracking table that can be filled to its real size in some seconds.
    Conntrack,
    /// The bridge can ask netfilter (br_netfilter).
    BridgeNetfilter,
    /// A memory cgroup of the lab's own.
    MemoryCgroup,
    /// A program on this machine.
    Program(&'static str),
}

impl Need {
    pub fn name(self) -> &'static str {
        match self {
            Self::Veth => "veth",
            Self::Bridge => "bridge",
            Self::Vxlan => "vxlan",
            Self::Ipip => "ipip",
            Self::Gre => "ip_gre",
            Self::NfTables => "nf_tables",
            Self::Tbf => "sch_tbf (or tc to set it with)",
            Self::Conntrack => "an nf_conntrack_max of at most 300000",
            Self::BridgeNetfilter => "br_netfilter",
            Self::MemoryCgroup => "memory cgroups",
            Self::Program(name) => name,
        }
    }
}

/// Fails with [`Skipped`] and the first thing that is missing. Needs a tokio runtime.
pub fn check(needs: &[Need]) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(Skipped(
            "needs root, to make network namespaces: try again with sudo".to_owned()
        ));
    }
    let runtime = tokio::runtime::Handle::current();
    netns::scratch(|| {
        for need in needs {
            let there = match need {
                Need::NfTables => has_nf_tables(),
                Need::Conntrack => has_small_conntrack(),
                Need::BridgeNetfilter => Path::new("/proc/sys/net/bridge").is_dir(),
                Need::MemoryCgroup => cgroup::available(),
                Need::Program(name) => has_program(name),
                Need::Tbf => has_tbf(),
                link => runtime.block_on(has_link(*link))?,
            };
            if !there {
                let (name, who) = match need {
                    Need::Program(name) => (name, "machine"),
                    other => (&other.name(), "kernel"),
                };
                bail!(Skipped(format!(
                    "needs {name}, which this {who} does not have"
                )));
            }
        }
        Ok(())
    })
}

async fn has_link(need: Need) -> Result<bool> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let added = handle.link().add(example(need)).execute().await;
    connection.abort();
    Ok(!added.is_err_and(|error| is_unsupported(&error)))
}

/// Each under a name of its own: a name that is taken is refused before the kind is looked at.
fn example(need: Need) -> LinkMessage {
    match need {
        Need::Veth => LinkVeth::new("probe-veth", "probe-peer").build(),
        Need::Bridge => LinkBridge::new("probe-bridge").build(),
        Need::Vxlan => LinkVxlan::new("probe-vxlan", 1).build(),
        Need::Gre => LinkGre::new("probe-gre").build(),
        Need::Ipip
        | Need::NfTables
        | Need::Tbf
        | Need::Conntrack
        | Need::BridgeNetfilter
        | Need::MemoryCgroup
        | Need::Program(_) => LinkIpIp::new("probe-ipip").build(),
    }
}

/// 262144 is what machines with 4 GB and more are given; twice that takes too long.
const MOST_TRACKED: u64 = 300_000;

fn has_small_conntrack() -> bool {
    let max = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max");
    let max = max.ok().and_then(|text| text.trim().parse::<u64>().ok());
    max.is_some_and(|max| max > 0 && max <= MOST_TRACKED)
}

fn has_nf_tables() -> bool {
    let hook = Hook::Ingress("lo".to_owned());
    nft::send(&Chain {
        table: "probe".to_owned(),
        hook,
        rules: Vec::new(),
    })
    .is_ok()
}

fn has_tbf() -> bool {
    let words = "qdisc add dev lo root tbf rate 1mbit burst 5kb limit 10kb";
    let mut command = std::process::Command::new("tc");
    let quiet = command
        .args(words.split(' '))
        .stderr(std::process::Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Where Debian and others keep what an administrator or a container runtime runs, beside PATH.
const SYSTEM: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/cni:/opt/cni/bin";

fn has_program(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(SYSTEM.split(':'));
    folders
        .map(|folder| Path::new(folder).join(name))
        .any(|file| file.is_file())
}
