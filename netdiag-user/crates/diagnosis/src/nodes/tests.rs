//! Two nodes, each behind the other's tunnel, and what passes between them.
use netdiag_common::{
    flow::FlowKey,
    hop::{FlowHop, FlowHopKey, VXLAN},
};

use super::*;
use crate::{
    model::{
        node::{LinkKind, Node},
        pod::PodIndex,
        verdict::{Outcome, Verdict},
    },
    pipeline::{clock::Clock, scene::Run},
    testing::{OVERLAY, POD, TestNames, UPLINK, at, ip, link, lost, overlay_node, route, tcp},
};

const SECOND: u64 = 1_000_000_000;
/// The clock of the node that began first says nothing of the other's.
const BOOTED: u64 = 7_000 * SECOND;

/// The node at the other end of [`overlay_node`]'s tunnel.
fn peer() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    node.name = "n2".into();
    node.links[0] = link(UPLINK, "ens5", LinkKind::Physical, 1500).with_address("192.0.2.2/24");
    node.links[1] = link(OVERLAY, "vxlan.calico", LinkKind::Vxlan, 1450)
        .with_tunnel("192.0.2.2", UPLINK)
        .with_address("172.20.2.0/32");
    node.routes = vec![
        route("192.0.2.0/24", UPLINK, None),
        route("172.20.1.0/24", OVERLAY, Some("172.20.1.0")),
        route("172.20.2.5/32", POD, None),
    ];
    node.neighbours[0].address = ip("172.20.1.0");
    node.fdb[0].vtep = ip("192.0.2.1");
    node.pod_sides[0].addresses = vec![ip("172.20.2.5")];
    node
}

/// A recording of ten seconds that began `later` seconds than another one's clock says, by a
/// clock that is `ahead` seconds ahead.
struct Film {
    node: Node,
    later: u64,
    ahead: i64,
    rows: Vec<(FlowHopKey, FlowHop)>,
    drops: Vec<(netdiag_common::loss::DropKey, netdiag_common::loss::Dropped)>,
}

impl Film {
    fn of(node: Node) -> Self {
        Self {
            node,
            later: 0,
            ahead: 0,
            rows: Vec::new(),
            drops: Vec::new(),
        }
    }

    /// So many packets of a flow on the uplink, one a tenth of a second from `second` on in true
    /// time.
    fn passes(mut self, flow: FlowKey, egress: bool, second: u64, packets: u64) -> Self {
        let first = BOOTED + second * SECOND;
        self.rows.push(at(flow, UPLINK, egress, VXLAN, |hop| {
            hop.packets = packets;
            hop.first = first;
            hop.last = first + (packets - 1) * SECOND / 10;
            hop.syns = 1;
        }));
        self
    }

    fn out(self, flow: FlowKey, second: u64, packets: u64) -> Self {
        self.passes(flow, true, second, packets)
    }

    fn into(self, flow: FlowKey, second: u64, packets: u64) -> Self {
        self.passes(flow, false, second, packets)
    }

    /// Readings four times a second, each with what there was by then.
    fn recorded(self) -> Recorded {
        let started = BOOTED + self.later * SECOND;
        let mut ledger = Ledger::default();
        let mut last = Observation::default();
        for quarter in 1..=40 {
            last = self.reading(started, started + quarter * SECOND / 4);
            ledger.add(&self.node, &last);
        }
        let epoch = jiff::Timestamp::from_second(1_700_000_000 + self.ahead);
        let clock = Clock {
            monotonic: BOOTED,
            wall: epoch.expect("a time"),
        };
        let scene = Scene {
            start: self.node.clone(),
            node: self.node,
            pods: PodIndex::default(),
            cluster: Default::default(),
            gathered: Default::default(),
            names: Box::new(TestNames::default()),
            clock,
            run: Run {
                started,
                hooks: 9,
                ..Run::default()
            },
            asked: crate::pipeline::asked::Asked::default(),
            links: Vec::new(),
        };
        Recorded {
            scene,
            last,
            ledger,
            judge: Diagnoser::default(),
        }
    }

    fn reading(&self, started: u64, now: u64) -> Observation {
        let seen = |(key, hop): &(FlowHopKey, FlowHop)| {
            let since = hop.first.max(started);
            let until = hop.last.min(now);
            let packets = |to: u64| (to.saturating_sub(hop.first) + SECOND / 10) * 10 / SECOND;
            let before = started
                .checked_sub(hop.first)
                .map_or(0, |_| packets(started));
            (since <= until).then_some((
                *key,
                FlowHop {
                    packets: packets(until).saturating_sub(before),
                    first: since,
                    last: until,
                    ..*hop
                },
            ))
        };
        Observation {
            now,
            flows: self.rows.iter().filter_map(seen).collect(),
            drops: self.drops.clone(),
            ..Observation::default()
        }
    }
}

fn together(one: Film, other: Film) -> Verdict {
    let files = ["a.ndr".to_owned(), "b.ndr".to_owned()];
    joined(vec![one.recorded(), other.recorded()], &files).0
}

fn there(port: u16) -> FlowKey {
    tcp("172.20.1.5", "172.20.2.5", port)
}

/// Ports of flows that both see, from the third second on.
const SEEN: [u16; 4] = [1, 2, 3, 4];

fn sender() -> Film {
    let film = Film::of(overlay_node(1450, 1450, 1500));
    SEEN.iter().fold(film, |f, port| f.out(there(*port), 3, 10))
}

fn receiver() -> Film {
    SEEN.iter()
        .fold(Film::of(peer()), |f, port| f.into(there(*port), 3, 10))
}

/// Packets, arrived ones and flows that never came, each way.
fn counts(verdict: &Verdict) -> Vec<(u64, u64, u64)> {
    let between = verdict.between.iter();
    between
        .map(|b| (b.packets, b.arrived, b.never_came))
        .collect()
}

#[test]
fn what_comes_is_not_lost_and_what_does_not_is() {
    let healthy = together(sender(), receiver());
    assert_eq!(counts(&healthy), [(40, 40, 0), (0, 0, 0)]);
    assert!(healthy.between[0].lost.is_empty());
    let lost = together(sender().out(there(9), 4, 5), receiver());
    assert_eq!(counts(&lost), [(45, 40, 1), (0, 0, 0)]);
    let flow = &lost.between[0].lost[0];
    assert_eq!(flow.destination, "172.20.2.5:9");
    assert_eq!((flow.packets, flow.arrived), (5, 0));
}

#[test]
fn clocks_may_differ() {
    for ahead in [-300, -90, 1, 90, 300, 86_400] {
        let mut receiver = receiver();
        receiver.ahead = ahead;
        let it = together(sender().out(there(9), 4, 5), receiver);
        assert_eq!(counts(&it), [(45, 40, 1), (0, 0, 0)], "{ahead}");
        let told: Vec<_> = it.between.iter().map(|b| b.clock_ahead).collect();
        assert_eq!(told, [Some(ahead as f64), Some(-ahead as f64)]);
    }
}

#[test]
fn what_passed_while_only_one_was_watched_is_not_lost() {
    let mut late = receiver().into(there(9), 1, 20);
    late.later = 2;
    // Half of it came before anybody watched, and all of the other one.
    let sender = sender().out(there(9), 1, 20).out(there(10), 0, 5);
    let it = together(sender, late);
    let (packets, arrived, never) = counts(&it)[0];
    assert_eq!((packets - arrived, never), (0, 0), "{packets} {arrived}");
    assert!(packets >= 40);
}

#[test]
fn what_came_and_died_there_is_told() {
    let mut receiver = receiver();
    receiver.drops = vec![lost(there(1), 0, UPLINK, 7, 2)];
    let it = together(sender(), receiver);
    let dropped = &it.between[0].dropped[0];
    assert_eq!(
        (dropped.packets, dropped.reason.as_str()),
        (7, "NETFILTER_DROP")
    );
    assert_eq!(dropped.node.as_deref(), Some("n2"));
    assert!(it.between[1].dropped.is_empty());
}

fn why(verdict: &Verdict) -> &str {
    assert!(verdict.between.is_empty());
    &verdict.not_checked[0].why
}

#[test]
fn what_cannot_be_compared_is_said() {
    let stranger = || {
        let mut node = peer();
        node.links[0] = link(UPLINK, "ens5", LinkKind::Physical, 1500).with_address("10.9.9.9/24");
        node.pod_sides.clear();
        node.fdb.clear();
        Film::of(node)
    };
    let elsewhere = tcp("192.0.2.200", "192.0.2.201", 443);
    let it = together(
        Film::of(overlay_node(1450, 1450, 1500)).passes(elsewhere, true, 1, 5),
        stranger().passes(elsewhere.reversed(), true, 1, 5),
    );
    assert!(
        why(&it).starts_with("neither sent the other anything"),
        "{it:?}"
    );
    assert_eq!(it.verdict, Outcome::Healthy);
    let again = together(
        sender(),
        Film {
            later: 60,
            ..sender()
        },
    );
    assert!(why(&again).starts_with("both are recordings of one node"));
    assert_eq!(again.node, "n1 (a.ndr), n1 (b.ndr)");
    let later = together(
        sender(),
        Film {
            later: 600,
            ..Film::of(peer())
        },
    );
    assert!(why(&later).starts_with("they were not recorded at the same time"));
    let mut partly = receiver().recorded();
    partly.scene.run.partly = true;
    let files = [String::new(), String::new()];
    let (it, _) = joined(vec![sender().recorded(), partly], &files);
    assert!(why(&it).starts_with("some links or flows only"));
}

#[test]
fn the_same_recording_is_known() {
    assert!(sender().recorded().same_as(&sender().recorded()));
    assert!(!sender().recorded().same_as(&receiver().recorded()));
}
