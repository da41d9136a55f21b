//! Outages that look like a policy, or like the network's: none of them ends as healthy. The rows are of
//! what people report of eBPF dataplanes, and of nodes that chose a wrong source, link or translation.
use netdiag_common::{
    flow::FlowKey,
    hop::{ACK, FlowHop, FlowHopKey, PLAIN, SYN as SYN_SEEN, VXLAN},
    loss::{DropKey, Dropped},
};

use super::*;
use crate::{
    model::{
        cluster::{Cluster, Member, Service},
        flow::UDP,
        gather::{Listener, Piece, Want},
        link_filters::{Attachment, Dataplane, LinkFilter, LinkHook, LinkProgram},
        services::{Published, Services},
        source_nat::{Leaving, SourceNat},
        verdict::{Outcome, Verdict},
    },
    pipeline::scene::Run,
    testing::{NETNS, POD, listener, with_cluster},
    verdict::{Naming, verdict},
};

const SECOND: u64 = 1_000_000_000;
const WORLD: &str = "198.51.100.7";
const CLIENT: &str = "203.0.113.9";
const NODE: &str = "192.0.2.1";
const OWN: &str = "172.20.1.5";
const PEER: &str = "172.20.2.9";
/// A second uplink.
const OTHER: u32 = 9;

type Flows = Vec<(FlowHopKey, FlowHop)>;
type Drops = Vec<(DropKey, Dropped)>;

#[derive(Default)]
struct Row {
    flows: Flows,
    drops: Drops,
    pieces: Vec<(Want, Piece)>,
    cluster: Cluster,
}

fn node() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    let other = link(OTHER, "ens6", LinkKind::Physical, 1500).with_address("192.0.3.1/24");
    node.links.push(other);
    let default = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
    node.routes.push(default);
    node
}

fn judged(row: Row) -> Verdict {
    let observation = Observation {
        now: 15 * SECOND,
        flows: row.flows,
        drops: row.drops,
        ..Observation::default()
    };
    let pieces = row
        .pieces
        .into_iter()
        .map(|(want, piece)| (want, Ok(piece)));
    with_cluster(&node(), &observation, pieces, &row.cluster, |facts| {
        verdict(facts, &observation, Run::default(), &mut Naming::default())
    })
}

/// Exit 1 or 4, and not for an info finding or an answer that is missing.
fn is_bad(verdict: &Verdict) -> bool {
    let bad = verdict.findings.iter().any(|f| f.severity > Severity::Info);
    let here = verdict.unexplained.iter().any(|u| u.here);
    let outcome = matches!(verdict.verdict, Outcome::Findings | Outcome::Incomplete);
    (bad || here) && outcome
}

fn is_told(what: &str, row: Row) {
    assert!(is_bad(&judged(row)), "{what}");
}

fn asks(first: u64) -> impl Fn(&mut FlowHop) {
    move |hop| {
        (hop.first, hop.last) = (SECOND + first, 8 * SECOND);
        (hop.syns, hop.flags) = (4, SYN_SEEN);
    }
}

fn answers(first: u64) -> impl Fn(&mut FlowHop) {
    move |hop| {
        (hop.first, hop.last) = (2 * SECOND + first, 8 * SECOND);
        hop.flags = SYN_SEEN | ACK;
    }
}

/// A program of a dataplane's at one side of a link, and what it drops.
fn by_program(name: &str, dataplane: Dataplane, flow: FlowKey, at: u32, hook: LinkHook) -> Row {
    let reason = match hook {
        LinkHook::Egress => "TC_EGRESS",
        _ => "TC_INGRESS",
    };
    let program = LinkFilter {
        link: at,
        hook,
        at: Attachment::Tcx { link: None },
        program: Some(LinkProgram {
            id: 7,
            name: name.into(),
            dataplane: Some(dataplane),
            ..LinkProgram::default()
        }),
        dropped: None,
        moved: 0,
    };
    let mut lost = died(flow, (reason, "__dev_queue_xmit"), at, 5);
    (lost.1.first, lost.1.last) = (2 * SECOND, 9 * SECOND);
    Row {
        drops: vec![lost],
        pieces: vec![(Want::LinkFilters(NETNS), Piece::LinkFilters(vec![program]))],
        ..Row::default()
    }
}

#[test]
fn a_dataplanes_fault_is_no_policy() {
    use Dataplane::{AwsNetworkPolicy, Calico, Cilium};
    let udp = |flow: FlowKey| FlowKey {
        protocol: UDP,
        ..flow
    };
    let rows = [
        (
            "missed tail call",
            "cil_from_contai",
            Cilium,
            tcp(OWN, PEER, 80),
            POD,
            LinkHook::Ingress,
        ),
        (
            "no tunnel endpoint",
            "cil_from_contai",
            Cilium,
            tcp(OWN, PEER, 443),
            POD,
            LinkHook::Ingress,
        ),
        (
            "no NAT mapping",
            "cil_to_netdev",
            Cilium,
            tcp(OWN, WORLD, 443),
            UPLINK,
            LinkHook::Egress,
        ),
        (
            "FIB lookup",
            "cil_from_netdev",
            Cilium,
            tcp(PEER, OWN, 8080),
            UPLINK,
            LinkHook::Ingress,
        ),
        (
            "lookups",
            "cil_from_contai",
            Cilium,
            udp(tcp(OWN, PEER, 53)),
            POD,
            LinkHook::Ingress,
        ),
        (
            "probes of the node's",
            "cil_to_contai",
            Cilium,
            tcp(NODE, OWN, 8080),
            POD,
            LinkHook::Egress,
        ),
        (
            "unknown source",
            "cali_tc_preambl",
            Calico,
            tcp(OWN, PEER, 5432),
            POD,
            LinkHook::Ingress,
        ),
        (
            "answers of a pod's",
            "handle_ingress",
            AwsNetworkPolicy,
            tcp(OWN, WORLD, 443).reversed(),
            POD,
            LinkHook::Egress,
        ),
        (
            "default deny at the start",
            "handle_egress",
            AwsNetworkPolicy,
            tcp(OWN, WORLD, 80),
            POD,
            LinkHook::Ingress,
        ),
    ];
    for (what, name, dataplane, flow, at, hook) in rows {
        is_told(what, by_program(name, dataplane, flow, at, hook));
    }
}

#[test]
fn a_dataplane_that_loses_some_connections_alone_is_told() {
    let dead = tcp(OWN, PEER, 443);
    let alive = FlowKey {
        source_port: 40_001,
        ..dead
    };
    let mut row = by_program(
        "cil_from_contai",
        Dataplane::Cilium,
        dead,
        POD,
        LinkHook::Ingress,
    );
    row.flows = vec![
        from_pod(alive, |hop| (hop.syns, hop.flags) = (1, SYN_SEEN | ACK)),
        at(alive.reversed(), POD, true, PLAIN, answers(0)),
    ];
    is_told("one of two connections", row);
}

fn out(flow: FlowKey, by: u32) -> Flows {
    vec![from_pod(flow, asks(1)), at(flow, by, true, PLAIN, asks(2))]
}

/// Somebody else is answered by the same way.
fn heard() -> (FlowHopKey, FlowHop) {
    at(tcp(CLIENT, OWN, 443), UPLINK, false, PLAIN, answers(5))
}

#[test]
fn silence_of_the_clusters_own_is_this_nodes_question() {
    let service = || Cluster {
        services: vec![Service {
            namespace: "shop".into(),
            name: "web".into(),
            addresses: vec![ip("10.96.0.7")],
            ports: vec![Default::default()],
            ..Service::default()
        }],
        ..Cluster::default()
    };
    let member = Cluster {
        nodes: vec![Member {
            name: "n2".into(),
            addresses: vec![ip("192.0.2.77")],
            pod_cidrs: vec!["172.20.7.0/24".parse().expect("a prefix")],
            ..Member::default()
        }],
        ..Cluster::default()
    };
    let udp = FlowKey {
        protocol: UDP,
        ..tcp(OWN, "10.96.0.7", 514)
    };
    let rows = [
        (
            "a ClusterIP leaves untranslated",
            tcp(OWN, "10.96.0.7", 80),
            service(),
        ),
        ("the same by UDP", udp, service()),
        (
            "another node",
            tcp(OWN, "192.0.2.77", 10_250),
            member.clone(),
        ),
        (
            "a pod of another node, routed by the network",
            tcp(OWN, "172.20.7.9", 80),
            member,
        ),
        (
            "the gateway",
            tcp(OWN, "192.0.2.254", 53),
            Cluster::default(),
        ),
    ];
    for (what, flow, cluster) in rows {
        let flows = [out(flow, UPLINK), vec![heard()]].concat();
        is_told(
            what,
            Row {
                flows,
                cluster,
                ..Row::default()
            },
        );
    }
    let mut tunnelled = out(tcp(OWN, PEER, 80), OVERLAY);
    tunnelled.push(at(tcp(OWN, PEER, 80), UPLINK, true, VXLAN, asks(3)));
    tunnelled.push(at(
        tcp("172.20.2.8", OWN, 80),
        UPLINK,
        false,
        VXLAN,
        answers(5),
    ));
    is_told(
        "a pod behind the tunnel",
        Row {
            flows: tunnelled,
            ..Row::default()
        },
    );
}

#[test]
fn what_this_node_chose_wrongly_is_its_question() {
    let asked = tcp(CLIENT, NODE, 6443);
    let asymmetric = vec![
        at(asked, UPLINK, false, PLAIN, asks(1)),
        at(asked.reversed(), OTHER, true, PLAIN, answers(0)),
    ];
    let listens: Vec<Listener> = vec![listener("0.0.0.0", 6443)];
    let row = Row {
        flows: asymmetric,
        pieces: vec![(Want::Listeners(NETNS), Piece::Listeners(listens))],
        ..Row::default()
    };
    is_told("the answer leaves by another link", row);

    let own = tcp("192.0.3.1", WORLD, 443);
    let flows = vec![at(own, UPLINK, true, PLAIN, asks(1)), heard()];
    is_told(
        "the source is another link's",
        Row {
            flows,
            ..Row::default()
        },
    );

    let flow = tcp(OWN, WORLD, 443);
    let leaving = Leaving {
        source: ip(OWN),
        destination: ip(WORLD),
        link: "ens5".into(),
    };
    let nat = SourceNat {
        rule: Some("ip saddr 172.20.0.0/16 masquerade".into()),
        ..SourceNat::default()
    };
    let row = Row {
        flows: [out(flow, UPLINK), vec![heard()]].concat(),
        pieces: vec![(Want::SourceNat(leaving), Piece::SourceNat(nat))],
        ..Row::default()
    };
    is_told("a rule was to translate it", row);
}

#[test]
fn what_dies_before_a_published_port_is_told() {
    let flow = tcp(CLIENT, NODE, 30_080);
    let died = |(reason, symbol)| {
        let mut lost = died(flow, (reason, symbol), UPLINK, 8);
        (lost.1.first, lost.1.last) = (2 * SECOND, 9 * SECOND);
        lost
    };
    let services = Services {
        published: vec![Published {
            address: None,
            ipv6: false,
            protocol: 6,
            ports: (30_080, 30_080),
        }],
        ..Services::default()
    };
    for place in [
        ("NETFILTER_DROP", "nft_do_chain"),
        ("TC_INGRESS", "__dev_queue_xmit"),
        ("IP_RPFILTER", "ip_rcv_core"),
    ] {
        let row = |published| Row {
            drops: vec![died(place)],
            pieces: vec![(Want::Services, Piece::Services(published))],
            ..Row::default()
        };
        is_told(place.0, row(services.clone()));
    }
    let scanned = Row {
        drops: vec![died(("NETFILTER_DROP", "nft_do_chain"))],
        pieces: vec![(Want::Services, Piece::Services(Services::default()))],
        ..Row::default()
    };
    assert!(!is_bad(&judged(scanned)), "nobody is there");
}

#[test]
fn a_dead_host_of_the_worlds_is_nobodys_fault_here() {
    let flows = [out(tcp(OWN, WORLD, 443), UPLINK), vec![heard()]].concat();
    let verdict = judged(Row {
        flows,
        ..Row::default()
    });
    assert!(!is_bad(&verdict));
    assert!(!verdict.unexplained.is_empty(), "it is told");
}

/// A Service with two backends of which one is dead.
#[test]
fn one_dead_backend_of_two_is_no_success() {
    let asked = |port| FlowKey {
        source_port: port,
        ..tcp(OWN, "10.96.0.7", 80)
    };
    let sent = |port, to| FlowKey {
        source_port: port,
        ..tcp(OWN, to, 8080)
    };
    let (dead, alive) = ("172.20.2.66", PEER);
    let mut flows = Vec::new();
    for (port, first) in [(41_001, 1), (41_002, 2)] {
        flows.push(from_pod(asked(port), asks(first)));
        flows.push(at(sent(port, dead), OVERLAY, true, PLAIN, asks(first + 10)));
        flows.push(at(sent(port, dead), UPLINK, true, VXLAN, asks(first + 20)));
    }
    let works = |port: u16, at_ns: u64| {
        let opened = move |hop: &mut FlowHop| {
            (hop.first, hop.last) = (at_ns, at_ns + SECOND);
            (hop.syns, hop.flags) = (1, SYN_SEEN | ACK);
        };
        let back = sent(port, alive).reversed();
        vec![
            from_pod(asked(port), opened),
            at(sent(port, alive), OVERLAY, true, PLAIN, opened),
            at(back, OVERLAY, false, PLAIN, answers(at_ns)),
            at(asked(port).reversed(), POD, true, PLAIN, answers(at_ns)),
        ]
    };
    flows.extend(works(42_001, 3 * SECOND));
    is_told(
        "half of the connections",
        Row {
            flows,
            ..Row::default()
        },
    );
    let healthy = judged(Row {
        flows: works(42_001, 3 * SECOND),
        ..Row::default()
    });
    assert!(!is_bad(&healthy));
}
