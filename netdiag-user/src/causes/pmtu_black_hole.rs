//! # Symptom
//! Clients outside the cluster connect, send small requests, and hang as soon as they send
//! something large: an upload, a form, a TLS certificate.
//!
//! # Mechanism
//! A client with an MTU of 1500 announces an MSS of 1460 and its packets come to this node, which
//! passes them on through something narrower (a tunnel, to a pod of another node). They carry DF
//! (RFC 1191), so the node drops each one and answers frag-needed, or packet-too-big (RFC 4443).
//! Where that answer is filtered on its way, or the client does not heed it, the client sends the
//! same packet again until it gives up.
//!
//! # Signals
//! Observed: packets from outside that are larger than the way onward takes, at the uplink where
//! they come in; the same ones again and again with no new data between; the hop where they are
//! last seen; the MSS of the SYN; frag-needed sent or not.
//!
//! # Look-alikes
//! `pod-mtu-too-large` (the large packets come from this node's pods), `vxlan-mtu-too-large` and
//! its like (the tunnel itself promises more than its underlay carries). A client that obeys
//! loses one packet, and is no finding.
//!
//! # By hand
//! `tcpdump -nni UPLINK 'tcp[tcpflags] & tcp-syn != 0'` shows both MSS options;
//! `tcpdump -nni UPLINK 'icmp[0] == 3 and icmp[1] == 4 or icmp6[0] == 2'` whether the node says so.
//! From the client: `ping -M do -s SIZE`.
//!
//! # Fix
//! Let frag-needed and packet-too-big pass everywhere between node and client, and clamp the MSS
//! of connections that are passed on to the narrower device, so that no client depends on it.
use super::{mtu, overlay, stall};
use crate::{
    model::{
        flow,
        limits::LimitFrom,
        node::Link,
        roles::Role,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    pipeline::facts::{Facts, HopFlow},
};

pub const ID: &str = "pmtu-black-hole";
pub const TITLE: &str = "clients outside never learn that the way to the pod is narrower";

/// Bytes of IP and TCP headers without options: what an MSS leaves out.
const HEADERS: (u32, u32) = (40, 60);

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let stuck: Vec<&HopFlow> = facts.flows.iter().filter(|h| is_stuck(facts, h)).collect();
    let worst = stuck.iter().max_by_key(|h| h.hop.stalled)?;
    let (_, destination) = flow::ends(worst.flow());
    let onward = facts.link_towards(destination)?;
    let limit = worst.hop.limit;
    let sent = mtu::too_big(facts, |flow| stuck.iter().any(|h| h.flow() == flow));
    let fate = match sent {
        Some(_) => "do not hear that they are too large, or do not heed it",
        None => "are not told that they are too large",
    };
    let summary = format!(
        "packets of {} bytes come in by {} for {destination}, {} takes {limit}: clients outside \
         {fate}, and send them again and again",
        worst.hop.oversize_largest, worst.interface, onward.name,
    );
    let mut finding = Finding::new(ID, Severity::Critical, Confidence::Confirmed, summary);
    finding.evidence = evidence(worst, &stuck, onward);
    finding.evidence.push(told_evidence(worst, sent));
    (finding.flows, finding.pods) = overlay::refer(facts, &stuck);
    finding.fix = fix(onward, limit, destination.is_ipv4());
    finding.about = stuck.iter().map(|h| flow::ends(h.flow()).1).collect();
    finding.about.sort_unstable();
    finding.about.dedup();
    finding.first_seen = facts.clock.text(stuck.iter().map(|h| h.hop.first).min()?);
    finding.last_seen = facts.clock.text(stuck.iter().map(|h| h.hop.last).max()?);
    Some(finding)
}

/// A flow from outside whose full-size packets come in again and again and go no further.
fn is_stuck(facts: &Facts<'_>, hop: &HopFlow) -> bool {
    let (source, destination) = flow::ends(hop.flow());
    let from_outside = hop.plain() && !hop.egress() && hop.role == Some(Role::Uplink);
    let ours = || facts.is_local_pod(source) || facts.node.owns(source);
    // What a tunnel's own headers leave no room for is that tunnel's cause.
    let narrow = matches!(hop.limit_from(), Some(LimitFrom::Device | LimitFrom::Route));
    let passed_on = || !facts.node.owns(destination) && !facts.is_local_pod(destination);
    from_outside
        && hop.hop.oversize > 0
        && narrow
        && stall::is_stalled(&hop.hop)
        && !ours()
        && passed_on()
}

fn evidence(worst: &HopFlow, stuck: &[&HopFlow], onward: &Link) -> Vec<Evidence> {
    let at = &worst.interface;
    let (packets, hop) = (stuck.iter().map(|h| h.hop.oversize).sum(), &worst.hop);
    let text = format!(
        "{packets} packets of up to {} bytes on {at}, ingress; {} takes {}",
        hop.oversize_largest, onward.name, hop.limit
    );
    let mut large = Evidence::new(EvidenceKind::Oversize, Origin::Observed, text);
    large.at = Some(at.clone());
    large.direction = Some("ingress".into());
    large.packets = Some(packets);
    large.largest = Some(hop.oversize_largest);
    large.limit = Some(hop.limit);
    large.limit_from = worst.limit_from().map(|from| from.name().to_owned());
    large.confirm = Some(mtu::larger_than(at, hop.limit));
    let again = stuck.iter().map(|h| u64::from(h.hop.stalled)).sum();
    let text = format!(
        "{} of these flows sent the same data {again} times and none of it went further than {at}",
        stuck.len()
    );
    let mut stalled = Evidence::new(EvidenceKind::Retransmit, Origin::Observed, text);
    stalled.at = Some(at.clone());
    stalled.packets = Some(again);
    let mut lines = vec![large, stalled];
    lines.extend((hop.mss > 0).then(|| mss_evidence(worst)));
    lines
}

fn mss_evidence(worst: &HopFlow) -> Evidence {
    let (at, mss) = (&worst.interface, worst.hop.mss);
    let text = format!("the client's SYN says MSS {mss}: its link takes more than the way onward");
    let mut line = Evidence::new(EvidenceKind::Oversize, Origin::Observed, text);
    line.at = Some(at.clone());
    line.confirm = Some(format!("tcpdump -nnvi {at} 'tcp[tcpflags] & tcp-syn != 0'"));
    line
}

fn told_evidence(worst: &HopFlow, sent: Option<(u64, u32)>) -> Evidence {
    let at = &worst.interface;
    let text = match sent {
        Some((packets, mtu)) => format!(
            "this node sent {packets} frag-needed or packet-too-big with MTU {mtu} by {at}, and \
             the large packets go on"
        ),
        None => "no frag-needed or packet-too-big was seen for these flows".into(),
    };
    let mut line = Evidence::new(EvidenceKind::Unreachable, Origin::Observed, text);
    line.at = Some(at.clone());
    line.packets = Some(sent.map_or(0, |(packets, _)| packets));
    line.confirm = Some(format!(
        "tcpdump -nni {at} 'icmp[0] == 3 and icmp[1] == 4 or icmp6[0] == 2'"
    ));
    line
}

fn fix(onward: &Link, limit: u32, ipv4: bool) -> Fix {
    let device = &onward.name;
    let (tables, headers, error) = match ipv4 {
        true => ("iptables", HEADERS.0, "ICMP type 3 code 4"),
        false => ("ip6tables", HEADERS.1, "ICMPv6 type 2"),
    };
    let mss = limit.saturating_sub(headers);
    let clamp = |way: &str| {
        format!(
            "{tables} -t mangle -A FORWARD {way} {device} -p tcp --tcp-flags SYN,RST SYN \
             -j TCPMSS --set-mss {mss}"
        )
    };
    Fix {
        summary: format!(
            "let {error} pass from the nodes to the clients; and clamp the MSS of what goes \
             through {device} to {mss} ({limit} less {headers} of headers), on each node that \
             takes such connections. Where answers take another way than requests, clamp on the \
             pod's node, or lower the pod's MTU to {limit} there"
        ),
        commands: vec![clamp("-o"), clamp("-i")],
    }
}
