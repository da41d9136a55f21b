//! A node whose rules lead whatever begins to a host beside it, for tests.
use std::sync::Arc;

use crate::{
    model::{
        netfilter::Family,
        node::{Neighbour, Node},
        world::{
            Known, Stack,
            device::Mac,
            of_node,
            ruleset::{
                BaseChain, Bytes, Chain, ChainKind, Data, Expression, Hook, Nat, NatKind, Reg,
                Rule, Ruleset, Table,
            },
        },
    },
    testing::{UPLINK, ip, overlay_node, route},
};

/// Whatever begins is led to a host beside this node, or nothing is translated.
fn rules(leads: bool) -> Ruleset {
    let to = Data::Value(Bytes::from(vec![192, 0, 2, 9]));
    let nat = Nat {
        kind: NatKind::Destination,
        family: Family::Ip,
        addresses: Some((Reg(16), Reg(16))),
        ports: None,
        flags: 1,
    };
    let rule = Rule {
        handle: 4,
        expressions: vec![Expression::Sets(to, Reg(16)), Expression::Nat(nat)],
        comment: None,
    };
    let chain = Chain {
        name: "pre".into(),
        handle: 1,
        base: Some(BaseChain {
            hook: Hook::Prerouting,
            priority: -100,
            kind: ChainKind::Nat,
            accepts: true,
            devices: Vec::new(),
        }),
        rules: leads.then_some(rule).into_iter().collect(),
    };
    let table = Table {
        family: Family::Ip,
        name: "nat".into(),
        legacy: false,
        dormant: false,
        chains: vec![chain],
        sets: Vec::new(),
    };
    Ruleset {
        tables: vec![table],
        ..Ruleset::default()
    }
}

pub fn state(node: &Node, leads: bool) -> Stack {
    let mut stack = of_node::stack(node);
    stack.ruleset = Known::Is(Arc::new(rules(leads)));
    if let Known::Is(devices) = &mut stack.devices {
        for (index, device) in devices {
            let last = u8::try_from(*index).expect("a small number");
            device.mac = Some(Mac([2, 0, 0, 0, 1, last]));
        }
    }
    stack
}

/// With a way out, and whom the rules lead to beside it.
pub fn leading_node(leads: bool) -> (Node, Stack) {
    let mut node = overlay_node(1450, 1450, 1500);
    let on = ("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    node.sysctls.push(on);
    let out = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
    node.routes.push(out);
    node.neighbours
        .extend(["192.0.2.9", "192.0.2.254"].map(|address| Neighbour {
            ifindex: UPLINK,
            address: ip(address),
            lladdr: Some(vec![2, 0, 0, 0, 9, 9]),
            failed: false,
            permanent: true,
        }));
    let stack = state(&node, leads);
    (node, stack)
}
