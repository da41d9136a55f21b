//! Pods, and the index from interfaces and addresses to them.
use std::{collections::HashMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::verdict::{PodRef, PodRole};

/// A pod as one source knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Host side interface on this node.
    #[serde(default)]
    pub interface: Option<String>,
    /// Inode of its network namespace on this node.
    #[serde(default)]
    pub netns: Option<u32>,
}

/// Who owns an interface or an address. What no source knows stays unknown.
#[derive(Clone, Debug, Default)]
pub struct PodIndex {
    pods: Vec<Pod>,
    by_address: HashMap<IpAddr, usize>,
    by_interface: HashMap<String, usize>,
    by_netns: HashMap<u32, usize>,
}

impl PodIndex {
    pub fn new(pods: Vec<Pod>) -> Self {
        let mut index = Self::default();
        for (i, pod) in pods.iter().enumerate() {
            for address in &pod.addresses {
                index.by_address.insert(*address, i);
            }
            if let Some(interface) = &pod.interface {
                index.by_interface.insert(interface.clone(), i);
            }
            if let Some(netns) = pod.netns {
                index.by_netns.insert(netns, i);
            }
        }
        index.pods = pods;
        index
    }

    pub fn len(&self) -> usize {
        self.pods.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter()
    }

    pub fn by_address(&self, address: IpAddr) -> Option<&Pod> {
        self.by_address.get(&address).map(|i| &self.pods[*i])
    }

    pub fn by_interface(&self, name: &str) -> Option<&Pod> {
        self.by_interface.get(name).map(|i| &self.pods[*i])
    }

    pub fn by_netns(&self, inode: u32) -> Option<&Pod> {
        self.by_netns.get(&inode).map(|i| &self.pods[*i])
    }
}

impl Pod {
    /// The pod as a finding names it, with `address` where one is known.
    pub fn refer(&self, address: Option<IpAddr>, role: Option<PodRole>) -> PodRef {
        let address = address.or_else(|| self.addresses.first().copied());
        PodRef {
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            ip: address.map(|a| a.to_string()),
            interface: self.interface.clone(),
            role,
        }
    }
}

/// `namespace/name`, or the address where no source knows the pod.
pub fn label(pod: &PodRef) -> String {
    match (&pod.namespace, &pod.name, &pod.ip) {
        (Some(namespace), Some(name), _) => format!("{namespace}/{name}"),
        (_, Some(name), _) => name.clone(),
        (.., Some(ip)) => ip.clone(),
        _ => pod.interface.clone().unwrap_or_else(|| "?".into()),
    }
}
