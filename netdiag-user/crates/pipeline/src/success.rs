//! What gets through in spite of losses: then they are no pattern.
use std::hash::BuildHasher;

use netdiag_common::{dns::PORT as DNS, flow::FlowKey, hop};

use super::{
    facts::{Data, Facts, HopFlow, Loss},
    picture::PATTERN,
};
use crate::model::{
    address::from_wire,
    flow::{TCP, UDP},
    hash::{Keyed, Map, Set},
    roles::Role,
};

/// TCP flags as a loss has them.
pub const SYN: u32 = 2;
pub const ACK: u32 = 16;
const PSH: u32 = 8;

/// Data sent again for so long is lost for good: what is lost by chance arrives the second time.
const AGAIN: u64 = 2_000_000_000;

/// A packet that opens a connection is sent once more after a second (RFC 6298): lost both times, and as
/// often as it was sent, it is no chance.
const AGAIN_TIMES: u64 = 2;
const RETRY: u64 = 900_000_000;

/// Clients that wait less long than that send a connection's first packet once. Lost for good, and as often
/// in so long a time as one in so many, that is no chance.
const ONCE: u64 = 3_000_000_000;
const ONE_IN: u64 = 10;

/// Which end of a lost packet's flow is the server, and by which port.
pub struct Service {
    pub port: u16,
    /// The lost packet came from the server.
    pub reply: bool,
}

impl Service {
    pub fn of(facts: &Facts<'_>, loss: &Loss) -> Self {
        let flow = loss.flow();
        // An echo's identifier changes from run to run of ping.
        if matches!(flow.protocol, 1 | 58) {
            return Self {
                port: 0,
                reply: false,
            };
        }
        let reply = facts.is_answer(loss);
        let port = if reply {
            flow.source_port
        } else {
            flow.destination_port
        };
        Self { port, reply }
    }
}

/// From whom to whom, by which protocol, from the server's port or towards it.
type Way = ([u8; 16], [u8; 16], u8, u16);

/// When something of a kind was last seen to get through on a way; nothing where never.
#[derive(Default)]
struct Signs {
    /// A server accepted a connection: this is the way of its answer.
    accepted: Option<u64>,
    /// It leads towards a server's port, or from one, and carries acknowledgements.
    acknowledged: Option<u64>,
    /// It leads from a server's port, and anything took it.
    answered: Option<u64>,
    /// It leads from a server's port, and left this node or reached its pod.
    delivered: Option<u64>,
}

/// What got through as far as this node sees, each way with the time of the last such sign: what
/// worked before the losses began proves nothing. Ways that no loss asks for are left out.
pub struct Success(Map<Way, Signs>);

/// The way of a lost packet, and the way back.
fn ways(loss: &Loss, port: u16) -> [Way; 2] {
    let flow = loss.flow();
    [
        (flow.source, flow.destination, flow.protocol, port),
        (flow.destination, flow.source, flow.protocol, port),
    ]
}

impl Success {
    fn of(facts: &Facts<'_>) -> Self {
        let asked = facts
            .losses
            .iter()
            .flat_map(|l| ways(l, Service::of(facts, l).port));
        // Of a flood nearly none got through: a number for each way is enough to leave out most.
        let number = |way: &Way| Keyed::default().hash_one(way);
        let asked: Set<u64> = asked.map(|way| number(&way)).collect();
        let mut all: Map<Way, Signs> = Map::default();
        for seen in facts.flows {
            let (flow, hop) = (seen.flow(), &seen.hop);
            let echo = matches!(flow.protocol, 1 | 58);
            let port = if echo { 0 } else { flow.source_port };
            let from = (flow.source, flow.destination, flow.protocol, port);
            let to = (
                flow.source,
                flow.destination,
                flow.protocol,
                flow.destination_port,
            );
            let flags = hop.flags;
            let acknowledges = flags & hop::ACK != 0 && flags & hop::RST == 0;
            if acknowledges && asked.contains(&number(&to)) {
                note(&mut all.entry(to).or_default().acknowledged, hop.last);
            }
            if !asked.contains(&number(&from)) {
                continue;
            }
            let signs = all.entry(from).or_default();
            if flags & hop::SYN != 0 && flags & hop::ACK != 0 {
                note(&mut signs.accepted, hop.first);
            }
            if acknowledges {
                note(&mut signs.acknowledged, hop.last);
            }
            note(&mut signs.answered, hop.last);
            if seen.egress() && !matches!(seen.role, Some(Role::Bridge) | None) {
                note(&mut signs.delivered, hop.last);
            }
        }
        Self(all)
    }

    /// Whether the conversation of a lost packet goes on all the same.
    pub fn despite(&self, loss: &Loss, service: &Service) -> bool {
        let (flow, lost) = (loss.flow(), &loss.dropped);
        let [same, back] = ways(loss, service.port).map(|way| self.0.get(&way));
        let syn = lost.tcp_flags & SYN != 0;
        let (last, since) = match (flow.protocol == TCP, syn, service.reply) {
            (true, true, false) => (back.and_then(|s| s.accepted), lost.first),
            // A connection's answer, or data: the other end acknowledged something later.
            (true, ..) => (back.and_then(|s| s.acknowledged), lost.last),
            (false, _, false) => (back.and_then(|s| s.answered), lost.first),
            (false, _, true) => (same.and_then(|s| s.delivered), lost.first),
        };
        last.is_some_and(|last| last > since)
    }
}

/// Whether anything that got through in spite of the loss would have been seen.
fn would_be_seen(facts: &Facts<'_>, loss: &Loss) -> bool {
    let flow = loss.flow();
    let opens = flow.protocol == TCP && loss.dropped.tcp_flags & (SYN | ACK) == SYN;
    let dns = flow.protocol == UDP && [flow.source_port, flow.destination_port].contains(&DNS);
    let always = opens || dns || ![TCP, UDP].contains(&flow.protocol);
    always || facts.data != Data::NotKept
}

impl Facts<'_> {
    pub fn success(&self) -> &Success {
        self.success.get_or_init(|| Success::of(self))
    }

    /// Whether the conversation of a lost packet goes on all the same, or may for all that is known.
    pub fn goes_on(&self, loss: &Loss) -> bool {
        if !would_be_seen(self, loss) {
            return true;
        }
        let dead = || {
            self.is_cut_off(loss)
                || self.never_opened(loss)
                || self.is_given_up(loss)
                || self.is_one_way(loss)
        };
        self.succeeds(loss) && !dead()
    }

    /// Whether others of that client's at that server get through.
    pub fn succeeds(&self, loss: &Loss) -> bool {
        self.success().despite(loss, &Service::of(self, loss))
    }

    /// Whether many of that client's connections to that server die with the one packet that opens them,
    /// or its datagrams to that port each on its own socket, and nothing ever came of these.
    fn is_given_up(&self, loss: &Loss) -> bool {
        let all = || self.given_up.get_or_init(|| given_up(self));
        asks(self, loss) && all().0.contains(&asked(loss))
    }

    /// Whether a connection's first packet, or the answer to it, is lost each time that it is sent, and
    /// nothing of this very connection ever came through: what others have to the same server goes
    /// another way, by another backend, link or rule.
    fn never_opened(&self, loss: &Loss) -> bool {
        let lost = &loss.dropped;
        let opens = loss.flow().protocol == TCP && lost.tcp_flags & SYN != 0;
        // By chance the second try is not lost where the first one was.
        if !opens || lost.packets < AGAIN_TIMES || lost.last.saturating_sub(lost.first) < RETRY {
            return false;
        }
        self.never_came_through(loss)
    }

    /// Whether nothing was ever answered or acknowledged in the connection that these were to open.
    fn never_came_through(&self, loss: &Loss) -> bool {
        let lost = &loss.dropped;
        if loss.flow().protocol == UDP {
            return !self.is_answered(loss.flow());
        }
        let answer = lost.tcp_flags & ACK != 0;
        let asks = match answer {
            true => loss.flow().reversed(),
            false => *loss.flow(),
        };
        let has = |h: &HopFlow, flags: u32| h.hop.flags & flags == flags;
        // Who acknowledges was answered. An answer that is lost itself proves nothing.
        let opened = |flow: &FlowKey| {
            let accepted = |h: &HopFlow| has(h, hop::SYN | hop::ACK) && h.hop.first > lost.first;
            self.has_hop(flow, &|h| has(h, hop::ACK))
                || !answer && self.has_hop(&flow.reversed(), &accepted)
        };
        let pair = self.legs().pair(&asks).map(|(from, to, _)| [from, to]);
        !pair
            .into_iter()
            .flatten()
            .chain([asks])
            .any(|flow| opened(&flow))
    }

    /// Whether anything came back for these datagrams.
    pub fn is_answered(&self, flow: &FlowKey) -> bool {
        let any = |flow: &FlowKey| self.has_hop(flow, &|_| true);
        let pair = self.legs().pair(flow).map(|(from, to, _)| [from, to]);
        any(&flow.reversed()) || pair.is_some_and(|both| both.iter().any(|f| any(&f.reversed())))
    }

    /// Whether every datagram of a flow that this node sends on dies since the first did: what the other end
    /// sends of itself, unasked, proves nothing for it.
    fn is_one_way(&self, loss: &Loss) -> bool {
        let (flow, lost) = (loss.flow(), &loss.dropped);
        let again = lost.packets >= PATTERN && lost.last.saturating_sub(lost.first) >= AGAIN;
        // Inside a pod it has left the node's links, and past some of them nothing is seen.
        let here = loss.key.netns == self.node.netns && !self.owns(from_wire(flow.destination));
        if flow.protocol != UDP || !again || !here {
            return false;
        }
        let came = self.has_hop(flow, &|h| !h.egress() && h.hop.last > lost.first);
        let left = |h: &HopFlow| h.egress() && h.hop.last >= lost.first;
        let sent_on = self.legs().translated(flow).map(|(leg, _)| leg);
        came && !self.has_hop(flow, &left) && !sent_on.is_some_and(|leg| self.has_hop(&leg, &left))
    }

    fn has_hop(&self, flow: &FlowKey, wanted: &dyn Fn(&HopFlow) -> bool) -> bool {
        let journey = self.journeys().get(flow);
        journey.is_some_and(|j| j.hops.iter().any(|h| wanted(h)))
    }

    /// Whether an established connection's data is lost again and again, and the other end of this very
    /// connection has acknowledged nothing since: what others have to the same server proves nothing
    /// for it.
    pub fn is_cut_off(&self, loss: &Loss) -> bool {
        let lost = &loss.dropped;
        let data = loss.flow().protocol == TCP && lost.tcp_flags & (SYN | PSH) == PSH;
        let again = lost.packets >= PATTERN && lost.last.saturating_sub(lost.first) >= AGAIN;
        if !data || !again {
            return false;
        }
        let back = self.journeys().get(&loss.flow().reversed());
        let acknowledged = back.into_iter().flat_map(|j| j.hops.iter());
        let acknowledged = acknowledged.filter(|h| h.hop.flags & hop::ACK != 0);
        let last = acknowledged.map(|h| h.hop.last).max();
        // One that never was seen to come this way may still do so elsewhere.
        last.is_some_and(|last| last < lost.last)
    }
}

/// The first packet of a connection, and not the answer to it; or a datagram to a server.
fn asks(facts: &Facts<'_>, loss: &Loss) -> bool {
    match loss.flow().protocol {
        TCP => loss.dropped.tcp_flags & (SYN | ACK) == SYN,
        UDP => !Service::of(facts, loss).reply,
        _ => false,
    }
}

fn asked(loss: &Loss) -> Way {
    let flow = loss.flow();
    (
        flow.source,
        flow.destination,
        flow.protocol,
        flow.destination_port,
    )
}

/// Connections of one client to one server that died so, and from when to when.
#[derive(Default)]
struct Died {
    flows: u64,
    first: u64,
    last: u64,
    /// Others that were opened.
    opened: u64,
}

/// Ways on which connections die so.
#[derive(Default)]
pub struct GivenUp(Set<Way>);

fn given_up(facts: &Facts<'_>) -> GivenUp {
    let mut all: Map<Way, Died> = Map::default();
    let dead = |l: &&Loss| asks(facts, l) && !l.harmless && facts.never_came_through(l);
    for loss in facts.losses.iter().filter(dead) {
        let died = all.entry(asked(loss)).or_insert_with(|| Died {
            first: u64::MAX,
            ..Died::default()
        });
        died.flows += 1;
        died.first = died.first.min(loss.dropped.first);
        died.last = died.last.max(loss.dropped.last);
    }
    all.retain(|_, died| died.flows >= PATTERN && died.last - died.first >= ONCE);
    if all.is_empty() {
        return GivenUp::default();
    }
    for flow in facts.journeys().keys() {
        let way = (
            flow.source,
            flow.destination,
            flow.protocol,
            flow.destination_port,
        );
        if let Some(died) = all.get_mut(&way) {
            let open = |h: &HopFlow| h.hop.flags & hop::ACK != 0;
            let opened = match flow.protocol {
                UDP => facts.is_answered(flow),
                _ => facts.has_hop(flow, &open),
            };
            died.opened += u64::from(opened);
        }
    }
    let often = |(_, died): &(Way, Died)| died.flows * ONE_IN >= died.opened;
    let all = all.into_iter().filter(often);
    GivenUp(all.map(|(way, _)| way).collect())
}

fn note(last: &mut Option<u64>, time: u64) {
    *last = (*last).max(Some(time));
}

#[cfg(test)]
mod tests {
    use netdiag_common::hop::{FlowHop, PLAIN};

    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{NETFILTER_DROP, POD, UPLINK, at, from_pod, lost, overlay_node, tcp, with_facts},
    };

    const SECOND: u64 = 1_000_000_000;

    /// Datagrams between equal ports, whose drops began after 10 s, while the other end goes on sending.
    fn goes_on(left_until: u64) -> bool {
        let flow = FlowKey {
            source_port: 51_820,
            protocol: UDP,
            ..tcp("172.20.1.5", "192.0.2.7", 51_820)
        };
        let from = |first: u64, last: u64| {
            move |hop: &mut FlowHop| (hop.first, hop.last) = (first * SECOND, last * SECOND)
        };
        let mut drops = lost(flow, NETFILTER_DROP, POD, 40, 0);
        (drops.1.first, drops.1.last) = (10 * SECOND, 30 * SECOND);
        let observation = Observation {
            now: 31 * SECOND,
            flows: vec![
                from_pod(flow, from(1, 30)),
                at(flow, UPLINK, true, PLAIN, from(1, left_until)),
                at(flow.reversed(), UPLINK, false, PLAIN, from(1, 30)),
                at(flow.reversed(), POD, true, PLAIN, from(1, 30)),
            ],
            drops: vec![drops],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_facts(&node, &observation, |facts| facts.goes_on(&facts.losses[0]))
    }

    /// So many connections of which each had one packet that was lost, and so many that were opened.
    fn goes_on_beside(lost_once: u16, opened: u16) -> bool {
        let of = |n: u16| FlowKey {
            source_port: 40_000 + n,
            ..tcp("172.20.1.5", "192.0.2.7", 443)
        };
        let moment = |n: u16| (1 + u64::from(n)) * SECOND;
        let mut drops = Vec::new();
        let mut flows = Vec::new();
        for n in 0..lost_once {
            let mut drop = lost(of(n), NETFILTER_DROP, POD, 1, 2);
            (drop.1.first, drop.1.last) = (moment(n), moment(n));
            drops.push(drop);
            flows.push(from_pod(of(n), |hop| {
                (hop.first, hop.last, hop.syns, hop.flags) = (moment(n), moment(n), 1, hop::SYN);
            }));
        }
        for n in 0..opened {
            let flow = of(1_000 + n);
            let open = |flags: u32| {
                move |hop: &mut FlowHop| {
                    (hop.first, hop.last) = (9 * SECOND, 9 * SECOND);
                    hop.flags = flags;
                }
            };
            flows.push(from_pod(flow, open(hop::SYN | hop::ACK)));
            flows.push(at(
                flow.reversed(),
                POD,
                true,
                PLAIN,
                open(hop::SYN | hop::ACK),
            ));
        }
        let observation = Observation {
            now: 31 * SECOND,
            flows,
            drops,
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_facts(&node, &observation, |facts| facts.goes_on(&facts.losses[0]))
    }

    #[test]
    fn clients_that_ask_once_do_not_go_on_with_others() {
        assert!(!goes_on_beside(4, 5), "one of two");
        assert!(goes_on_beside(3, 5), "within 2 s");
        assert!(goes_on_beside(4, 60), "by chance");
    }

    #[test]
    fn datagrams_of_which_none_leaves_any_more_do_not_go_on() {
        assert!(!goes_on(9));
        assert!(goes_on(29), "some of them leave");
    }
}
