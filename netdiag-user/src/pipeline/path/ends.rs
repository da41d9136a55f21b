//! Who the ends are.
use std::net::IpAddr;

use crate::{
    model::{
        flow,
        path::{self, End, Wanted, Who},
        verdict::PodRole,
    },
    pipeline::facts::Facts,
};

/// Both ends, or why one of them is not known: a sentence.
pub fn ends(
    facts: &Facts<'_>,
    source: &Wanted,
    destination: &Wanted,
) -> Result<(End, End), String> {
    let source = end(facts, source, PodRole::Source)?;
    let mut destination = end(facts, destination, PodRole::Destination)?;
    // A pod of two families is asked in the other's only.
    let family = |end: &End, v4: bool| end.addresses.iter().any(|a| a.is_ipv4() == v4);
    destination
        .addresses
        .retain(|a| family(&source, a.is_ipv4()));
    if destination.addresses.is_empty() {
        return Err("one end has IPv4 addresses only, the other IPv6".into());
    }
    let own = |a: &IpAddr| source.addresses.contains(a);
    if destination.addresses.iter().all(own) {
        return Err("SRC and DST are the same: what one sends to itself passes no link".into());
    }
    Ok((source, destination))
}

fn end(facts: &Facts<'_>, wanted: &Wanted, role: PodRole) -> Result<End, String> {
    let found = match &wanted.who {
        Who::Address(address) => {
            check_brackets(facts, *address, wanted)?;
            by_address(facts, *address, wanted.port, role)
        }
        Who::Named(name) => named(facts, name, wanted.port, role)?,
    };
    Ok(End {
        asked: wanted.text.clone(),
        ..found
    })
}

/// `fd00::1:80` is an address too. Where nobody has it, and somebody has the one without its last
/// part, a port was meant.
fn check_brackets(facts: &Facts<'_>, address: IpAddr, wanted: &Wanted) -> Result<(), String> {
    let known = |a: IpAddr| facts.node.owns(a) || facts.pod(a, PodRole::Source).is_some();
    let seen = |a: IpAddr| {
        let mut flows = facts.journeys().keys().map(flow::ends);
        flows.any(|(from, to)| from == a || to == a)
    };
    let Some(meant) = path::bracketed(&wanted.text).filter(|_| address.is_ipv6()) else {
        return Ok(());
    };
    let shorter = wanted
        .text
        .rsplit_once(':')
        .and_then(|(a, _)| a.parse().ok());
    match shorter.filter(|a| known(*a) || seen(*a)) {
        Some(_) if !known(address) && !seen(address) => Err(format!(
            "nobody has the address {address}: with a port it is written {meant}"
        )),
        _ => Ok(()),
    }
}

fn by_address(facts: &Facts<'_>, address: IpAddr, port: Option<u16>, role: PodRole) -> End {
    let services = facts.gathered.services();
    let rule = services.and_then(|all| {
        let same = |s: &&crate::model::services::Service| {
            s.address == address && port.is_none_or(|p| p == s.port)
        };
        all.rules.iter().find(same)
    });
    End {
        addresses: vec![address],
        port,
        pod: facts.pod(address, role),
        service: rule
            .and_then(|s| s.name.clone())
            .or_else(|| service_at(facts, address, port)),
        ..End::default()
    }
}

/// The Service's name as the API has it.
fn service_at(facts: &Facts<'_>, address: IpAddr, port: Option<u16>) -> Option<String> {
    let service = facts.cluster.at(address)?;
    let mut ports = service.ports.iter();
    let port = ports.find(|p| port.is_none_or(|it| it == p.port))?;
    Some(service.port_path(port))
}

fn named(facts: &Facts<'_>, name: &str, port: Option<u16>, role: PodRole) -> Result<End, String> {
    let (namespace, own) = name.split_once('/').unwrap_or_default();
    let mut pods = facts.pods.iter();
    if let Some(pod) = pods.find(|p| p.namespace == namespace && p.name == own) {
        if pod.addresses.is_empty() {
            return Err(format!("the pod {name} has no address"));
        }
        return Ok(End {
            addresses: pod.addresses.clone(),
            port,
            pod: Some(pod.refer(None, Some(role))),
            ..End::default()
        });
    }
    let by_rules = service(facts, name, port);
    by_rules
        .or_else(|| by_api(facts, name, port))
        .ok_or_else(|| {
            format!(
                "no pod and no Service {name} is known here: name its address, or where pods are \
             listed by --pods FILE"
            )
        })
}

/// By the name that the API has: its addresses, or those of its pods where it has none.
fn by_api(facts: &Facts<'_>, name: &str, port: Option<u16>) -> Option<End> {
    let (namespace, own) = name.split_once('/')?;
    let service = facts.cluster.named(namespace, own)?;
    let mut addresses = service.addresses.clone();
    if addresses.is_empty() {
        let backends = service.backends();
        addresses = backends.flat_map(|b| b.addresses.clone()).collect();
    }
    addresses.sort();
    addresses.dedup();
    let mut ports = service.ports.iter();
    let of = ports.find(|p| port.is_none_or(|it| it == p.port));
    let one = service.ports.len() == 1;
    (!addresses.is_empty()).then(|| End {
        addresses,
        port: port.or(of.filter(|_| one).map(|p| p.port)),
        service: Some(of.map_or_else(|| service.path(), |p| service.port_path(p))),
        ..End::default()
    })
}

/// By the name that the node's rules have: `namespace/name` or `namespace/name:port`.
fn service(facts: &Facts<'_>, name: &str, port: Option<u16>) -> Option<End> {
    let rules = &facts.gathered.services()?.rules;
    let named = |full: &str| full == name || full.split(':').next() == Some(name);
    let own = rules
        .iter()
        .filter(|r| r.name.as_deref().is_some_and(named));
    let own: Vec<_> = own.filter(|r| port.is_none_or(|p| p == r.port)).collect();
    let first = own.first()?;
    let mut addresses: Vec<IpAddr> = own.iter().map(|r| r.address).collect();
    addresses.sort();
    addresses.dedup();
    // One port where it has one only: its answers' ports are then no questions.
    let one = own.iter().all(|r| r.port == first.port);
    Some(End {
        addresses,
        port: port.or(one.then_some(first.port)),
        service: first.name.clone(),
        ..End::default()
    })
}
