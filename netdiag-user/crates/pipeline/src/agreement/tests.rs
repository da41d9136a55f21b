use std::sync::Arc;

use netdiag_common::hop::PLAIN;

use super::*;
use crate::{
    model::{
        gather::Piece,
        link_filters::LinkHook,
        node::{LOCAL, LinkKind, Node, RouteKind},
        observation::Observation,
        world::{
            AtLink, Known, Stack, of_node,
            rule::{Action, Rule},
            ruleset::Ruleset,
        },
    },
    testing::{
        NETNS, OVERLAY, POD, POD_NETNS, UPLINK, at, ip, link, overlay_node, route, tcp,
        with_gathered,
    },
};

const OWN: &str = "192.0.2.1";
const PEER: &str = "192.0.2.2";

fn node() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    node.links
        .push(link(1, "lo", LinkKind::Loopback, 65_536).with_address("127.0.0.1/8"));
    let mut local = route("192.0.2.1/32", UPLINK, None);
    (local.table, local.kind) = (LOCAL, RouteKind::Local);
    node.routes.push(local);
    let mut beside = node.neighbours[0].clone();
    (beside.ifindex, beside.address) = (UPLINK, ip(PEER));
    node.neighbours.push(beside);
    node
}

/// The node's own, read then; with a rule of that priority that prohibits everything.
fn state(node: &Node, moment: u64, prohibits: Option<u32>) -> Stack {
    let mut stack = of_node::stack(node);
    stack.moment = moment;
    stack.ruleset = Known::Is(Arc::new(Ruleset::default()));
    stack.exceptions = Known::Is(Vec::new());
    stack.fdb = Known::Is(Vec::new());
    if let (Known::Is(rules), Some(priority)) = (&mut stack.rules, prohibits) {
        rules.insert(0, Rule::every(false, priority, Action::Prohibit));
    }
    stack
}

/// A conversation of the node's with a neighbour, from that port and that moment on.
fn talks(port: u16, first: u64) -> Observation {
    let mut flow = tcp(OWN, PEER, 443);
    flow.source_port = port;
    let hop = |flow, egress, at_ns| {
        at(flow, UPLINK, egress, PLAIN, |hop| {
            (hop.first, hop.last) = (at_ns, at_ns + 1);
        })
    };
    Observation {
        flows: vec![
            hop(flow, true, first),
            hop(flow.reversed(), false, first + 1),
        ],
        now: first + 10,
        ..Observation::default()
    }
}

fn read(agreement: &mut Agreement, seen: &Observation, stack: Stack) {
    let piece = (Want::Stack(NETNS), Ok(Piece::Stack(Box::new(stack))));
    with_gathered(&node(), seen, [piece], |facts| agreement.reading(facts));
}

fn of(agreement: &Agreement, held: Held) -> u64 {
    let counts = agreement.counts().iter();
    counts
        .filter(|((_, h), _)| *h == held)
        .map(|(_, n)| n)
        .sum()
}

#[test]
fn what_goes_as_computed_agrees_once() {
    let mut agreement = Agreement::default();
    let seen = talks(40_000, 100);
    read(&mut agreement, &seen, state(&node(), 50, None));
    let counts = agreement.counts().clone();
    assert!(
        counts.contains_key(&(Station::Link, Held::Agreed)),
        "{counts:?}"
    );
    assert_eq!(of(&agreement, Held::Contradicted), 0, "{counts:?}");
    read(&mut agreement, &seen, state(&node(), 50, None));
    assert_eq!(*agreement.counts(), counts, "it is walked once");
}

#[test]
fn what_passes_twice_where_it_is_refused_is_distrusted() {
    let node = node();
    let mut agreement = Agreement::default();
    let rows = |agreement: &Agreement| agreement.not_checked(NETNS);
    read(
        &mut agreement,
        &talks(40_000, 100),
        state(&node, 50, Some(90)),
    );
    let counts = agreement.counts();
    assert!(of(&agreement, Held::Contradicted) > 0, "{counts:?}");
    assert!(rows(&agreement).is_empty(), "the rule may be gone since");
    read(
        &mut agreement,
        &talks(40_001, 110),
        state(&node, 50, Some(90)),
    );
    assert!(rows(&agreement).is_empty(), "nobody looked anew");
    read(
        &mut agreement,
        &talks(40_002, 300),
        state(&node, 200, Some(90)),
    );
    let told = rows(&agreement);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].what, "what ip rule 90 does with packets");
    let later = talks(40_003, 300 + BELIEVED);
    read(&mut agreement, &later, state(&node, 250 + BELIEVED, None));
    assert!(rows(&agreement).is_empty(), "it is long ago");
}

/// That a pod's was read anew says nothing of the node's.
#[test]
fn another_namespaces_state_is_no_second_witness() {
    let node = node();
    let mut agreement = Agreement::default();
    for (port, first, of_pod) in [(40_000, 100, 10), (40_001, 300, 200)] {
        let stacks = [
            (NETNS, state(&node, 50, Some(90))),
            (POD_NETNS, state(&node, of_pod, None)),
        ];
        let pieces = stacks.map(|(at, stack)| (Want::Stack(at), Ok(Piece::Stack(Box::new(stack)))));
        with_gathered(&node, &talks(port, first), pieces, |facts| {
            agreement.reading(facts);
        });
    }
    assert!(of(&agreement, Held::Contradicted) > 1);
    assert!(agreement.not_checked(NETNS).is_empty());
}

/// Another dataplane's program may send packets anywhere.
#[test]
fn what_a_program_may_turn_is_unknown() {
    let mut agreement = Agreement::default();
    let mut stack = state(&node(), 50, None);
    stack.at_links = Known::Is(vec![AtLink {
        device: UPLINK,
        hook: LinkHook::Ingress,
        program: Some("cil_from_netdev".into()),
    }]);
    read(&mut agreement, &talks(40_000, 100), stack);
    let counts = agreement.counts();
    // The question leaves as computed; its answer comes in there.
    assert!(of(&agreement, Held::Agreed) > 0, "{counts:?}");
    assert!(of(&agreement, Held::Unknown) > 0, "{counts:?}");
    assert_eq!(of(&agreement, Held::Contradicted), 0, "{counts:?}");
}

/// A router that nobody read may lead it back here.
#[test]
fn what_left_may_come_back() {
    for (there, contradicts) in [(102, false), (99, true)] {
        let mut agreement = Agreement::default();
        let mut seen = talks(40_000, 100);
        let flow = seen.flows[0].0.flow;
        seen.flows.push(at(flow, OVERLAY, true, PLAIN, |hop| {
            (hop.first, hop.last) = (there, there + 1);
        }));
        read(&mut agreement, &seen, state(&node(), 50, None));
        let counts = agreement.counts();
        assert_eq!(
            of(&agreement, Held::Contradicted) > 0,
            contradicts,
            "{counts:?}"
        );
    }
}

#[test]
fn what_began_before_the_state_was_read_tells_nothing() {
    let mut agreement = Agreement::default();
    let mut seen = talks(40_000, 100);
    seen.flows.iter_mut().for_each(|(_, hop)| hop.last = 400);
    read(&mut agreement, &seen, state(&node(), 150, Some(90)));
    assert!(agreement.counts().is_empty());
}

/// Root in a pod that is handed the answers, as a proxy would be, sends with the node's address.
#[test]
fn who_sends_with_anothers_address_bears_no_witness() {
    let mut agreement = Agreement::default();
    let mut seen = talks(40_000, 100);
    let forged = seen.flows[0].0.flow;
    let hop = |flow, link, egress, first| {
        at(flow, link, egress, PLAIN, |hop| {
            (hop.first, hop.last) = (first, first + 1);
        })
    };
    seen.flows = vec![
        hop(forged, POD, false, 100),
        hop(forged, UPLINK, true, 101),
        hop(forged.reversed(), UPLINK, false, 102),
        hop(forged.reversed(), POD, true, 103),
    ];
    read(&mut agreement, &seen, state(&node(), 50, Some(90)));
    assert!(agreement.counts().is_empty(), "{:?}", agreement.counts());
}

#[test]
fn a_pod_is_told_of_a_few_times_and_behind_the_node() {
    let mut agreement = Agreement::default();
    let feature = |netns, number: u32| Feature {
        netns,
        station: Station::Hook,
        what: format!("rule {number} of ip \u{1b}[31m"),
    };
    for moment in [1, 2] {
        (0..100)
            .for_each(|number| agreement.doubt((feature(POD_NETNS, number), OF_ONE), moment, 1));
        agreement.doubt((feature(NETNS, 1), NAMED), moment, 1);
    }
    let rows = agreement.not_checked(NETNS);
    assert_eq!(rows.len(), 1 + OF_ONE);
    assert!(rows[0].what.contains("does with packets"));
    assert!(rows.iter().all(|row| !row.what.contains('\u{1b}')));
}

#[test]
fn an_entry_that_the_kernel_makes_anew_bears_no_witness() {
    let contradicted = |of_peer: State| {
        let mut agreement = Agreement::default();
        for (moment, port) in [(50, 40_000), (150, 40_001)] {
            let mut stack = state(&node(), moment, None);
            if let Known::Is(all) = &mut stack.neighbours {
                let mut all = all.iter_mut().filter(|it| it.address == ip(PEER));
                let entry = all.next().expect("the peer's");
                (entry.state, entry.mac) = (of_peer, None);
            }
            read(&mut agreement, &talks(port, moment + 50), stack);
        }
        (
            of(&agreement, Held::Contradicted),
            agreement.not_checked(NETNS).len(),
        )
    };
    assert_eq!(contradicted(State::Failed), (0, 0));
}
