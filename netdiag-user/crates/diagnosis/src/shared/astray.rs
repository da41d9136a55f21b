//! A bridge whose table leads frames to another port than whom they are for, in words.
use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

use super::{dead_end::Told, pod_gateway_silent};
use crate::{
    model::{
        address::mac,
        verdict::{Evidence, EvidenceKind, Fix, Origin, Subject},
        world::{
            Netns,
            device::{Device, Mac},
            neighbour::FdbEntry,
        },
    },
    pipeline::{
        facts::{Facts, Loss},
        misled::Misled,
    },
    shell,
};

/// What leads all packets of a flow to a host that they are not for, where that is a bridge's table here.
pub fn told(facts: &Facts<'_>, flow: &FlowKey) -> Option<Told> {
    in_words(facts, facts.misled(flow)?)
}

/// The same of the answers of a pod's gateway, without which a packet died in the pod.
pub fn of_gateway(facts: &Facts<'_>, loss: &Loss) -> Option<Told> {
    let (gateway, asker) = pod_gateway_silent::asked(facts, loss)?;
    in_words(facts, facts.answers_misled(gateway, asker)?)
}

fn in_words(facts: &Facts<'_>, misled: Misled<'_>) -> Option<Told> {
    match misled {
        Misled::Port(netns, entry) => by_port(facts, netns, entry),
        Misled::Unflooded(netns, port, whose) => Some(unflooded(facts, netns, port, whose)),
        Misled::Entry(..) => None,
    }
}

/// A port that is sent nothing for whom the bridge does not know.
fn unflooded(facts: &Facts<'_>, netns: Netns, port: &Device, whose: Mac) -> Told {
    let (name, whose) = (&port.name, mac(&whose.0));
    let learns = port.port.is_some_and(|port| port.learning);
    let what = t!(
        "the bridge does not know {whose}, which is behind {name}, and {name} takes nothing that is flooded"
    );
    let inside = |command| facts.node.inside(netns, command);
    let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, what.clone());
    let shown = shell!("bridge -d link show dev {}", name);
    line.confirm = Some(inside(shown).showing(&["flood off"]));
    let here = netns == facts.node.netns;
    let change = match learns {
        true => shell!("bridge link set dev {} flood on", name),
        false => shell!("bridge link set dev {} learning on flood on", name),
    };
    Told {
        what,
        subject: here.then(|| Subject::Link { name: name.clone() }),
        evidence: line,
        fix: Fix {
            summary: t!(
                "let the port {name} learn and be flooded to, or give the bridge the entry that it lacks; find out who set it so: whoever does has to make the entries"
            ),
            commands: vec![inside(change)],
        },
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
