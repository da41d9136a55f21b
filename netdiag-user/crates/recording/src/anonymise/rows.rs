//! A reading without names and addresses: numbers of the tables stay only where their column is
//! known to hold neither.
use std::collections::BTreeMap;

use netdiag_common::event::{CAPTURE, DROP, Event, SOCKET_RETRANSMIT};

use super::{address::Addresses, packet, words::Words};
use crate::{
    cells::{Cells, columns},
    model::observation::Observation,
};

/// Columns that stay: sizes, times, counts, ports, kinds, flags, and numbers of links and namespaces.
const KEPT: [&str; 73] = [
    "answers",
    "asked",
    "bytes",
    "captured",
    "carried",
    "cgroup",
    "changes",
    "code",
    "destination_port",
    "direction",
    "ethertype",
    "failed",
    "failing_since",
    "family",
    "first",
    "first_query",
    "flags",
    "fragments",
    "hole_end",
    "hole_start",
    "hole_time",
    "ifindex",
    "kind",
    "largest",
    "last",
    "last_answer",
    "last_good",
    "last_id",
    "last_port",
    "last_query",
    "later_fragments",
    "latency_count",
    "latency_max",
    "latency_sum",
    "latest",
    "length",
    "limit",
    "limit_from",
    "mss",
    "mtu",
    "netns",
    "next_emit",
    "next_sequence",
    "noerror",
    "nxdomain",
    "of_one",
    "of_other",
    "other_answers",
    "oversize",
    "oversize_largest",
    "packets",
    "payload",
    "port",
    "progress",
    "protocol",
    "queries",
    "reason",
    "refused",
    "repeat_gap",
    "repeats",
    "resets",
    "retransmits",
    "sequence",
    "servfail",
    "silent_since",
    "source_port",
    "stalled",
    "syns",
    "tcp_flags",
    "time",
    "truncated",
    "unanswered",
    "vni",
];

/// What a column's number is.
#[derive(Clone, Copy)]
enum Column {
    Kept,
    /// The first of an address's two halves.
    Address,
    /// Of a task's name.
    Task,
    /// The first of a DNS name's eight words.
    Name,
    Mac,
    /// Of the kernel's code.
    Code,
    /// Part of what began before, or unknown.
    Nothing,
}

pub struct Rows<'a> {
    pub addresses: &'a Addresses,
    pub words: &'a mut Words,
    /// The kernel's addresses tell where it is loaded.
    pub codes: &'a mut BTreeMap<u64, u64>,
}

impl Rows<'_> {
    pub fn reading(&mut self, reading: &mut Observation, is_ethernet: impl Fn(u32) -> bool) {
        // What is new in it does not compile here.
        let Observation {
            now: _,
            flows,
            outers,
            icmp_errors,
            dns,
            claims,
            drops,
            retransmits,
            oom_kills,
            counters: _,
            evicted_flows: _,
            evicted_others: _,
            recursion_misses: _,
            events,
        } = reading;
        self.table("flows", flows);
        self.table("outers", outers);
        self.table("icmp_errors", icmp_errors);
        self.table("dns", dns);
        self.table("claims", claims);
        self.table("drops", drops);
        self.table("retransmits", retransmits);
        self.table("oom_kills", oom_kills);
        let columns = kinds("samples", &columns::<Event>());
        for event in events {
            self.event(event, &columns, &is_ethernet);
        }
    }

    fn table<K: Cells, V: Cells>(&mut self, table: &str, rows: &mut [(K, V)]) {
        let keys = kinds(table, &columns::<K>());
        let values = kinds(table, &columns::<V>());
        for (key, value) in rows {
            *key = self.row(key, &keys);
            *value = self.row(value, &values);
        }
    }

    fn event(&mut self, event: &mut Event, columns: &[Column], is_ethernet: impl Fn(u32) -> bool) {
        let hop = event.kind != DROP && event.kind != SOCKET_RETRANSMIT;
        let frame = hop && is_ethernet(event.ifindex);
        let captured = event.packet.get(..usize::from(event.captured));
        let headers = packet::headers(captured.unwrap_or_default(), frame, self.addresses);
        let mut packet = [0; CAPTURE];
        packet[..headers.len()].copy_from_slice(&headers);
        *event = self.row(event, columns);
        event.packet = packet;
        event.captured = u16::try_from(headers.len()).unwrap_or(0);
    }

    fn row<T: Cells>(&mut self, row: &T, columns: &[Column]) -> T {
        let mut cells = Vec::new();
        row.put(&mut cells);
        for (at, column) in columns.iter().enumerate() {
            match column {
                Column::Kept => {}
                Column::Nothing => cells[at] = 0,
                Column::Mac => cells[at] = self.mac(cells[at]),
                Column::Code => cells[at] = self.code(cells[at]),
                Column::Address => {
                    self.halves(&mut cells[at..], |it, wire| it.addresses.wire(wire))
                }
                Column::Task => self.halves(&mut cells[at..], Self::task),
                Column::Name => self.name(&mut cells[at..]),
            }
        }
        T::take(&mut cells.into_iter())
    }

    fn halves(&mut self, cells: &mut [u64], with: impl Fn(&mut Self, [u8; 16]) -> [u8; 16]) {
        let [high, low, ..] = cells else {
            return;
        };
        let all = (u128::from(*high) << 64 | u128::from(*low)).to_be_bytes();
        let all = u128::from_be_bytes(with(self, all));
        (*high, *low) = ((all >> 64) as u64, all as u64);
    }

    fn task(&mut self, name: [u8; 16]) -> [u8; 16] {
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        let mut new = [0; 16];
        let label = self.words.label(&name[..end]);
        new.iter_mut().zip(label).for_each(|(to, byte)| *to = byte);
        new
    }

    /// Labels after their lengths, as the wire has them.
    fn name(&mut self, cells: &mut [u64]) {
        let count = netdiag_common::dns::NAME / 8;
        let Some(cells) = cells.get_mut(..count) else {
            return;
        };
        let old: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        let labels = labels(&old);
        let mut new = Vec::new();
        for ((length, label), mapped) in labels.iter().zip(self.labels(&labels)) {
            // One that was cut stays as long as it was.
            let said = if label.len() < *length {
                *length
            } else {
                mapped.len()
            };
            new.push(u8::try_from(said).unwrap_or(63));
            new.extend(mapped);
        }
        new.resize(old.len(), 0);
        for (cell, word) in cells.iter_mut().zip(new.as_chunks::<8>().0) {
            *cell = u64::from_be_bytes(*word);
        }
    }

    /// Numbers and nibbles in a row, and before the zone of addresses each of them, are one: an
    /// address's.
    fn labels(&mut self, labels: &[(usize, &[u8])]) -> Vec<Vec<u8>> {
        let bare = |label: &[u8]| {
            let digits = label.iter().all(u8::is_ascii_digit);
            digits || matches!(label, [one] if one.is_ascii_alphanumeric())
        };
        let mut new = Vec::new();
        while let Some((_, label)) = labels.get(new.len()) {
            let rest = &labels[new.len()..];
            let row = rest.iter().take_while(|(_, label)| bare(label)).count();
            let is_zone = rest.get(row).is_some_and(|(_, zone)| {
                let zone = zone.to_ascii_lowercase();
                [&b"in-addr"[..], b"ip6"].contains(&zone.as_slice())
            });
            if row > 2 || row > 0 && is_zone {
                let row: Vec<&[u8]> = rest[..row].iter().map(|(_, label)| *label).collect();
                let whole = String::from_utf8_lossy(&row.join(&b'.')).into_owned();
                let mapped = self.words.row(&whole);
                new.extend(mapped.split('.').map(|it| it.as_bytes().to_vec()));
            } else {
                new.push(self.words.label(label));
            }
        }
        new
    }

    fn mac(&self, number: u64) -> u64 {
        let [_, _, mac @ ..] = number.to_be_bytes();
        let new = self.addresses.mac(mac);
        new.iter().fold(0, |all, byte| all << 8 | u64::from(*byte))
    }

    pub fn code(&mut self, address: u64) -> u64 {
        let next = (self.codes.len() as u64 + 1) << 4;
        match address {
            0 => 0,
            address => *self.codes.entry(address).or_insert(next),
        }
    }
}

/// Each label, and how long it is said to be.
pub fn labels(name: &[u8]) -> Vec<(usize, &[u8])> {
    let (mut all, mut rest) = (Vec::new(), name);
    while let Some((length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let length = usize::from(*length);
        all.push((length, after.get(..length).unwrap_or(after)));
        rest = after.get(length..).unwrap_or_default();
    }
    all
}

fn kinds(table: &str, columns: &[String]) -> Vec<Column> {
    columns.iter().map(|name| kind(table, name)).collect()
}

fn kind(table: &str, column: &str) -> Column {
    let last = column.rsplit('.').next().unwrap_or(column);
    match (table, column, last) {
        ("oom_kills", "comm.high", _) => Column::Task,
        ("dns", "name.0", _) => Column::Name,
        ("claims", "one" | "other", _) => Column::Mac,
        (_, _, "location") => Column::Code,
        (_, _, "high") => Column::Address,
        // The pid.
        ("oom_kills", "", _) => Column::Kept,
        ("dns", "other", _) => Column::Kept,
        // Seen to with their first part.
        (_, _, "low") => Column::Kept,
        ("dns", name, _) if name.starts_with("name.") => Column::Kept,
        (_, _, last) if KEPT.contains(&last) => Column::Kept,
        _ => Column::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::{
        claim::{NeighbourAnnouncement, NeighbourAnnouncementKey},
        dns::{Dns, DnsKey},
        hop::{FlowHop, FlowHopKey, IcmpError, IcmpErrorKey, Outer, OuterKey},
        loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
        oom::OomKill,
    };

    use super::*;

    /// A column that is new is thought about: it stays, or is an address, or is left out.
    #[test]
    fn every_column_is_known() {
        let tables = [
            ("flows", columns::<FlowHopKey>(), columns::<FlowHop>()),
            ("outers", columns::<OuterKey>(), columns::<Outer>()),
            (
                "icmp_errors",
                columns::<IcmpErrorKey>(),
                columns::<IcmpError>(),
            ),
            ("dns", columns::<DnsKey>(), columns::<Dns>()),
            (
                "claims",
                columns::<NeighbourAnnouncementKey>(),
                columns::<NeighbourAnnouncement>(),
            ),
            ("drops", columns::<DropKey>(), columns::<Dropped>()),
            (
                "retransmits",
                columns::<RetransmitKey>(),
                columns::<Retransmitted>(),
            ),
            ("oom_kills", columns::<u32>(), columns::<OomKill>()),
            ("samples", Vec::new(), columns::<Event>()),
        ];
        for (table, keys, values) in tables {
            for column in keys.iter().chain(&values) {
                let is_known = !matches!(kind(table, column), Column::Nothing);
                assert!(is_known, "{table}: {column}");
            }
        }
        assert!(matches!(kind("flows", "novel"), Column::Nothing));
    }

    #[test]
    fn names_on_the_wire_keep_their_form() {
        let addresses = Addresses::default();
        let (mut words, mut codes) = (Words::new([], Addresses::default()), BTreeMap::new());
        let mut rows = Rows {
            addresses: &addresses,
            words: &mut words,
            codes: &mut codes,
        };
        let key = DnsKey {
            name: crate::model::dns::wire("cart.shop.svc.cluster.local"),
            ..DnsKey::take(&mut std::iter::empty())
        };
        let mut all = vec![(key, Dns::default())];
        rows.table("dns", &mut all);
        let name = crate::model::dns::name(&all[0].0.name);
        assert!(
            name.ends_with(".svc.cluster.local") && name.len() == 27,
            "{name}"
        );
        assert!(!name.contains("cart") && !name.contains("shop"), "{name}");
        for telling in [
            "8.8.8.8.in-addr.arpa",
            "20.10.in-addr.arpa",
            "8.in-addr.arpa",
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2",
            "7.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            "10.20.30.40.example",
        ] {
            let name = crate::model::dns::wire(telling);
            let mut all = vec![(DnsKey { name, ..key }, Dns::default())];
            rows.table("dns", &mut all);
            let new = crate::model::dns::name(&all[0].0.name);
            let zone = telling.find(".i").unwrap_or(telling.len());
            assert!(!new.contains(&telling[..zone]), "{telling} became {new}");
            let new = new.trim_end_matches('…');
            assert_eq!(new.len(), telling.len(), "{new}");
        }
        let kill = OomKill {
            comm: *b"flanneld\0\0\0\0\0\0\0\0",
            ..OomKill::default()
        };
        let mut all = vec![(7_u32, kill)];
        rows.table("oom_kills", &mut all);
        assert_eq!((all[0].0, &all[0].1.comm[..8]), (7, b"flanneld".as_slice()));
    }
}
