//! What the drop causes share: losses of one reason that persist, by where they were headed.
use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    model::{
        address::endpoint,
        flow::{self, TCP},
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

/// Losses between the same two addresses towards the same port.
pub struct Pattern<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub port: u16,
    pub protocol: u8,
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
        let port = if matches!(self.protocol, 1 | 58) {
            0
        } else {
            self.port
        };
        format!(
            "{} {}",
            flow::protocol(self.protocol),
            endpoint(self.destination, port)
        )
    }

    pub fn refer(&self) -> FlowRef {
        let at = self.losses.iter().find_map(|l| l.interface.clone());
        FlowRef {
            protocol: flow::protocol(self.protocol),
            source: endpoint(self.source, 0),
            destination: endpoint(self.destination, self.port),
            packets: self.packets(),
            retransmits: 0,
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

/// Losses of the wanted kind that persist and that nothing answers.
pub fn patterns<'a>(facts: &'a Facts<'_>, wanted: impl Fn(&Loss) -> bool) -> Vec<Pattern<'a>> {
    let mut groups: BTreeMap<(IpAddr, IpAddr, u8, u16), Pattern<'a>> = BTreeMap::new();
    let lost =
        |l: &&Loss| wanted(l) && l.flow().family != 0 && matters(l) && !facts.answered(l.flow());
    for loss in facts.losses.iter().filter(lost) {
        let (source, destination) = flow::ends(loss.flow());
        if destination.is_multicast() || is_broadcast(destination) {
            continue;
        }
        // An echo's identifier changes from run to run of ping.
        let port = match loss.flow().protocol {
            1 | 58 => 0,
            _ => loss.flow().destination_port,
        };
        let protocol = loss.flow().protocol;
        let new = || Pattern {
            source,
            destination,
            port,
            protocol,
            losses: Vec::new(),
        };
        let key = (source, destination, protocol, port);
        groups.entry(key).or_insert_with(new).losses.push(loss);
    }
    let mut patterns: Vec<_> = groups
        .into_values()
        .filter(|p| p.packets() >= PATTERN)
        .collect();
    patterns.sort_by_key(|p| std::cmp::Reverse(p.packets()));
    patterns
}

fn matters(loss: &Loss) -> bool {
    loss.flow().protocol != TCP || loss.dropped.tcp_flags & (SYN | PSH) != 0
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
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
