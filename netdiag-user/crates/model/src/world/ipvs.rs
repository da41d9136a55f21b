//! IPVS of one namespace (net/netfilter/ipvs): virtual servers, and the real ones behind each.
use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize, Serializer};

use super::{Known, Why};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipvs {
    pub servers: Vec<VirtualServer>,
    /// Connections that it leads on stay tracked (`net.ipv4.vs.conntrack`).
    pub conntrack: bool,
    /// Answers are routed anew as of the virtual server's address (`net.ipv4.vs.snat_reroute`).
    pub snat_reroute: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualServer {
    pub wanted: Wanted,
    /// By its own name: `rr`.
    pub scheduler: String,
    /// Each packet is scheduled by itself (`--ops`).
    #[serde(default)]
    pub one_packet: bool,
    /// A client's connections go to one server (`--persistent`).
    #[serde(default)]
    pub persistent: bool,
    pub real: Vec<RealServer>,
}

/// Whose packets it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Wanted {
    At {
        address: IpAddr,
        protocol: u8,
        port: u16,
    },
    Mark {
        mark: u32,
        ipv6: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealServer {
    pub address: IpAddr,
    pub port: u16,
    pub forward: Forward,
    /// None are scheduled to one of weight 0.
    pub weight: u32,
}

/// How packets get to a real server (`IP_VS_CONN_F_FWD_MASK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// With its address as their destination.
    Masquerade,
    /// As they are, to itself.
    Local,
    /// In a tunnel's packet.
    Tunnel,
    /// As they are, with it as the next hop.
    Route,
    Bypass,
}

/// As ipvsadm(8) is asked for it.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mark { mark, .. } => write!(f, "mark {mark:#x}"),
            Self::At {
                address,
                protocol,
                port,
            } => {
                let at = crate::address::endpoint(*address, *port);
                write!(f, "{} {at}", crate::flow::protocol(*protocol))
            }
        }
    }
}

impl VirtualServer {
    /// Those that get connections.
    pub fn in_use(&self) -> impl Iterator<Item = &RealServer> {
        self.real.iter().filter(|real| real.weight > 0)
    }
}

impl Ipvs {
    /// Virtual and real servers.
    pub fn size(&self) -> usize {
        self.servers.iter().map(|one| 1 + one.real.len()).sum()
    }
}

/// Servers of one namespace that are recorded.
const RECORDED: usize = 32_768;

/// Whole or not at all: whose packets they are hangs on each.
pub(super) fn recorded<S: Serializer>(ipvs: &Known<Ipvs>, to: S) -> Result<S::Ok, S::Error> {
    match ipvs.some().is_some_and(|ipvs| ipvs.size() > RECORDED) {
        true => Known::<Ipvs>::Not(Why::TooMany).serialize(to),
        false => ipvs.serialize(to),
    }
}
