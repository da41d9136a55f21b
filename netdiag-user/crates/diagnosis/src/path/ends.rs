//! Who the ends are.
mod named;

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
    paired(
        end(facts, source, PodRole::Source)?,
        end(facts, destination, PodRole::Destination)?,
    )
}

/// Both, if packets may pass between them.
pub fn paired(source: End, mut destination: End) -> Result<(End, End), String> {
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

/// One of them, or why it is not known: a sentence.
pub fn end(facts: &Facts<'_>, wanted: &Wanted, role: PodRole) -> Result<End, String> {
    let found = match &wanted.who {
        Who::Address(address) => {
            check_brackets(facts, *address, wanted)?;
            by_address(facts, *address, wanted.port, role)
        }
        Who::Named(names) => named::named(facts, wanted, names, role)?,
    };
    Ok(End {
        asked: wanted.text.clone(),
        ..found
    })
}

/// `fd00::1:80` is an address too. Where nobody has it, and somebody has the one without its last
/// part, a port was meant.
fn check_brackets(facts: &Facts<'_>, address: IpAddr, wanted: &Wanted) -> Result<(), String> {
    let known = |a: IpAddr| facts.owns(a) || facts.pod(a, PodRole::Source).is_some();
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
