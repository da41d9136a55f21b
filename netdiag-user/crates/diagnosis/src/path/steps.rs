//! The hops of both directions, summed over the connections and set beside the routes.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use netdiag_common::{
    flow::FlowKey,
    hop::{EGRESS, INGRESS, IPIP, PLAIN, VXLAN},
};
use netdiag_lang::t;

use super::Conversation;
use crate::{
    model::{
        address::endpoint,
        flow::{self, ends},
        limits,
        path::{Course, End, Step, Way},
        policy::Packet,
        roles::Role,
        total::add,
    },
    pipeline::{
        expected_path::{Place, expected_path},
        facts::{Facts, HopFlow, direction},
        scene::Run,
    },
};

/// Final destinations that the routes are asked for: a Service's backends may be many.
const MOST_COURSES: usize = 8;

/// Counts of all connections at one place.
#[derive(Default)]
struct Sum {
    packets: u64,
    bytes: u64,
    largest: u32,
    retransmits: u64,
    /// Time since each connection's first hop, by connection.
    after: HashMap<usize, u64>,
    ends: BTreeSet<FlowKey>,
}

/// A place, and whether it is behind the translation.
type At = (usize, Place);

/// Requests and replies.
pub fn ways(
    facts: &Facts<'_>,
    (source, destination): (&End, &End),
    all: &[Conversation],
    run: &Run,
) -> (Way, Way) {
    let there = |c: &Conversation| vec![Some(c.asked), c.sent];
    let back = |c: &Conversation| vec![c.sent.map(|f| f.reversed()), Some(c.asked.reversed())];
    let (asked, answered) = (
        sums(facts, all, there, run.hooked),
        sums(facts, all, back, run.hooked),
    );
    let expected = |back| {
        let mut places = expected(facts, source, destination, all, back);
        places.retain(|p| run.watches(&facts.node.link_name(p.ifindex)));
        places
    };
    let told = told(all, run);
    let request = way(facts, asked, &expected(false), told);
    let reply = match answered.is_empty() {
        // Nothing came back: where it would have come is of no use before it is sent.
        true => Way::default(),
        false => way(facts, answered, &expected(true), told),
    };
    (request, reply)
}

fn sums(
    facts: &Facts<'_>,
    all: &[Conversation],
    legs: impl Fn(&Conversation) -> Vec<Option<FlowKey>>,
    hooked: u64,
) -> BTreeMap<At, Sum> {
    let mut sums: BTreeMap<At, Sum> = BTreeMap::new();
    for (n, conversation) in all.iter().enumerate() {
        let journeys: Vec<_> = legs(conversation)
            .iter()
            .map(|leg| leg.and_then(|flow| facts.journeys().get(&flow)))
            .collect();
        let hops = || journeys.iter().flatten().flat_map(|j| j.hops.iter());
        let began = hops().map(|h| h.hop.first).min().unwrap_or(0);
        for (leg, journey) in journeys.iter().enumerate() {
            for hop in journey.iter().flat_map(|j| j.hops.iter()) {
                let sum = sums.entry((leg, place(hop))).or_default();
                sum.add(hop);
                // What began before all hops were watched was first seen when each one was.
                if began >= hooked {
                    sum.after.insert(n, hop.hop.first.saturating_sub(began));
                }
            }
        }
    }
    sums
}

impl Sum {
    fn add(&mut self, hop: &HopFlow) {
        let whole = hop.hop.packets.saturating_sub(hop.hop.later_fragments);
        add(&mut self.packets, whole);
        add(&mut self.bytes, hop.hop.bytes);
        self.largest = self.largest.max(hop.hop.largest);
        add(&mut self.retransmits, hop.hop.retransmits);
        self.ends.insert(*hop.flow());
    }

    fn typical(&self) -> u64 {
        median(self.after.values().copied().collect()).unwrap_or(0)
    }

    /// Median time between two places, of the connections that passed both.
    fn since(&self, before: &Sum) -> Option<u64> {
        let both = self.after.iter().filter_map(|(n, own)| {
            let before = before.after.get(n)?;
            own.checked_sub(*before)
        });
        median(both.collect())
    }
}

fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn place(hop: &HopFlow) -> Place {
    Place {
        ifindex: hop.key.ifindex,
        direction: hop.key.direction,
        carried: hop.key.carried,
    }
}

/// Where the routes lead, over all pairs of ends that there are.
fn expected(
    facts: &Facts<'_>,
    source: &End,
    destination: &End,
    all: &[Conversation],
    back: bool,
) -> Vec<Place> {
    let mut pairs: BTreeSet<(IpAddr, IpAddr, bool)> = all
        .iter()
        .map(|c| {
            let (from, _) = ends(&c.asked);
            let (_, to) = ends(&c.sent.unwrap_or(c.asked));
            (from, to, c.sent.is_some())
        })
        .collect();
    if pairs.is_empty() {
        let from = source.addresses.iter();
        pairs = from
            .filter_map(|from| {
                let same = |a: &&IpAddr| a.is_ipv4() == from.is_ipv4();
                let to = destination.addresses.iter().find(same)?;
                Some((*from, *to, destination.service.is_some()))
            })
            .collect();
    }
    let mut places = Vec::new();
    for (from, to, translated) in pairs.into_iter().take(MOST_COURSES) {
        let one = match back {
            true => expected_path(facts, to, from, translated),
            false => expected_path(facts, from, to, translated),
        };
        let new: Vec<_> = one.into_iter().filter(|p| !places.contains(p)).collect();
        places.extend(new);
    }
    places
}

/// Where policy rules choose among uplinks, the other end may too: what comes in by another uplink than
/// the one that leads back is no surprise.
fn by_any_uplink(facts: &Facts<'_>, expected: &[Place], seen: &BTreeMap<At, Sum>) -> Vec<Place> {
    let uplink = |p: &Place| {
        let link = facts.link(p.ifindex);
        let outer = link.and_then(|l| facts.role(l)) == Some(Role::Uplink);
        outer && p.direction == INGRESS
    };
    let seen: Vec<Place> = seen.keys().map(|(_, place)| *place).collect();
    let instead = |own: &Place| {
        let other = |p: &&Place| uplink(p) && p.carried == own.carried && !expected.contains(p);
        let chosen = !facts.node.policy_tables.is_empty();
        let other = seen.iter().find(other).filter(|_| chosen);
        match seen.contains(own) || !uplink(own) {
            true => *own,
            false => other.copied().unwrap_or(*own),
        }
    };
    expected.iter().map(instead).collect()
}

/// Whether a hop that counted nothing tells something: a filter may leave out what a connection is
/// translated to.
fn told(all: &[Conversation], run: &Run) -> bool {
    !run.filtered || all.iter().all(|c| c.sent.is_none())
}

fn way(facts: &Facts<'_>, sums: BTreeMap<At, Sum>, expected: &[Place], told: bool) -> Way {
    let expected = &by_any_uplink(facts, expected, &sums)[..];
    let mut seen: Vec<(At, Sum)> = sums.into_iter().collect();
    let due = |place: &Place| expected.iter().position(|p| p == place);
    let due = |place: &Place| due(place).unwrap_or(expected.len());
    seen.sort_by_key(|((leg, place), sum)| (*leg, sum.typical(), due(place), place.ifindex));
    let mut steps: Vec<(Place, Step)> = Vec::new();
    for (n, ((_, place), sum)) in seen.iter().enumerate() {
        let before = n.checked_sub(1).map(|n| &seen[n].1);
        let mut step = step(facts, *place, sum);
        step.latency = before.and_then(|b| sum.since(b)).map(|ns| ns as f64 / 1e9);
        if expected.is_empty() || expected.contains(place) {
            step.course = Course::Expected;
        }
        steps.push((*place, step));
    }
    if told {
        add_unseen(facts, &mut steps, expected);
    }
    Way {
        steps: steps.into_iter().map(|(_, step)| step).collect(),
        fates: Vec::new(),
    }
}

/// Puts each place where nothing was seen behind the one that comes before it.
fn add_unseen(facts: &Facts<'_>, steps: &mut Vec<(Place, Step)>, expected: &[Place]) {
    for (n, place) in expected.iter().enumerate() {
        if steps.iter().any(|(p, _)| p == place) {
            continue;
        }
        let behind = |wanted: &Place| steps.iter().rposition(|(p, _)| p == wanted);
        let at = expected[..n].iter().rev().find_map(behind);
        let mut step = step(facts, *place, &Sum::default());
        step.course = Course::NotSeen;
        steps.insert(at.map_or(0, |at| at + 1), (*place, step));
    }
}

fn step(facts: &Facts<'_>, place: Place, sum: &Sum) -> Step {
    let link = facts.link(place.ifindex);
    let one = |end: &dyn Fn(&FlowKey) -> (IpAddr, u16)| {
        let all: BTreeSet<_> = sum.ends.iter().map(end).collect();
        let addresses: BTreeSet<_> = all.iter().map(|(a, _)| a).collect();
        Some(match (all.len(), addresses.len(), all.first()?) {
            (1, _, (address, port)) => endpoint(*address, *port),
            (_, 1, (address, _)) => address.to_string(),
            (_, n, _) => t!("{n} addresses"),
        })
    };
    let no_port = |f: &FlowKey, port: u16| match f.protocol {
        1 | 58 => 0,
        _ => port,
    };
    let peer = sum.ends.first().map(ends);
    Step {
        interface: facts.node.link_name(place.ifindex),
        role: link
            .and_then(|l| facts.role(l))
            .map(|r| r.name().to_owned()),
        direction: direction(place.direction).into(),
        course: Course::Unexpected,
        source: one(&|f| (ends(f).0, no_port(f, f.source_port))),
        destination: one(&|f| (ends(f).1, no_port(f, f.destination_port))),
        carried: carried(facts, place, peer),
        packets: sum.packets,
        bytes: sum.bytes,
        largest: sum.largest,
        retransmits: sum.retransmits,
        mtu: link.map(|l| l.mtu),
        fits: fits(facts, place, peer),
        latency: None,
    }
}

/// The form of what encapsulates it, and between whom.
fn carried(facts: &Facts<'_>, place: Place, peer: Option<(IpAddr, IpAddr)>) -> Option<String> {
    let kind = match place.carried {
        VXLAN => "vxlan",
        IPIP => "ipip",
        _ => return None,
    };
    let own = |o: &&crate::pipeline::facts::OuterPair| {
        (o.key.ifindex, o.key.direction, o.key.carried)
            == (place.ifindex, place.direction, place.carried)
    };
    let inside = |o: &&crate::pipeline::facts::OuterPair| {
        let inner = ends(&o.outer.inner);
        peer.is_some_and(|(from, to)| inner == (from, to) || inner == (to, from))
    };
    let mut outers: Vec<_> = facts.outers.iter().filter(own).collect();
    // The pair's latest inner flow may be another one: with one pair only there is no doubt.
    if outers.len() > 1 {
        outers.retain(inside);
    }
    Some(match outers[..] {
        [one] => format!("{kind} {} → {}", one.source, one.destination),
        _ => kind.to_owned(),
    })
}

/// What the device and what comes below it leave to the flow's own packets.
fn fits(facts: &Facts<'_>, place: Place, peer: Option<(IpAddr, IpAddr)>) -> Option<u32> {
    let link = facts.link(place.ifindex)?;
    let (from, to) = peer?;
    let (source, destination) = match place.direction {
        EGRESS => (from, to),
        _ => (to, from),
    };
    let route = facts.ways().chosen(&Packet::between(source, destination));
    let route = route.usable()?;
    let through = facts.link(route.oif?)?;
    if through.is_tunnel() && (place.carried != PLAIN || through.index == link.index) {
        let remote = limits::remote(facts.node, through, route.gateway);
        let left = limits::tunnel_leaves(facts.node, through, remote);
        return Some(left.map_or(link.mtu, |left| match place.carried {
            PLAIN => left.min(link.mtu),
            _ => left,
        }));
    }
    let own = route.mtu.filter(|_| through.index == link.index);
    Some(own.map_or(link.mtu, |mtu| mtu.min(link.mtu)))
}

/// `tcp`, where all are of one protocol.
pub fn protocol(all: &[Conversation]) -> Option<String> {
    let mut protocols = all.iter().map(|c| c.asked.protocol);
    let first = protocols.next()?;
    protocols.all(|p| p == first).then(|| flow::protocol(first))
}
