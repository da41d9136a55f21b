//! The verdict: the one document that `diagnose` and `lab run` print.
//!
//! Times are RFC 3339 UTC, durations seconds, sizes bytes, addresses text. What is unknown is
//! absent, never an empty string.
mod cannot_tell;
mod confirm;
mod evidence;
mod fix;
mod lab;
mod nodes;
mod scope;
mod subject;
mod ties;
mod tried;
mod unexplained;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{level::Level, own::OwnCost, path::KnownBy, total::add, words::TIME};

pub use cannot_tell::CannotTell;
pub use evidence::{Evidence, EvidenceKind, Origin};
pub use fix::{Fix, NodeFix};
pub use lab::{CheckedCommand, LabResult, NamedChange};
pub use nodes::{Between, LostFlow, NodeRef};
pub use scope::{Passage, Scope};
pub use subject::Subject;
pub use ties::{Suffers, Ties};
pub use tried::Tried;
pub use unexplained::Unexplained;

/// Name and version of the verdict's JSON form.
pub const SCHEMA: &str = "netdiag.verdict/1";

/// How bad a finding is. Warning and critical make the exit code 1.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// What a finding rests on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Something points there, but a source that would decide is missing.
    Suspected,
    /// The node's configuration alone shows it; no traffic has met it yet.
    Configured,
    /// Live traffic shows it; where the cause is no traffic (etcd, files, processes), the fact
    /// itself was seen.
    Confirmed,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Healthy,
    Findings,
    /// No finding, but what was seen is not enough to call the node healthy.
    Incomplete,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum PodRole {
    Source,
    Destination,
    Server,
    Victim,
}

/// What made a pod: a Deployment, a StatefulSet, a Job.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Owner {
    pub kind: String,
    pub name: String,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// A pod as a finding names it.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct PodRef {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The host side interface, for pods on this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// It is on this node, and none of the node's links leads to it (macvlan, ipvlan, a device moved
    /// in).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub linkless: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<PodRole>,
    /// Where it is, in a verdict of several nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// Where pods' names come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodSource {
    pub source: super::pod::Origin,
    pub pods: usize,
    /// When it was last heard; nothing where it was read once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = TIME))]
    pub read: Option<String>,
}

/// A flow, as a finding names it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlowRef {
    /// `tcp`, `udp`, `icmp`, or a number.
    pub protocol: String,
    /// Address and port, `10.244.1.7:41234` or `[fd00::7]:41234`; the address alone where there is none.
    pub source: String,
    pub destination: String,
    pub packets: u64,
    pub retransmits: u64,
    /// The last hop that saw a packet of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<String>,
    /// `namespace/name:port` of the Service that the destination is, as the node's rules say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What the node's address translation made of it; several where a client's connections are
    /// told as one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<Leg>,
    /// Where it was counted, in a verdict of several nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// A flow as it is behind the node's address translation.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Leg {
    pub source: String,
    pub destination: String,
    pub by: KnownBy,
}

impl FlowRef {
    /// Whether both are of one conversation, in either direction.
    pub fn is_of(&self, other: &Self) -> bool {
        let same = |(one, two): (&str, &str)| {
            let mut ends = other.ends();
            ends.any(|ends| ends == (one, two) || ends == (two, one))
        };
        self.protocol == other.protocol && self.ends().any(same)
    }

    /// Source and destination as they are sent, and as they are sent on.
    fn ends(&self) -> impl Iterator<Item = (&str, &str)> {
        let legs = self.legs.iter();
        let legs = legs.map(|l| (l.source.as_str(), l.destination.as_str()));
        std::iter::once((self.source.as_str(), self.destination.as_str())).chain(legs)
    }
}

/// A cause that is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The same for the same cause and subject, in each reading and in a replay.
    #[serde(default)]
    pub id: String,
    /// Its name in the catalogue: `netdiag explain` has all of them.
    pub cause: String,
    /// What is to blame, where it is one thing that several may be of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    pub severity: Severity,
    pub confidence: Confidence,
    /// What is wrong, in one sentence.
    pub summary: String,
    pub evidence: Vec<Evidence>,
    /// Those that suffer, or do it.
    pub pods: Vec<PodRef>,
    /// The first of the flows that it explains.
    pub flows: Vec<FlowRef>,
    pub fix: Fix,
    /// What its commands change on the computed way, where they and the way are known whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
    /// The root cause that explains this finding.
    pub consequence_of: Option<String>,
    /// That finding's `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// How it does: the link between the two in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// The addresses that it is about, for finding that link.
    #[serde(skip)]
    pub about: Vec<std::net::IpAddr>,
    /// All that it explains, where `flows` names the first of them.
    #[serde(skip)]
    pub scope: Scope,
    /// What it has to do with other findings.
    #[serde(skip)]
    pub ties: Ties,
    /// Somebody is known to want this: a rule for an explicit range, a policy of an agent that runs. Of
    /// what is not, an info finding leaves the conversation unexplained.
    #[serde(skip)]
    pub meant: bool,
    /// When the first packet or fact of this finding was seen.
    #[schemars(extend("format" = TIME))]
    pub first_seen: String,
    #[schemars(extend("format" = TIME))]
    pub last_seen: String,
    /// When netdiag first named this cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = TIME))]
    pub named_at: Option<String>,
    /// Where it was found, in a verdict of several nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Every node that has a part in it, that one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// What is to be done on the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_fixes: Vec<NodeFix>,
}

impl Finding {
    /// With nothing in it yet but what every finding has.
    pub fn new(cause: &str, severity: Severity, confidence: Confidence, summary: String) -> Self {
        Self {
            id: subject::id(cause, None),
            cause: cause.to_owned(),
            subject: None,
            severity,
            confidence,
            summary,
            evidence: Vec::new(),
            pods: Vec::new(),
            flows: Vec::new(),
            fix: Fix::default(),
            tried: None,
            consequence_of: None,
            root: None,
            because: None,
            about: Vec::new(),
            scope: Scope::default(),
            ties: Ties::default(),
            meant: false,
            first_seen: String::new(),
            last_seen: String::new(),
            named_at: None,
            node: None,
            nodes: Vec::new(),
            other_fixes: Vec::new(),
        }
    }

    /// Says what is to blame.
    pub fn blames(&mut self, subject: Subject) {
        self.id = subject::id(&self.cause, Some(&subject));
        self.subject = Some(subject);
    }

    /// An address that both findings are about.
    pub fn shares(&self, other: &Self) -> Option<std::net::IpAddr> {
        self.about.iter().find(|a| other.about.contains(a)).copied()
    }
}

/// Packets that the kernel dropped for one reason at one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drop {
    /// The kernel's word, without SKB_DROP_REASON_.
    pub reason: String,
    /// The function of the kernel's, as `symbol+0x1c3`.
    pub location: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    pub packets: u64,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl Drop {
    /// Where it was, and where its pod is.
    pub fn say_of(&mut self, node: &str) {
        self.node = Some(node.to_owned());
        let here = self.pod.iter_mut().filter(|p| p.interface.is_some());
        here.for_each(|p| p.node = Some(node.to_owned()));
    }
}

/// What could not be looked at, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotChecked {
    pub what: String,
    pub why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl NotChecked {
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: why.into(),
            node: None,
        }
    }
}

/// What netdiag itself saw and lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observer {
    /// Hooks attached, tc and tracepoints together.
    pub hooks: u64,
    /// Events recorded: drops, oversize packets, retransmits and the rest.
    pub events: u64,
    /// Events that could not be delivered or stored.
    pub lost: u64,
    /// Flows evicted from the kernel's table before they were read.
    pub overflowed_flows: u64,
    /// Packets at hops that were counted as such alone: of too many new flows at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unkept: u64,
    /// Drops outside this node's namespaces.
    #[serde(default)]
    pub foreign: u64,
    /// What netdiag took for itself; not of a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<OwnCost>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Observer {
    pub fn add(&mut self, other: &Self) {
        add(&mut self.hooks, other.hooks);
        add(&mut self.events, other.events);
        add(&mut self.lost, other.lost);
        add(&mut self.overflowed_flows, other.overflowed_flows);
        add(&mut self.unkept, other.unkept);
        add(&mut self.foreign, other.foreign);
    }
}

/// What a node, or several together, are found to suffer from: `diagnose`, `audit`, `replay` and
/// `lab run` with `-o json` print one such object, `replay` of no node by that name an empty list.
///
/// What is unknown is absent. Later versions may add members and, where no list of words is given,
/// words; they rename and remove nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// The name of the node; of several the first.
    pub node: String,
    /// The kernel's release.
    pub kernel: String,
    /// When netdiag began to look.
    #[schemars(extend("format" = TIME))]
    pub started: String,
    /// Seconds that were watched; 0 of an audit.
    pub duration: f64,
    /// How much was kept of what passed the links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    pub verdict: Outcome,
    /// Root causes first.
    pub findings: Vec<Finding>,
    /// Dropped packets by reason, place and pod, most first.
    pub drops: Vec<Drop>,
    /// The flows that were sent again most, most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retransmits: Vec<FlowRef>,
    /// Beside the findings, whatever these are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unexplained: Vec<Unexplained>,
    /// What it may be where an answer is missing that would tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cannot_tell: Vec<CannotTell>,
    /// What could not be looked at.
    pub not_checked: Vec<NotChecked>,
    pub observer: Observer,
    /// The nodes of a verdict of several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub between: Vec<Between>,
    /// Where pods' names come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_sources: Vec<PodSource>,
    /// Only of `lab run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab: Option<LabResult>,
}

impl Verdict {
    /// Writes the node to everything that is said of it.
    pub fn say_of(&mut self, node: &str) {
        let name = || Some(node.to_owned());
        for finding in &mut self.findings {
            finding.node = name();
            finding.nodes = vec![node.to_owned()];
            finding.evidence.iter_mut().for_each(|e| e.node = name());
            finding.flows.iter_mut().for_each(|f| f.node = name());
            let here = finding.pods.iter_mut().filter(|p| p.interface.is_some());
            here.for_each(|p| p.node = name());
        }
        self.drops.iter_mut().for_each(|d| d.say_of(node));
        self.retransmits.iter_mut().for_each(|f| f.node = name());
        self.unexplained.iter_mut().for_each(|u| u.say_of(node));
        self.cannot_tell.iter_mut().for_each(|c| c.say_of(node));
        self.not_checked.iter_mut().for_each(|n| n.node = name());
    }
}
