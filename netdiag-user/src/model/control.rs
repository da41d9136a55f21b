//! What the node's control plane says of itself: etcd, the CNI's daemons and files.
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A member of etcd that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdMember {
    /// `https://127.0.0.1:2379`.
    pub endpoint: String,
    /// What etcdctl(1) needs to be let in, as it is typed.
    pub credentials: Vec<String>,
    pub answer: Result<EtcdStatus, String>,
}

impl EtcdMember {
    /// For the list of what could not be checked.
    pub fn failure(&self) -> Option<(String, &str)> {
        let why = self.answer.as_ref().err()?;
        Some((format!("etcd at {}", self.endpoint), why.as_str()))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdStatus {
    pub version: String,
    /// The store's revision: what compaction is given.
    pub revision: u64,
    /// The backend's file, and what of it is in use, where the member tells (3.4 and newer).
    pub size: u64,
    pub in_use: Option<u64>,
    /// `--quota-backend-bytes`, where its metrics tell.
    pub quota: Option<u64>,
    /// Alarms of the whole cluster: member and kind.
    pub alarms: Vec<(String, String)>,
    /// What GET /health says: false under an alarm.
    pub healthy: Option<bool>,
}

/// Addresses that one network's host-local IPAM gives out on this node: each pod gets one of each
/// set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeSet {
    pub network: String,
    /// The file that says so.
    pub conf: String,
    /// First and last address of each range.
    pub ranges: Vec<(IpAddr, IpAddr)>,
    /// How many addresses that is, gateways left out.
    pub capacity: u64,
    pub reserved: Vec<Reserved>,
}

/// An address that is given out: a file of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    pub address: IpAddr,
    pub file: String,
    /// The sandbox that it was given to.
    pub container: String,
    pub state: Sandbox,
}

/// What is known of the sandbox that has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    Alive,
    /// No result file names it, or its network namespace is no more.
    Gone,
    /// Too young to be judged, or nothing here tells.
    Unknown,
}

impl RangeSet {
    pub fn leaked(&self) -> impl Iterator<Item = &Reserved> {
        self.reserved.iter().filter(|r| r.state == Sandbox::Gone)
    }

    /// As host-local writes it: `10.1.0.2-10.1.0.14,10.2.0.2-10.2.0.14`.
    pub fn text(&self) -> String {
        let ranges = self.ranges.iter().map(|(a, b)| format!("{a}-{b}"));
        ranges.collect::<Vec<_>>().join(",")
    }
}
