//! # Symptom
//! Pods reach no pod of one other node, or of any, although the nodes reach each other: ssh and the
//! kubelet work, encapsulated traffic does not.
//!
//! # Mechanism
//! A security group, a hypervisor or a firewall between the nodes passes ordinary traffic and drops the
//! overlay's: VXLAN's UDP port (8472 for flannel, 4789 by RFC 7348) or IP protocol 4 (IP-in-IP). The
//! packets leave this node and vanish.
//!
//! # Signals
//! Observed: encapsulated packets go out to a peer and none come in from it. Connections and echo
//! requests inside them get no answer, while the peer's own address answers plain traffic. This node
//! drops none of these packets, and no ICMP error comes back. Recordings of both nodes, replayed
//! together, show which direction is blocked. If everything reaches the peer and the peer sends nothing
//! back, the network is not at fault.
//!
//! # Look-alikes
//! Some causes silence an overlay and leave evidence of their own: `vxlan-source-mismatch` (packets do
//! come in, for another address), `overlay-wrong-interface` (packets leave with an address that the
//! network does not know). A peer that discards the packets for their VNI, port or checksum, or that lost
//! its routes back, looks the same from here: run netdiag there too. A peer that answers nothing at all
//! is down, which is not this cause.
//!
//! # By hand
//! Run `tcpdump -nni UPLINK udp port PORT` (for IP-in-IP `tcpdump -nni UPLINK ip proto 4`) on both nodes
//! at once. Packets that leave one node and never reach the other are dropped by the network between
//! them.
//!
//! # Fix
//! Open the port or the protocol between the nodes in both directions: in the cloud's security group, on
//! the hypervisor (VMware NSX uses 4789 itself), on the firewall between their networks.
mod other_node;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netdiag_lang::{mark, t};

use crate::{
    model::{
        flow,
        roles::Role,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity, Subject, Suffers,
        },
    },
    pipeline::facts::{Facts, HopFlow, OuterPair},
    shared::{losses::PATTERN, overlay},
    shell,
};

pub use other_node::complete;

pub const ID: &str = "overlay-blocked";
pub const TITLE: &str = mark!("encapsulated packets go out to a peer and none come in");

/// Longer than a peer is silent that reboots nothing: a SYN's first two repetitions fall into it
/// (1 s and 3 s, RFC 6298).
const SILENCE: u64 = 3_000_000_000;

/// A peer that is sent to in vain.
struct Silent<'a> {
    peer: IpAddr,
    out: &'a OuterPair,
    /// Requests inside the tunnel that nobody answered.
    asks: Vec<&'a HopFlow>,
    /// What that node answered outside of it.
    plain: &'a HopFlow,
    /// More than one pod that never answered, while the peer was heard before.
    sure: bool,
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let silent = silent(facts);
    let worst = silent.iter().max_by_key(|s| s.asks.len())?;
    let asks: Vec<&HopFlow> = silent.iter().flat_map(|s| s.asks.iter().copied()).collect();
    let what = overlay::wire_form(worst.out.key.carried, worst.out.key.port);
    let others = match silent.len() {
        1 => String::new(),
        n => t!(" (and from {} other peers)", n - 1),
    };
    let summary = t!(
        "encapsulated packets ({what}) go out to {} and none come in from it{others}, while it \
         answers plain traffic: the network between the nodes takes them",
        worst.peer
    );
    let (severity, confidence) = match silent.iter().any(|s| s.sure) {
        true => (Severity::Critical, Confidence::Confirmed),
        false => (Severity::Warning, Confidence::Suspected),
    };
    let mut finding = Finding::new(ID, severity, confidence, summary);
    finding.evidence = silent.iter().take(3).flat_map(evidence).collect();
    overlay::tell(&mut finding, facts, &asks);
    finding.fix = fix(worst);
    finding.about = silent.iter().map(|s| s.peer).collect();
    finding.scope.add_hosts(&finding.about);
    for address in silent.iter().map(|s| s.peer) {
        finding.ties.rest_on(Subject::Vtep { address });
    }
    finding.ties.suffers = Some(Suffers::OtherNode);
    finding.first_seen = facts.clock.text(asks.iter().map(|h| h.hop.first).min()?);
    finding.last_seen = facts.clock.text(asks.iter().map(|h| h.hop.last).max()?);
    Some(finding)
}

fn silent<'a>(facts: &'a Facts<'_>) -> Vec<Silent<'a>> {
    let out = facts.outers.iter().filter(|o| o.egress());
    let peers: BTreeMap<IpAddr, &OuterPair> = out.map(|o| (o.destination, o)).collect();
    if peers.is_empty() {
        return Vec::new();
    }
    let tunnelled = |h: &HopFlow| !h.plain() && h.egress() && h.role == Some(Role::Uplink);
    let asks = overlay::unanswered(facts, tunnelled);
    let judge = |(peer, out)| judge(facts, peer, out, &asks);
    peers.into_iter().filter_map(judge).collect()
}

fn judge<'a>(
    facts: &'a Facts<'_>,
    peer: IpAddr,
    out: &'a OuterPair,
    asks: &[&'a HopFlow],
) -> Option<Silent<'a>> {
    let into = facts
        .outers
        .iter()
        .filter(|o| !o.egress() && o.source == peer);
    let heard = into.map(|o| o.outer.last).max().unwrap_or(0);
    let to_peer =
        |h: &&&HopFlow| h.hop.first > heard && overlay::peer_of(facts, h.flow()) == Some(peer);
    let asks: Vec<&HopFlow> = asks.iter().filter(to_peer).copied().collect();
    let since = asks.iter().map(|h| h.hop.first).min()?;
    let asked: u64 = asks.iter().map(|h| overlay::asked(h)).total();
    let lasts = asked >= PATTERN && facts.now.saturating_sub(since) > SILENCE;
    if !lasts || overlay::refused(facts, peer) {
        return None;
    }
    // The peer was heard: one pod of its that never answered may be silent on its own.
    let servers: BTreeSet<IpAddr> = asks.iter().map(|h| flow::ends(h.flow()).1).collect();
    let answered = |h: &HopFlow| !h.egress() && servers.contains(&flow::ends(h.flow()).0);
    let one_pod = heard > 0 && servers.len() == 1 && !facts.flows.iter().any(answered);
    let plain = overlay::answers_plainly(facts, peer, since)?;
    Some(Silent {
        peer,
        out,
        asks,
        plain,
        sure: !one_pod,
    })
}

fn evidence(silent: &Silent<'_>) -> Vec<Evidence> {
    let Silent {
        peer,
        out,
        asks,
        plain,
        ..
    } = silent;
    let what = overlay::wire_form(out.key.carried, out.key.port);
    let line = |kind, text: String, packets, at: &str| {
        let mut line = Evidence::new(kind, Origin::Observed, text);
        line.packets = Some(packets);
        line.at = Some(at.to_owned());
        line
    };
    let at = out.interface.as_str();
    let text = t!(
        "{} packets egress on {at}: outer {} → {peer}, {what}; none came in from it",
        out.outer.packets,
        out.source
    );
    let mut outer = line(EvidenceKind::OuterAddress, text, out.outer.packets, at);
    outer.direction = Some("egress".into());
    let capture = overlay::captured(
        shell!("timeout 10 tcpdump -c 5 -lnni {v}", at),
        out.key.carried,
        out.key.port,
    );
    outer.confirm = Some(capture.with_names(["and", "host", &peer.to_string()]));
    let asked = asks.iter().map(|h| overlay::asked(h)).total();
    let text = t!(
        "{asked} connection attempts and echoes of {} flows inside them, none answered",
        asks.len()
    );
    let asks = line(EvidenceKind::OuterAddress, text, asked, at);
    let text = t!("{peer} itself answers, outside of the tunnel");
    let mut plain = line(
        EvidenceKind::OuterAddress,
        text,
        plain.hop.packets,
        &plain.interface,
    );
    plain.direction = Some("ingress".into());
    plain.confirm =
        Some(shell!("ping -c1 -W2 {}", peer).showing(&["1 received", "1 packets received"]));
    vec![outer, asks, plain]
}

fn fix(silent: &Silent<'_>) -> Fix {
    let (source, peer, at) = (silent.out.source, silent.peer, &silent.out.interface);
    let (carried, port) = (silent.out.key.carried, silent.out.key.port);
    let what = overlay::wire_form(carried, port);
    let capture = |tcpdump, host: IpAddr| {
        let capture = overlay::captured(tcpdump, carried, port);
        capture.with_names(["and", "host", &host.to_string()])
    };
    Fix {
        summary: t!(
            "open {what} between {source} and {peer}, both ways: security group, hypervisor or \
             firewall between the nodes, or the firewall on {peer} itself. To see which side \
             loses them, capture on both nodes at once while a pod here pings a pod there"
        ),
        commands: vec![
            capture(shell!("timeout 10 tcpdump -c 5 -lnni {v}", at), peer),
            capture(
                shell!("ssh {} timeout 10 tcpdump -c 5 -lnni any", peer),
                source,
            ),
        ],
    }
}
