mod dying;
mod translated;

use netdiag_common::{
    flow::{FlowKey, mapped},
    hop::{ACK, FlowHop, FlowHopKey, INGRESS, IcmpError, IcmpErrorKey, PLAIN, RST, SYN, VXLAN},
};

use super::*;
use crate::{
    model::{
        flow::UDP,
        gather::Piece,
        node::Node,
        observation::Observation,
        verdict::{Confidence, Scope, Severity},
    },
    pipeline::facts::Data,
    testing::{
        NETNS, OVERLAY, POD, POD_NETNS, UPLINK, at, died, from_pod, ip, listener, overlay_node,
        route, tcp, with_data, with_facts, with_gathered,
    },
};

const SECOND: u64 = 1_000_000_000;
const PEER: &str = "172.20.2.9";
const WORLD: &str = "198.51.100.7";

type Flows = Vec<(FlowHopKey, FlowHop)>;

fn node() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    let any = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
    node.routes.push(any);
    node
}

fn flow(to: &str) -> FlowKey {
    tcp("172.20.1.5", to, 443)
}

fn asks(first: u64) -> impl Fn(&mut FlowHop) {
    move |hop| {
        (hop.first, hop.last) = (SECOND + first, 8 * SECOND);
        (hop.syns, hop.flags) = (4, SYN);
    }
}

fn says(at: u64, flags: u32) -> impl Fn(&mut FlowHop) {
    move |hop| (hop.first, hop.last, hop.flags) = (at, at, flags)
}

fn out(to: &str) -> Flows {
    let mut all = vec![from_pod(flow(to), asks(1))];
    match to {
        PEER => {
            all.push(at(flow(to), OVERLAY, true, PLAIN, asks(2)));
            all.push(at(flow(to), UPLINK, true, VXLAN, asks(3)));
        }
        _ => all.push(at(flow(to), UPLINK, true, PLAIN, asks(2))),
    }
    all
}

fn with(flows: Flows, findings: &[Finding]) -> Vec<Unexplained> {
    let observation = Observation {
        now: 15 * SECOND,
        flows,
        ..Observation::default()
    };
    with_facts(&node(), &observation, |facts| {
        Symptoms::of(facts).unexplained(facts, findings)
    })
}

fn ours(stuck: &[Unexplained]) -> bool {
    stuck.iter().any(|u| u.here)
}

fn judged(flows: Flows) -> (bool, String) {
    let stuck = with(flows, &[]);
    let lines = stuck.iter().map(|u| format!("{}: {}", u.what, u.why));
    (ours(&stuck), lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn what_ends_inside_the_node_is_its_own() {
    let (ours, told) = judged(vec![from_pod(flow(PEER), asks(1))]);
    assert!(ours);
    assert!(told.contains("last seen at cali1 (ingress)"), "{told}");
    assert!(
        told.contains("netdiag path 172.20.1.5 172.20.2.9:443"),
        "{told}"
    );
}

#[test]
fn what_is_explained_answered_or_refused_is_not_stuck() {
    let asked = || vec![from_pod(flow(PEER), asks(1))];
    let back = flow(PEER).reversed();
    for flags in [RST | ACK, SYN | ACK] {
        let mut flows = asked();
        if flags & RST == 0 {
            flows[0].1.flags |= ACK;
        }
        flows.push(at(back, POD, true, PLAIN, says(9 * SECOND, flags)));
        assert_eq!(judged(flows), (false, String::new()));
    }
    let mut finding = Finding::new("x", Severity::Warning, Confidence::Confirmed, String::new());
    finding
        .scope
        .add(flow::TCP, (ip("172.20.1.5"), 0), (ip(PEER), 443));
    assert!(with(asked(), &[finding.clone()]).is_empty());
    finding.severity = Severity::Info;
    let told = with(asked(), &[finding.clone()]);
    assert!(
        told[0].why.contains("nothing says that this is meant"),
        "{told:?}"
    );
    finding.meant = true;
    assert!(with(asked(), &[finding.clone()]).is_empty());
    finding.scope = Scope::default();
    finding
        .scope
        .add(flow::TCP, (ip("172.20.1.5"), 0), (ip(PEER), 80));
    assert_eq!(with(asked(), &[finding]).len(), 1, "another port of it");
}

#[test]
fn what_goes_by_a_peer_that_a_finding_is_about_is_explained() {
    let mut finding = Finding::new(
        "x",
        Severity::Critical,
        Confidence::Confirmed,
        String::new(),
    );
    finding.scope.add_hosts(&[ip("192.0.2.2")]);
    assert!(with(out(PEER), &[finding.clone()]).is_empty());
    assert_eq!(with(out(WORLD), &[finding]).len(), 1, "that goes elsewhere");
}

#[test]
fn an_answer_that_the_client_does_not_get_is_none() {
    let mut flows = out(PEER);
    let back = flow(PEER).reversed();
    flows.push(at(back, UPLINK, false, VXLAN, says(2 * SECOND, SYN | ACK)));
    flows.push(at(back, OVERLAY, false, PLAIN, says(3 * SECOND, SYN | ACK)));
    let (ours, told) = judged(flows);
    assert!(ours);
    assert!(
        told.contains("last seen at vxlan.calico (ingress)"),
        "{told}"
    );
}

#[test]
fn one_dead_server_of_the_worlds_is_not_this_nodes_and_two_are_a_question() {
    let (ours, told) = judged(out(WORLD));
    assert!(!ours);
    assert!(told.contains("left this node by ens5"), "{told}");
    let other = "203.0.113.9";
    let both = [out(WORLD), out(other)].concat();
    assert!(judged(both.clone()).0);
    let third = tcp("203.0.113.10", "172.20.1.5", 443);
    let heard = at(third, UPLINK, false, PLAIN, says(7 * SECOND, ACK));
    assert!(!judged([both, vec![heard]].concat()).0);
}

/// A router that says why was reached, and its word came back.
#[test]
fn who_says_that_there_is_no_way_answers() {
    let others = ["198.51.100.8", WORLD];
    let told = |says: bool| {
        let error = |to: &str| {
            let key = IcmpErrorKey {
                about: flow(to),
                sender: mapped([192, 0, 2, 254]),
                ifindex: UPLINK,
                direction: INGRESS,
                kind: 3,
                code: 1,
                padding: 0,
            };
            let error = IcmpError {
                first: 9 * SECOND,
                last: 9 * SECOND,
                packets: 3,
                ..IcmpError::default()
            };
            (key, error)
        };
        let observation = Observation {
            now: 15 * SECOND,
            flows: others.into_iter().flat_map(out).collect(),
            icmp_errors: others.into_iter().filter(|_| says).map(error).collect(),
            ..Observation::default()
        };
        with_facts(&node(), &observation, |facts| {
            ours(&Symptoms::of(facts).unexplained(facts, &[]))
        })
    };
    assert!(told(false), "silence");
    assert!(!told(true));
}

#[test]
fn a_silent_node_of_the_cluster_is_a_question_at_once() {
    let (ours, told) = judged(out(PEER));
    assert!(ours);
    assert!(told.contains("nobody behind 172.20.2.0"), "{told}");
    // Others there answer: it is the cluster's all the same.
    let other = tcp("172.20.2.10", "172.20.1.5", 443);
    let heard = at(other, UPLINK, false, VXLAN, says(7 * SECOND, ACK));
    let (ours, told) = judged([out(PEER), vec![heard]].concat());
    assert!(ours);
    assert!(
        told.contains("behind the tunnel to the node 192.0.2.2"),
        "{told}"
    );
}

#[test]
fn data_that_is_sent_again_and_again_is_stuck_until_an_answer_comes() {
    let again = |hop: &mut FlowHop| {
        (hop.first, hop.last, hop.progress) = (1, 9 * SECOND, 2 * SECOND);
        (hop.stalled, hop.retransmits, hop.flags) = (5, 5, ACK);
    };
    let small = |hop: &mut FlowHop| (hop.first, hop.last, hop.flags) = (2, SECOND, ACK);
    let flows = vec![
        from_pod(flow(PEER), again),
        at(flow(PEER), OVERLAY, true, PLAIN, small),
    ];
    let (ours, told) = judged(flows.clone());
    assert!(ours);
    assert!(
        told.contains("5 retransmits and no progress: last seen at cali1"),
        "{told}"
    );
    let came = at(
        flow(PEER).reversed(),
        OVERLAY,
        false,
        PLAIN,
        says(10 * SECOND, ACK),
    );
    assert_eq!(judged([flows, vec![came]].concat()), (false, String::new()));
}

#[test]
fn what_was_stuck_before_the_run_began_is_stuck() {
    let syns = |last: u64| {
        from_pod(flow(PEER), move |hop| {
            (hop.first, hop.last) = (SECOND, last * SECOND);
            (hop.syns, hop.flags) = (2, SYN);
        })
    };
    assert!(judged(vec![syns(9)]).0, "the fourth and the fifth one");
    assert!(!judged(vec![syns(2)]).0, "the first two");
    let data = |last: u64| {
        from_pod(flow(PEER), move |hop| {
            (hop.first, hop.last, hop.progress) = (SECOND, last * SECOND, SECOND);
            (hop.stalled, hop.retransmits, hop.flags) = (1, 1, ACK);
        })
    };
    assert!(judged(vec![data(8)]).0);
    assert!(!judged(vec![data(2)]).0);
}

#[test]
fn what_comes_back_by_the_link_that_it_left_by_goes_in_circles() {
    let mut flows = out(WORLD);
    flows.push(at(flow(WORLD), UPLINK, false, PLAIN, asks(9)));
    let (ours, told) = judged(flows);
    assert!(ours);
    assert!(told.contains("comes back by ens5"), "{told}");
    assert!(
        told.contains("a routing loop with 192.0.2.254 (ens5)"),
        "{told}"
    );
}

#[test]
fn drops_that_no_cause_names_are_told() {
    let observation = Observation {
        now: 15 * SECOND,
        flows: vec![from_pod(flow(PEER), asks(1))],
        drops: vec![died(flow(PEER), ("IP_INADDRERRORS", "ip_error"), POD, 4)],
        ..Observation::default()
    };
    let stuck = with_facts(&node(), &observation, |facts| {
        Symptoms::of(facts).unexplained(facts, &[])
    });
    let why = &stuck[0].why;
    assert!(why.contains("(4 × IP_INADDRERRORS in ip_error)"), "{why}");
}

#[test]
fn a_scan_of_the_node_and_ipv6_without_a_way_out_are_everyday() {
    let scan = FlowKey {
        ..tcp("203.0.113.9", "192.0.2.1", 23)
    };
    assert_eq!(judged(vec![at(scan, UPLINK, false, PLAIN, asks(1))]).1, "");
    let mut node = node();
    node.pod_sides[0].addresses.push(ip("fd00::5"));
    let tried = tcp("fd00::5", "2001:db8::7", 443);
    let observation = Observation {
        now: 15 * SECOND,
        flows: vec![from_pod(tried, asks(1))],
        ..Observation::default()
    };
    let told = with_facts(&node, &observation, |facts| {
        Symptoms::of(facts).unexplained(facts, &[])
    });
    assert!(told.is_empty());
    let made_up = tcp("127.0.0.1", "192.0.2.1", 22);
    assert_eq!(
        judged(vec![at(made_up, UPLINK, false, PLAIN, asks(1))]).1,
        ""
    );
    // Nobody translated what is sent by the node to a port of its own.
    let own = tcp("127.0.0.1", "172.20.1.5", 80);
    assert!(judged(vec![at(own, POD, true, PLAIN, asks(1))]).0);
}

/// Three connections to a peer's pod: data of that size is stuck in two, and passes in one.
fn sized(stuck: u32, passed: u32) -> Vec<Unexplained> {
    let flow = |port| FlowKey {
        source_port: port,
        ..flow(PEER)
    };
    let mut flows = Vec::new();
    for port in [40_001, 40_002] {
        let stalls = |h: &mut FlowHop| {
            (h.first, h.last, h.progress) = (SECOND, 9 * SECOND, 2 * SECOND);
            (h.flags, h.stalled, h.retransmits) = (SYN | ACK, 5, 5);
            (h.payload, h.largest) = (9_000, stuck);
        };
        flows.push(from_pod(flow(port), stalls));
        flows.push(at(flow(port), OVERLAY, true, PLAIN, stalls));
        flows.push(at(flow(port), UPLINK, true, VXLAN, stalls));
    }
    let moves = |h: &mut FlowHop| {
        (h.first, h.last, h.progress) = (SECOND, 9 * SECOND, 9 * SECOND);
        (h.flags, h.payload, h.largest) = (SYN | ACK, 500, passed);
    };
    flows.push(from_pod(flow(40_003), moves));
    flows.push(at(flow(40_003), UPLINK, true, VXLAN, moves));
    let back = flow(40_003).reversed();
    flows.push(at(back, UPLINK, false, VXLAN, says(10 * SECOND, ACK)));
    with(flows, &[])
}

#[test]
fn what_is_stuck_by_its_size_may_be_this_nodes_mtu() {
    let found = sized(1450, 600);
    assert!(ours(&found));
    let text = &found[0].why;
    assert!(text.contains("1450 bytes get stuck on the way to 172.20.2.9, and 600 get through"));
    let lossy = sized(1450, 1450);
    assert!(!ours(&lossy), "as large ones get through");
}

#[test]
fn a_pods_own_address_in_the_world_is_told() {
    let silent: Flows = ["198.51.100.8", WORLD].into_iter().flat_map(out).collect();
    let told = with(silent, &[]);
    let masquerade = "left with the pod's own address 172.20.1.5";
    assert!(told.iter().all(|t| t.why.contains(masquerade)));
    assert!(!with(out(PEER), &[])[0].why.contains(masquerade));
}

/// Somebody of the world's asks the node itself, and its SYNs die there.
fn of_the_node(listens: bool) -> Vec<Unexplained> {
    let asked = tcp("203.0.113.9", "192.0.2.1", 6443);
    let observation = Observation {
        now: 15 * SECOND,
        flows: vec![at(asked, UPLINK, false, PLAIN, asks(1))],
        drops: vec![died(asked, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 4)],
        ..Observation::default()
    };
    let socket = listener("192.0.2.1", 6443);
    let sockets = listens.then_some(socket).into_iter().collect();
    let pieces = [(Want::Listeners(NETNS), Ok(Piece::Listeners(sockets)))];
    with_gathered(&node(), &observation, pieces, |facts| {
        assert!(wants(facts, &Symptoms::of(facts)).contains(&Want::Listeners(NETNS)));
        Symptoms::of(facts).unexplained(facts, &[])
    })
}

/// The outside asks a pod for a port; somebody there has it or not.
fn of_a_pod(listens: Option<bool>) -> bool {
    let asked = tcp("203.0.113.9", "172.20.1.5", 23);
    let observation = Observation {
        now: 15 * SECOND,
        flows: vec![at(asked, UPLINK, false, PLAIN, asks(1))],
        drops: vec![died(asked, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 4)],
        ..Observation::default()
    };
    let pieces = listens.map(|listens| {
        let sockets = listens.then(|| listener("0.0.0.0", 23)).into_iter();
        let known = Piece::Listeners(sockets.collect());
        (Want::Listeners(POD_NETNS), Ok(known))
    });
    with_gathered(&node(), &observation, pieces, |facts| {
        assert!(wants(facts, &Symptoms::of(facts)).contains(&Want::Listeners(POD_NETNS)));
        ours(&Symptoms::of(facts).unexplained(facts, &[]))
    })
}

#[test]
fn a_scan_of_a_pods_closed_ports_is_everyday() {
    assert!(!of_a_pod(Some(false)));
    assert!(of_a_pod(Some(true)));
    assert!(of_a_pod(None), "nobody knows");
}

#[test]
fn what_the_node_itself_serves_and_nobody_gets_is_told() {
    let told = of_the_node(true);
    assert!(ours(&told));
    assert!(told[0].why.contains("NETFILTER_DROP"), "{told:?}");
    assert!(of_the_node(false).is_empty(), "a scan");
}

#[test]
fn what_is_not_kept_tells_nothing() {
    // A connection that is open: at the level light its opening is all that is kept of it.
    let opens = |syns: u32, last: u64| {
        let asked = move |hop: &mut FlowHop| {
            (hop.first, hop.last) = (SECOND, last);
            (hop.syns, hop.flags) = (syns, SYN);
        };
        let answer = flow(WORLD).reversed();
        Observation {
            now: 15 * SECOND,
            flows: vec![
                from_pod(flow(WORLD), asked),
                at(flow(WORLD), UPLINK, true, PLAIN, asked),
                at(answer, UPLINK, false, PLAIN, says(2 * SECOND, SYN | ACK)),
                at(answer, POD, true, PLAIN, says(2 * SECOND, SYN | ACK)),
            ],
            ..Observation::default()
        }
    };
    let judged = |data, observation: &Observation| {
        with_data(data, &node(), observation, |facts| {
            Symptoms::of(facts).all.len()
        })
    };
    let once = opens(4, SECOND + 1);
    assert_eq!(judged(Data::Kept, &once), 1);
    assert_eq!(judged(Data::NotKept, &once), 0);
    assert_eq!(judged(Data::Lately, &once), 0);
    let again = opens(4, 8 * SECOND);
    assert_eq!(
        judged(Data::NotKept, &again),
        1,
        "it asked after the answer"
    );
}

/// Of a server with two addresses; a resolver that asks two servers by one socket drops what comes late.
#[test]
fn answers_from_an_address_that_was_not_asked_are_told() {
    let udp = |to| FlowKey {
        protocol: UDP,
        destination_port: 1812,
        ..flow(to)
    };
    let asked = |hop: &mut FlowHop| {
        (hop.first, hop.last, hop.packets) = (SECOND, 8 * SECOND, 4);
    };
    let stray = udp("198.51.100.8").reversed();
    let look = |others: Flows| {
        let mut flows = vec![
            from_pod(udp(WORLD), asked),
            at(udp(WORLD), UPLINK, true, PLAIN, asked),
        ];
        flows.extend(others);
        let observation = Observation {
            now: 15 * SECOND,
            flows,
            drops: vec![died(stray, ("NO_SOCKET", "__udp4_lib_rcv"), POD, 4)],
            ..Observation::default()
        };
        with_facts(&node(), &observation, |facts| {
            Symptoms::of(facts).unexplained(facts, &[])
        })
    };
    let told = look(Vec::new());
    let line = format!("{}: {}", told[0].what, told[0].why);
    assert!(
        line.contains("the answers come from 198.51.100.8, which was not asked"),
        "{line}"
    );
    assert!(look(vec![from_pod(udp("198.51.100.8"), asked)]).is_empty());
    // Most of its answers were taken: the socket takes them from anybody.
    let came = |hop: &mut FlowHop| hop.packets = 40;
    assert!(look(vec![at(stray, UPLINK, false, PLAIN, came)]).is_empty());
}
