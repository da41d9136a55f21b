//! A bridge whose table leads frames to another port than whom they are for, in words.
use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

use super::{dead_end::Told, pod_gateway_silent};
use crate::{
    model::{
        address::mac,
        verdict::{Evidence, EvidenceKind, Fix, Origin, Subject},
        world::{Netns, neighbour::FdbEntry},
    },
    pipeline::{
        facts::{Facts, Loss},
        misled::Misled,
    },
    shell,
};

/// What leads all packets of a flow to a host that they are not for, where that is a bridge's table here.
pub fn told(facts: &Facts<'_>, flow: &FlowKey) -> Option<Told> {
    match facts.misled(flow)? {
        Misled::Port(netns, entry) => by_port(facts, netns, entry),
        Misled::Entry(..) => None,
    }
}

/// The same of the answers of a pod's gateway, without which a packet died in the pod.
pub fn of_gateway(facts: &Facts<'_>, loss: &Loss) -> Option<Told> {
    let (gateway, asker) = pod_gateway_silent::asked(facts, loss)?;
    match facts.answers_misled(gateway, asker)? {
        Misled::Port(netns, entry) => by_port(facts, netns, entry),
        Misled::Entry(..) => None,
    }
}

/// A bridge's entry that somebody made.
pub fn by_port(facts: &Facts<'_>, netns: Netns, entry: &FdbEntry) -> Option<Told> {
    let stack = facts.gathered.stack(netns)?;
    let port = &stack.device(entry.device)?.name;
    let whose = mac(&entry.mac.0);
    let what = t!(
        "an entry of the bridge's table has {whose} behind {port}, where nobody has that address"
    );
    let shown = shell!("bridge fdb show dev {}", port);
    let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, what.clone());
    line.confirm = Some(facts.node.inside(netns, shown).showing(&[&whose]));
    let delete = match entry.vlan {
        Some(vlan) => shell!("bridge fdb del {} dev {} master vlan {}", whose, port, vlan),
        None => shell!("bridge fdb del {} dev {} master", whose, port),
    };
    let here = netns == facts.node.netns;
    Some(Told {
        what,
        subject: here.then(|| Subject::Link { name: port.clone() }),
        evidence: line,
        fix: Fix {
            summary: t!(
                "delete the entry: the bridge learns by itself where {whose} is; find out who made it"
            ),
            commands: vec![facts.node.inside(netns, delete)],
        },
    })
}
