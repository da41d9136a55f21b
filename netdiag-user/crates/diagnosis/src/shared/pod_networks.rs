//! Which addresses are pods' of the cluster, told from what the node and its files say. Where
//! nothing says so, an address is anybody's.
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        address::{Prefix, from_wire, to_wire},
        node::{Link, Node, Route, RouteKind},
        pod::label,
        roles::Role,
        verdict::PodRole,
    },
    pipeline::facts::Facts,
};

/// A supernet wider than this is no cluster's (10.0.0.0/8 is everybody's): kubeadm's examples
/// are /16, kops' 100.96.0.0/11 is the widest in use, IPv6 ones are /48 and longer.
const WIDEST: (u8, u8) = (11, 40);

/// Why an address is taken for a pod's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAddress {
    pub why: String,
    /// The network of the node that it belongs to, and the tunnel that leads there, where the
    /// node still has its entry for that peer.
    pub lost: Option<(Prefix, u32)>,
    /// Nothing names it and nobody asks it for names: it only lies among the networks that pods
    /// have.
    pub guessed: bool,
}

/// Whether `address` is some pod's of the cluster, and what says so.
pub fn pod_address(facts: &Facts<'_>, address: IpAddr) -> Option<PodAddress> {
    let node = facts.node;
    if facts.owns(address) || on_an_uplink(facts, address) {
        return None;
    }
    let lost = peers_network(facts, address);
    let by = |why: String| {
        Some(PodAddress {
            why,
            lost,
            guessed: false,
        })
    };
    if let Some((network, index)) = lost {
        let name = node.link_name(index);
        return by(t!("{name} still has the peer's end {}", network.address));
    }
    if let Some(pod) = facts.pods.by_address(address) {
        let pod = pod.refer(Some(address), Some(PodRole::Destination));
        return by(t!("it is the pod {}'s", label(&pod)));
    }
    if let Some((name, network)) = node_of(facts, address) {
        return by(t!("the Node {name} has the podCIDR {network}"));
    }
    let said = facts.gathered.pod_networks().unwrap_or_default();
    if let Some((network, file)) = said.iter().find(|(network, _)| network.contains(address)) {
        return by(t!("{file} gives {network} to pods"));
    }
    let around = supernet(facts, address.is_ipv4())?;
    if !around.contains(address) {
        return None;
    }
    let mut why = t!("the pod networks that this node knows lie in {around}");
    // A pod that is gone leaves an address behind, but nobody is told to ask it for names.
    let serves = facts.picture().is_cluster_dns(address);
    if serves {
        why.push_str(t!(", and it is asked for the cluster's names"));
    }
    Some(PodAddress {
        why,
        lost,
        guessed: !serves,
    })
}

/// Networks of other nodes' pods: as the API says, and by their ends that tunnels know.
pub fn others(facts: &Facts<'_>) -> Vec<Prefix> {
    let nodes = facts.cluster.nodes.iter();
    let nodes = nodes.filter(|n| Some(&n.name) != facts.cluster.node.as_ref());
    let mut all: Vec<Prefix> = nodes.flat_map(|node| node.pod_cidrs.clone()).collect();
    let entries = facts.node.neighbours.iter();
    let ends = entries.filter_map(|entry| peers_network(facts, entry.address));
    all.extend(ends.map(|(network, _)| network));
    all.retain(|network| !facts.owns(network.address));
    all
}

/// The other node whose pods have such addresses, as the API says.
fn node_of<'a>(facts: &Facts<'a>, address: IpAddr) -> Option<(&'a str, Prefix)> {
    let others = facts.cluster.nodes.iter();
    let mut others = others.filter(|n| Some(&n.name) != facts.cluster.node.as_ref());
    others.find_map(|node| {
        let mut networks = node.pod_cidrs.iter();
        let network = networks.find(|network| network.contains(address))?;
        Some((node.name.as_str(), *network))
    })
}

fn on_an_uplink(facts: &Facts<'_>, address: IpAddr) -> bool {
    let uplink = |l: &Link| facts.role(l) == Some(Role::Uplink);
    let mut own = facts.node.addresses().filter(|(l, _)| uplink(l));
    own.any(|(_, a)| a.prefix.contains(address))
}

/// The tunnel's neighbour entry of a peer stands for that node's network: flannel enters the
/// network's own first address.
fn peers_network(facts: &Facts<'_>, address: IpAddr) -> Option<(Prefix, u32)> {
    let length = local_networks(facts)
        .find(|p| p.address.is_ipv4() == address.is_ipv4())?
        .length;
    let tunnel = |index: u32| facts.link(index).is_some_and(Link::is_tunnel);
    let entries = facts.node.neighbours.iter();
    let mut entries = entries.filter(|n| tunnel(n.ifindex) && n.lladdr.is_some() && !n.failed);
    let network = |address| Prefix { address, length };
    let entry = entries.find(|n| {
        masked(network(n.address)).address == n.address && network(n.address).contains(address)
    })?;
    Some((network(entry.address), entry.ifindex))
}

/// The network of this node's own pods that an address is in.
pub fn own_network(facts: &Facts<'_>, address: IpAddr) -> Option<Prefix> {
    local_networks(facts).find(|network| network.contains(address))
}

/// A network beside this node's own, as large as that, which a route of its own leads to by a next hop:
/// so host-gw and BGP reach other nodes' pods.
pub fn beside_own(facts: &Facts<'_>, address: IpAddr) -> Option<Prefix> {
    let route = facts.way(&facts.from_node(address))?;
    let to = route.destination;
    let led = route.kind == RouteKind::Unicast && route.gateway.is_some();
    // Calico keeps a refusing route for the range that its pods here have.
    let blocks = facts.node.routes.iter().filter(|r| {
        let has = |a: &IpAddr| r.destination.contains(*a);
        let mut pods = facts.node.pod_sides.iter().flat_map(|s| &s.addresses);
        r.kind == RouteKind::Refusing && r.destination.length > 0 && pods.any(has)
    });
    let mut own = local_networks(facts).chain(blocks.map(|r| r.destination));
    let widest = if address.is_ipv4() {
        WIDEST.0
    } else {
        WIDEST.1
    };
    let beside = |own: Prefix| {
        let family = own.address.is_ipv4() == to.address.is_ipv4();
        family && own.length == to.length && own != to && common(own, to).length >= widest
    };
    (led && own.any(beside)).then_some(to)
}

/// Networks of this node's own pods.
fn local_networks<'f>(facts: &'f Facts<'_>) -> impl Iterator<Item = Prefix> + 'f {
    let bridges = facts.node.links.iter();
    let bridges = bridges.filter(|l| facts.role(l) == Some(Role::Bridge));
    let addresses = bridges.flat_map(|l| &l.addresses).filter(|a| !a.link_local);
    addresses.map(|a| masked(a.prefix))
}

/// The smallest network around this node's pods and at least one other node's.
fn supernet(facts: &Facts<'_>, ipv4: bool) -> Option<Prefix> {
    let node = facts.node;
    let local = local_networks(facts).chain(
        node.pod_sides
            .iter()
            .flat_map(|s| s.addresses.iter().map(|a| Prefix::host(*a))),
    );
    let family = |p: &Prefix| p.address.is_ipv4() == ipv4;
    let own: Vec<Prefix> = local.filter(family).collect();
    let others = node.routes.iter().filter(|r| to_other_nodes(node, r));
    let others: Vec<Prefix> = others.map(|r| r.destination).filter(family).collect();
    if own.is_empty() || others.is_empty() {
        return None;
    }
    let around = own.into_iter().chain(others).reduce(common)?;
    let widest = if ipv4 { WIDEST.0 } else { WIDEST.1 };
    (around.length >= widest).then_some(around)
}

/// A route by which other nodes' pods are reached: through a tunnel.
#[expect(clippy::disallowed_methods, reason = "networks are compared, not ways")]
fn to_other_nodes(node: &Node, route: &Route) -> bool {
    let link_local = match route.destination.address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let tunnel = route
        .oif
        .and_then(|i| node.link(i))
        .is_some_and(Link::is_tunnel);
    let anywhere = route.destination.is_anywhere() || route.destination.address.is_multicast();
    route.kind == RouteKind::Unicast && tunnel && !anywhere && !link_local
}

pub fn masked(prefix: Prefix) -> Prefix {
    let keep = u128::from(prefix.wire_length());
    let mask = u128::MAX.checked_shl(128 - keep as u32).unwrap_or(0);
    let bits = u128::from_be_bytes(to_wire(prefix.address)) & mask;
    let address = from_wire(bits.to_be_bytes());
    Prefix { address, ..prefix }
}

/// The smallest prefix around both, which are of one family.
fn common(one: Prefix, other: Prefix) -> Prefix {
    let bits = |p: &Prefix| u128::from_be_bytes(to_wire(p.address));
    let same = (bits(&one) ^ bits(&other)).leading_zeros() as u8;
    let above = if one.address.is_ipv4() { 96 } else { 0 };
    let length = same.saturating_sub(above).min(one.length).min(other.length);
    masked(Prefix {
        address: one.address,
        length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn the_smallest_network_around_two() {
        let both = |a, b| common(prefix(a), prefix(b)).to_string();
        assert_eq!(both("10.244.1.0/24", "10.244.2.0/24"), "10.244.0.0/22");
        assert_eq!(both("10.0.0.0/24", "10.200.0.0/24"), "10.0.0.0/8");
        assert_eq!(both("fd00:1:2:3::/64", "fd00:1:2:9::/64"), "fd00:1:2::/60");
        assert_eq!(both("10.1.0.0/16", "10.1.7.1/32"), "10.1.0.0/16");
        assert_eq!(masked(prefix("0.0.0.9/0")), prefix("0.0.0.0/0"));
        assert_eq!(masked(prefix("::9/0")), prefix("::/0"));
    }
}
