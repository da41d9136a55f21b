//! Connections whose large segments nobody beyond an uplink acknowledges, again and again, while they open and small ones get
//! through: the network there carries less than this node sends, and nobody says so (RFC 2923).
use std::{collections::BTreeMap, net::IpAddr};

use netdiag_common::hop;
use netdiag_lang::t;

use super::ID;
use crate::{
    model::{
        address::{endpoint, from_wire},
        flow::{TCP, ends},
        icmp,
        roles::Role,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, FlowRef, Origin, PodRole, Severity,
        },
    },
    pipeline::facts::{Facts, HopFlow},
    shell,
    unexplained::Symptoms,
};

/// Connections to one address that got stuck so: one alone may have lost its packets otherwise.
const FLOWS: usize = 3;
/// Repetitions of each: more than a tail loss probe.
const AGAIN: u64 = 2;
/// What nobody acknowledges is repeated within it.
const REPEATED_NS: u64 = 1_000_000_000;
/// Segments that are sent before one is acknowledged (RFC 6928), and some of before.
const WINDOW: u64 = 16;
/// What any network carries (RFC 8200, 5): smaller segments are lost for other reasons.
const LEAST: u32 = 1280;
const NAMED: usize = 10;
/// Headers that ping's size leaves out: IP and ICMP.
const PING: (u32, u32) = (28, 48);

/// What was sent to one address beyond a link.
#[derive(Default)]
struct To<'f> {
    stuck: Vec<&'f HopFlow>,
    /// Bytes of the largest segments that were acknowledged.
    passed: u32,
}

pub fn evaluate(facts: &Facts<'_>, _: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let mut all: BTreeMap<(u32, IpAddr), To<'_>> = BTreeMap::new();
    let leaves = |h: &&HopFlow| {
        let out = h.egress() && h.plain() && h.role == Some(Role::Uplink);
        // Of what opened before anybody looked, its first segment seen may be one that is sent again.
        let begins = h.hop.flags & hop::SYN != 0;
        out && begins && h.flow().protocol == TCP && h.hop.payload > 0
    };
    for hop in facts.flows.iter().filter(leaves) {
        let to = all
            .entry((hop.key.ifindex, ends(hop.flow()).1))
            .or_default();
        if is_stuck(hop) && hop.hop.largest >= LEAST && is_open(facts, hop) {
            to.stuck.push(hop);
        } else if is_acknowledged(facts, hop) {
            to.passed = to.passed.max(hop.hop.largest);
        }
    }
    let narrow = all.into_iter().filter(|(_, to)| to.is_narrow());
    let told = |far: IpAddr| findings.iter().any(|f| f.about.contains(&far));
    let narrow = narrow.filter(|((_, far), to)| !told(*far) && !is_said(facts, to));
    narrow
        .map(|((_, far), to)| to.finding(facts, far))
        .collect()
}

/// It repeats itself and is no further than what goes out without an answer. Whoever gives up closes, which is new to the
/// sequence: how long it stood still is not known then.
fn is_stuck(hop: &HopFlow) -> bool {
    let sent = &hop.hop;
    sent.retransmits >= AGAIN && sent.payload <= WINDOW * u64::from(sent.largest)
}

/// The other end said that it is there.
fn is_open(facts: &Facts<'_>, hop: &HopFlow) -> bool {
    let back = facts.journeys().get(&hop.flow().reversed());
    let opened = |h: &&HopFlow| h.hop.flags & (hop::SYN | hop::ACK) != 0;
    back.is_some_and(|j| j.hops.iter().any(opened))
}

/// All of it was acknowledged: else it were repeated by now (RFC 6298).
fn is_acknowledged(facts: &Facts<'_>, hop: &HopFlow) -> bool {
    let quiet = facts.now.saturating_sub(hop.hop.progress) > REPEATED_NS;
    hop.hop.retransmits == 0 && quiet && is_open(facts, hop)
}

/// Somebody tells of a smaller MTU: then who sends may know.
fn is_said(facts: &Facts<'_>, to: &To<'_>) -> bool {
    facts.icmp_errors.iter().any(|(error, _)| {
        let about = |h: &&HopFlow| error.about == *h.flow();
        let big = icmp::too_big(error.about.family, error.kind, error.code);
        big && to.stuck.iter().any(about)
    })
}

impl To<'_> {
    fn size(&self) -> u32 {
        self.stuck.iter().map(|h| h.hop.largest).min().unwrap_or(0)
    }

    /// Nothing as large gets there.
    fn is_narrow(&self) -> bool {
        self.stuck.len() >= FLOWS && self.size() > self.passed
    }

    fn finding(&self, facts: &Facts<'_>, far: IpAddr) -> Finding {
        let (size, count) = (self.size(), self.stuck.len());
        let left = &self.stuck[0].interface;
        let summary = t!(
            "segments of {size} bytes leave by {left} for {far} again and again, and nobody acknowledges them, though {count} connections opened there: the network beyond carries less, and nobody says so (no frag-needed, no packet-too-big)"
        );
        let mut finding = Finding::new(ID, Severity::Warning, Confidence::Suspected, summary);
        finding.evidence.push(self.seen(size, left));
        if self.passed > 0 {
            let text = t!(
                "the largest that {far} acknowledged have {} bytes",
                self.passed
            );
            let line = Evidence::new(EvidenceKind::Retransmit, Origin::Observed, text);
            finding.evidence.push(line);
        }
        self.conversations(facts, &mut finding);
        finding.about.push(far);
        finding.fix = fix(far, size);
        finding
    }

    fn seen(&self, size: u32, left: &str) -> Evidence {
        let again: u64 = self.stuck.iter().map(|h| h.hop.retransmits).total();
        let text = t!("{again} repetitions of segments of {size} bytes and more left by {left}");
        let mut line = Evidence::new(EvidenceKind::Retransmit, Origin::Observed, text);
        line.at = Some(left.to_owned());
        line.direction = Some("egress".into());
        line.packets = Some(again);
        let far = ends(self.stuck[0].flow()).1;
        line.confirm = Some(shell!(
            "timeout 10 tcpdump -c 5 -lnni {v} tcp and dst host {} and greater {}",
            left,
            far,
            size
        ));
        line
    }

    fn conversations(&self, facts: &Facts<'_>, finding: &mut Finding) {
        for hop in &self.stuck {
            let flow = hop.flow();
            let sent = facts.legs().origin(flow).map_or(*flow, |(asked, _)| asked);
            let (source, destination) = ends(&sent);
            let answer = facts.direction().is_answer(flow);
            let ports = (sent.source_port, sent.destination_port);
            let (client, server) = match answer {
                true => (destination, (source, ports.0)),
                false => (source, (destination, ports.1)),
            };
            finding.scope.add(TCP, (client, 0), server);
            let plain = (from_wire(flow.source), from_wire(flow.destination));
            let plain = match answer {
                true => (plain.1, (plain.0, flow.source_port)),
                false => (plain.0, (plain.1, flow.destination_port)),
            };
            finding.scope.add(TCP, (plain.0, 0), plain.1);
            finding.pods.extend(facts.pod(source, PodRole::Source));
            if finding.flows.len() < NAMED {
                finding.flows.push(FlowRef {
                    protocol: "tcp".into(),
                    source: endpoint(source, ports.0),
                    destination: endpoint(destination, ports.1),
                    packets: hop.hop.packets,
                    retransmits: hop.hop.retransmits,
                    last_seen_at: Some(hop.interface.clone()),
                    ..FlowRef::default()
                });
            }
        }
        finding.pods.sort();
        finding.pods.dedup();
        let first = self.stuck.iter().map(|h| h.hop.first).min();
        let last = self.stuck.iter().map(|h| h.hop.last).max();
        finding.first_seen = facts.clock.text(first.unwrap_or(0));
        finding.last_seen = facts.clock.text(last.unwrap_or(0));
    }
}

fn fix(far: IpAddr, size: u32) -> Fix {
    let headers = if far.is_ipv4() { PING.0 } else { PING.1 };
    let ping = shell!("ping -c3 -M do -s {} {}", size.saturating_sub(headers), far);
    Fix {
        summary: t!(
            "find how much the way carries (smaller sizes, until ping is answered), then lower the MTU of the route to {far}, or clamp the MSS of what goes there; who filters frag-needed on that way is the network's to find"
        ),
        commands: vec![ping, shell!("ip route get {}", far)],
    }
}

#[cfg(test)]
mod tests;
