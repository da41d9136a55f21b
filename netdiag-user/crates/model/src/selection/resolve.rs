//! Whose addresses, links and namespaces are asked for at the moment.
use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use netdiag_common::filter::place;

use super::Selection;
use crate::{
    address::to_wire,
    cluster::{Cluster, Service},
    pod::{Pod, PodIndex},
    services::Services,
};

/// What the kernel is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    pub addresses: BTreeSet<[u8; 16]>,
    /// Links and namespaces, see [`place`].
    pub places: BTreeSet<u64>,
    pub pods: usize,
}

/// The Services that are asked for.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Their own addresses.
    own: HashSet<IpAddr>,
    backends: HashSet<IpAddr>,
}

impl Served {
    pub fn backs(&self, pod: &Pod) -> bool {
        pod.addresses.iter().any(|a| self.backends.contains(a))
    }
}

impl Selection {
    /// What is known of the Services: by the API, and by the node's own rules.
    pub fn served(&self, cluster: &Cluster, services: Option<&Services>) -> Served {
        let mut served = Served::default();
        let named = |s: &&Service| self.services.iter().any(|p| p.is(&s.namespace, &s.name));
        for service in cluster.services.iter().filter(named) {
            served.own.extend(&service.addresses);
            served.own.extend(&service.external);
            served
                .backends
                .extend(service.backends().flat_map(|b| &b.addresses));
        }
        let rules = services.iter().flat_map(|s| &s.rules);
        for rule in rules.filter(|_| !self.services.is_empty()) {
            let named = rule.name.as_deref().unwrap_or_default();
            let path = named.split(':').next().unwrap_or_default();
            let (namespace, name) = path.split_once('/').unwrap_or(("", path));
            if self.services.iter().any(|s| s.is(namespace, name)) {
                served.own.insert(rule.address);
                served
                    .backends
                    .extend(rule.backends.iter().map(|(a, _)| *a));
            }
        }
        served
    }

    /// Whether an address was asked for, as its owner had it at that time.
    pub fn has(&self, address: IpAddr, time: u64, pods: &PodIndex, served: &Served) -> bool {
        let owner = pods.by_address_at(address, time);
        owner.is_some_and(|pod| self.takes(pod, served)) || self.serves(address, served)
    }

    /// A Service's address, and those of its backends that nobody knows as pods.
    fn serves(&self, address: IpAddr, served: &Served) -> bool {
        !self.asks_for_pods()
            && (served.own.contains(&address) || served.backends.contains(&address))
    }

    pub fn resolve(&self, pods: &PodIndex, served: &Served) -> Selected {
        let mut selected = Selected::default();
        let alive = pods.iter().filter(|p| p.gone.is_none());
        for pod in alive.filter(|p| self.takes(p, served)) {
            selected.pods += 1;
            selected
                .addresses
                .extend(pod.addresses.iter().map(|a| to_wire(*a)));
            selected.places.extend(pod.netns.map(place::netns));
            let links = pod.interfaces.iter().filter_map(|i| i.index);
            selected.places.extend(links.map(place::link));
        }
        let others = served.own.iter().chain(&served.backends);
        let others = others.filter(|a| self.serves(**a, served));
        selected.addresses.extend(others.map(|a| to_wire(*a)));
        selected
    }
}
