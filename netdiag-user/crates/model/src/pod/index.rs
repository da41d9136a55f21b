//! Who owns an interface, a namespace or an address, and when. What no source knows stays
//! unknown.
use std::{borrow::Borrow, net::IpAddr, sync::Arc};

use super::Pod;

/// A notice of a new link comes a little after the link, and a clock that was read elsewhere is
/// not quite ours: what happened so shortly before an owner is known to be there is its own,
/// unless somebody else had the address then.
const EARLY: u64 = 1_000_000_000;

#[derive(Clone, Debug, Default)]
pub struct PodIndex {
    pods: Vec<Arc<Pod>>,
    by_address: Owners<IpAddr>,
    by_interface: Owners<String>,
    by_link: Owners<u32>,
    by_netns: Owners<u32>,
}

/// Who had what, by what they had, and all that ever had it in the order of their times. A map with a
/// list for each would take four times as much: a recording may have a million addresses.
#[derive(Clone, Debug)]
struct Owners<K>(Vec<(K, u32)>);

impl<K> Default for Owners<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord> Owners<K> {
    fn add(&mut self, key: K, n: usize) {
        if let Ok(n) = u32::try_from(n) {
            self.0.push((key, n));
        }
    }

    fn sort(&mut self) {
        // The order in which they came stays.
        self.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.0.dedup();
        self.0.shrink_to_fit();
    }

    fn of<Q: Ord + ?Sized>(&self, key: &Q) -> &[(K, u32)]
    where
        K: Borrow<Q>,
    {
        let from = self.0.partition_point(|(known, _)| known.borrow() < key);
        let rest = &self.0[from..];
        let count = rest.partition_point(|(known, _)| known.borrow() == key);
        &rest[..count]
    }
}

impl PodIndex {
    pub fn new(pods: Vec<Pod>) -> Self {
        Self::shared(pods.into_iter().map(Arc::new).collect())
    }

    /// Where two have one address at the same time, the later one in `pods` counts, and one on
    /// this node before one elsewhere.
    pub fn shared(pods: Vec<Arc<Pod>>) -> Self {
        let mut index = Self::default();
        let mut order: Vec<usize> = (0..pods.len()).collect();
        order.sort_by_key(|n| (pods[*n].is_local(), pods[*n].from));
        for n in order {
            index.enter(n, &pods[n]);
        }
        index.by_address.sort();
        index.by_interface.sort();
        index.by_link.sort();
        index.by_netns.sort();
        index.pods = pods;
        index
    }

    fn enter(&mut self, n: usize, pod: &Pod) {
        if pod.host_network {
            return;
        }
        for address in &pod.addresses {
            self.by_address.add(*address, n);
        }
        let hosts = pod.interfaces.iter().filter_map(|i| i.host.as_ref());
        for name in pod.interface.iter().chain(hosts) {
            self.by_interface.add(name.clone(), n);
        }
        for link in pod.interfaces.iter().filter_map(|i| i.index) {
            self.by_link.add(link, n);
        }
        if let Some(netns) = pod.netns {
            self.by_netns.add(netns, n);
        }
    }

    pub fn len(&self) -> usize {
        self.pods.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().map(Arc::as_ref)
    }

    /// Namespaces of pods on this node that none of its links leads into, and since when each is
    /// that pod's: their device was moved in, or shares one of the node's.
    pub fn linkless(&self) -> Vec<(u32, Option<u64>)> {
        let all = self.pods.iter().filter(|pod| pod.is_linkless());
        let mut all: Vec<_> = all.filter_map(|pod| Some((pod.netns?, pod.from))).collect();
        all.sort_unstable();
        all
    }

    /// The owner as it is now, or the last one.
    pub fn by_address(&self, address: IpAddr) -> Option<&Pod> {
        self.last(self.by_address.of(&address))
    }

    pub fn by_interface(&self, name: &str) -> Option<&Pod> {
        self.last(self.by_interface.of(name))
    }

    pub fn by_netns(&self, inode: u32) -> Option<&Pod> {
        self.last(self.by_netns.of(&inode))
    }

    /// It had more than one owner, or has none any more.
    pub fn has_turns(&self, address: IpAddr) -> bool {
        let owners = self.by_address.of(&address);
        owners.len() > 1 || self.each(owners).any(|pod| pod.gone.is_some())
    }

    /// The owner at a time (`CLOCK_MONOTONIC` ns).
    pub fn by_address_at(&self, address: IpAddr, time: u64) -> Option<&Pod> {
        self.at(self.by_address.of(&address), time).map(Arc::as_ref)
    }

    /// By the host side's ifindex.
    pub fn by_link_at(&self, ifindex: u32, time: u64) -> Option<&Pod> {
        self.at(self.by_link.of(&ifindex), time).map(Arc::as_ref)
    }

    pub fn by_netns_at(&self, inode: u32, time: u64) -> Option<&Pod> {
        self.shared_by_netns_at(inode, time).map(Arc::as_ref)
    }

    /// For those who keep it: thousands of rows may be one pod's.
    pub fn shared_by_netns_at(&self, inode: u32, time: u64) -> Option<&Arc<Pod>> {
        self.at(self.by_netns.of(&inode), time)
    }

    fn last<'a, K>(&'a self, owners: &'a [(K, u32)]) -> Option<&'a Pod> {
        let alive = self.each(owners).rfind(|p| p.gone.is_none());
        // Of those that went at one time, the first in this order.
        let last = || self.each(owners).rev().max_by_key(|p| p.gone);
        alive.or_else(last).map(Arc::as_ref)
    }

    fn at<'a, K>(&'a self, owners: &'a [(K, u32)], time: u64) -> Option<&'a Arc<Pod>> {
        let soon = |p: &&Arc<Pod>| p.from.is_some_and(|from| time.abs_diff(from) <= EARLY);
        let later = |p: &&Arc<Pod>| p.from > Some(time);
        let next = || self.each(owners).filter(later).find(soon);
        self.each(owners).rfind(|p| p.at(time)).or_else(next)
    }

    fn each<'a, K>(
        &'a self,
        owners: &'a [(K, u32)],
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Pod>> {
        owners.iter().map(|(_, n)| &self.pods[*n as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn pod(name: &str, from: Option<u64>, gone: Option<u64>) -> Pod {
        Pod {
            name: name.into(),
            addresses: vec!["10.0.0.7".parse().expect("an address")],
            netns: Some(77),
            from,
            gone,
            ..Pod::default()
        }
    }

    fn owner(index: &PodIndex, time: u64) -> Option<&str> {
        let address = "10.0.0.7".parse().expect("an address");
        let by_address = index.by_address_at(address, time).map(|p| p.name.as_str());
        let by_netns = index.by_netns_at(77, time).map(|p| p.name.as_str());
        assert_eq!(by_address, by_netns);
        by_address
    }

    #[test]
    fn an_address_has_one_owner_after_the_other() {
        let index = PodIndex::new(vec![
            pod("third", Some(60 * S), None),
            pod("first", None, Some(10 * S)),
            pod("second", Some(11 * S), Some(20 * S)),
        ]);
        assert_eq!(owner(&index, 1), Some("first"));
        assert_eq!(owner(&index, 10 * S), Some("first"));
        assert_eq!(
            owner(&index, 10 * S + 1),
            Some("second"),
            "its notice came late"
        );
        assert_eq!(owner(&index, 20 * S + 1), None, "nobody's");
        assert_eq!(owner(&index, 61 * S), Some("third"));
        let now = index.by_address("10.0.0.7".parse().expect("an address"));
        assert_eq!(now.map(|p| p.name.as_str()), Some("third"));
    }

    #[test]
    fn a_pod_that_is_gone_is_still_the_last_owner() {
        let index = PodIndex::new(vec![pod("first", None, Some(10 * S))]);
        let last = index.by_netns(77).map(|p| p.name.as_str());
        assert_eq!(last, Some("first"));
        assert_eq!(owner(&index, 11 * S), None);
    }

    #[test]
    fn a_pod_here_counts_before_one_elsewhere() {
        let mut elsewhere = pod("elsewhere", Some(9 * S), None);
        elsewhere.netns = None;
        let index = PodIndex::new(vec![elsewhere, pod("here", None, None)]);
        let address = "10.0.0.7".parse().expect("an address");
        let now = index.by_address(address).map(|p| p.name.as_str());
        assert_eq!(now, Some("here"));
    }

    #[test]
    fn the_nodes_own_addresses_are_no_pods() {
        let mut proxy = pod("kube-proxy", None, None);
        proxy.host_network = true;
        assert_eq!(owner(&PodIndex::new(vec![proxy]), 1), None);
    }
}
