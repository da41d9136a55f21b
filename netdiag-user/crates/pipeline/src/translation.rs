//! Flows as a verdict and events tell them: a connection that the node translates is one flow with
//! its legs, whichever of them was counted.
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use netdiag_common::flow::FlowKey;

use super::{facts::Facts, legs::Legs};
use crate::model::{
    address::{from_wire, to_wire},
    event::EventFlow,
    flow,
    gather::Want,
    path::KnownBy,
    verdict::{Finding, FlowRef, Leg},
};

/// Clients whose connections are looked up in conntrack at most; the rest is inferred.
const MOST_CLIENTS: usize = 4;
/// Backends that one row names.
const MOST_LEGS: usize = 4;

/// One row a connection.
pub fn join(facts: &Facts<'_>, flows: &mut Vec<FlowRef>) {
    if flows.is_empty() {
        return;
    }
    let mut joined: Vec<FlowRef> = Vec::with_capacity(flows.len());
    for mut flow in flows.drain(..) {
        tell(facts, &mut flow);
        let same = |f: &&mut FlowRef| {
            (&f.protocol, &f.source, &f.destination)
                == (&flow.protocol, &flow.source, &flow.destination)
        };
        match joined
            .iter_mut()
            .find(same)
            .filter(|_| !flow.legs.is_empty())
        {
            Some(known) => merge(known, flow),
            None => joined.push(flow),
        }
    }
    *flows = joined;
}

/// The same packets, counted before the translation and behind it.
fn merge(known: &mut FlowRef, other: FlowRef) {
    known.packets = known.packets.max(other.packets);
    known.retransmits = known.retransmits.max(other.retransmits);
    known.last_seen_at = other.last_seen_at.or(known.last_seen_at.take());
    known.legs.extend(other.legs);
    known.legs.sort();
    known.legs.dedup();
    known.legs.truncate(MOST_LEGS);
}

/// Finds a row's legs, and puts the sender's own words first.
fn tell(facts: &Facts<'_>, row: &mut FlowRef) {
    let legs = facts.legs();
    match key(row) {
        Some(flow) => {
            if let Some((asked, leg, by)) = legs.pair(&flow) {
                (row.source, row.destination) = flow::endpoints(&asked);
                row.legs = vec![named(&leg, by)];
            }
        }
        None => of_client(legs, row),
    }
    row.service = service(facts, row);
}

/// A row that stands for all of a client's connections to one server.
fn of_client(legs: &Legs, row: &mut FlowRef) {
    let Ok(client) = row.source.parse::<IpAddr>() else {
        return;
    };
    let server: Option<SocketAddr> = row.destination.parse().ok();
    let is =
        |address: [u8; 16], port: u16| server == Some(SocketAddr::new(from_wire(address), port));
    let of = |asked: &FlowKey, leg: &FlowKey| {
        from_wire(asked.source) == client
            && flow::protocol(asked.protocol) == row.protocol
            && (is(asked.destination, asked.destination_port)
                || is(leg.destination, leg.destination_port))
    };
    let found = legs.all().filter(|(asked, leg, _)| of(asked, leg));
    let found: Vec<(FlowKey, FlowKey, KnownBy)> = found.map(|(a, l, by)| (*a, *l, by)).collect();
    let asked: BTreeSet<String> = found.iter().map(|(a, ..)| flow::endpoints(a).1).collect();
    // Its own server behind several Services: then nobody can say by which it was asked.
    let [asked] = &Vec::from_iter(asked)[..] else {
        return;
    };
    row.destination.clone_from(asked);
    let to = found.iter().map(|(_, leg, by)| {
        let (source, destination) = (from_wire(leg.source).to_string(), flow::endpoints(leg).1);
        let by = *by;
        Leg {
            source,
            destination,
            by,
        }
    });
    let all: BTreeSet<Leg> = to.collect();
    row.legs = all.into_iter().take(MOST_LEGS).collect();
}

/// The flow of an event, by the sender's own words.
pub fn event_flow(facts: &Facts<'_>, flow: &FlowKey) -> EventFlow {
    let pair = facts.legs().pair(flow);
    let asked = pair.map_or(*flow, |(asked, ..)| asked);
    let (source, destination) = flow::endpoints(&asked);
    let to = (from_wire(asked.destination), asked.destination_port);
    EventFlow {
        protocol: flow::protocol(flow.protocol),
        source,
        destination,
        service: name(facts, to, asked.protocol),
        leg: pair.map(|(_, leg, by)| named(&leg, by)),
    }
}

fn named(leg: &FlowKey, by: KnownBy) -> Leg {
    let (source, destination) = flow::endpoints(leg);
    Leg {
        source,
        destination,
        by,
    }
}

fn key(row: &FlowRef) -> Option<FlowKey> {
    let source: SocketAddr = row.source.parse().ok()?;
    let destination: SocketAddr = row.destination.parse().ok()?;
    Some(FlowKey {
        source: to_wire(source.ip()),
        destination: to_wire(destination.ip()),
        source_port: source.port(),
        destination_port: destination.port(),
        protocol: flow::number(&row.protocol)?,
        family: if source.is_ipv4() { 4 } else { 6 },
        padding: [0; 2],
    })
}

fn service(facts: &Facts<'_>, row: &FlowRef) -> Option<String> {
    let to: SocketAddr = row.destination.parse().ok()?;
    name(facts, (to.ip(), to.port()), flow::number(&row.protocol)?)
}

/// The name that the node's rules have for a destination, else the API.
fn name(facts: &Facts<'_>, (to, port): (IpAddr, u16), protocol: u8) -> Option<String> {
    let services = facts.gathered.services();
    let rule = services.and_then(|all| all.rule(to, port, protocol));
    rule.and_then(|r| r.name.clone())
        .or_else(|| by_api(facts, (to, port), protocol))
}

fn by_api(facts: &Facts<'_>, (to, port): (IpAddr, u16), protocol: u8) -> Option<String> {
    let (service, port) = facts.cluster.service(to, Some((port, protocol)))?;
    Some(service.port_path(port))
}

/// What says more of the flows that are told: conntrack, and the Services' names.
pub fn wants(findings: &[Finding]) -> BTreeSet<Want> {
    let told = findings.iter().flat_map(|f| &f.flows);
    let translated: Vec<&FlowRef> = told.filter(|f| !f.legs.is_empty()).collect();
    let address = |f: &&FlowRef| {
        let socket: Option<SocketAddr> = f.source.parse().ok();
        socket.map(|s| s.ip()).or_else(|| f.source.parse().ok())
    };
    let clients: BTreeSet<_> = translated.iter().filter_map(address).collect();
    let clients = clients.into_iter().take(MOST_CLIENTS).map(Want::Tracked);
    let names = (!translated.is_empty()).then_some(Want::Services);
    clients.chain(names).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{OVERLAY, at, from_pod, overlay_node, tcp, with_facts},
    };

    fn row(source: &str, destination: &str, packets: u64) -> FlowRef {
        FlowRef {
            protocol: "tcp".into(),
            source: source.into(),
            destination: destination.into(),
            packets,
            ..FlowRef::default()
        }
    }

    fn joined(mut rows: Vec<FlowRef>) -> Vec<FlowRef> {
        let asked = tcp("172.20.1.5", "10.96.0.10", 80);
        let sent = tcp("172.20.1.5", "172.20.2.9", 8080);
        let observation = Observation {
            flows: vec![
                from_pod(asked, |h| h.first = 5),
                at(sent, OVERLAY, true, 0, |h| h.first = 6),
            ],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_facts(&node, &observation, |facts| join(facts, &mut rows));
        rows
    }

    #[test]
    fn both_legs_of_a_connection_are_one_row() {
        let port = tcp("172.20.1.5", "10.96.0.10", 80).source_port;
        let client = format!("172.20.1.5:{port}");
        let rows = joined(vec![
            row(&client, "172.20.2.9:8080", 7),
            row(&client, "10.96.0.10:80", 9),
        ]);
        let [one] = &rows[..] else {
            panic!("{rows:?}");
        };
        assert_eq!(
            (one.destination.as_str(), one.packets),
            ("10.96.0.10:80", 9)
        );
        assert_eq!(one.legs[0].destination, "172.20.2.9:8080");
        assert_eq!(one.legs[0].by, KnownBy::Inferred);
    }

    #[test]
    fn all_connections_of_a_client_are_told_by_what_it_asked() {
        let rows = joined(vec![row("172.20.1.5", "172.20.2.9:8080", 7)]);
        assert_eq!(rows[0].destination, "10.96.0.10:80");
        assert_eq!(rows[0].legs[0].destination, "172.20.2.9:8080");
        let other = joined(vec![row("172.20.1.5", "172.20.2.9:9090", 7)]);
        assert_eq!(
            (other[0].destination.as_str(), other[0].legs.len()),
            ("172.20.2.9:9090", 0)
        );
    }
}
