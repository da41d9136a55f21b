//! Recordings with their rows again and again, from other ports and for other names.
use std::collections::HashSet;

use netdiag::{model::observation::Observation, pipeline::scene::Scene, recording::Replay};
use netdiag_common::{
    dns::DnsKey,
    flow::FlowKey,
    hop::{FlowHopKey, IcmpErrorKey},
    loss::{DropKey, RetransmitKey},
};
use netdiag_tests::recordings;

/// What the kernel's other tables take.
const DROPS: usize = 16_384;
const RETRANSMITS: usize = 8_192;
const LOOKUPS: usize = 4_096;
const ERRORS: usize = 2_048;

pub fn reading(name: &str, flows: usize) -> (Scene, Observation) {
    let recording = recordings::bytes(name);
    let mut replay = Replay::from(&recording[..]).expect("a recording");
    let mut last = Observation::default();
    while let Some(reading) = replay.tick() {
        last = reading;
    }
    // Each table grows as the flows do.
    let times = (flows / last.flows.len().max(1)).max(1);
    let bound = |most: usize, rows: usize| most.min(rows * times);
    again(&mut last.flows, flows, |key: &mut FlowHopKey, n| {
        move_port(&mut key.flow, n);
    });
    let most = bound(DROPS, last.drops.len());
    again(&mut last.drops, most, |key: &mut DropKey, n| {
        move_port(&mut key.flow, n);
    });
    let most = bound(RETRANSMITS, last.retransmits.len());
    again(&mut last.retransmits, most, |key: &mut RetransmitKey, n| {
        move_port(&mut key.flow, n);
    });
    let most = bound(ERRORS, last.icmp_errors.len());
    again(&mut last.icmp_errors, most, |key: &mut IcmpErrorKey, n| {
        move_port(&mut key.about, n);
    });
    let most = bound(LOOKUPS, last.dns.len());
    again(&mut last.dns, most, rename);
    (replay.scene, last)
}

/// Adds the rows once more and once more, changed by the number of the round.
fn again<K, V>(rows: &mut Vec<(K, V)>, most: usize, change: impl Fn(&mut K, u16))
where
    K: Copy + Eq + std::hash::Hash,
    V: Copy,
{
    let first = rows.clone();
    let mut known: HashSet<K> = first.iter().map(|(key, _)| *key).collect();
    for round in 1..=u16::MAX {
        for (key, value) in &first {
            let mut key = *key;
            change(&mut key, round);
            if rows.len() >= most {
                return;
            }
            if known.insert(key) {
                rows.push((key, *value));
            }
        }
    }
}

/// Clients' ports are the higher ones; an echo has its identifier in both.
fn move_port(flow: &mut FlowKey, round: u16) {
    let moved = |port: u16| 32_768 + port.wrapping_add(round.wrapping_mul(97)) % 28_000;
    let (source, destination) = (flow.source_port, flow.destination_port);
    if source >= destination {
        flow.source_port = moved(source);
    }
    if destination >= source {
        flow.destination_port = moved(destination);
    }
}

fn rename(key: &mut DnsKey, round: u16) {
    let length = usize::from(key.name[0]).min(key.name.len() - 1);
    for (n, byte) in key.name[1..=length].iter_mut().take(3).enumerate() {
        *byte = b'a' + (round / 26_u16.pow(n as u32) % 26) as u8;
    }
}
