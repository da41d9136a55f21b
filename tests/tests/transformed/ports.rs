//! Everybody asks twice: each flow once more, from another port, with the same fate.
use std::collections::{BTreeMap, BTreeSet};

use netdiag::model::{
    gather::Tuple,
    node::{Counters, Node},
    observation::Observation,
};
use netdiag_common::{dns, flow::FlowKey};
use serde_json::{Value, json};

use super::readings::{Change, Pieces, Reading};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

pub fn doubled(readings: &[Reading]) -> Change<'_> {
    let (ports, mut pieces) = (Ports::of(readings), Pieces::default());
    Box::new(move |scene, counted| {
        rows(counted, &ports);
        count_twice(&mut scene.node, &scene.start);
        pieces.change(&mut scene.gathered, |all| answers(all, &ports));
    })
}

/// Which port a client's second connection has.
pub struct Ports {
    others: BTreeMap<u16, u16>,
}

impl Ports {
    pub fn of(readings: &[Reading]) -> Self {
        let (mut all, mut servers) = (BTreeSet::new(), BTreeSet::from([dns::PORT]));
        for Reading { counted, .. } in readings {
            for (key, hop) in &counted.flows {
                all.insert(key.flow);
                if hop.syns > 0 {
                    servers.insert(key.flow.destination_port);
                }
            }
            all.extend(counted.drops.iter().map(|(key, _)| key.flow));
            all.extend(counted.retransmits.iter().map(|(key, _)| key.flow));
        }
        let with_ports = all.iter().filter(|flow| has_ports(flow));
        let clients = with_ports.map(|flow| {
            let (one, other) = (flow.source_port, flow.destination_port);
            match (servers.contains(&one), servers.contains(&other)) {
                (true, false) => other,
                (false, true) => one,
                _ => one.max(other),
            }
        });
        let clients: BTreeSet<u16> = clients.collect();
        let used: BTreeSet<u16> = all
            .iter()
            .flat_map(|f| [f.source_port, f.destination_port])
            .collect();
        let free = (32_768..=60_999).filter(|port| !used.contains(port));
        let others = clients.into_iter().zip(free).collect();
        Self { others }
    }

    /// The same from another port; nothing of what has none.
    pub fn other(&self, flow: &FlowKey) -> Option<FlowKey> {
        let other = |port: u16| self.others.get(&port).copied();
        let (source, destination) = (other(flow.source_port), other(flow.destination_port));
        let is_echo = flow.source_port == flow.destination_port;
        if !has_ports(flow) || source.or(destination).is_none() {
            return None;
        }
        // An echo's identifier stands in both.
        let destination = destination.filter(|_| is_echo || source.is_none());
        Some(FlowKey {
            source_port: source.unwrap_or(flow.source_port),
            destination_port: destination.unwrap_or(flow.destination_port),
            ..*flow
        })
    }
}

/// Ports, or the identifier of an echo.
fn has_ports(flow: &FlowKey) -> bool {
    let (one, other) = (flow.source_port, flow.destination_port);
    match flow.protocol {
        TCP | UDP => true,
        ICMP | ICMPV6 => one == other && one != 0,
        _ => false,
    }
}

fn rows(counted: &mut Observation, ports: &Ports) {
    macro_rules! again {
        ($table:ident, $flow:ident) => {
            let again = counted.$table.iter().filter_map(|(key, value)| {
                let mut key = *key;
                key.$flow = ports.other(&key.$flow)?;
                Some((key, *value))
            });
            let again: Vec<_> = again.collect();
            counted.$table.extend(again);
        };
    }
    again!(flows, flow);
    again!(drops, flow);
    again!(retransmits, flow);
    again!(icmp_errors, about);
    for (_, outer) in &mut counted.outers {
        outer.packets *= 2;
        outer.bytes *= 2;
    }
    for (_, dns) in &mut counted.dns {
        for count in [
            &mut dns.queries,
            &mut dns.answers,
            &mut dns.noerror,
            &mut dns.nxdomain,
            &mut dns.servfail,
            &mut dns.refused,
            &mut dns.other,
            &mut dns.truncated,
            &mut dns.repeats,
            &mut dns.failed,
            &mut dns.latency_sum,
            &mut dns.latency_count,
        ] {
            *count *= 2;
        }
        dns.unanswered *= 2;
    }
}

/// What was counted since the run began.
fn count_twice(node: &mut Node, start: &Node) {
    for Counters { netns, values } in &mut node.counters {
        for (name, value) in values {
            if let Some(before) = start.counter(*netns, name) {
                *value += value.saturating_sub(before);
            }
        }
    }
}

fn answers(all: &mut [Value], ports: &Ports) {
    for piece in all.iter_mut() {
        let Some(answer) = piece[1].get_mut("Ok") else {
            continue;
        };
        if let Some(rules) = answer.get_mut("Rules").and_then(Value::as_array_mut) {
            for rule in rules {
                rule["packets"] = json!(rule["packets"].as_u64().unwrap_or(0) * 2);
            }
        }
        if let Some(tracked) = answer.get_mut("Tracked").and_then(Value::as_array_mut) {
            let again = tracked.iter().filter_map(|it| {
                let tuple = |name: &str| {
                    let tuple = serde_json::from_value(it[name].clone());
                    moved(tuple.expect("a tuple"), ports)
                };
                Some(json!({ "asked": tuple("asked")?, "answered": tuple("answered")? }))
            });
            let again: Vec<Value> = again.collect();
            tracked.extend(again);
        }
    }
}

fn moved(tuple: Tuple, ports: &Ports) -> Option<Tuple> {
    let flow = ports.other(&tuple.flow())?;
    Some(Tuple {
        source: (tuple.source.0, flow.source_port),
        destination: (tuple.destination.0, flow.destination_port),
        ..tuple
    })
}
