//! What the connection causes share, grouped once a reading: who tried to reach which port, hop
//! by hop, and what came of it.
//!
//! A try is one connection (TCP) or the datagrams from one socket to one server (UDP). Where the
//! node translates (a Service's DNAT), the hops before see another destination than those
//! behind: the two are tries of their own, joined by [`Connection::became`] and [`Connection::was`].
use std::{cell::OnceCell, net::IpAddr, rc::Rc};

use netdiag_common::{
    flow::FlowKey,
    hop::{ACK, RST, SYN},
};

use crate::{
    facts::{Facts, HopFlow},
    journey::came_in,
    model::{
        address::endpoint,
        flow::{self, TCP, UDP},
        hash::Map,
        roles::Role,
        total::Total,
        verdict::{FlowRef, PodRef, PodRole, Scope},
    },
};

/// What has gone unanswered for so long is not merely under way: TCP's first retransmission of
/// a SYN comes after one second (RFC 6298), and a resolver asks again after five.
pub const PATIENCE: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// SYN|ACK came back, or its client acknowledged it; for UDP anything.
    Accepted,
    /// RST came back.
    Refused,
    Unanswered,
    /// Too young to tell.
    Pending,
}

/// Who answered, as far as this node sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// The pod of this node behind the link of that index.
    Pod(u32),
    /// The node itself: no hop saw the answer come in.
    Node,
    /// Somebody behind a tunnel or an uplink.
    Beyond,
}

/// One client's socket and one server's port.
#[derive(Clone, Debug)]
pub struct Connection<'a> {
    /// As the client's packets have it.
    pub flow: FlowKey,
    /// Hops that the requests passed, in the order of the path, and those of the answers.
    pub requests: Rc<[&'a HopFlow]>,
    pub answers: Rc<[&'a HopFlow]>,
    /// The flow that this one was translated to, or from which.
    pub became: Option<FlowKey>,
    pub was: Option<FlowKey>,
    pub outcome: Outcome,
}

impl Connection<'_> {
    /// Requests at the first hop: SYNs, for UDP datagrams.
    pub fn packets(&self) -> u64 {
        let most = self.requests.iter().map(|h| match self.flow.protocol {
            TCP => u64::from(h.hop.syns),
            _ => h.hop.packets,
        });
        most.max().unwrap_or(0)
    }

    pub fn first(&self) -> u64 {
        self.requests.first().map_or(0, |h| h.hop.first)
    }

    pub fn last(&self) -> u64 {
        let all = self.requests.iter().chain(self.answers.iter());
        all.map(|h| h.hop.last).max().unwrap_or(0)
    }

    /// The client acknowledged what its server answered.
    pub fn opened(&self) -> bool {
        opened(&self.requests)
    }

    /// Whether it was answered after that moment, or began after it and its answers come by a way that
    /// is not seen.
    pub fn worked_after(&self, moment: u64) -> bool {
        let unseen = self.answers.is_empty() && self.opened() && self.first() > moment;
        unseen || self.answers.iter().any(|h| h.hop.first > moment)
    }

    /// The last hop of the path that a request reached.
    pub fn last_seen(&self) -> Option<&HopFlow> {
        self.requests.last().copied()
    }

    pub fn retransmits(&self) -> u64 {
        let of = self.requests.iter().map(|h| h.hop.retransmits);
        of.max().unwrap_or(0)
    }

    /// Who answered: look at the try that this one became, where there is one.
    pub fn answerer(&self) -> Option<Answerer> {
        let first = self.answers.first()?;
        Some(match (first.egress(), first.role) {
            (false, Some(Role::Pod)) => Answerer::Pod(first.key.ifindex),
            (false, Some(Role::Tunnel | Role::Uplink)) => Answerer::Beyond,
            // Who is behind a bridge is unknown where no pod's link is watched.
            (false, _) => return None,
            (true, _) => Answerer::Node,
        })
    }
}

/// The tries of one client at one server's port.
#[derive(Clone, Debug)]
pub struct ConnectionGroup<'a> {
    pub client: IpAddr,
    pub server: IpAddr,
    pub port: u16,
    pub protocol: u8,
    /// In the order of their beginning; shared with those of the same end.
    pub tries: Rc<[Connection<'a>]>,
}

impl<'a> ConnectionGroup<'a> {
    /// Only the tries that came to `wanted`, where none was accepted since the first of them.
    fn failing(&self, wanted: Outcome) -> Option<ConnectionGroup<'a>> {
        let failed = || self.tries.iter().filter(|t| t.outcome == wanted);
        let first = failed().map(Connection::first).next()?;
        let since = |t: &Connection<'_>| t.outcome == Outcome::Accepted && t.worked_after(first);
        let worked = self.tries.iter().any(since);
        (!worked).then(|| ConnectionGroup {
            tries: match self.tries.iter().all(|t| t.outcome == wanted) {
                true => self.tries.clone(),
                false => failed().cloned().collect(),
            },
            ..*self
        })
    }

    /// `tcp 10.0.0.2:80`
    pub fn target(&self) -> String {
        let protocol = flow::protocol(self.protocol);
        format!("{protocol} {}", endpoint(self.server, self.port))
    }

    /// Packets of all tries.
    pub fn packets(&self) -> u64 {
        self.tries.iter().map(Connection::packets).total()
    }

    pub fn first(&self) -> u64 {
        self.tries.iter().map(Connection::first).min().unwrap_or(0)
    }

    pub fn last(&self) -> u64 {
        self.tries.iter().map(Connection::last).max().unwrap_or(0)
    }

    /// From the first try to the last, in ns.
    pub fn span(&self) -> u64 {
        let began = || self.tries.iter().map(Connection::first);
        let last = began().max().unwrap_or(0);
        last.saturating_sub(began().min().unwrap_or(0))
    }

    pub fn cover(&self, scope: &mut Scope) {
        scope.add(self.protocol, (self.client, 0), (self.server, self.port));
    }

    pub fn refer(&self) -> FlowRef {
        let seen = self.tries.iter().rev().find_map(Connection::last_seen);
        FlowRef {
            protocol: flow::protocol(self.protocol),
            source: self.client.to_string(),
            destination: endpoint(self.server, self.port),
            packets: self.packets(),
            retransmits: self.tries.iter().map(Connection::retransmits).total(),
            last_seen_at: seen.map(|h| h.interface.clone()),
            ..FlowRef::default()
        }
    }

    pub fn pods(&self, facts: &Facts<'_>) -> Vec<PodRef> {
        let ends = [
            facts.pod(self.client, PodRole::Source),
            facts.pod(self.server, PodRole::Server),
        ];
        ends.into_iter().flatten().collect()
    }
}

impl<'a> Facts<'a> {
    /// All tries that began during the run, by client and server.
    pub fn attempts(&self) -> &[ConnectionGroup<'a>] {
        &self.all_attempts().all
    }

    /// The try of that flow, as the client's packets have it.
    pub fn tried(&self, flow: &FlowKey) -> Option<&Connection<'a>> {
        let known = self.all_attempts();
        let by_flow = known.by_flow.get_or_init(|| {
            let all = known.all.iter().enumerate();
            let tries = all.flat_map(|(at, attempts)| {
                let tries = attempts.tries.iter().enumerate();
                tries.map(move |(n, tried)| (tried.flow, (at, n)))
            });
            tries.collect()
        });
        let (at, n) = by_flow.get(flow)?;
        known.all.get(*at)?.tries.get(*n)
    }

    fn all_attempts(&self) -> &Known<'a> {
        self.attempts.get_or_init(|| Known {
            all: group(tries(self)),
            ..Known::default()
        })
    }
}

fn group<'a>(mut tries: Vec<Connection<'a>>) -> Vec<ConnectionGroup<'a>> {
    let of = |tried: &Connection<'_>| {
        let (client, server) = flow::ends(&tried.flow);
        let (port, protocol) = (tried.flow.destination_port, tried.flow.protocol);
        (client, server, port, protocol)
    };
    // They come in the order of their beginning, which stays.
    tries.sort_by_cached_key(of);
    let same = tries.chunk_by(|one, other| of(one) == of(other));
    let group = |tries: &[Connection<'a>]| {
        let (client, server, port, protocol) = of(tries.first()?);
        Some(ConnectionGroup {
            client,
            server,
            port,
            protocol,
            tries: tries.into(),
        })
    };
    same.filter_map(group).collect()
}

/// All of a reading, and what several rules look for among them.
#[derive(Default)]
pub(super) struct Known<'a> {
    all: Vec<ConnectionGroup<'a>>,
    by_flow: OnceCell<Map<FlowKey, (usize, usize)>>,
    refused: OnceCell<Vec<ConnectionGroup<'a>>>,
    unanswered: OnceCell<Vec<ConnectionGroup<'a>>>,
}

impl<'a> Known<'a> {
    fn failing(&self, wanted: Outcome) -> Vec<ConnectionGroup<'a>> {
        let all = self.all.iter();
        all.filter_map(|attempts| attempts.failing(wanted))
            .collect()
    }
}

/// Groups whose tries were refused, one after the other, and none was accepted since the first of
/// them: only those tries are left in them. What worked before proves nothing.
pub fn refused<'f, 'a>(facts: &'f Facts<'a>) -> &'f [ConnectionGroup<'a>] {
    let known = facts.all_attempts();
    let refused = || known.failing(Outcome::Refused);
    known.refused.get_or_init(refused)
}

/// The same of those that were not answered.
pub fn unanswered<'f, 'a>(facts: &'f Facts<'a>) -> &'f [ConnectionGroup<'a>] {
    let known = facts.all_attempts();
    let unanswered = || known.failing(Outcome::Unanswered);
    known.unanswered.get_or_init(unanswered)
}

fn tries<'a>(facts: &Facts<'a>) -> Vec<Connection<'a>> {
    let journeys = facts.journeys();
    let requests = journeys
        .values()
        .filter(|j| is_request(facts, &j.flow, &j.hops));
    let none: Rc<[&HopFlow]> = Rc::new([]);
    let mut tries: Vec<_> = requests
        .map(|journey| {
            let back = journeys.get(&journey.flow.reversed());
            let answers = back.map_or_else(|| none.clone(), |j| j.hops.clone());
            let outcome = outcome(facts.now, &journey.hops, &answers);
            Connection {
                flow: journey.flow,
                requests: journey.hops.clone(),
                answers,
                became: None,
                was: None,
                outcome,
            }
        })
        .collect();
    tries.sort_by_key(|t| (t.first(), t.flow.source_port));
    join_translated(&mut tries);
    tries
}

/// Whether a client opens something by these packets. A connection that was open when the run
/// began has no SYN and is no try.
fn is_request(facts: &Facts<'_>, flow: &FlowKey, hops: &[&HopFlow]) -> bool {
    match flow.protocol {
        TCP => hops.iter().any(|h| h.hop.syns > 0),
        UDP => facts.direction().is_request(flow),
        _ => false,
    }
}

fn outcome(now: u64, requests: &[&HopFlow], answers: &[&HopFlow]) -> Outcome {
    let tcp = requests.iter().any(|h| h.key.flow.protocol == TCP);
    let has = |flags: u32| answers.iter().any(|h| h.hop.flags & flags == flags);
    let first = requests.first().map_or(now, |h| h.hop.first);
    if tcp && has(SYN | ACK) || !tcp && !answers.is_empty() {
        Outcome::Accepted
    } else if tcp && has(RST) {
        Outcome::Refused
    } else if tcp && opened(requests) {
        // The answers come by a way that is not this node's, or not watched.
        Outcome::Accepted
    } else if first.saturating_add(PATIENCE) <= now {
        Outcome::Unanswered
    } else {
        Outcome::Pending
    }
}

/// The client acknowledged what its server answered.
fn opened(requests: &[&HopFlow]) -> bool {
    requests.iter().any(|h| h.hop.flags & ACK != 0)
}

/// Joins a try to the one that it was translated to: the same client's socket, another server,
/// and it came from nowhere: no pod, tunnel or uplink sent it in as it is.
fn join_translated(tries: &mut [Connection<'_>]) {
    let mut sockets: Map<([u8; 16], u16, u8), Vec<usize>> = Map::default();
    for (at, tried) in tries.iter().enumerate() {
        let flow = &tried.flow;
        let socket = (flow.source, flow.source_port, flow.protocol);
        sockets.entry(socket).or_default().push(at);
    }
    for same in sockets.values().filter(|s| s.len() > 1) {
        for (n, &leg) in same.iter().enumerate() {
            if came_in(&tries[leg].requests) {
                continue;
            }
            let before = same[..n].iter().rev();
            let original = before.copied().find(|&at| came_in(&tries[at].requests));
            if let Some(original) = original.filter(|&at| tries[at].became.is_none()) {
                tries[original].became = Some(tries[leg].flow);
                tries[leg].was = Some(tries[original].flow);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::hop::FlowHop;

    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{OVERLAY, POD, UPLINK, at, from_pod, overlay_node, tcp, with_facts},
    };

    const SECOND: u64 = 1_000_000_000;

    fn syn(first: u64) -> impl Fn(&mut FlowHop) {
        move |hop| {
            (hop.first, hop.last) = (first, first);
            hop.syns = 1;
            hop.flags = SYN;
        }
    }

    fn answer(first: u64, flags: u32) -> impl Fn(&mut FlowHop) {
        move |hop| {
            (hop.first, hop.last) = (first, first);
            hop.flags = flags;
        }
    }

    fn judge<T>(
        flows: Vec<(netdiag_common::hop::FlowHopKey, FlowHop)>,
        look: impl FnOnce(&Facts<'_>) -> T,
    ) -> T {
        let observation = Observation {
            now: 60 * SECOND,
            flows,
            ..Observation::default()
        };
        with_facts(&overlay_node(1450, 1450, 1500), &observation, look)
    }

    #[test]
    fn outcomes_are_told_apart() {
        let flow = |p| tcp("172.20.2.9", "172.20.1.5", p);
        let [refused, accepted, silent, around] = [80, 81, 82, 83].map(flow);
        let into = |flow, change| at(flow, OVERLAY, false, 0, change);
        let open = |hop: &mut FlowHop| {
            syn(1)(hop);
            hop.flags |= ACK;
        };
        let flows = vec![
            // Its answers come by another way.
            at(around, OVERLAY, false, 0, open),
            into(refused, syn(1)),
            into(accepted, syn(1)),
            into(silent, syn(1)),
            from_pod(refused.reversed(), answer(2, RST | ACK)),
            from_pod(accepted.reversed(), answer(2, SYN | ACK)),
        ];
        judge(flows, |facts| {
            let outcome = |port| {
                let of = facts
                    .attempts()
                    .iter()
                    .find(|a| a.port == port)
                    .expect("tried");
                (of.tries[0].outcome, of.tries[0].answerer())
            };
            assert_eq!(outcome(80), (Outcome::Refused, Some(Answerer::Pod(POD))));
            assert_eq!(outcome(81).0, Outcome::Accepted);
            assert_eq!(outcome(82), (Outcome::Unanswered, None));
            assert_eq!(outcome(83), (Outcome::Accepted, None));
        });
    }

    #[test]
    fn a_translated_try_is_joined_to_its_original() {
        let asked = tcp("172.20.1.5", "10.96.0.10", 80);
        let sent = tcp("172.20.1.5", "172.20.2.9", 8080);
        let flows = vec![
            from_pod(asked, syn(5)),
            at(sent, OVERLAY, true, 0, syn(6)),
            at(sent.reversed(), OVERLAY, false, 0, answer(7, RST)),
            at(asked.reversed(), POD, true, 0, answer(8, RST)),
        ];
        judge(flows, |facts| {
            let tries = tries(facts);
            assert_eq!((tries[0].became, tries[1].was), (Some(sent), Some(asked)));
            assert_eq!(tries[1].answerer(), Some(Answerer::Beyond));
        });
    }

    #[test]
    fn two_servers_asked_by_one_socket_are_no_translation() {
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|to| tcp("172.20.1.5", to, 53));
        let flows = vec![from_pod(one, syn(5)), from_pod(other, syn(6))];
        judge(flows, |facts| {
            assert!(tries(facts).iter().all(|t| t.became.is_none()));
        });
    }

    #[test]
    fn a_success_since_the_first_failure_ends_it() {
        let flow = |port: u16| FlowKey {
            source_port: 40_000 + port,
            ..tcp("172.20.1.5", "192.0.2.9", 80)
        };
        let with = |accepted_at: u64| {
            let flows = vec![
                from_pod(flow(1), syn(10)),
                from_pod(flow(2), syn(SECOND)),
                from_pod(flow(3), syn(accepted_at)),
                at(
                    flow(3).reversed(),
                    UPLINK,
                    false,
                    0,
                    answer(accepted_at, SYN | ACK),
                ),
            ];
            judge(flows, |facts| unanswered(facts).len())
        };
        assert_eq!((with(5), with(2 * SECOND)), (1, 0));
    }

    #[test]
    fn open_connections_and_young_ones_are_no_failures() {
        let open = tcp("172.20.1.5", "192.0.2.9", 80);
        let young = tcp("172.20.1.5", "192.0.2.9", 81);
        let flows = vec![from_pod(open, |_| {}), from_pod(young, syn(60 * SECOND))];
        judge(flows, |facts| {
            assert_eq!(unanswered(facts).len(), 0);
            assert_eq!(facts.attempts()[0].tries[0].outcome, Outcome::Pending);
        });
    }
}
