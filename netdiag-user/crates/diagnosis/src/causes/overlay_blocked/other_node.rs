//! The peer that encapsulated packets go out to in vain.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

use crate::{
    model::{
        flow,
        verdict::{Confidence, Finding, Fix, Severity},
    },
    multi_node::Sides,
    pipeline::facts::HopFlow,
    shared::overlay::unanswered,
    shell,
};

/// Pods to ask for by hand at most.
const MOST_COMMANDS: usize = 2;

pub fn complete(sides: &Sides<'_, '_>, finding: &mut Finding) {
    let there = |peer: &&IpAddr| sides.there.node.owns(**peer);
    let Some(peer) = finding.about.iter().find(there).copied() else {
        return;
    };
    sides.has_part(finding);
    let Some(went) = sides.to.encapsulated(|_, destination| destination == peer) else {
        return;
    };
    let (here, other) = (sides.here_name, sides.there_name);
    let line = sides.passed(here, other, t!("encapsulated packets"), went);
    finding.evidence.push(line);
    let own = |address: IpAddr| sides.here.node.owns(address);
    let back = sides.back.encapsulated(|_, destination| own(destination));
    if let Some(back) = back {
        let line = sides.passed(other, here, t!("encapsulated packets"), back);
        finding.evidence.push(line);
    }
    finding.evidence.extend(sides.dropped_there());
    let silent = silent(sides);
    if !silent.is_empty() {
        not_between(sides, &silent, finding);
    }
}

/// Requests that came there and whose answers never left it in a tunnel, where that affects most
/// of those that came.
fn silent(sides: &Sides<'_, '_>) -> Vec<FlowKey> {
    let tunnelled = |h: &HopFlow| !h.plain() && h.egress();
    let asks = unanswered(sides.here, tunnelled);
    let asks: BTreeSet<FlowKey> = asks.iter().map(|h| *h.flow()).collect();
    let came = |ask: &FlowKey| sides.to.flows.get(ask).is_some_and(|c| c.came > 0);
    let came: Vec<FlowKey> = asks.into_iter().filter(came).collect();
    let answered = |ask: &&FlowKey| sides.back.tunnelled.contains(&ask.reversed());
    let silent: Vec<FlowKey> = came.iter().filter(|ask| !answered(ask)).copied().collect();
    if silent.len() * 2 > came.len() {
        silent
    } else {
        Vec::new()
    }
}

/// What was sent came, and no encapsulated answer was ever on its way: the network has no part
/// in it.
fn not_between(sides: &Sides<'_, '_>, silent: &[FlowKey], finding: &mut Finding) {
    let peer = sides.there_name;
    finding.confidence = Confidence::Suspected;
    finding.severity = Severity::Warning;
    finding.summary = t!(
        "encapsulated packets that go out to {peer} come there, but it sends no answers to {} \
         flows in them: look at {peer}, not at the network between",
        silent.len()
    );
    // Whose answers go astray there, for finding what takes them.
    let pods: BTreeSet<IpAddr> = silent.iter().map(|ask| flow::ends(ask).0).collect();
    let look = pods.iter().take(MOST_COMMANDS);
    finding.fix = Fix {
        summary: t!(
            "find out on {peer} where its answers to this node's pods go, and what it drops"
        ),
        commands: look.map(|pod| shell!("ip route get {}", pod)).collect(),
    };
    finding.about.extend(pods);
}
