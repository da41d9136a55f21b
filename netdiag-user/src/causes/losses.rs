//! What the drop causes share: losses of one reason that persist, by where they were headed.
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use netdiag_common::{hop, loss::RetransmitKey};

use crate::{
    model::{
        address::{Prefix, endpoint},
        flow::{self, TCP},
        node::{Route, RouteKind},
        roles::Role,
        verdict::{Evidence, EvidenceKind, FlowRef, Origin, PodRef, PodRole},
    },
    pipeline::facts::{Facts, Loss},
};

/// Fewer lost packets than this are no pattern: a client that gives up after one retry is
/// everyday, the third attempt is not.
pub const PATTERN: u64 = 3;

/// TCP flags of what a flow needs to go on: SYN, or data (PSH). Stray FINs, RSTs and bare ACKs
/// of connections that are over are dropped on healthy nodes all day (KUBE-FORWARD's INVALID).
const SYN: u32 = 2;
const PSH: u32 = 8;
const ACK: u32 = 16;

/// Losses between the same two addresses for the same server's port.
pub struct Pattern<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub port: u16,
    pub protocol: u8,
    /// Lost are the server's answers, not the requests.
    pub reply: bool,
    pub losses: Vec<&'a Loss>,
}

impl Pattern<'_> {
    pub fn packets(&self) -> u64 {
        self.losses.iter().map(|l| l.dropped.packets).sum()
    }

    pub fn first(&self) -> u64 {
        self.losses
            .iter()
            .map(|l| l.dropped.first)
            .min()
            .unwrap_or(0)
    }

    pub fn last(&self) -> u64 {
        self.losses
            .iter()
            .map(|l| l.dropped.last)
            .max()
            .unwrap_or(0)
    }

    pub fn target(&self) -> String {
        let protocol = flow::protocol(self.protocol);
        match self.reply {
            true => format!(
                "{protocol} answers from port {} to {}",
                self.port, self.destination
            ),
            false => format!("{protocol} {}", endpoint(self.destination, self.port)),
        }
    }

    pub fn refer(&self, facts: &Facts<'_>) -> FlowRef {
        let at = self.losses.iter().find_map(|l| l.interface.clone());
        let (from, to) = if self.reply {
            (self.port, 0)
        } else {
            (0, self.port)
        };
        let own = |key: &RetransmitKey| self.losses.iter().any(|l| *l.flow() == key.flow);
        let retransmits = facts.retransmits.iter().filter(|(key, _)| own(key));
        FlowRef {
            protocol: flow::protocol(self.protocol),
            source: endpoint(self.source, from),
            destination: endpoint(self.destination, to),
            packets: self.packets(),
            retransmits: retransmits.map(|(_, r)| r.packets).sum(),
            last_seen_at: at,
        }
    }

    pub fn pods(&self, facts: &Facts<'_>) -> Vec<PodRef> {
        let ends = [
            facts.pod(self.source, PodRole::Source),
            facts.pod(self.destination, PodRole::Destination),
        ];
        ends.into_iter().flatten().collect()
    }
}

/// Losses of the wanted kind that persist and in spite of which nothing gets through.
pub fn patterns<'a>(facts: &'a Facts<'_>, wanted: impl Fn(&Loss) -> bool) -> Vec<Pattern<'a>> {
    let mut groups: BTreeMap<(IpAddr, IpAddr, u8, u16, bool), Pattern<'a>> = BTreeMap::new();
    let success = Success::of(facts);
    let lost = |l: &&Loss| wanted(l) && l.flow().family != 0 && matters(l);
    for loss in facts.losses.iter().filter(lost) {
        let (source, destination) = flow::ends(loss.flow());
        if destination.is_multicast() || is_broadcast(facts, destination) {
            continue;
        }
        let service = Service::of(loss);
        if success.despite(loss, &service) {
            continue;
        }
        let protocol = loss.flow().protocol;
        let (port, reply) = (service.port, service.reply);
        let new = || Pattern {
            source,
            destination,
            port,
            protocol,
            reply,
            losses: Vec::new(),
        };
        let key = (source, destination, protocol, port, reply);
        groups.entry(key).or_insert_with(new).losses.push(loss);
    }
    let mut patterns: Vec<_> = groups
        .into_values()
        .filter(|p| p.packets() >= PATTERN)
        .collect();
    patterns.sort_by_key(|p| std::cmp::Reverse(p.packets()));
    patterns
}

/// Which end of a lost packet's flow is the server, and by which port.
struct Service {
    port: u16,
    /// The lost packet came from the server.
    reply: bool,
}

impl Service {
    fn of(loss: &Loss) -> Self {
        let flow = loss.flow();
        // An echo's identifier changes from run to run of ping.
        if matches!(flow.protocol, 1 | 58) {
            return Self {
                port: 0,
                reply: false,
            };
        }
        let flags = loss.dropped.tcp_flags;
        let reply = match flow.protocol == TCP && flags & SYN != 0 {
            true => flags & ACK != 0,
            // Servers' ports are the lower ones; clients' are ephemeral.
            false => flow.source_port < flow.destination_port,
        };
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

/// What got through as far as this node sees, each way with the time of the last such sign: what
/// worked before the losses began proves nothing.
#[derive(Default)]
struct Success {
    /// Connections that a server accepted, by the way of its answer.
    accepted: HashMap<Way, u64>,
    /// Ways towards a server's port, or from one, that carry acknowledgements.
    acknowledged: HashMap<Way, u64>,
    /// Ways from a server's port that anything took.
    answered: HashMap<Way, u64>,
    /// Ways from a server's port that left this node, or reached its pod.
    delivered: HashMap<Way, u64>,
}

impl Success {
    fn of(facts: &Facts<'_>) -> Self {
        let mut all = Self::default();
        for seen in &facts.flows {
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
            if flags & hop::SYN != 0 && flags & hop::ACK != 0 {
                note(&mut all.accepted, from, hop.first);
            }
            if flags & hop::ACK != 0 && flags & hop::RST == 0 {
                note(&mut all.acknowledged, from, hop.last);
                note(&mut all.acknowledged, to, hop.last);
            }
            note(&mut all.answered, from, hop.last);
            if seen.egress() && !matches!(seen.role, Some(Role::Bridge) | None) {
                note(&mut all.delivered, from, hop.last);
            }
        }
        all
    }

    /// Whether the conversation of a lost packet goes on all the same.
    fn despite(&self, loss: &Loss, service: &Service) -> bool {
        let (flow, lost) = (loss.flow(), &loss.dropped);
        let back = (flow.destination, flow.source, flow.protocol, service.port);
        let same = (flow.source, flow.destination, flow.protocol, service.port);
        let since = |signs: &HashMap<Way, u64>, way: &Way, time: u64| {
            signs.get(way).is_some_and(|last| *last > time)
        };
        let syn = lost.tcp_flags & SYN != 0;
        match (flow.protocol == TCP, syn, service.reply) {
            (true, true, false) => since(&self.accepted, &back, lost.first),
            // A connection's answer, or data: the other end acknowledged something later.
            (true, ..) => since(&self.acknowledged, &back, lost.last),
            (false, _, false) => since(&self.answered, &back, lost.first),
            (false, _, true) => since(&self.delivered, &same, lost.first),
        }
    }
}

fn note(signs: &mut HashMap<Way, u64>, way: Way, time: u64) {
    let last = signs.entry(way).or_default();
    *last = time.max(*last);
}

fn matters(loss: &Loss) -> bool {
    loss.flow().protocol != TCP || loss.dropped.tcp_flags & (SYN | PSH) != 0
}

/// To everybody: 255.255.255.255, or the last address of one of the node's own subnets, which the
/// local table holds beside the node's addresses.
fn is_broadcast(facts: &Facts<'_>, address: IpAddr) -> bool {
    let local = |r: &Route| r.kind == RouteKind::Local && r.destination == Prefix::host(address);
    let everybody = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    everybody || (facts.node.routes.iter().any(local) && !facts.node.owns(address))
}

/// One line per place where packets of the pattern died.
pub fn drop_evidence(patterns: &[Pattern<'_>]) -> Vec<Evidence> {
    let mut sums: BTreeMap<(&str, &str, Option<&str>), u64> = BTreeMap::new();
    for loss in patterns.iter().flat_map(|p| &p.losses) {
        let key = (
            loss.reason.as_str(),
            loss.symbol(),
            loss.interface.as_deref(),
        );
        *sums.entry(key).or_default() += loss.dropped.packets;
    }
    let line = |((reason, symbol, at), packets): ((&str, &str, Option<&str>), u64)| {
        let on = at.map_or_else(String::new, |at| format!(" on {at}"));
        let text = format!("{packets} packets dropped{on}: {reason} in {symbol}");
        let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
        line.at = at.map(str::to_owned);
        line.packets = Some(packets);
        line.reason = Some(reason.to_owned());
        line.location = Some(symbol.to_owned());
        line.confirm = Some("perf trace -e skb:kfree_skb".into());
        line
    };
    sums.into_iter().map(line).collect()
}
