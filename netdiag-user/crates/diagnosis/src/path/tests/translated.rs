//! Connections that the node, or the one before, translates; and such as were there before.
use super::*;

/// A client asks a Service; the node makes it the leg, which is answered.
fn by_service(client: &str, passed: Vec<(FlowHopKey, FlowHop)>, to: &str) -> Path {
    let service = tcp(client, "10.96.0.10", 80);
    let end = |address: &str, port: u16| (ip(address), port);
    let (asks, serves) = (end(client, service.source_port), end("172.20.2.9", 8080));
    let tuple = |source, destination| Tuple {
        source,
        destination,
        protocol: 6,
    };
    let tracked = Tracked {
        asked: tuple(asks, end("10.96.0.10", 80)),
        answered: tuple(serves, asks),
    };
    let leg = tcp(client, "172.20.2.9", 8080);
    let mut flows = passed;
    flows.push(at(leg, OVERLAY, true, 0, seen(2, SYN)));
    flows.push(at(leg.reversed(), OVERLAY, false, 0, seen(3, SYN | ACK)));
    let observation = Observation {
        now: 60 * SECOND,
        flows,
        ..Observation::default()
    };
    let wanted = |text: &str| -> Wanted { text.parse().expect("an end") };
    let piece = (Want::Tracked(ip(client)), Ok(Piece::Tracked(vec![tracked])));
    let node = overlay_node(1450, 1450, 1500);
    with_gathered(&node, &observation, [piece], |facts| {
        let ends = ends(facts, &wanted(client), &wanted(to)).expect("both ends");
        path(facts, ends, &Run::default())
    })
}

#[test]
fn what_the_node_asks_of_a_service_is_translated_before_any_hop() {
    let path = by_service("192.0.2.1", Vec::new(), "10.96.0.10:80");
    assert_eq!((path.outcome, path.flows), (Outcome::Answered, 1));
    assert_eq!(path.request.steps[0].interface, "vxlan.calico");
}

#[test]
fn a_server_is_found_behind_the_service_that_it_is_asked_by() {
    let client = "172.20.1.5";
    let asked = at(tcp(client, "10.96.0.10", 80), POD, false, 0, seen(1, SYN));
    let back = tcp(client, "10.96.0.10", 80).reversed();
    let flows = vec![asked, at(back, POD, true, 0, seen(4, SYN | ACK))];
    for to in ["172.20.2.9:8080", "172.20.2.9", "10.96.0.10:80"] {
        let path = by_service(client, flows.clone(), to);
        assert_eq!((path.outcome, path.flows), (Outcome::Answered, 1), "{to}");
        let there = ["cali1", "vxlan.calico", "ens5"];
        let hops: Vec<_> = hops(&path.request).iter().map(|(name, _)| *name).collect();
        assert_eq!(hops, there, "{to}");
    }
}

/// Causes of connections to a Service whose rule refuses them, where these hops were passed.
fn refused(
    to: &str,
    (protocol, local): (u8, bool),
    flows: Vec<(FlowHopKey, FlowHop)>,
) -> Vec<String> {
    let rule = Service {
        address: ip("10.96.0.9"),
        port: 80,
        protocol,
        name: Some("shop/api:http".into()),
        backends: Vec::new(),
        rejected: true,
        local,
        engine: Engine::Nftables,
        table: None,
    };
    let services = Services {
        rules: vec![rule],
        ..Services::default()
    };
    let observation = Observation {
        now: 60 * SECOND,
        flows,
        ..Observation::default()
    };
    let wanted = |text: &str| -> Wanted { text.parse().expect("an end") };
    let pieces = [(Want::Services, Ok(Piece::Services(services)))];
    let node = overlay_node(1450, 1450, 1500);
    with_gathered(&node, &observation, pieces, |facts| {
        let unasked = crate::findings(facts);
        assert!(unasked.is_empty(), "one packet is no pattern: {unasked:?}");
        let ends = ends(facts, &wanted("172.20.1.5"), &wanted(to)).expect("both ends");
        let causes = path(facts, ends, &Run::default()).causes;
        causes.into_iter().map(|c| c.cause).collect()
    })
}

fn one_packet() -> (FlowHopKey, FlowHop) {
    let flow = tcp("172.20.1.5", "10.96.0.9", 80);
    at(flow, POD, false, 0, seen(1, SYN))
}

#[test]
fn a_service_without_endpoints_is_told_after_one_packet_or_none() {
    let told = ["service-no-endpoints"];
    assert_eq!(
        refused("svc/shop/api", (6, false), vec![one_packet()]),
        told
    );
    assert_eq!(refused("10.96.0.9:80", (6, false), Vec::new()), told);
    assert_eq!(
        refused("10.96.0.9:81", (6, false), vec![one_packet()]),
        [""; 0]
    );
    assert_eq!(
        refused("10.96.0.9", (6, false), vec![one_packet()]),
        [""; 0]
    );
    let local = refused("10.96.0.9:80", (6, true), vec![one_packet()]);
    assert_eq!(local, ["service-local-only"]);
}

#[test]
fn a_rule_for_what_is_not_sent_or_gets_through_is_no_cause() {
    let udp = refused("10.96.0.9:80", (17, false), vec![one_packet()]);
    assert_eq!(udp, [""; 0], "it is TCP that is asked");
    let back = tcp("172.20.1.5", "10.96.0.9", 80).reversed();
    let answer = at(back, POD, true, 0, seen(4, SYN | ACK));
    let answered = refused("10.96.0.9:80", (6, false), vec![one_packet(), answer]);
    assert_eq!(answered, [""; 0]);
}

#[test]
fn of_what_the_node_before_translated_its_own_flows_count_alone() {
    let leg = tcp("192.0.2.2", "172.20.1.5", 8080);
    let other = FlowKey {
        source_port: leg.source_port + 1,
        ..leg
    };
    let flows = [leg, other].map(|flow| at(flow, UPLINK, false, 0, seen(1, SYN)));
    let observation = Observation {
        now: 60 * SECOND,
        flows: flows.to_vec(),
        ..Observation::default()
    };
    let wanted = |text: &str| -> Wanted { text.parse().expect("an end") };
    let (client, port) = (wanted("198.51.100.7"), wanted("192.0.2.2:30080"));
    with_facts(&overlay_node(1450, 1450, 1500), &observation, |facts| {
        let ends = ends(facts, &client, &port).expect("both ends");
        let legs = BTreeSet::from([leg]);
        let path = path_with(facts, ends, &legs, &Run::default());
        assert_eq!((path.flows, path.request.steps[0].packets), (1, 10));
    });
}

#[test]
fn a_connection_that_was_there_before_is_the_one_that_was_asked_for() {
    let alive =
        |first: u64| move |hop: &mut FlowHop| (hop.first, hop.last, hop.flags) = (first, 9, ACK);
    let observation = Observation {
        now: 60 * SECOND,
        flows: vec![
            at(asked(), POD, false, 0, alive(7)),
            at(asked(), OVERLAY, true, 0, alive(2)),
            at(asked(), UPLINK, true, VXLAN, alive(3)),
            at(asked().reversed(), UPLINK, false, VXLAN, alive(1)),
        ],
        ..Observation::default()
    };
    let run = Run {
        hooked: 8,
        ..Run::default()
    };
    let wanted = |text: &str| -> Wanted { text.parse().expect("an end") };
    with_facts(&overlay_node(1450, 1450, 1500), &observation, |facts| {
        let ends = ends(facts, &wanted("172.20.1.5"), &wanted("172.20.2.9"));
        let path = path(facts, ends.expect("both ends"), &run);
        assert_eq!((path.outcome, path.flows), (Outcome::Answered, 1));
        let there = ["cali1", "vxlan.calico", "ens5"].map(|name| (name, Course::Expected));
        assert_eq!(hops(&path.request), there, "in the order of the routes");
        let times = path.request.steps.iter().filter_map(|s| s.latency);
        assert_eq!(
            times.count(),
            0,
            "when a hop was first watched is no latency"
        );
    });
}

#[test]
fn a_link_that_is_not_watched_is_no_hop_that_saw_nothing() {
    let observation = Observation {
        now: 60 * SECOND,
        flows: vec![out()[1]],
        ..Observation::default()
    };
    let wanted = |text: &str| -> Wanted { text.parse().expect("an end") };
    let run = Run {
        links: vec!["vxlan*".into()],
        ..Run::default()
    };
    with_facts(&overlay_node(1450, 1450, 1500), &observation, |facts| {
        let ends = ends(facts, &wanted("172.20.1.5"), &wanted(SERVER));
        let path = path(facts, ends.expect("both ends"), &run);
        assert_eq!(hops(&path.request), [("vxlan.calico", Course::Expected)]);
    });
}

#[test]
fn what_a_filter_leaves_out_is_no_hop_that_saw_nothing() {
    let client = "172.20.1.5";
    let asked = tcp(client, "10.96.0.10", 80);
    let leg = tcp(client, "172.20.2.9", 8080);
    let observation = Observation {
        now: 60 * SECOND,
        flows: vec![
            at(asked, POD, false, 0, seen(1, SYN)),
            at(asked.reversed(), POD, true, 0, seen(4, SYN | ACK)),
        ],
        drops: vec![lost(leg, NETFILTER_DROP, OVERLAY, 1, 2)],
        ..Observation::default()
    };
    let wanted = |text: &str| -> Wanted { text.parse().expect("an end") };
    let hops_of = |filtered: bool| {
        let run = Run {
            filtered,
            ..Run::default()
        };
        with_facts(&overlay_node(1450, 1450, 1500), &observation, |facts| {
            let ends = ends(facts, &wanted(client), &wanted("10.96.0.10:80"));
            path(facts, ends.expect("both ends"), &run)
                .request
                .steps
                .len()
        })
    };
    assert_eq!((hops_of(false), hops_of(true)), (3, 1));
}
