//! A connection that the node translates is one flow with two legs: as the client sends it, and
//! as it is behind the translation.
use std::collections::BTreeMap;

use netdiag_common::{flow::FlowKey, hop::TRACKED};

use super::{
    connection_groups::Connection,
    facts::{Facts, Loss},
    journey::Journey,
};
use crate::model::{
    address::from_wire,
    flow::{TCP, UDP, ends},
    hash::Map,
    path::KnownBy,
};

/// Bytes that two hops' counts of one connection may differ by while they are read: a window
/// without scaling (RFC 9293).
const IN_FLIGHT: u32 = 65_535;
/// Nanoseconds that a packet takes through the node at most, where nothing holds it up.
const AT_ONCE: u64 = 100_000_000;

/// An address and port, and the protocol.
type End = ([u8; 16], u16, u8);

/// What the node makes of flows, looked through once for all that are asked for.
#[derive(Default)]
pub struct Legs {
    /// From the flow as its sender sends it to the one behind the translation.
    sent_on: Map<FlowKey, (FlowKey, KnownBy)>,
    /// The other way round.
    asked: Map<FlowKey, (FlowKey, KnownBy)>,
}

impl Legs {
    pub fn new(facts: &Facts<'_>) -> Self {
        let mut legs = Self::default();
        for tracked in facts.gathered.translations() {
            let (asked, sent) = (tracked.asked.flow(), tracked.answered.flow().reversed());
            legs.insert(asked, sent, KnownBy::Conntrack);
        }
        let journeys = facts.journeys_in_order(|_| true);
        let made = Made::new(facts, &journeys);
        // A port of the client's may have been another connection's before, or be at the same time.
        for origin in journeys.iter().filter(|j| j.came_in() && !j.went_on()) {
            if !legs.sent_on.contains_key(&origin.flow)
                && let Some(leg) = made.of(facts, origin)
            {
                legs.insert(origin.flow, leg, KnownBy::Inferred);
            }
        }
        legs
    }

    /// Answers are translated back.
    fn insert(&mut self, asked: FlowKey, sent: FlowKey, by: KnownBy) {
        for (came, left) in [(asked, sent), (sent.reversed(), asked.reversed())] {
            self.sent_on.entry(came).or_insert((left, by));
            self.asked.entry(left).or_insert((came, by));
        }
    }

    /// The flow behind the translation, where there is one.
    pub fn translated(&self, flow: &FlowKey) -> Option<(FlowKey, KnownBy)> {
        self.sent_on.get(flow).copied()
    }

    /// The flow that the node made this one of.
    pub fn origin(&self, flow: &FlowKey) -> Option<(FlowKey, KnownBy)> {
        self.asked.get(flow).copied()
    }

    /// Both of them, given either: as it is sent, and as it is sent on.
    pub fn pair(&self, flow: &FlowKey) -> Option<(FlowKey, FlowKey, KnownBy)> {
        let sent = self.sent_on.get(flow).map(|(leg, by)| (*flow, *leg, *by));
        sent.or_else(|| self.asked.get(flow).map(|(asked, by)| (*asked, *flow, *by)))
    }

    /// Every flow that is translated, as it is sent and as it is sent on.
    pub fn all(&self) -> impl Iterator<Item = (&FlowKey, &FlowKey, KnownBy)> {
        self.sent_on
            .iter()
            .map(|(asked, (leg, by))| (asked, leg, *by))
    }
}

impl Connection<'_> {
    /// Whether nobody translated it on this node. Where both ends are made others no leg may be known, but nothing
    /// is seen to leave as it came.
    pub fn goes_as_it_is(&self, facts: &Facts<'_>) -> bool {
        let (flow, legs) = (&self.flow, facts.legs());
        let joined = self.became.is_some() || legs.pair(flow).is_some();
        let led_on = || {
            let (_, server) = ends(flow);
            facts.all_watched && !facts.owns(server) && !self.requests.iter().any(|h| h.egress())
        };
        !joined && !led_on()
    }
}

impl Facts<'_> {
    pub fn legs(&self) -> &Legs {
        self.legs.get_or_init(|| Legs::new(self))
    }
}

/// Legs of one socket, of one port to one server, or of like sequence numbers that are compared.
/// Who has more of them talks to as many, and none can be told for another's translation; without a
/// bound, one that sends to every port would have each compared with each.
const COMPARED: usize = 128;
/// The same of connections whose sequence numbers are alike by chance.
const LIKE: usize = 4096;

/// Flows that nobody sent in as they are: without conntrack's word, what leaves as another flow
/// came in by the same socket, or with the same sequence numbers.
struct Made<'f, 'a> {
    /// By the client's socket; the time is that of the first packet.
    by_client: Map<End, Vec<(FlowKey, u64)>>,
    /// UDP, with the client's port.
    by_server: Map<(End, u16), Vec<&'f Journey<'a>>>,
    by_sequence: BTreeMap<u32, Vec<&'f Journey<'a>>>,
}

impl<'f, 'a> Made<'f, 'a> {
    fn new(facts: &'f Facts<'a>, journeys: &[&'f Journey<'a>]) -> Self {
        let mut all = Self {
            by_client: Map::default(),
            by_server: Map::default(),
            by_sequence: BTreeMap::new(),
        };
        for made in journeys.iter().filter(|j| !j.came_in()) {
            all.journey(facts, made);
        }
        // What is dropped behind the translation passes no further hop.
        let lost = facts.losses.iter().filter(|l| dropped_by(facts, l));
        let mut lost: Vec<_> = lost.map(|l| (l.dropped.last, *l.flow())).collect();
        lost.sort_unstable();
        for (last, flow) in lost {
            let legs = all.by_client.entry(client(&flow)).or_default();
            note(legs, (flow, last));
        }
        all
    }

    fn journey(&mut self, facts: &Facts<'_>, made: &'f Journey<'a>) {
        let (flow, first) = (made.flow, first(made).unwrap_or(0));
        let of_client = self.by_client.entry(client(&flow)).or_default();
        note(of_client, (flow, first));
        if !facts.owns(from_wire(flow.source)) {
            return;
        }
        if flow.protocol == UDP {
            let key = (server(&flow), flow.source_port);
            note(self.by_server.entry(key).or_default(), made);
        }
        if let (TCP, Some(sequence)) = (flow.protocol, sequence(made)) {
            note(self.by_sequence.entry(sequence).or_default(), made);
        }
    }

    fn of(&self, facts: &Facts<'_>, origin: &Journey<'_>) -> Option<FlowKey> {
        self.same_socket(origin)
            .or_else(|| self.same_server(origin))
            .or_else(|| self.same_sequence(facts, origin))
    }

    /// A Service's address became a backend's: one socket, another server.
    fn same_socket(&self, origin: &Journey<'_>) -> Option<FlowKey> {
        let (flow, began) = (&origin.flow, first(origin)?);
        if !matches!(flow.protocol, TCP | UDP) {
            return None;
        }
        let legs = self.by_client.get(&client(flow)).into_iter().flatten();
        let mut legs = legs.filter(|(leg, seen)| server(leg) != server(flow) && *seen >= began);
        legs.next().map(|(leg, _)| *leg)
    }

    /// The source became the node's: the sequence numbers stay, and mostly the port.
    fn same_server(&self, origin: &Journey<'_>) -> Option<FlowKey> {
        let flow = &origin.flow;
        let same = |leg: &&&Journey<'_>| {
            let to = server(&leg.flow) == server(flow);
            to && flow.source != leg.flow.source && first(leg) >= first(origin)
        };
        let leg = match flow.protocol {
            UDP => {
                let legs = self.by_server.get(&(server(flow), flow.source_port));
                legs.into_iter().flatten().find(same)
            }
            TCP => self.near(sequence(origin)?).take(LIKE).find(same),
            _ => None,
        };
        leg.map(|j| j.flow)
    }

    /// Both ends changed, as NodePorts do: nothing but the sequence numbers is left, so it must be
    /// one flow alone that has them, and have begun at once.
    fn same_sequence(&self, facts: &Facts<'_>, origin: &Journey<'_>) -> Option<FlowKey> {
        let (_, to) = ends(&origin.flow);
        if origin.flow.protocol != TCP || !facts.owns(to) {
            return None;
        }
        let (sequence, began) = (sequence(origin)?, first(origin)?);
        let near = self.near(sequence).take(COMPARED);
        let mut near =
            near.filter(|j| first(j).is_some_and(|first| first.wrapping_sub(began) <= AT_ONCE));
        let leg = near.next()?;
        near.next().is_none().then_some(leg.flow)
    }

    fn near(&self, sequence: u32) -> impl Iterator<Item = &&'f Journey<'a>> {
        let (low, high) = (
            sequence.wrapping_sub(IN_FLIGHT),
            sequence.wrapping_add(IN_FLIGHT),
        );
        let (first, second) = match low <= high {
            true => (low..=high, None),
            // Numbers go round.
            false => (low..=u32::MAX, Some(0..=high)),
        };
        let ranges = std::iter::once(first).chain(second);
        let found = ranges.flat_map(|r| self.by_sequence.range(r));
        found.flat_map(|(_, journeys)| journeys)
    }
}

fn note<T>(legs: &mut Vec<T>, leg: T) {
    if legs.len() < COMPARED {
        legs.push(leg);
    }
}

/// The node's own stack dropped it, and nobody had sent it in like that.
fn dropped_by(facts: &Facts<'_>, loss: &Loss) -> bool {
    let came_in = |j: &Journey<'_>| j.came_in();
    !loss.harmless
        && loss.key.netns == facts.node.netns
        && !facts.journeys().get(loss.flow()).is_some_and(came_in)
}

fn client(flow: &FlowKey) -> End {
    (flow.source, flow.source_port, flow.protocol)
}

fn server(flow: &FlowKey) -> End {
    (flow.destination, flow.destination_port, flow.protocol)
}

fn sequence(journey: &Journey<'_>) -> Option<u32> {
    let tracked = |h: &&&super::facts::HopFlow| h.hop.flags & TRACKED != 0;
    journey
        .hops
        .iter()
        .find(tracked)
        .map(|h| h.hop.next_sequence)
}

fn first(journey: &Journey<'_>) -> Option<u64> {
    journey.hops.first().map(|h| h.hop.first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            gather::{Piece, Tracked, Tuple, Want},
            observation::Observation,
        },
        testing::{
            NETFILTER_DROP, OVERLAY, POD, UPLINK, at, from_pod, ip, lost, overlay_node, tcp,
            with_facts, with_gathered,
        },
    };

    fn leg(
        flows: Vec<(
            netdiag_common::hop::FlowHopKey,
            netdiag_common::hop::FlowHop,
        )>,
        tracked: Vec<Tracked>,
    ) -> Option<(FlowKey, KnownBy)> {
        let asked = flows[0].0.flow;
        let observation = Observation {
            flows,
            ..Observation::default()
        };
        let piece = (Want::Tracked(ip("172.20.1.5")), Ok(Piece::Tracked(tracked)));
        with_gathered(
            &overlay_node(1450, 1450, 1500),
            &observation,
            [piece],
            |facts| facts.legs().translated(&asked),
        )
    }

    #[test]
    fn conntrack_is_believed() {
        let asked = tcp("172.20.1.5", "10.96.0.10", 80);
        let tracked = Tracked {
            asked: Tuple {
                source: (ip("172.20.1.5"), asked.source_port),
                destination: (ip("10.96.0.10"), 80),
                protocol: TCP,
            },
            answered: Tuple {
                source: (ip("172.20.2.9"), 8080),
                destination: (ip("192.0.2.1"), 61_000),
                protocol: TCP,
            },
        };
        let (leg, by) = leg(vec![from_pod(asked, |_| {})], vec![tracked]).expect("a leg");
        assert_eq!((leg.destination_port, leg.source_port), (8080, 61_000));
        assert_eq!(by, KnownBy::Conntrack);
    }

    #[test]
    fn without_it_the_socket_tells() {
        let sent = tcp("172.20.1.5", "172.20.2.9", 8080);
        let flows = vec![
            from_pod(tcp("172.20.1.5", "10.96.0.10", 80), |h| h.first = 5),
            at(sent, OVERLAY, true, 0, |h| h.first = 6),
        ];
        assert_eq!(leg(flows, Vec::new()), Some((sent, KnownBy::Inferred)));
    }

    #[test]
    fn one_port_may_have_two_connections() {
        let plain = tcp("172.20.1.5", "172.20.2.9", 9000);
        let asked = tcp("172.20.1.5", "10.96.0.10", 80);
        let sent = tcp("172.20.1.5", "172.20.2.9", 8080);
        let observation = Observation {
            flows: vec![
                from_pod(plain, |h| h.first = 1),
                at(plain, OVERLAY, true, 0, |h| h.first = 2),
                from_pod(asked, |h| h.first = 3),
            ],
            drops: vec![lost(sent, NETFILTER_DROP, OVERLAY, 3, 4)],
            ..Observation::default()
        };
        with_facts(&overlay_node(1450, 1450, 1500), &observation, |facts| {
            let legs = facts.legs();
            assert_eq!(legs.translated(&plain), None);
            assert_eq!(legs.origin(&sent), Some((asked, KnownBy::Inferred)));
        });
    }

    #[test]
    fn a_masquerades_sequence_numbers_tell() {
        let counted = |sequence: u32| {
            move |h: &mut netdiag_common::hop::FlowHop| {
                (h.flags, h.next_sequence) = (TRACKED, sequence);
            }
        };
        let outside = FlowKey {
            source_port: 61_000,
            ..tcp("192.0.2.1", "198.51.100.7", 443)
        };
        let flows = |sequence| {
            vec![
                from_pod(tcp("172.20.1.5", "198.51.100.7", 443), counted(7)),
                at(outside, UPLINK, true, 0, counted(sequence)),
            ]
        };
        assert_eq!(
            leg(flows(1400), Vec::new()),
            Some((outside, KnownBy::Inferred))
        );
        assert_eq!(leg(flows(1 << 30), Vec::new()), None, "another connection");
    }

    #[test]
    fn a_node_ports_sequence_numbers_tell_if_nothing_else_has_them() {
        let node = ["192.0.2.1", "172.20.1.5"];
        let counted = |first: u64| {
            move |h: &mut netdiag_common::hop::FlowHop| {
                (h.flags, h.next_sequence, h.first) = (TRACKED, 9, first);
            }
        };
        let asked = tcp("198.51.100.7", node[0], 30_080);
        let sent = FlowKey {
            source_port: 61_000,
            ..tcp(node[0], node[1], 8080)
        };
        let other = FlowKey {
            source_port: 61_001,
            ..sent
        };
        let came = at(asked, UPLINK, false, 0, counted(5));
        let one = vec![came, at(sent, POD, true, 0, counted(6))];
        assert_eq!(
            leg(one.clone(), Vec::new()),
            Some((sent, KnownBy::Inferred))
        );
        let two = [one, vec![at(other, POD, true, 0, counted(7))]].concat();
        assert_eq!(leg(two, Vec::new()), None, "either may be it");
    }

    #[test]
    fn answers_and_drops_are_of_the_same_connection() {
        let asked = tcp("172.20.1.5", "10.96.0.10", 80);
        let sent = tcp("172.20.1.5", "172.20.2.9", 8080);
        let observation = Observation {
            flows: vec![from_pod(asked, |h| h.first = 5)],
            drops: vec![lost(sent, NETFILTER_DROP, OVERLAY, 3, 2)],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_facts(&node, &observation, |facts| {
            let legs = facts.legs();
            let pair = Some((asked, sent, KnownBy::Inferred));
            assert_eq!((legs.pair(&asked), legs.pair(&sent)), (pair, pair));
            let answer = legs.translated(&sent.reversed()).map(|(flow, _)| flow);
            assert_eq!(answer, Some(asked.reversed()));
        });
    }
}
