//! What the node itself shows of a pod: its links by its namespace, its namespace by its links or
//! addresses, and the addresses that it really has.
use std::{collections::HashMap, net::IpAddr};

use crate::model::{
    node::{Link, Node},
    pod::{Pod, PodInterface},
    roles::{Role, Roles},
};

/// The pods' links, by what leads to them.
pub struct Sight<'a> {
    node: &'a Node,
    by_name: HashMap<&'a str, &'a Link>,
    by_netns: HashMap<u32, Vec<&'a Link>>,
    netns: HashMap<IpAddr, u32>,
}

impl<'a> Sight<'a> {
    pub fn new(node: &'a Node) -> Self {
        let roles = Roles::new(node);
        let is_pods = |l: &&Link| roles.of(l) == Some(Role::Pod);
        let links: Vec<&Link> = node.links.iter().filter(is_pods).collect();
        let mut by_netns: HashMap<u32, Vec<&Link>> = HashMap::new();
        for link in &links {
            if let Some(inode) = link.peer_netns {
                by_netns.entry(inode).or_default().push(link);
            }
        }
        let sides = node.pod_sides.iter().filter(|s| s.ports.is_empty());
        let addresses = sides.flat_map(|s| s.addresses.iter().map(|a| (*a, s.netns)));
        Self {
            node,
            by_name: links.iter().map(|l| (l.name.as_str(), *l)).collect(),
            by_netns,
            netns: addresses.collect(),
        }
    }

    /// Completes a pod that is there; of one that is gone nothing is to be seen.
    pub fn complete(&self, pod: &mut Pod) {
        if pod.host_network || pod.gone.is_some() {
            return;
        }
        self.namespace(pod);
        self.links(pod);
        let side = pod.netns.and_then(|inode| self.node.pod_side(inode));
        for address in side.iter().flat_map(|s| &s.addresses) {
            if !pod.addresses.contains(address) {
                pod.addresses.push(*address);
            }
        }
    }

    /// By its host side interface, else by an address.
    fn namespace(&self, pod: &mut Pod) {
        let named = pod.interface.as_deref();
        let link = named.and_then(|name| self.by_name.get(name));
        let by_address = || pod.addresses.iter().find_map(|a| self.netns.get(a));
        let found = || link.and_then(|l| l.peer_netns).or(by_address().copied());
        pod.netns = pod.netns.or_else(found);
        let down = |name: &str| self.node.links.iter().any(|l| l.name == name && !l.up);
        if link.is_none() && !named.is_some_and(down) {
            // Named by its source, but no link of this node: the pod is elsewhere.
            pod.interface = None;
        }
    }

    fn links(&self, pod: &mut Pod) {
        let mut own: Vec<&Link> = pod
            .netns
            .and_then(|inode| self.by_netns.get(&inode))
            .cloned()
            .unwrap_or_default();
        let named = pod.interface.as_deref();
        own.extend(named.and_then(|name| self.by_name.get(name)));
        if pod.interface.is_none() {
            pod.interface = own.first().map(|l| l.name.clone());
        }
        for link in own {
            self.link(pod, link);
        }
    }

    fn link(&self, pod: &mut Pod, link: &Link) {
        let side = pod.netns.and_then(|inode| self.node.pod_side(inode));
        let mut inside = side.iter().flat_map(|s| &s.links);
        let inside = inside.find(|(index, _)| Some(*index) == link.link);
        let inside = inside.map(|(_, name)| name.clone()).unwrap_or_default();
        let of = |i: &&mut PodInterface| match &i.host {
            Some(host) => *host == link.name,
            None => i.name == inside,
        };
        let host = Some(link.name.clone());
        match pod.interfaces.iter_mut().find(of) {
            Some(known) => (known.host, known.index) = (host, Some(link.index)),
            None => pod.interfaces.push(PodInterface {
                name: inside,
                host,
                index: Some(link.index),
                ..PodInterface::default()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netdiag_model::testing::{POD, overlay_node};

    fn completed(node: &Node, mut pod: Pod) -> Pod {
        Sight::new(node).complete(&mut pod);
        pod
    }

    #[test]
    fn one_fact_leads_to_the_others() {
        let node = overlay_node(1450, 1450, 1500);
        let (side, link) = (&node.pod_sides[0], node.link(POD).expect("a link"));
        let by_address = Pod {
            addresses: side.addresses.clone(),
            ..Pod::default()
        };
        let by_netns = Pod {
            netns: Some(side.netns),
            ..Pod::default()
        };
        let by_link = Pod {
            interface: Some(link.name.clone()),
            ..Pod::default()
        };
        for pod in [by_address, by_netns, by_link].map(|pod| completed(&node, pod)) {
            assert_eq!(pod.netns, Some(side.netns));
            assert_eq!(pod.interface.as_ref(), Some(&link.name));
            assert_eq!(pod.interfaces[0].index, Some(POD));
            assert_eq!(pod.addresses, side.addresses);
        }
    }

    #[test]
    fn a_link_that_is_down_is_here_all_the_same() {
        let mut node = overlay_node(1450, 1450, 1500);
        node.links[2].up = false;
        node.pod_sides.clear();
        let named = Pod {
            interface: Some(node.links[2].name.clone()),
            ..Pod::default()
        };
        let found = completed(&node, named.clone());
        assert_eq!(found.interface, named.interface);
    }

    #[test]
    fn a_link_that_is_not_here_is_another_nodes() {
        let node = overlay_node(1450, 1450, 1500);
        let pod = Pod {
            interface: Some("elsewhere".into()),
            ..Pod::default()
        };
        assert_eq!(completed(&node, pod).interface, None);
    }
}
