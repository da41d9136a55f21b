//! Who opened a conversation, from what was seen of it. One answer for all of netdiag: which end is the
//! server decides what is asked, counted and told.
//!
//! In this order: a packet that opens a connection, or takes it (TCP's SYN), or conntrack's original
//! direction; who spoke first, or alone, where the conversation began while netdiag looked; the end where a
//! socket listens, or that is a Service's, or whose other end's namespace listens at no such port; the end that
//! several others talk to by one port. Where nothing of that is known, servers' ports are the lower ones, which
//! is a guess.
mod servers;

use netdiag_common::{flow::FlowKey, hop};

use super::facts::{Facts, HopFlow, Loss};
use crate::model::{
    address::from_wire,
    flow::{TCP, UDP},
    gather::Want,
    hash::{Map, Set},
};

/// TCP flags as a loss has them.
const SYN: u32 = 2;
const ACK: u32 = 16;

/// What was there when the run began is met within its first moments, in no order.
const BEGINNING: u64 = 1_000_000_000;

/// An end of a conversation: address, port, protocol.
type End = ([u8; 16], u16, u8);

/// Ports that only root serves at, and hardly any client has (`ip_unprivileged_port_start`).
const PRIVILEGED: u16 = 1024;

/// So many others make an end a server: a client's one port is seen with a Service's address and with its
/// backend's, and may be used for another server.
const MANY: usize = 4;

/// Of every flow that was seen.
#[derive(Default)]
pub struct Direction {
    /// Whether who sends it took the connection, or opened it.
    answers: Map<FlowKey, bool>,
    first: Map<FlowKey, u64>,
    /// When every hook was there, or the first of all was seen.
    began: u64,
    /// Whatever passes the links is seen.
    whole: bool,
    /// When each end first sent something to anybody, and first got something.
    spoke: Map<End, [Option<u64>; 2]>,
    /// Whom each end was seen to talk to: no more of them than make a server.
    others: Map<End, Vec<End>>,
    /// Ends that serve by what is configured.
    servers: Set<End>,
    /// Ends in namespaces that listen elsewhere alone.
    idle: Set<End>,
}

fn ends(flow: &FlowKey) -> [End; 2] {
    [
        (flow.source, flow.source_port, flow.protocol),
        (flow.destination, flow.destination_port, flow.protocol),
    ]
}

impl Direction {
    fn of(facts: &Facts<'_>) -> Self {
        let first = || facts.flows.iter().map(|f| f.hop.first).min();
        let mut all = Self {
            // Earlier recordings do not tell.
            began: Some(facts.hooked)
                .filter(|at| *at > 0)
                .or_else(first)
                .unwrap_or(0),
            whole: facts.all_watched,
            ..Self::default()
        };
        let ported = |f: &&HopFlow| matches!(f.flow().protocol, TCP | UDP);
        for seen in facts.flows.iter().filter(ported) {
            all.see(seen.flow(), &seen.hop);
        }
        for loss in facts.losses {
            let flags = loss.dropped.tcp_flags;
            if loss.flow().protocol == TCP && flags & SYN != 0 {
                all.open(loss.flow(), flags & ACK != 0);
            }
        }
        for (asked, answered) in servers::tracked(facts.gathered) {
            all.open(&asked, false);
            all.open(&answered, true);
        }
        all.servers = servers::among(facts, all.others.keys());
        all.idle = servers::idle(facts, all.others.keys());
        all
    }

    fn see(&mut self, flow: &FlowKey, hop: &hop::FlowHop) {
        let first = self.first.entry(*flow).or_insert(hop.first);
        *first = hop.first.min(*first);
        if hop.syns > 0 {
            self.open(flow, false);
        } else if hop.flags & hop::SYN != 0 {
            self.open(flow, hop.flags & hop::ACK != 0);
        }
        let [source, destination] = ends(flow);
        for (end, side) in [(source, 0), (destination, 1)] {
            let known = &mut self.spoke.entry(end).or_default()[side];
            *known = Some(known.map_or(hop.first, |at| at.min(hop.first)));
        }
        for (one, other) in [(source, destination), (destination, source)] {
            let known = self.others.entry(one).or_default();
            if known.len() < MANY && !known.contains(&other) {
                known.push(other);
            }
        }
    }

    fn open(&mut self, flow: &FlowKey, answers: bool) {
        self.answers.entry(*flow).or_insert(answers);
        self.answers.entry(flow.reversed()).or_insert(!answers);
    }

    /// Whether these packets come from who took the conversation.
    pub fn is_answer(&self, flow: &FlowKey) -> bool {
        self.seen_to_answer(flow)
            .unwrap_or(flow.source_port < flow.destination_port)
    }

    /// Whether anything but the ports tells which end of a flow took the conversation.
    pub fn is_known(&self, flow: &FlowKey) -> bool {
        self.seen_to_answer(flow).is_some()
    }

    /// Whether these datagrams ask for something. Between equal ports that is a matter of what was seen.
    pub fn is_request(&self, flow: &FlowKey) -> bool {
        let asks = match flow.source_port == flow.destination_port {
            true => self.seen_to_answer(flow) == Some(false),
            false => !self.is_answer(flow),
        };
        asks && !from_wire(flow.destination).is_multicast()
    }

    /// Whether nothing but the ports tells it, and these tell little: both can be a client's, or none.
    fn is_guess(&self, flow: &FlowKey) -> bool {
        let privileged = |port: u16| port < PRIVILEGED;
        matches!(flow.protocol, TCP | UDP)
            && privileged(flow.source_port) == privileged(flow.destination_port)
            && self.seen_to_answer(flow).is_none()
    }

    /// Whether these packets come from who took the conversation; nothing where nobody saw it.
    pub fn seen_to_answer(&self, flow: &FlowKey) -> Option<bool> {
        let by_syn = self.answers.get(flow).copied();
        by_syn
            .or_else(|| self.spoke_second(flow))
            .or_else(|| self.is_served(flow))
            .or_else(|| self.is_asked_by_many(flow))
    }

    /// A connection of which no SYN was seen is older than that.
    fn spoke_second(&self, flow: &FlowKey) -> Option<bool> {
        if flow.protocol != UDP {
            return None;
        }
        let is_new = |first: u64| first > self.began.saturating_add(BEGINNING);
        let first = |flow: &FlowKey| self.first.get(flow).copied();
        let back = flow.reversed();
        match (first(flow), first(&back)) {
            (Some(own), Some(other)) => {
                (is_new(own.min(other)) && own != other).then_some(own > other)
            }
            (Some(own), None) => (is_new(own) && self.is_alone(flow)).then_some(false),
            (None, Some(other)) => (is_new(other) && self.is_alone(&back)).then_some(true),
            (None, None) => None,
        }
    }

    /// Whether a flow without any way back opens a conversation. What comes from a privileged port may answer
    /// what went another way, and who asked around first is answered by others than it asked: multicast, TFTP.
    fn is_alone(&self, flow: &FlowKey) -> bool {
        let asked_around = |end: &End| match self.spoke.get(end) {
            Some([Some(sent), Some(got)]) => sent < got,
            _ => false,
        };
        let [_, destination] = ends(flow);
        self.whole && flow.source_port >= PRIVILEGED && !asked_around(&destination)
    }

    fn is_served(&self, flow: &FlowKey) -> Option<bool> {
        let either = |of: &Set<End>| {
            let [source, destination] = ends(flow).map(|end| of.contains(&end));
            (source != destination).then_some(source)
        };
        either(&self.servers).or_else(|| either(&self.idle).map(|source| !source))
    }

    fn is_asked_by_many(&self, flow: &FlowKey) -> Option<bool> {
        let [source, destination] = ends(flow).map(|end| self.others.get(&end).map(Vec::len));
        match (source? >= MANY, destination? >= MANY) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ => None,
        }
    }
}

impl Facts<'_> {
    pub fn direction(&self) -> &Direction {
        self.direction.get_or_init(|| Direction::of(self))
    }

    /// What would tell which end of the flow serves, where that is a guess: of connections the listening sockets
    /// of both ends, as far as they are on this node, of datagrams conntrack.
    pub fn who_serves(&self, flow: &FlowKey) -> Vec<Want> {
        let ends = [flow.source, flow.destination].map(from_wire);
        if !self.direction().is_guess(flow) {
            return Vec::new();
        }
        match flow.protocol {
            // Each entry has both ends: one listing is enough, for either direction the same.
            UDP => ends
                .into_iter()
                .min()
                .map(Want::Tracked)
                .into_iter()
                .collect(),
            _ => {
                let spaces = ends
                    .into_iter()
                    .filter_map(|end| servers::netns_of(self, end));
                spaces.map(Want::Listeners).collect()
            }
        }
    }

    /// Whether a lost packet came from who took the conversation.
    pub fn is_answer(&self, loss: &Loss) -> bool {
        let flags = loss.dropped.tcp_flags;
        match loss.flow().protocol == TCP && flags & SYN != 0 {
            true => flags & ACK != 0,
            false => self.direction().is_answer(loss.flow()),
        }
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::{flow::mapped, hop::FlowHop};

    use super::*;

    fn flow(protocol: u8, from: (u8, u16), to: (u8, u16)) -> FlowKey {
        FlowKey {
            source: mapped([10, 0, 0, from.0]),
            destination: mapped([10, 0, 0, to.0]),
            source_port: from.1,
            destination_port: to.1,
            protocol,
            family: 4,
            ..FlowKey::EMPTY
        }
    }

    fn at(second: u64) -> FlowHop {
        FlowHop {
            first: second * BEGINNING,
            ..FlowHop::default()
        }
    }

    /// Whoever is first in the list opens it.
    fn right(direction: &Direction, flow: &FlowKey) {
        assert!(!direction.is_answer(flow), "{flow:?}");
        assert!(direction.is_answer(&flow.reversed()), "{flow:?}");
    }

    #[test]
    fn a_server_above_its_clients_ports_is_told_by_the_syn() {
        let mut direction = Direction::default();
        let asks = flow(TCP, (1, 1024), (2, 50051));
        direction.see(&asks, &FlowHop { syns: 1, ..at(0) });
        right(&direction, &asks);
        // By the answer alone, where the request came another way.
        let mut direction = Direction::default();
        let flags = hop::SYN | hop::ACK;
        direction.see(&asks.reversed(), &FlowHop { flags, ..at(0) });
        right(&direction, &asks);
    }

    #[test]
    fn who_speaks_first_opens_between_equal_ports() {
        let mut direction = Direction::default();
        let asks = flow(UDP, (9, 51820), (2, 51820));
        direction.see(&asks, &at(5));
        direction.see(&asks.reversed(), &at(6));
        right(&direction, &asks);
    }

    #[test]
    fn who_speaks_alone_opens_whatever_the_ports_are() {
        let whole = || Direction {
            whole: true,
            ..Direction::default()
        };
        let mut direction = whole();
        let asks = flow(UDP, (1, 1024), (2, 51820));
        direction.see(&asks, &at(5));
        right(&direction, &asks);
        // Of what was there before, or where not all is watched, nobody knows.
        let mut before = whole();
        before.see(&asks, &at(0));
        let mut partly = Direction::default();
        partly.see(&asks, &at(5));
        for direction in [before, partly] {
            assert!(!direction.is_known(&asks));
        }
    }

    #[test]
    fn who_asked_around_is_answered_by_others() {
        let mut direction = Direction {
            whole: true,
            ..Direction::default()
        };
        let around = flow(UDP, (1, 40_000), (200, 5353));
        let answer = flow(UDP, (2, 5353), (1, 40_000));
        direction.see(&around, &at(5));
        direction.see(&answer, &at(6));
        assert!(direction.is_answer(&answer));
        // What was sent for it came another way, as of name servers.
        let other = flow(UDP, (3, 53), (1, 50_000));
        direction.see(&other, &at(7));
        assert!(direction.is_answer(&other));
    }

    #[test]
    fn of_what_was_there_before_the_one_with_many_clients_is_the_server() {
        let mut direction = Direction::default();
        let asks = [1024, 20_000, 30_000, 40_000].map(|port| flow(TCP, (1, port), (2, 50051)));
        for one in &asks {
            direction.see(&one.reversed(), &at(0));
            direction.see(one, &at(0));
        }
        right(&direction, &asks[0]);
        // One alone says nothing: the lower port is a guess.
        let mut direction = Direction::default();
        direction.see(&asks[1], &at(0));
        assert!(direction.is_answer(&asks[1]));
        right(&direction, &flow(TCP, (1, 40_000), (2, 80)));
    }
}
