//! Both ends of a tunnel whose outer addresses disagree.
use std::net::IpAddr;

use netdiag_lang::t;

use super::{Mismatch, Side, mismatches};
use crate::{
    model::{
        total::Total,
        verdict::{EvidenceKind, Finding, Origin},
    },
    multi_node::Sides,
    shell,
};

pub fn complete(sides: &Sides<'_, '_>, finding: &mut Finding) {
    let told = |m: &Mismatch| finding.about == [m.destination, m.expected];
    let Some(mismatch) = mismatches(sides.here).into_iter().find(told) else {
        return;
    };
    match mismatch.side {
        Side::Ours if sides.there.node.owns(mismatch.destination) => {
            ours(sides, &mismatch, finding);
        }
        Side::Peers if sides.there.node.owns(mismatch.source) => {
            peers(sides, &mismatch, finding);
        }
        _ => {}
    }
}

/// The other node is the peer that knows this one by another address.
fn ours(sides: &Sides<'_, '_>, m: &Mismatch, finding: &mut Finding) {
    sides.has_part(finding);
    let to_peer = |source, destination| source == m.source && destination == m.destination;
    if let Some(count) = sides.to.encapsulated(to_peer) {
        let what = t!("VXLAN packets from {}", m.source);
        let line = sides.passed(sides.here_name, sides.there_name, &what, count);
        finding.evidence.push(line);
    }
    let back = |_, destination| destination == m.expected;
    if let Some(count) = sides.back.encapsulated(back) {
        let what = t!("VXLAN packets to {}", m.expected);
        let line = sides.passed(sides.there_name, sides.here_name, &what, count);
        finding.evidence.push(line);
    }
    let vteps = |address: IpAddr| sides.there.node.fdb.iter().find(move |f| f.vtep == address);
    if let (Some(entry), None) = (vteps(m.expected), vteps(m.source)) {
        let device = sides.there.node.link_name(entry.ifindex);
        let text = t!(
            "{device} of {} has {} for {} and no entry for {}",
            sides.there_name,
            m.expected,
            sides.here_name,
            m.source
        );
        let mut line = sides.there(EvidenceKind::Fdb, Origin::Configured, text);
        line.confirm = Some(shell!("bridge fdb show dev {}", device));
        line.at = Some(device);
        finding.evidence.push(line);
    }
}

/// The other node is the one whose packets come from an address that is not expected.
fn peers(sides: &Sides<'_, '_>, m: &Mismatch, finding: &mut Finding) {
    sides.has_part(finding);
    let into = |source, destination| source == m.source && destination == m.destination;
    if let Some(count) = sides.back.encapsulated(into) {
        let what = t!("VXLAN packets from {}", m.source);
        let line = sides.passed(sides.there_name, sides.here_name, &what, count);
        finding.evidence.push(line);
    }
    let answers = |_, destination| destination == m.expected;
    if let Some(count) = sides.to.encapsulated(answers) {
        let what = t!("answers to {}", m.expected);
        let line = sides.passed(sides.here_name, sides.there_name, &what, count);
        finding.evidence.push(line);
    }
    finding.evidence.push(nothing_back(sides, m));
    finding.evidence.extend(addresses(sides, m));
    finding.fix.summary += &t!(". That peer is {}", sides.there_name);
}

/// What the peer itself got of the answers, over the whole of its recording.
fn nothing_back(sides: &Sides<'_, '_>, m: &Mismatch) -> super::Evidence {
    let back = sides.there.outers.iter();
    let back = back.filter(|o| !o.egress() && o.source == m.destination);
    let packets: u64 = back.map(|o| o.outer.packets).total();
    let text = t!(
        "{packets} VXLAN packets came in on {} from {}",
        sides.there_name,
        m.destination
    );
    let mut line = sides.there(EvidenceKind::OuterAddress, Origin::Observed, text);
    line.packets = Some(packets);
    line.direction = Some("ingress".into());
    line
}

/// Which of the two addresses the peer has, and where.
fn addresses(sides: &Sides<'_, '_>, m: &Mismatch) -> Option<super::Evidence> {
    let describe = |address: IpAddr| {
        let mut all = sides.there.node.addresses();
        let (link, own) = all.find(|(_, a)| a.prefix.address == address)?;
        let kind = if own.dynamic {
            t!("dynamic")
        } else {
            t!("static")
        };
        Some((link.name.clone(), t!("{address} ({kind})")))
    };
    let (name, source) = describe(m.source)?;
    let expected = match describe(m.expected) {
        Some((_, expected)) => t!("{expected}, to which the answers go"),
        None => t!("no {}, to which the answers go", m.expected),
    };
    let text = t!(
        "{name} of {} has {source}, the outer source, and {expected}",
        sides.there_name
    );
    let mut line = sides.there(EvidenceKind::Link, Origin::Configured, text);
    line.confirm = Some(shell!("ip address show {}", name));
    line.at = Some(name);
    Some(line)
}
