//! `netdiag.tunnel`: what went to another node and what came from there within the interval, of
//! pairs that talk one way only, and of those that carry suspicious flows.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use opentelemetry::logs::Severity;

use crate::{model::total::add, pipeline::facts::Facts, record::Record};

/// Pairs of an interval that are told of.
const MOST: usize = 256;
/// Packets that could not be an answer which is merely late.
const ONE_WAY: u64 = 3;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    sent: u64,
    sent_bytes: u64,
    received: u64,
    received_bytes: u64,
    last: u64,
}

impl Count {
    fn is_one_way(self) -> bool {
        self.sent.min(self.received) == 0 && self.sent.max(self.received) >= ONE_WAY
    }
}

/// This node's address, the other's, VNI and UDP port.
type Pair = (IpAddr, IpAddr, u32, u16);

/// Of the interval's rows, and the outer addresses of suspicious flows.
pub fn records(facts: &Facts<'_>, suspicious: &[(IpAddr, IpAddr)]) -> Vec<Record> {
    let suspicious: BTreeSet<_> = suspicious
        .iter()
        .flat_map(|(from, to)| [(*from, *to), (*to, *from)])
        .collect();
    let told = |((own, peer, ..), count): &(Pair, Count)| {
        count.is_one_way() || suspicious.contains(&(*own, *peer))
    };
    let all = pairs(facts).into_iter().filter(told);
    all.take(MOST)
        .map(|(pair, count)| record(facts, pair, count))
        .collect()
}

fn pairs(facts: &Facts<'_>) -> BTreeMap<Pair, Count> {
    let mut all: BTreeMap<Pair, Count> = BTreeMap::new();
    for pair in facts.outers {
        let (vni, port, outer) = (pair.key.vni, pair.key.port, &pair.outer);
        let key = match pair.egress() {
            true => (pair.source, pair.destination, vni, port),
            false => (pair.destination, pair.source, vni, port),
        };
        let count = all.entry(key).or_default();
        let (packets, bytes) = match pair.egress() {
            true => (&mut count.sent, &mut count.sent_bytes),
            false => (&mut count.received, &mut count.received_bytes),
        };
        add(packets, outer.packets);
        add(bytes, outer.bytes);
        count.last = count.last.max(outer.last);
    }
    all
}

fn record(facts: &Facts<'_>, (own, peer, vni, port): Pair, count: Count) -> Record {
    let body = format!(
        "{own} sent {} tunnel packets to {peer} and received {}",
        count.sent, count.received
    );
    let level = match count.is_one_way() {
        true => Severity::Warn,
        false => Severity::Info,
    };
    Record::new("netdiag.tunnel", level, facts.clock.time(count.last), body)
        .whole("netdiag.outer.source", own.to_string())
        .whole("netdiag.outer.destination", peer.to_string())
        .number("netdiag.outer.port", u64::from(port))
        .number("netdiag.vni", u64::from(vni))
        .number("netdiag.sent.packets", count.sent)
        .number("netdiag.sent.bytes", count.sent_bytes)
        .number("netdiag.received.packets", count.received)
        .number("netdiag.received.bytes", count.received_bytes)
}
