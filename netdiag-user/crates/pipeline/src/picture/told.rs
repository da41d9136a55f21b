//! What this node's pods are told of the cluster's names, by kubelet's configuration, which is
//! root's, and by their own files, which each pod may write itself.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Picture, USUAL_DOMAIN};
use crate::{facts::Facts, model::gather::Resolver};

/// The server that a pod should ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    pub server: IpAddr,
    /// Kubelet or other pods' files name it; else it was only seen to answer.
    pub told: bool,
}

impl Picture<'_> {
    /// The cluster's server that is none of those, of the same family. Who is told of it comes before
    /// whoever answers: any pod can answer.
    pub fn cluster_dns_beside(&self, others: &[IpAddr]) -> Option<Right> {
        let family = others.first()?.is_ipv4();
        let asked: BTreeSet<_> = self.askings.iter().map(|a| a.server).collect();
        let proven: BTreeSet<_> = self.proven.intersection(&asked).copied().collect();
        let [kubelet, pods] = [self.by_kubelet(), most(self.told())];
        let told = if kubelet.is_empty() { &pods } else { &kubelet };
        // A pod that is told one of them is told right.
        let mut all = kubelet.iter().chain(&pods).chain(&proven);
        let told_right = all.any(|s| others.contains(s));
        let answer = told.iter().filter(|s| proven.contains(s));
        let told = answer.chain(told).map(|s| (*s, true));
        let mut all = told.chain(proven.iter().map(|s| (*s, false)));
        let fits = |(s, _): &(IpAddr, bool)| s.is_ipv4() == family && !told_right;
        let (server, told) = all.find(fits)?;
        Some(Right { server, told })
    }

    /// The servers that kubelet or most pods' files name.
    pub fn named(&self) -> BTreeSet<IpAddr> {
        let mut named = self.by_kubelet();
        named.extend(most(self.told()));
        named
    }

    /// The servers that kubelet has for pods.
    fn by_kubelet(&self) -> BTreeSet<IpAddr> {
        let resolvers = self.gathered.resolvers().unwrap_or_default();
        let kubelets = resolvers.iter().filter(|r| r.kubelet);
        kubelets.flat_map(|r| &r.servers).copied().collect()
    }

    /// Pods of this node that are told to ask each server for the cluster's names.
    fn told(&self) -> BTreeMap<IpAddr, usize> {
        let mut counts = BTreeMap::new();
        let resolvers = self.gathered.resolvers().unwrap_or_default();
        let pod = |r: &&Resolver| self.node.pod_side(r.netns).is_some();
        // Only kubelet's ClusterFirst writes such a list.
        let cluster = |r: &&Resolver| r.search.iter().any(|entry| entry.starts_with("svc."));
        for server in resolvers
            .iter()
            .filter(pod)
            .filter(cluster)
            .flat_map(|r| &r.servers)
        {
            *counts.entry(*server).or_default() += 1;
        }
        // One pod alone may be the one that is told wrong.
        counts.retain(|_, pods| *pods > 1);
        counts
    }
}

/// The keys that come most often.
pub fn most<T: Ord>(counts: BTreeMap<T, usize>) -> BTreeSet<T> {
    let top = counts.values().max().copied();
    let best = counts.into_iter().filter(|(_, n)| Some(*n) == top);
    best.map(|(key, _)| key).collect()
}

/// The usual domain, and that of kubelet's configuration; where that is not known, what most of the
/// pods' search lists have (`svc.DOMAIN`). One pod's may have any.
pub fn domains(facts: &Facts<'_>) -> BTreeSet<String> {
    let resolvers = facts.gathered.resolvers().unwrap_or_default();
    let of = |resolver: &Resolver| -> BTreeSet<String> {
        let search = resolver.search.iter();
        let told = search.filter_map(|entry| entry.strip_prefix("svc."));
        told.map(str::to_owned).collect()
    };
    let mut told: BTreeSet<_> = resolvers
        .iter()
        .filter(|r| r.kubelet)
        .flat_map(of)
        .collect();
    if told.is_empty() {
        let pods = resolvers.iter();
        let pods = pods.filter(|r| facts.node.pod_side(r.netns).is_some());
        let mut counts = BTreeMap::new();
        for domain in pods.flat_map(of) {
            *counts.entry(domain).or_default() += 1;
        }
        told = most(counts);
    }
    told.insert(USUAL_DOMAIN.to_owned());
    told
}
