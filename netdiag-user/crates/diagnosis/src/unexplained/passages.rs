//! What a stuck flow has to pass, as the node's routes say.
use std::{collections::BTreeSet, net::IpAddr};

use super::symptoms::Symptom;
use crate::{
    model::{
        flow::{UDP, ends},
        node::{Link, LinkKind},
        verdict::Passage,
    },
    pipeline::facts::Facts,
    shared::overlay,
};

pub fn of(facts: &Facts<'_>, symptom: &Symptom) -> BTreeSet<Passage> {
    let far = symptom.far();
    let mut all = BTreeSet::new();
    // What is open has its entries.
    if symptom.asked > 0 {
        let ipv6 = far.is_ipv6();
        let pods = [symptom.client, symptom.server].into_iter();
        let pods = pods.filter_map(|end| facts.pod_side_of(end));
        all.extend(pods.map(|side| Passage::Tracking(side.netns)));
        all.extend([
            Passage::Tracking(facts.node.netns),
            Passage::Neighbours { ipv6 },
        ]);
    }
    all.insert(Passage::Host(far));
    towards(facts, far, &mut all);
    // The outer packets go by routes of their own.
    if let Some(peer) = overlay::peer_towards(facts, far) {
        all.insert(Passage::Host(peer));
        towards(facts, peer, &mut all);
    }
    // Whoever asks from behind a tunnel is heard by it.
    all.extend(overlay::peer_towards(facts, symptom.client).map(Passage::Host));
    if is_outer(facts, symptom) {
        all.extend([symptom.client, symptom.server].map(Passage::Host));
    }
    if let Some(hop) = &symptom.last {
        all.insert(Passage::Link(hop.key.ifindex));
        all.extend(
            Some(ends(hop.flow()).1)
                .filter(|to| !facts.owns(*to))
                .map(Passage::Host),
        );
    }
    all
}

/// A tunnel's own packets: what is wrong with the tunnel affects them.
fn is_outer(facts: &Facts<'_>, symptom: &Symptom) -> bool {
    let port = |l: &Link| l.tunnel.as_ref().and_then(|t| t.port);
    let of = |l: &Link| port(l) == Some(symptom.port);
    match symptom.protocol {
        UDP => facts.node.links.iter().any(of),
        protocol => overlay::IN_IP.contains(&protocol),
    }
}

fn towards(facts: &Facts<'_>, address: IpAddr, all: &mut BTreeSet<Passage>) {
    let Some(route) = facts.way(&facts.from_node(address)) else {
        return;
    };
    all.insert(Passage::Host(route.gateway.unwrap_or(address)));
    let Some(link) = route.oif.and_then(|oif| facts.link(oif)) else {
        return;
    };
    all.insert(Passage::Link(link.index));
    // A bridge's cable and what a VLAN is on carry what it sends. A bond leaves out its members
    // that are down.
    if link.kind == LinkKind::Bridge {
        let port = |l: &&Link| l.master == Some(link.index) && l.kind == LinkKind::Physical;
        let ports = facts.node.links.iter().filter(port);
        all.extend(ports.map(|l| Passage::Link(l.index)));
    }
    let below = link.link.filter(|_| link.kind == LinkKind::Vlan);
    all.extend(below.map(Passage::Link));
}
