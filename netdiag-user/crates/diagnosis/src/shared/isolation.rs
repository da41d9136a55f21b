//! Ports of a bridge that may not speak to each other (`bridge link set dev PORT isolated on`): what
//! comes in by one of them is not forwarded to another, without a reason and without an error.
use netdiag_lang::t;

use std::net::IpAddr;

use crate::{
    model::{
        node::Link,
        roles::Role,
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Origin},
    },
    pipeline::facts::Facts,
    shell,
};

/// Two isolated ports of one bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    pub one: String,
    pub other: String,
    pub bridge: String,
}

impl Isolation {
    pub fn text(&self) -> String {
        let Self { one, other, bridge } = self;
        t!("{one} and {other} are isolated ports of {bridge}, which forwards nothing between them")
    }

    pub fn confirm(&self) -> CommandLine {
        shell!("bridge -d link show dev {}", self.other)
    }

    pub fn evidence(&self) -> Evidence {
        let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, self.text());
        (line.at, line.confirm) = (Some(self.one.clone()), Some(self.confirm()));
        line
    }

    pub fn advice(&self) -> String {
        let Self { one, other, bridge } = self;
        t!(
            "let {one} speak to {other}: find out who isolates the ports of {bridge} (an option of the \
             CNI's), and take it off one of the two at least"
        )
    }

    /// One of the two is enough.
    pub fn lift(&self) -> CommandLine {
        shell!("bridge link set dev {} isolated off", self.other)
    }
}

/// Whether the pods with these addresses are kept apart so.
pub fn between(facts: &Facts<'_>, one: IpAddr, other: IpAddr) -> Option<Isolation> {
    let (one, other) = (port(facts, one)?, port(facts, other)?);
    let apart = one.isolated && other.isolated && one.index != other.index;
    let bridge = one.master.filter(|m| apart && other.master == Some(*m))?;
    Some(Isolation {
        one: one.name.clone(),
        other: other.name.clone(),
        bridge: facts.node.link_name(bridge),
    })
}

fn port<'a>(facts: &Facts<'a>, address: IpAddr) -> Option<&'a Link> {
    let side = facts.pod_side_of(address)?;
    let mut links = facts.node.links.iter();
    links.find(|l| l.peer_netns == Some(side.netns) && facts.role(l) == Some(Role::Pod))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            node::{LinkKind, Node, PodSide},
            observation::Observation,
        },
        testing::{ip, link, overlay_node, with_facts},
    };

    fn node(isolated: [bool; 2]) -> Node {
        let mut node = overlay_node(1450, 1450, 1500);
        node.links.push(link(9, "br0", LinkKind::Bridge, 1500));
        let mut other = link(10, "veth2", LinkKind::Veth, 1500).with_peer(77);
        (other.master, node.links[2].master) = (Some(9), Some(9));
        (node.links[2].isolated, other.isolated) = (isolated[0], isolated[1]);
        node.links.push(other);
        node.pod_sides.push(PodSide {
            netns: 77,
            addresses: vec![ip("172.20.1.6")],
            ..node.pod_sides[0].clone()
        });
        node
    }

    #[test]
    fn both_ends_must_be_isolated() {
        let between = |isolated| {
            let (one, other) = (ip("172.20.1.5"), ip("172.20.1.6"));
            with_facts(&node(isolated), &Observation::default(), |facts| {
                between(facts, one, other)
            })
        };
        assert_eq!(between([true, false]), None);
        let apart = between([true, true]).expect("isolated");
        assert!(
            apart
                .text()
                .starts_with("cali1 and veth2 are isolated ports of br0")
        );
        assert_eq!(apart.lift(), "bridge link set dev veth2 isolated off");
    }
}
