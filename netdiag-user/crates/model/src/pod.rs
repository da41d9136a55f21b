//! Pods, and the index from interfaces and addresses to them.
mod index;
mod owner;

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::verdict::{Owner, PodRef, PodRole};
pub use index::PodIndex;

/// A pod: as one source knows it, or what all of them say together.
///
/// One that got a new sandbox, and one that was made anew with the name of one before, are two:
/// each has its own namespace, interfaces and addresses, at its own time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    /// As Kubernetes gives it. A static pod's is the hash of its manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    pub addresses: Vec<IpAddr>,
    /// Host side interface on this node.
    pub interface: Option<String>,
    /// Inode of its network namespace on this node. The kernel gives the number of one that is
    /// gone to the next: it names a pod at a time only.
    pub netns: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// It lives in the node's own network namespace: no address and no interface is its alone.
    #[serde(skip_serializing_if = "is_no")]
    pub host_network: bool,
    /// The node's name, where a source knows of more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
    /// When it was made as its source says, in ns since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
    /// From when on its interfaces and addresses can have been its own, `CLOCK_MONOTONIC` ns.
    /// Nothing where it was there before anybody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// When they no longer were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<u64>,
    /// The runtime's id of its sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// One for each network that it is attached to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<PodInterface>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Known>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    pub id: String,
    /// Empty where only the kernel was asked.
    pub name: String,
    /// Its first process, as the node numbers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What that process calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodInterface {
    /// As the pod sees it: `eth0`.
    pub name: String,
    /// The host's side, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The host side's ifindex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    pub addresses: Vec<IpAddr>,
    /// The CNI network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// Who says what is known of a pod.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "PodOrigin")]
pub enum Origin {
    /// The API's own record.
    Kubernetes,
    /// The container runtime.
    Cri,
    /// The CNI result cache.
    Cni,
    /// Cgroups and processes.
    Cgroup,
    File,
    /// Links, namespaces and their addresses.
    Node,
}

impl Origin {
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Cri => "cri",
            Self::Cni => "cni",
            Self::Cgroup => "cgroup",
            Self::File => "file",
            Self::Node => "node",
        }
    }
}

/// A source, and since when it says what it says (`CLOCK_MONOTONIC` ns).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub source: Origin,
    pub at: u64,
}

/// A source that names come from, how many pods it knows, and when it was last heard
/// (`CLOCK_MONOTONIC` ns).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceUse {
    pub source: Origin,
    pub pods: usize,
    pub at: Option<u64>,
}

fn is_no(value: &bool) -> bool {
    !value
}

impl Pod {
    /// It is here, and no link of the node leads to it.
    pub fn is_linkless(&self) -> bool {
        let here = self.netns.is_some() && self.gone.is_none() && !self.host_network;
        here && self.interface.is_none()
    }

    /// Whether its interfaces and addresses were its own at that time.
    pub fn at(&self, time: u64) -> bool {
        self.from.is_none_or(|from| from <= time) && self.gone.is_none_or(|gone| time <= gone)
    }

    /// It is on this node, and has a network of its own.
    pub fn is_local(&self) -> bool {
        self.netns.is_some() || self.interface.is_some()
    }

    /// The pod as a finding names it, with `address` where one is known.
    pub fn refer(&self, address: Option<IpAddr>, role: Option<PodRole>) -> PodRef {
        let address = address.or_else(|| self.addresses.first().copied());
        let known = |text: &String| Some(text.clone()).filter(|t| !t.is_empty());
        PodRef {
            namespace: known(&self.namespace),
            name: known(&self.name),
            uid: self.uid.clone(),
            owner: self.owner.clone(),
            ip: address.map(|a| a.to_string()),
            interface: self.interface.clone(),
            linkless: self.is_linkless(),
            role,
            node: None,
        }
    }

    /// How people call it.
    pub fn title(&self) -> String {
        label(&self.refer(None, None))
    }
}

/// `namespace/name`, or what comes closest: a pod that only the kernel knows has an UID, and one
/// that nobody knows an address.
pub fn label(pod: &PodRef) -> String {
    match (&pod.namespace, &pod.name, &pod.uid, &pod.ip) {
        (Some(namespace), Some(name), ..) => format!("{namespace}/{name}"),
        (_, Some(name), ..) => name.clone(),
        (_, _, Some(uid), _) => format!("pod {uid}"),
        (.., Some(ip)) => ip.clone(),
        _ => pod.interface.clone().unwrap_or_else(|| "?".into()),
    }
}
