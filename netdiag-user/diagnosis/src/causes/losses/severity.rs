//! How bad it is that packets of a pattern are refused on purpose, by a rule or a program.
use std::net::IpAddr;

use super::Pattern;
use crate::{causes::published, model::verdict::Severity, pipeline::facts::Facts};

/// What a pod or a node sends is meant to arrive; what the outside sends to a pod may be kept
/// out on purpose, by a Service's address or port too; what it sends to the node is scanned and
/// dropped all day, and worth a word only where somebody on the node takes it.
pub fn severity(facts: &Facts<'_>, pattern: &Pattern<'_>) -> Option<Severity> {
    let pod = |address| facts.is_local_pod(address) || facts.pods.by_address(address).is_some();
    if pod(pattern.source) || facts.owns(pattern.source) {
        Some(Severity::Warning)
    } else if !pod(pattern.destination) {
        let offered = translated(facts, pattern) || is_published(facts, pattern);
        let bad = match is_peer(facts, pattern.source) {
            true => Severity::Warning,
            false => Severity::Info,
        };
        offered.then_some(bad)
    } else if in_cluster(facts, pattern.source) {
        Some(Severity::Warning)
    } else {
        Some(Severity::Info)
    }
}

/// To what this node itself takes at an address of its own.
pub fn is_published(facts: &Facts<'_>, pattern: &Pattern<'_>) -> bool {
    let server = (pattern.destination, pattern.port);
    !pattern.reply && published::by_a_socket(facts, server, pattern.protocol)
}

fn translated(facts: &Facts<'_>, pattern: &Pattern<'_>) -> bool {
    let mut lost = pattern.losses.iter();
    lost.any(|l| facts.legs().origin(l.flow()).is_some())
}

/// Another node, as routes to its pods and tunnels to it say.
pub fn is_peer(facts: &Facts<'_>, address: IpAddr) -> bool {
    let (mut routes, mut fdb) = (facts.node.routes.iter(), facts.node.fdb.iter());
    routes.any(|r| r.gateway == Some(address) && r.destination.length > 0)
        || fdb.any(|f| f.vtep == address)
}

/// Reached by a route of its own and not by the default one: another node or one of its pods.
fn in_cluster(facts: &Facts<'_>, address: IpAddr) -> bool {
    facts
        .route_to(address)
        .is_some_and(|r| r.destination.length > 0)
}
