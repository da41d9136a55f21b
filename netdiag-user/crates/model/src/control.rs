//! What the node's control plane says of itself: etcd, the CNI's daemons and files.
use std::net::IpAddr;

use netdiag_lang::{english, mark};
use serde::{Deserialize, Serialize};

/// Why no etcd was asked on a node that has none.
pub const NO_ETCD: &str = mark!("no endpoint given or found");

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
        Some((english!("etcd at {}", self.endpoint), why.as_str()))
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

/// A memory cgroup: a container's, or a service's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryCgroup {
    /// Inode of its folder.
    pub id: u64,
    /// Below the hierarchy's root: `/kubepods/burstable/podUID/CONTAINER`.
    pub path: String,
    /// The file that holds its limit.
    pub limit_file: String,
    /// Bytes; nothing where it has none.
    pub limit: Option<u64>,
    /// The most that it ever used, where the kernel tells.
    pub peak: Option<u64>,
    /// Processes killed in it for lack of memory.
    pub kills: Option<u64>,
    /// The namespace of its pod, as kubelet says.
    #[serde(default)]
    pub namespace: Option<String>,
}

impl MemoryCgroup {
    /// UID of the pod, by either of kubelet's cgroup drivers: `pod<uid>`, or a slice
    /// `…-pod<uid with underscores>.slice`.
    pub fn pod_uid(&self) -> Option<String> {
        pod_uid(&self.path)
    }

    /// It is a user's session, or a machine's that somebody runs here.
    pub fn is_delegated(&self) -> bool {
        self.path.split('/').any(|part| DELEGATED.contains(&part))
    }

    /// Id of the container, shortened as crictl(1) shows it: `<id>`, or `cri-…-<id>.scope`.
    pub fn container(&self) -> Option<&str> {
        container_id(&self.path).map(|id| &id[..13])
    }
}

/// Where a cluster's own daemons run. Most are reserved by Kubernetes and OpenShift (`kube-`,
/// `openshift-`).
const NAMESPACES: [&str; 9] = [
    "kube-system",
    "kube-flannel",
    "calico-system",
    "ovn-kubernetes",
    "openshift-etcd",
    "openshift-kube-apiserver",
    "openshift-kube-controller-manager",
    "openshift-ovn-kubernetes",
    "openshift-sdn",
];

/// Whether a namespace is one of the cluster's own.
pub fn is_of_cluster(namespace: &str) -> bool {
    NAMESPACES.contains(&namespace)
}

/// UID of the pod that a cgroup's path names, whoever named it so: the outermost, because a container
/// may make cgroups of any name below its own.
pub fn pod_uid(path: &str) -> Option<String> {
    path.split(['/', ':']).find_map(pod_of)
}

pub(crate) fn pod_of(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let (_, uid) = part.rsplit_once("pod")?;
    let uid = uid.replace('_', "-");
    let hex = |c: char| c.is_ascii_hexdigit() || c == '-';
    ((32..=36).contains(&uid.len()) && uid.chars().all(hex)).then_some(uid)
}

/// Slices of users, and of their virtual machines and containers (systemd.special(7)).
pub const DELEGATED: [&str; 2] = ["user.slice", "machine.slice"];

/// Whole id of the container that a cgroup's path names.
pub fn container_id(path: &str) -> Option<&str> {
    let last = path.rsplit('/').next()?;
    let id = last.strip_suffix(".scope").unwrap_or(last);
    let id = id.rsplit(['-', ':']).next()?;
    let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(path: &str) -> MemoryCgroup {
        MemoryCgroup {
            path: path.into(),
            ..MemoryCgroup::default()
        }
    }

    #[test]
    fn pods_and_containers_by_either_driver() {
        let id = "0123456789abcdef".repeat(4);
        let uid = "6f1ad7a1-89ab-4cde-8f01-23456789abcd";
        let cgroupfs = cgroup(&format!("/kubepods/burstable/pod{uid}/{id}"));
        let slice = uid.replace('-', "_");
        let systemd = cgroup(&format!(
            "/kubepods.slice/kubepods-pod{slice}.slice/cri-containerd-{id}.scope"
        ));
        for cgroup in [cgroupfs, systemd] {
            assert_eq!(cgroup.pod_uid().as_deref(), Some(uid));
            assert_eq!(cgroup.container(), Some("0123456789abc"));
        }
        let path = format!("/kubepods/pod{uid}/{id}/own/pod{}/{id}", "f".repeat(32));
        assert_eq!(pod_uid(&path).as_deref(), Some(uid), "of the outermost");
        let service = cgroup("/system.slice/flanneld.service");
        assert_eq!((service.pod_uid(), service.container()), (None, None));
    }
}
