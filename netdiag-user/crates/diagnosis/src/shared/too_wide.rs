//! A pod that looks for somebody on its own link, as its route says, who is elsewhere: the network that its address was
//! given with is too wide.
use netdiag_lang::t;

use super::{
    dead_end::{Told, named, shown_as},
    losses, pod_default,
};
use crate::{
    model::{
        address::Prefix,
        flow::ends,
        node::RouteKind,
        roles::Role,
        verdict::{Evidence, EvidenceKind, Fix, Origin},
    },
    pipeline::facts::{Facts, Loss},
    shell,
};

/// What its lost packets come to, where this node leads to another link.
pub fn told(facts: &Facts<'_>, loss: &Loss) -> Option<Told> {
    let node = facts.node;
    let side = node.pod_side(loss.key.netns)?;
    let (source, to) = ends(loss.flow());
    let (way, gateway) = side.way(to)?;
    // A default route on the link itself is no network of the pod's: somebody answers for all there.
    let network = gateway.is_none() && way.length > 0;
    let near = losses::nobody_answered(loss) && network;
    let link = node
        .links
        .iter()
        .find(|l| l.peer_netns == Some(side.netns))?;
    let route = facts.way(&facts.from_node(to))?;
    let leads = facts
        .link(route.oif?)
        .filter(|_| route.kind == RouteKind::Unicast)?;
    let there = [Some(link.index), link.master].contains(&Some(leads.index));
    // What a bridge has beside pods leads on: whoever is behind that is on the pod's own link, wherever he is.
    let goes_on = node.links.iter().any(|port| {
        let bridged = port.master.is_some() && port.master == link.master;
        bridged && facts.role(port) != Some(Role::Pod)
    });
    if there || !near || goes_on {
        return None;
    }
    let pod = named(facts, source);
    let what = t!(
        "the pod {pod} looks for {to} on its own link, as its route {way} says, and this node leads there by {}",
        leads.name
    );
    let inside = |command| node.inside(side.netns, command);
    let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, what.clone());
    let shown = shell!("ip route show").of_family(to.is_ipv6());
    line.confirm = Some(inside(shown.clone()).showing(&[&shown_as(way)]));
    let by = pod_default::gateway(side, to.is_ipv6());
    let by = by.or_else(|| pod_default::right(facts, side, to.is_ipv6()));
    let host = Prefix::host(to);
    let change =
        by.map(|by| shell!("ip route replace {} via {}", host, by).of_family(to.is_ipv6()));
    Some(Told {
        what,
        subject: None,
        evidence: line,
        fix: Fix {
            summary: t!(
                "see with which length its address was given to the pod ({way} is too wide): its CNI plugin's IPAM says; until then a route to the host leads it by the gateway"
            ),
            commands: vec![inside(change.unwrap_or(shown))],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{POD_NETNS, died, overlay_node, tcp, with_facts},
    };

    /// What is told of a pod with that route of its own link, that looks for another node's.
    fn of_a_pod(way: &str) -> Option<Told> {
        let mut node = overlay_node(1450, 1450, 1500);
        let near = way.parse().expect("a prefix");
        let out = "0.0.0.0/0".parse().expect("a prefix");
        let gateway = "169.254.1.1".parse().expect("an address");
        node.pod_sides[0].ways = vec![(out, Some(gateway)), (near, None)];
        let flow = tcp("172.20.1.5", "172.20.2.9", 443);
        let mut lost = died(flow, ("NEIGH_FAILED", "neigh_invalidate"), 2, 4);
        lost.0.netns = POD_NETNS;
        let seen = Observation {
            drops: vec![lost],
            ..Observation::default()
        };
        with_facts(&node, &seen, |facts| told(facts, facts.losses.first()?))
    }

    #[test]
    fn who_is_behind_the_node_is_not_on_the_pods_own_link() {
        let told = of_a_pod("172.20.0.0/16").expect("its network is too wide");
        assert!(
            told.what.contains("its route 172.20.0.0/16"),
            "{}",
            told.what
        );
        let by = "ip netns exec cni-1 ip route replace 172.20.2.9/32 via 169.254.1.1";
        assert_eq!(told.fix.commands, [by]);
        assert_eq!(of_a_pod("172.20.1.0/24"), None);
        assert!(of_a_pod("128.0.0.0/1").is_some());
        assert_eq!(of_a_pod("0.0.0.0/0"), None, "it is answered for all");
    }
}
