//! The verdict: the one document that `diagnose` and `lab run` print.
//!
//! Times are RFC 3339 UTC, durations seconds, sizes bytes, addresses text. What is unknown is
//! absent, never an empty string.
use serde::{Deserialize, Serialize};

/// Name and version of the verdict's JSON form.
pub const SCHEMA: &str = "netdiag.verdict/1";

/// How bad a finding is. Warning and critical make the exit code 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// What a finding rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Healthy,
    Findings,
    /// No finding, but what was seen is not enough to call the node healthy.
    Incomplete,
}

/// Where a line of evidence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Seen in traffic or in a counter that moved during the run.
    Observed,
    /// Read from the node's configuration.
    Configured,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    Oversize,
    Fragment,
    Retransmit,
    Drop,
    OuterAddress,
    Dns,
    Reset,
    Unreachable,
    Counter,
    Link,
    Route,
    Neighbour,
    Fdb,
    Rule,
    Socket,
    Sysctl,
    Process,
    File,
    Api,
    Log,
}

/// One line of evidence that a person can check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub kind: EvidenceKind,
    pub origin: Origin,
    /// The sentence that a person reads.
    pub text: String,
    /// Interface, address or file where it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// A command that shows the same thing by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

impl Evidence {
    pub fn new(kind: EvidenceKind, origin: Origin, text: impl Into<String>) -> Self {
        Self {
            kind,
            origin,
            text: text.into(),
            at: None,
            direction: None,
            packets: None,
            largest: None,
            limit: None,
            limit_from: None,
            reason: None,
            location: None,
            confirm: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodRole {
    Source,
    Destination,
    Server,
    Victim,
}

/// A pod as a finding names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodRef {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The host side interface, for pods on this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<PodRole>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowRef {
    pub protocol: String,
    pub source: String,
    pub destination: String,
    pub packets: u64,
    pub retransmits: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fix {
    pub summary: String,
    pub commands: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub cause: String,
    pub severity: Severity,
    pub confidence: Confidence,
    pub summary: String,
    pub evidence: Vec<Evidence>,
    pub pods: Vec<PodRef>,
    pub flows: Vec<FlowRef>,
    pub fix: Fix,
    /// The root cause that explains this finding.
    pub consequence_of: Option<String>,
    /// How it does: the link between the two in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// The addresses that it is about, for finding that link.
    #[serde(skip)]
    pub about: Vec<std::net::IpAddr>,
    /// When the first packet or fact of this finding was seen.
    pub first_seen: String,
    pub last_seen: String,
    /// When netdiag first named this cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_at: Option<String>,
}

impl Finding {
    /// With nothing in it yet but what every finding has.
    pub fn new(cause: &str, severity: Severity, confidence: Confidence, summary: String) -> Self {
        Self {
            cause: cause.to_owned(),
            severity,
            confidence,
            summary,
            evidence: Vec::new(),
            pods: Vec::new(),
            flows: Vec::new(),
            fix: Fix::default(),
            consequence_of: None,
            because: None,
            about: Vec::new(),
            first_seen: String::new(),
            last_seen: String::new(),
            named_at: None,
        }
    }

    /// An address that both findings are about.
    pub fn shares(&self, other: &Self) -> Option<std::net::IpAddr> {
        self.about.iter().find(|a| other.about.contains(a)).copied()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drop {
    pub reason: String,
    pub location: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotChecked {
    pub what: String,
    pub why: String,
}

/// What netdiag itself saw and lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observer {
    /// Hooks attached, tc and tracepoints together.
    pub hooks: u64,
    /// Events recorded: drops, oversize packets, retransmits and the rest.
    pub events: u64,
    /// Events that could not be delivered or stored.
    pub lost: u64,
    /// Flows evicted from the kernel's table before they were read.
    pub overflowed_flows: u64,
    /// Drops outside this node's namespaces.
    #[serde(default)]
    pub foreign: u64,
}

/// What `lab run` adds to the verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabResult {
    pub scenario: String,
    pub expected: Vec<String>,
    pub passed: bool,
    /// Whether the finding went away when its fix was applied, where that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<bool>,
    /// Seconds from the fault to the cause's first naming.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_after: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub schema: String,
    pub node: String,
    pub kernel: String,
    pub started: String,
    pub duration: f64,
    pub verdict: Outcome,
    /// Root causes first.
    pub findings: Vec<Finding>,
    pub drops: Vec<Drop>,
    /// The flows that were sent again most, most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retransmits: Vec<FlowRef>,
    pub not_checked: Vec<NotChecked>,
    pub observer: Observer,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab: Option<LabResult>,
}
