//! What a kernel must have for a scenario, found out by trying it in a namespace that is thrown
//! away.
use std::path::Path;

use anyhow::{Result, bail};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{LinkBridge, LinkGre, LinkIpIp, LinkVeth, LinkVxlan};

use super::link::is_unsupported;
use super::netns;
use super::nft::{self, Chain, Hook};
use super::{Skipped, cgroup, link_filter};

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
    /// Cgroups of the lab's own that programs run in.
    Cgroups,
    /// A cgroup of version 2, and a program of eBPF on it.
    CgroupPrograms,
    /// Programs of eBPF as filters of links.
    LinkPrograms,
    /// Two packets are under way at the same time.
    TwoCpus,
    /// A machine that is nobody else's, whose own limits may be changed.
    OwnMachine,
    /// A netdiag that can ask a container runtime for pods.
    Cri,
    /// IPVS, and ipvsadm(8) to set it up with.
    Ipvs,
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
            Self::Cgroups => "cgroups",
            Self::CgroupPrograms => "programs on cgroups of version 2",
            Self::LinkPrograms => "cls_bpf on a clsact qdisc",
            Self::TwoCpus => "two CPUs",
            Self::MemoryCgroup => "memory cgroups",
            Self::OwnMachine => "a VM of its own",
            Self::Cri => "a netdiag with CRI",
            Self::Ipvs => "ip_vs",
            Self::Program(name) => name,
        }
    }
}

/// `cargo xtask` boots its VMs with this word, see xtask/src/vm/qemu.rs.
const OWN_MACHINE: &str = "netdiag.own_machine";

/// Whether this machine was booted for the lab and for nothing else.
pub fn is_own_machine() -> bool {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    line.split_whitespace().any(|word| word == OWN_MACHINE)
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
                Need::MemoryCgroup => cgroup::memory::available(),
                Need::Cgroups => cgroup::seat::available(),
                Need::CgroupPrograms => cgroup::filter::available(),
                Need::LinkPrograms => link_filter::available(),
                Need::TwoCpus => std::thread::available_parallelism().is_ok_and(|n| n.get() > 1),
                Need::OwnMachine => is_own_machine(),
                Need::Cri => cfg!(feature = "cri"),
                Need::Program(name) => has_program(name),
                Need::Tbf => has_tbf(),
                Need::Ipvs => has_ipvs(),
                link => runtime.block_on(has_link(*link))?,
            };
            if !there {
                let name = need.name();
                bail!(Skipped(match need {
                    Need::Program(_) | Need::Cri =>
                        format!("needs {name}, which this machine does not have"),
                    Need::OwnMachine => format!("needs {name}, which this is not"),
                    _ => format!("needs {name}, which this kernel does not have"),
                }));
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
        | Need::Cgroups
        | Need::CgroupPrograms
        | Need::LinkPrograms
        | Need::TwoCpus
        | Need::OwnMachine
        | Need::Cri
        | Need::Ipvs
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
    succeeds("tc qdisc add dev lo root tbf rate 1mbit burst 5kb limit 10kb")
}

/// Listing loads the module where the kernel has one.
fn has_ipvs() -> bool {
    succeeds("ipvsadm -L -n") && Path::new("/proc/thread-self/net/ip_vs").exists()
}

fn succeeds(line: &str) -> bool {
    let mut words = line.split(' ');
    let mut command = std::process::Command::new(words.next().unwrap_or_default());
    let quiet = command
        .args(words)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Where Debian and others keep what an administrator or a container runtime runs, beside PATH.
const SYSTEM: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/cni:/opt/cni/bin";

pub fn has_program(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(SYSTEM.split(':'));
    folders
        .map(|folder| Path::new(folder).join(name))
        .any(|file| file.is_file())
}
