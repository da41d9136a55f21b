//! A bridge whose table leads frames to another port than whom they are for, in words.
use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

use super::dead_end::Told;
use crate::{
    model::{
        address::mac,
        verdict::{Evidence, EvidenceKind, Fix, Origin, Subject},
    },
    pipeline::{facts::Facts, misled::Misled},
    shell,
};

/// What leads all packets of a flow to a host that they are not for, where that is a bridge's table here.
pub fn told(facts: &Facts<'_>, flow: &FlowKey) -> Option<Told> {
    let Misled::Port(netns, entry) = facts.misled(flow)? else {
        return None;
    };
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
