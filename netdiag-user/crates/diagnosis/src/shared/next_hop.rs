//! What reaching a next hop depends on: its link with those below it, and whoever sends there.
use std::net::IpAddr;

use crate::{
    model::{
        node::Link,
        verdict::{Finding, Subject},
    },
    pipeline::facts::Facts,
};

/// Links on top of each other: a VLAN on a bond, and a little more.
const LAYERS: usize = 8;

/// A finding about next hops that do not answer, asked for by `link`.
pub fn rest_on(facts: &Facts<'_>, finding: &mut Finding, link: Option<&Link>) {
    let below = |link: &&Link| match link.peer_elsewhere {
        true => None,
        false => facts.link(link.link?),
    };
    for link in std::iter::successors(link, below).take(LAYERS) {
        let name = link.name.clone();
        finding.ties.rest_on(Subject::Link { name });
    }
    for address in &finding.about {
        for subject in leads_there(*address) {
            finding.ties.rest_on(subject);
        }
    }
}

/// What may have chosen the address: a Service's rule, a tunnel's peer, another host that has it.
fn leads_there(address: IpAddr) -> [Subject; 3] {
    [
        Subject::Backend { address },
        Subject::Vtep { address },
        Subject::Address { address },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            observation::Observation,
            verdict::{Confidence, Severity},
        },
        testing::{UPLINK, overlay_node, with_facts},
    };

    #[test]
    fn a_vlan_rests_on_the_link_below_it() {
        let mut node = overlay_node(1450, 1450, 1500);
        let uplink = node.link(UPLINK).expect("a link").clone();
        let vlan = Link {
            index: 70,
            name: "uplink.7".into(),
            link: Some(UPLINK),
            peer_elsewhere: false,
            ..uplink.clone()
        };
        node.links.push(vlan.clone());
        let finding = with_facts(&node, &Observation::default(), |facts| {
            let (bad, sure) = (Severity::Warning, Confidence::Confirmed);
            let mut finding = Finding::new("x", bad, sure, String::new());
            finding.about = vec!["192.0.2.1".parse().expect("an address")];
            rest_on(facts, &mut finding, Some(&vlan));
            finding
        });
        let on: Vec<_> = finding.ties.rests_on.iter().map(|t| &t.subject).collect();
        for name in [vlan.name, uplink.name] {
            assert!(on.contains(&&Subject::Link { name }), "{on:?}");
        }
        assert_eq!(on.len(), 2 + 3);
    }
}
