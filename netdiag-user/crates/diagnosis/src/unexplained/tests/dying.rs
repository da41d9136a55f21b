//! What dies on this node beside other traffic that goes well, and what only looks so.
use netdiag_common::loss::{DropKey, Dropped};

use super::*;

type Lost = (DropKey, Dropped);

fn udp(from: &str, to: &str, ports: (u16, u16)) -> FlowKey {
    FlowKey {
        protocol: UDP,
        source_port: ports.0,
        ..tcp(from, to, ports.1)
    }
}

fn during(first: u64, last: u64) -> impl Fn(&mut FlowHop) {
    move |hop| {
        (hop.first, hop.last, hop.packets) = (first * SECOND, last * SECOND, last - first + 1);
    }
}

fn told(node: &Node, flows: Flows, drops: Vec<Lost>) -> Vec<Unexplained> {
    let observation = Observation {
        now: 15 * SECOND,
        flows,
        drops,
        ..Observation::default()
    };
    with_facts(node, &observation, |facts| {
        Symptoms::of(facts).unexplained(facts, &[])
    })
}

fn lost(flow: FlowKey, why: (&str, &str), (first, last): (u64, u64)) -> Lost {
    let mut lost = died(flow, why, UPLINK, 9);
    (lost.1.first, lost.1.last) = (first * SECOND, last * SECOND);
    lost
}

const UNKNOWN: &str = "203.0.113.9";

#[test]
fn datagrams_for_a_published_port_whose_backend_is_gone_are_told() {
    let asked = udp(UNKNOWN, "192.0.2.1", (40_000, 1812));
    let sent_on = udp(UNKNOWN, "172.20.1.77", (40_000, 1812));
    // It waited for the next hop since before the run began.
    let before = udp(UNKNOWN, "172.20.1.77", (39_999, 1812));
    let flows = vec![at(asked, UPLINK, false, PLAIN, during(1, 9))];
    let told = told(
        &node(),
        flows,
        vec![
            lost(before, ("NOT_SPECIFIED", "neigh_invalidate"), (0, 0)),
            lost(sent_on, ("NOT_SPECIFIED", "neigh_invalidate"), (1, 9)),
        ],
    );
    assert!(ours(&told));
    assert_eq!(told[0].what, "udp 192.0.2.1:1812 from 203.0.113.9");
    assert!(
        !told[0].why.contains("nothing on this node takes"),
        "{}",
        told[0].why
    );
}

#[test]
fn datagrams_that_die_each_on_its_own_socket_are_told_beside_others() {
    let look = |dead: u16| {
        let mut flows = Vec::new();
        let mut drops = Vec::new();
        for port in 0..20 {
            let flow = udp("172.20.1.5", WORLD, (41_000 + port, 1813));
            let time = 1 + u64::from(port) / 2;
            flows.push(from_pod(flow, during(time, time)));
            if port % 2 == 0 && port / 2 < dead {
                drops.push(lost(flow, ("NETFILTER_DROP", "nf_hook_slow"), (time, time)));
            } else {
                flows.push(at(flow.reversed(), POD, true, PLAIN, during(time, time)));
            }
        }
        ours(&told(&node(), flows, drops))
    };
    assert!(look(8));
    assert!(!look(0));
    assert!(!look(1), "one is chance");
}

#[test]
fn answers_to_a_masquerade_that_the_node_does_not_know_are_told() {
    let asked = udp("172.20.1.5", WORLD, (40_000, 4500));
    let sent = udp("192.0.2.1", WORLD, (40_000, 4500));
    let look = |dies: bool| {
        let flows = vec![
            from_pod(asked, during(1, 9)),
            at(sent, UPLINK, true, PLAIN, during(1, 9)),
            at(sent.reversed(), UPLINK, false, PLAIN, during(1, 9)),
        ];
        let back = lost(sent.reversed(), ("NO_SOCKET", "__udp4_lib_rcv"), (1, 9));
        told(&node(), flows, if dies { vec![back] } else { Vec::new() })
    };
    let dies = look(true);
    assert!(ours(&dies));
    assert!(
        dies[0].why.contains("the answers get nowhere"),
        "{}",
        dies[0].why
    );
    assert!(look(false).is_empty());
}

#[test]
fn what_the_node_takes_for_itself_and_nobody_there_takes_is_told() {
    let look = |to: &str| {
        let asked = tcp("172.20.1.5", to, 443);
        let flows = vec![from_pod(asked, asks(1))];
        let mut refused = lost(asked, ("NO_SOCKET", "tcp_v4_rcv"), (1, 9));
        refused.0.netns = NETNS;
        let mut back = at(
            asked.reversed(),
            POD,
            true,
            PLAIN,
            says(9 * SECOND, RST | ACK),
        );
        back.1.first = SECOND;
        ours(&told(&node(), [flows, vec![back]].concat(), vec![refused]))
    };
    assert!(look(WORLD), "intercepted");
    assert!(!look("192.0.2.1"), "a closed port of the node's own");
}

#[test]
fn a_client_that_hangs_up_on_an_answer_wanted_no_more() {
    let look = |flags: u32| {
        let probe = |hop: &mut FlowHop| {
            (hop.first, hop.last) = (SECOND, 8 * SECOND);
            (hop.syns, hop.flags) = (4, flags);
        };
        let answer = flow(WORLD).reversed();
        let flows = vec![
            from_pod(flow(WORLD), probe),
            at(flow(WORLD), UPLINK, true, PLAIN, probe),
            at(answer, UPLINK, false, PLAIN, says(2 * SECOND, SYN | ACK)),
            at(answer, POD, true, PLAIN, says(2 * SECOND, SYN | ACK)),
        ];
        ours(&told(&node(), flows, Vec::new()))
    };
    assert!(look(SYN));
    assert!(!look(SYN | RST));
}

#[test]
fn a_next_hop_that_answers_for_itself_is_reached() {
    let far = ["198.51.100.7", "198.51.100.8", "198.51.100.9"];
    let look = |answers: bool| {
        let mut flows: Flows = far.iter().flat_map(|to| out(to)).collect();
        let own = tcp("172.20.1.5", "192.0.2.254", 22);
        flows.push(from_pod(own, during(9, 9)));
        flows.push(at(own, UPLINK, true, PLAIN, during(9, 9)));
        if answers {
            flows.push(at(
                own.reversed(),
                UPLINK,
                false,
                PLAIN,
                says(9 * SECOND, SYN | ACK),
            ));
            flows.push(at(
                own.reversed(),
                POD,
                true,
                PLAIN,
                says(9 * SECOND, SYN | ACK),
            ));
        }
        ours(&told(&node(), flows, Vec::new()))
    };
    assert!(look(false));
    assert!(!look(true));
}

#[test]
fn a_pods_link_that_is_switched_off_is_named() {
    let asked = tcp(UNKNOWN, "172.20.1.5", 8080);
    let look = |off: fn(&mut crate::model::node::Link)| {
        let mut node = node();
        node.links
            .iter_mut()
            .filter(|l| l.index == POD)
            .for_each(off);
        let flows = vec![at(asked, UPLINK, false, PLAIN, asks(1))];
        let told = told(&node, flows, Vec::new());
        assert!(ours(&told));
        told[0].why.clone()
    };
    let why = look(|link| link.up = false);
    assert!(why.contains("`ip link set cali1 up`"), "{why}");
    let why = look(|link| link.carrier = false);
    assert!(
        why.contains("its other end, in the pod, is switched off"),
        "{why}"
    );
    assert!(look(|_| {}).contains("no cause explains it"));
}

/// Whoever has the network that this node leads to says that nobody in it has the address.
#[test]
fn who_is_missing_in_another_nodes_network_is_not_this_nodes_to_explain() {
    let told = |sender: [u8; 4], code: u8| {
        let key = IcmpErrorKey {
            about: flow(PEER),
            sender: mapped(sender),
            ifindex: OVERLAY,
            direction: INGRESS,
            kind: 3,
            code,
            padding: 0,
        };
        let error = IcmpError {
            first: 9 * SECOND,
            last: 9 * SECOND,
            packets: 3,
            ..IcmpError::default()
        };
        let observation = Observation {
            now: 15 * SECOND,
            flows: out(PEER),
            icmp_errors: vec![(key, error)],
            ..Observation::default()
        };
        with_facts(&node(), &observation, |facts| {
            ours(&Symptoms::of(facts).unexplained(facts, &[]))
        })
    };
    let there = [172, 20, 2, 0];
    assert!(!told(there, 1), "nobody answers there");
    assert!(told(there, 13), "somebody there forbids it");
    assert!(told([192, 0, 2, 254], 1), "of another network");
}
