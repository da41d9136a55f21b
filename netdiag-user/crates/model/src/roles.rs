//! What each link of the node is for: decided from kinds, masters, peers and routes, never from
//! names.
mod outline;

use std::{cell::OnceCell, collections::HashSet, net::IpAddr};

use netdiag_lang::mark;
use serde::{Deserialize, Serialize};

use super::{
    address::Prefix,
    index::NodeIndex,
    node::{Link, LinkKind, Node, PodSide, Route, RouteKind, Tunnel},
};

pub use outline::Outline;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Host side of a pod's link.
    Pod,
    /// A bridge that pods are ports of.
    Bridge,
    Tunnel,
    /// Carries the node's traffic, encapsulated or not, to other nodes and the world.
    Uplink,
}

impl Role {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pod => mark!("pod"),
            Self::Bridge => mark!("bridge"),
            Self::Tunnel => mark!("tunnel"),
            Self::Uplink => mark!("uplink"),
        }
    }
}

/// The role of `link`; nothing for what carries no pod's traffic. Whoever asks for many links asks
/// [`Roles`].
pub fn role(node: &Node, link: &Link) -> Option<Role> {
    Roles::new(node).of(link)
}

/// What is asked of the whole node and the same for each of its links.
pub struct Roles<'a> {
    node: &'a Node,
    /// Links that the default route or a tunnel's packets leave by.
    carriers: OnceCell<HashSet<u32>>,
}

impl<'a> Roles<'a> {
    pub fn new(node: &'a Node) -> Self {
        Self {
            node,
            carriers: OnceCell::new(),
        }
    }

    /// The role of `link`; nothing for what carries no pod's traffic.
    pub fn of(&self, link: &Link) -> Option<Role> {
        if let Some(role) = tunnel_or(link, || self.is_uplink(link))? {
            return Some(role);
        }
        match link.kind {
            LinkKind::Veth | LinkKind::Netkit if is_pods(self.node, link) => Some(Role::Pod),
            LinkKind::Bridge if has_pod_ports(self.node, link) => Some(Role::Bridge),
            _ => None,
        }
    }

    /// A pod's link that somebody switched off: it carries nothing, and the pod is there all the same.
    pub fn is_pods_and_down(&self, link: &Link) -> bool {
        let pair = matches!(link.kind, LinkKind::Veth | LinkKind::Netkit);
        !link.up && pair && is_pods(self.node, link) && !self.is_uplink(link)
    }

    /// Whether it is a pod's if nothing is behind the namespace at its other end: that is to be looked into.
    pub fn may_be_pods(&self, link: &Link) -> bool {
        let alone = || link.master.is_none() && !self.carriers().contains(&link.index);
        let leads = link.up && link.kind == LinkKind::Veth && is_pods(self.node, link);
        leads && alone() && !leads_by_gateway(self.node, link)
    }

    fn carriers(&self) -> &HashSet<u32> {
        self.carriers.get_or_init(|| carriers(self.node))
    }

    /// An uplink is where the default route or a tunnel's underlay leads, or a NIC with an address;
    /// a link enslaved to one (bond member, bridge port) is not an uplink itself.
    fn is_uplink(&self, link: &Link) -> bool {
        let leads_out = || {
            let carries = self.carriers().contains(&link.index);
            has_network(self.node, link) || carries || leads_into_a_program(self.node, link)
        };
        link.master.is_none() && leads_out()
    }
}

/// What a link is before anything is asked of its ports and peers; nothing at all for one that is
/// down.
fn tunnel_or(link: &Link, is_uplink: impl FnOnce() -> bool) -> Option<Option<Role>> {
    if !link.up || link.kind == LinkKind::Loopback {
        return None;
    }
    if link.is_tunnel() {
        return Some(Some(Role::Tunnel));
    }
    Some(is_uplink().then_some(Role::Uplink))
}

#[expect(clippy::disallowed_methods, reason = "of the routes themselves")]
fn carriers(node: &Node) -> HashSet<u32> {
    let default = |r: &&Route| r.kind == RouteKind::Unicast && r.destination.is_anywhere();
    let default = node.routes.iter().filter(default).filter_map(|r| r.oif);
    let tunnels = node.links.iter().filter(|l| l.up);
    let tunnels: Vec<&Tunnel> = tunnels.filter_map(|l| l.tunnel.as_ref()).collect();
    let bound = tunnels.iter().filter_map(|t| t.underlay);
    let locals: HashSet<IpAddr> = tunnels.iter().filter_map(|t| t.local).collect();
    let sends = |l: &&Link| { l.addresses.iter() }.any(|a| locals.contains(&a.prefix.address));
    let sending = node.links.iter().filter(sends).map(|l| l.index);
    let peers: HashSet<IpAddr> = node.fdb.iter().map(|f| f.vtep).collect();
    let index = NodeIndex::new(node);
    let ways = peers.iter().filter_map(|peer| index.route_to(*peer));
    let ways = ways.filter(|r| r.kind == RouteKind::Unicast);
    let ways = ways.filter_map(|r| r.oif);
    default.chain(bound).chain(sending).chain(ways).collect()
}

/// A NIC (or a veth that stands for one) with an address in a subnet of its own. A pod's link
/// has none, or the gateway's as a host address.
fn owns_subnet(link: &Link) -> bool {
    let subnet = |a: &super::node::LinkAddress| {
        let host = if a.prefix.address.is_ipv4() { 32 } else { 128 };
        !a.link_local && a.prefix.length < host
    };
    matches!(
        link.kind,
        LinkKind::Physical | LinkKind::Veth | LinkKind::Vlan | LinkKind::Bond
    ) && link.addresses.iter().any(subnet)
}

/// Routes lead into a program that takes packets as they are (tun): a VPN's client, an overlay of its own.
fn leads_into_a_program(node: &Node, link: &Link) -> bool {
    let tun = !link.ethernet && matches!(&link.kind, LinkKind::Other(kind) if kind == "tun");
    let own = |to: &Prefix| {
        link.addresses
            .iter()
            .any(|a| a.prefix.address == to.address)
    };
    let by = |r: &Route| {
        let led = r.kind == RouteKind::Unicast && r.oif == Some(link.index);
        led && !own(&r.destination) && !r.destination.address.is_multicast()
    };
    tun && node.routes.iter().any(by)
}

/// A network of others' is behind it: it has a subnet of its own, and not for one namespace alone.
fn has_network(node: &Node, link: &Link) -> bool {
    owns_subnet(link) && !far_side(node, link).is_some_and(|side| is_last(node, link, side))
}

fn far_side<'a>(node: &'a Node, link: &Link) -> Option<&'a PodSide> {
    link.peer_netns.and_then(|inode| node.pod_side(inode))
}

/// Nothing is behind the namespace at the other end: it has this one link, its gateway, if any, is
/// the node, and nobody is reached through it. So systemd-nspawn(1) links a container.
fn is_last(node: &Node, link: &Link, side: &PodSide) -> bool {
    let own = |gateway: &IpAddr| link.addresses.iter().any(|a| a.prefix.address == *gateway);
    let gateways = side.ways.iter().filter_map(|(_, gateway)| gateway.as_ref());
    side.links.len() == 1
        && side.ports.is_empty()
        && { gateways }.all(own)
        && !leads_by_gateway(node, link)
}

fn leads_by_gateway(node: &Node, link: &Link) -> bool {
    let by = |route: &Route| route.oif == Some(link.index) && route.gateway.is_some();
    node.routes.iter().any(by)
}

/// The peer is in another namespace, and no port of a bridge there: that would be a switch, and
/// this link a NIC.
fn is_pods(node: &Node, link: &Link) -> bool {
    let side = far_side(node, link);
    let port = side.is_some_and(|s| link.link.is_some_and(|peer| s.ports.contains(&peer)));
    link.peer_elsewhere && !port
}

fn has_pod_ports(node: &Node, bridge: &Link) -> bool {
    node.links
        .iter()
        .any(|l| l.master == Some(bridge.index) && l.kind == LinkKind::Veth && is_pods(node, l))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{OVERLAY, POD, UPLINK, link, overlay_node, route};

    fn role_of(node: &Node, index: u32) -> Option<Role> {
        role(node, node.link(index)?)
    }

    #[test]
    fn roles_come_from_facts() {
        let node = overlay_node(1450, 1450, 1500);
        assert_eq!(role_of(&node, UPLINK), Some(Role::Uplink));
        assert_eq!(role_of(&node, OVERLAY), Some(Role::Tunnel));
        assert_eq!(role_of(&node, POD), Some(Role::Pod));
    }

    #[test]
    fn a_veth_that_carries_the_default_route_is_an_uplink_and_no_pods_link() {
        let mut node = overlay_node(1450, 1450, 1500);
        node.links
            .push(link(9, "veth0", LinkKind::Veth, 1500).with_peer(77));
        assert_eq!(role_of(&node, 9), Some(Role::Pod));
        node.routes
            .push(route("0.0.0.0/0", 9, Some("198.51.100.1")));
        assert_eq!(role_of(&node, 9), Some(Role::Uplink));
    }

    #[test]
    fn a_pods_link_that_is_down_has_no_role_and_is_the_pods() {
        let mut node = overlay_node(1450, 1450, 1500);
        let down = |node: &Node, index: u32| {
            let link = node.link(index).expect("a link");
            Roles::new(node).is_pods_and_down(link)
        };
        assert!(!down(&node, POD));
        node.links.iter_mut().for_each(|link| link.up = false);
        assert!(down(&node, POD));
        assert!(!down(&node, UPLINK));
        assert_eq!(role_of(&node, POD), None);
    }

    #[test]
    fn a_netkit_pair_is_a_pods_link_too() {
        let mut node = overlay_node(1450, 1450, 1500);
        node.links[2].kind = LinkKind::Netkit;
        assert_eq!(role_of(&node, POD), Some(Role::Pod));
    }

    #[test]
    fn a_veth_into_a_switch_is_no_pods_link() {
        let mut node = overlay_node(1450, 1450, 1500);
        node.links[2].link = Some(5);
        node.pod_sides[0].ports = vec![5];
        assert_eq!(role_of(&node, POD), None);
        node.pod_sides[0].ports = vec![6];
        assert_eq!(role_of(&node, POD), Some(Role::Pod));
    }

    #[test]
    fn a_veth_with_a_subnet_is_an_uplink_unless_one_namespace_is_all_that_is_behind_it() {
        let mut node = overlay_node(1450, 1450, 1500);
        node.links[2] = node.links[2].clone().with_address("10.88.0.1/24");
        node.pod_sides[0].links.clear();
        let pod = role_of(&node, POD);
        assert_eq!(pod, Some(Role::Uplink), "who is there is not known");
        let leaf = &mut node.pod_sides[0];
        leaf.links = vec![(2, "host0".into())];
        leaf.ways = vec![(
            "0.0.0.0/0".parse().expect("a prefix"),
            Some([10, 88, 0, 1].into()),
        )];
        assert_eq!(role_of(&node, POD), Some(Role::Pod));
        node.pod_sides[0].ways.clear();
        assert_eq!(role_of(&node, POD), Some(Role::Pod), "nor any way back");
        let mut router = node.clone();
        router.pod_sides[0].links.push((3, "eth1".into()));
        assert_eq!(role_of(&router, POD), Some(Role::Uplink));
        let mut other = node.clone();
        other.pod_sides[0].ways = vec![(
            "0.0.0.0/0".parse().expect("a prefix"),
            Some([10, 88, 0, 9].into()),
        )];
        assert_eq!(role_of(&other, POD), Some(Role::Uplink));
        node.routes
            .push(route("192.0.2.0/24", POD, Some("10.88.0.2")));
        assert_eq!(role_of(&node, POD), Some(Role::Uplink));
    }

    #[test]
    fn a_bridge_counts_only_with_pods_on_it() {
        let mut node = overlay_node(1450, 1450, 1500);
        node.links.push(link(9, "br0", LinkKind::Bridge, 1500));
        assert_eq!(role_of(&node, 9), None);
        node.links[2].master = Some(9);
        assert_eq!(role_of(&node, 9), Some(Role::Bridge));
    }

    #[test]
    fn a_device_that_is_down_has_no_role() {
        let mut node = overlay_node(1450, 1450, 1500);
        node.links[1].up = false;
        assert_eq!(role_of(&node, OVERLAY), None);
    }

    #[test]
    fn a_program_that_routes_lead_into_is_an_uplink() {
        let mut node = overlay_node(1450, 1450, 1500);
        let mut tun = link(9, "vpn0", LinkKind::Other("tun".into()), 1400);
        tun.ethernet = false;
        node.links.push(tun.with_address("10.9.0.2/32"));
        node.routes.push(route("10.9.0.2/32", 9, None));
        assert_eq!(role_of(&node, 9), None, "nothing leads into it");
        node.routes.push(route("10.16.0.0/12", 9, None));
        assert_eq!(role_of(&node, 9), Some(Role::Uplink));
    }
}
