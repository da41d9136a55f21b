//! What `run` prints as it happens, one object an event.
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    roles::Role,
    verdict::{Between, Finding, Leg, PodRef},
    words::{CHANGES, DIRECTIONS, LIMITS, PROBLEMS, ROLES, SEEN, TIME},
};

/// Name and version of the JSON form of events, which stands in none of them.
pub const SCHEMA: &str = "netdiag.event/1";

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub struct EventFlow {
    pub protocol: String,
    pub source: String,
    pub destination: String,
    /// `namespace/name:port` of the Service that the destination is, as the node's rules say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What the node's address translation makes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leg: Option<Leg>,
}

/// One event: the members that every one may have, and those of its `type`. `run -o ndjson` and
/// `replay -o ndjson` print one such object a line.
///
/// What is unknown is absent. Later versions may add members and types; they rename and remove nothing.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct LiveEvent {
    #[schemars(extend("format" = TIME))]
    pub time: String,
    /// Where recordings of several nodes are told together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = DIRECTIONS))]
    pub direction: Option<&'static str>,
    /// What the link is for: where on a packet's way it lies.
    #[serde(skip)]
    pub role: Option<Role>,
    /// Inode of the network namespace, where no interface of this node's is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<EventFlow>,
    /// The first known pod of the flow; `pods` has both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodRef>,
    /// Packets of the wire since the last event of the same kind, place and flow.
    pub count: u64,
    #[serde(flatten)]
    pub detail: Detail,
}

impl LiveEvent {
    /// Without a place or a flow.
    pub fn bare(time: String, count: u64, detail: Detail) -> Self {
        Self {
            time,
            node: None,
            interface: None,
            direction: None,
            role: None,
            netns: None,
            flow: None,
            pod: None,
            pods: Vec::new(),
            count,
            detail,
        }
    }
}

/// How a socket's retransmit relates to what was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum DropRelation {
    #[serde(rename = "same packet")]
    SamePacket,
    #[serde(rename = "same flow")]
    SameFlow,
    #[serde(rename = "none seen")]
    NoneSeen,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct HopTotal {
    pub interface: String,
    #[schemars(extend("enum" = DIRECTIONS))]
    pub direction: &'static str,
    #[schemars(extend("enum" = ROLES))]
    pub role: &'static str,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Detail {
    Drop {
        reason: String,
        location: String,
        bytes: u64,
        /// Part of a healthy node's day.
        harmless: bool,
    },
    Oversize {
        largest: u32,
        limit: u32,
        /// What sets the limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(extend("enum" = LIMITS))]
        limit_from: Option<&'static str>,
        gso: bool,
        df: bool,
    },
    Retransmit {
        #[serde(skip_serializing_if = "Option::is_none")]
        sequence: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<u32>,
        /// `socket` or `wire`.
        #[schemars(extend("enum" = SEEN))]
        seen: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        drop: Option<DropRelation>,
    },
    VxlanSourceMismatch {
        outer_source: String,
        outer_destination: String,
        expected: Vec<String>,
        expected_from: &'static str,
        vni: u32,
        port: u16,
    },
    Fragment {
        later: u64,
    },
    Unreachable {
        icmp_type: u8,
        icmp_code: u8,
        sender: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        mtu: Option<u32>,
    },
    /// Questions without an answer, or answered by an error.
    Dns {
        /// `unanswered`, `servfail`, `refused` or `error`.
        #[schemars(extend("enum" = PROBLEMS))]
        problem: &'static str,
        name: String,
        query_type: String,
        server: String,
    },
    /// A process was OOM-killed.
    Oom {
        pid: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        comm: Option<String>,
        /// Path of its memory cgroup.
        #[serde(skip_serializing_if = "Option::is_none")]
        cgroup: Option<String>,
    },
    Link {
        /// `added`, `removed` or `changed`.
        #[schemars(extend("enum" = CHANGES))]
        change: &'static str,
    },
    Finding {
        finding: Box<Finding>,
    },
    /// What left one node for another, at the end of several recordings.
    Between {
        between: Box<Between>,
    },
    Foreign,
    Stats {
        hooks: u64,
        lost: u64,
        overflowed_flows: u64,
        foreign: u64,
        hops: Vec<HopTotal>,
    },
}

impl Detail {
    /// The word for people's tables; the JSON `type` is the same with underscores.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Drop { .. } => "drop",
            Self::Oversize { .. } => "oversize",
            Self::Retransmit { .. } => "retransmit",
            Self::VxlanSourceMismatch { .. } => "vxlan source",
            Self::Fragment { .. } => "fragment",
            Self::Unreachable { .. } => "unreachable",
            Self::Dns { .. } => "dns",
            Self::Oom { .. } => "oom",
            Self::Link { .. } => "link",
            Self::Finding { .. } => "finding",
            Self::Between { .. } => "between",
            Self::Foreign => "foreign",
            Self::Stats { .. } => "stats",
        }
    }
}
