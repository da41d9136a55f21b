//! One flow's way through the node, hop by hop: what `netdiag path` prints.
mod wanted;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::wanted::{Name, Wanted, Who, bracketed};
use super::{
    predicted::Predicted,
    verdict::{Finding, NotChecked, PodRef},
    words::{DIRECTIONS, ROLES, TIME},
};

/// Name and version of the path's JSON form.
pub const SCHEMA: &str = "netdiag.path/1";

/// An end as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct End {
    /// As it was typed.
    pub asked: String,
    pub addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// `namespace/name:port` of the Service that the address is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// Connections that somebody asks about, rather than for what goes wrong on the node: what is certain of
/// them is told of one packet, or before any.
#[derive(Clone, Debug)]
pub struct Followed {
    pub clients: Vec<IpAddr>,
    pub servers: Vec<IpAddr>,
    pub port: Option<u16>,
}

impl Followed {
    pub fn between((source, destination): &(End, End)) -> Self {
        Self {
            clients: source.addresses.clone(),
            servers: destination.addresses.clone(),
            port: destination.port,
        }
    }

    pub fn is(&self, client: IpAddr, server: IpAddr, port: u16) -> bool {
        let port = self.port.is_none_or(|own| own == port);
        port && self.clients.contains(&client) && self.servers.contains(&server)
    }
}

/// Whether the routes lead where the packets went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// Seen where it should be.
    Expected,
    /// Seen, and no route leads there.
    Unexpected,
    /// The routes lead there, no packet was seen.
    NotSeen,
}

/// A hop in one direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    pub interface: String,
    /// What the link is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ROLES))]
    pub role: Option<String>,
    /// `ingress` or `egress`, as tc counts: into the node's stack, or out by that link.
    #[schemars(extend("enum" = DIRECTIONS))]
    pub direction: String,
    pub course: Course,
    /// The flow's ends here, which differ behind a translation; absent where no packet was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// `vxlan 192.0.2.1 → 192.0.2.2` where it is encapsulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<String>,
    pub packets: u64,
    /// From the IP header on, the outer one where it is encapsulated.
    pub bytes: u64,
    pub largest: u32,
    pub retransmits: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The largest packet of the flow that fits here, once what encapsulates it is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<u32>,
    /// Median time since the hop before, in seconds, over the connections' first packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<f64>,
}

impl Step {
    /// The flow's ends here, where a packet was seen.
    pub fn ends(&self) -> Option<(&str, &str)> {
        self.source.as_deref().zip(self.destination.as_deref())
    }
}

/// How a translation is known.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    Conntrack,
    /// The same socket or sequence numbers, and nobody sent it in as it is.
    Inferred,
}

/// What became of packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fate {
    /// The hop that they reached last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    pub kind: FateKind,
    pub packets: u64,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FateKind {
    /// The node dropped them.
    Drop,
    /// The sender was told to send smaller ones.
    TooBig,
    /// An ICMP error came about them.
    Icmp,
    /// RST.
    Refused,
    /// Sent again and again without progress.
    Stalled,
    /// The next hop did not see them.
    Vanished,
    /// They went as far as the node sees.
    Arrived,
}

/// One direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Way {
    pub steps: Vec<Step>,
    pub fates: Vec<Fate>,
}

/// What became of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Answered,
    /// Answered, and packets are lost on the way.
    Lossy,
    Refused,
    /// Answered, but for connections that are refused; nothing is lost.
    PartlyRefused,
    Dropped,
    Unreachable,
    Silent,
    /// Nothing came back, and nothing needs to: a UDP server may stay silent.
    Unknown,
    NoTraffic,
}

/// What netdiag sends itself.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// Echoes, small ones and of full size.
    Icmp,
    /// TCP connections without data.
    Connect,
    /// TCP connections, and in others a segment of zeroes of full size.
    Tcp,
    /// Datagrams of zeroes, small ones and of full size.
    Udp,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Answered,
    /// RST, or for UDP port unreachable.
    Refused,
    Reset,
    /// Larger than the path takes: frag-needed, packet too big, or this node's own device.
    TooBig,
    Unreachable,
    /// A rule on the way says no.
    Prohibited,
    Timeout,
    Other(String),
}

/// Packets of one kind and size that netdiag sent, and what came of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    pub kind: ProbeKind,
    /// From the IP header on; absent for a handshake alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
    pub sent: u32,
    pub answered: u32,
    /// Of the last one.
    pub answer: Answer,
    /// Of the last one that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// A finding's `id`, and the way of one of the flows that it names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowWay {
    pub finding: String,
    /// The finding's node, in a verdict of several: another's may have the same `id`.
    #[serde(default)]
    pub node: Option<String>,
    pub path: Path,
}

impl FlowWay {
    pub fn new(finding: &Finding, path: Path) -> Self {
        Self {
            finding: finding.id.clone(),
            node: finding.node.clone(),
            path,
        }
    }

    pub fn is_of(&self, finding: &Finding) -> bool {
        self.finding == finding.id && self.node == finding.node
    }
}

/// A cause that concerns one of the ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Concern {
    pub cause: String,
    pub summary: String,
}

/// One flow's way through a node: `path -o json` prints one such object; `replay --path` of several
/// nodes a list of them.
///
/// What is unknown is absent. Later versions may add members; they rename and remove nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Path {
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    pub node: String,
    /// The kernel's release.
    pub kernel: String,
    /// When netdiag began to look.
    #[schemars(extend("format" = TIME))]
    pub started: String,
    /// Seconds that were watched.
    pub duration: f64,
    pub source: End,
    pub destination: End,
    pub outcome: Outcome,
    /// The interface that what did not arrive reached last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    pub summary: String,
    /// `tcp`, where all that was seen is of one protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Connections (TCP) and sockets (UDP) that were seen.
    pub flows: usize,
    /// How many of them were answered.
    #[serde(default)]
    pub answered: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated_by: Option<KnownBy>,
    /// What the kernel must do with it, computed from what was read of the node: one of each family that both ends have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predicted: Vec<Predicted>,
    pub request: Way,
    pub reply: Way,
    /// What `--probe` sent; its packets are counted above too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    pub causes: Vec<Concern>,
    pub not_checked: Vec<NotChecked>,
}
