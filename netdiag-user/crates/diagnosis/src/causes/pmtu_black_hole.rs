//! # Symptom
//! Clients outside the cluster connect and send small requests. They hang as soon as they send something
//! large: an upload, a form, a TLS certificate.
//!
//! # Mechanism
//! A client with an MTU of 1500 sends packets of up to 1500 bytes. This node forwards them, by route or
//! by a NodePort's translation, to something narrower, for example a tunnel to a pod of another node. The
//! packets carry DF (RFC 1191), so the node drops each one that does not fit and answers frag-needed, for
//! IPv6 packet-too-big (RFC 4443). If that answer is filtered on its way, or the client ignores it, the
//! client sends the same packet again until it gives up.
//!
//! # Signals
//! Observed: packets from outside that exceed the MTU of the next device, on the uplink where they come
//! in; the same ones again and again with no new data between; the hop where they are last seen; the MSS
//! of the SYN; whether frag-needed was sent.
//!
//! # Look-alikes
//! `pod-mtu-too-large`: the large packets come from this node's pods. `vxlan-mtu-too-large`,
//! `ipip-mtu-too-large`, `tunnel-mtu-too-large`: the tunnel's own MTU is too large for its underlay. A
//! client that obeys frag-needed loses one packet, which is no finding.
//!
//! # By hand
//! `tcpdump -nni UPLINK 'tcp[tcpflags] & tcp-syn != 0'` shows the MSS of both sides (IPv4). `tcpdump -nni
//! UPLINK 'icmp[0] == 3 and icmp[1] == 4 or icmp6[0] == 2'` shows whether this node sends frag-needed or
//! packet-too-big. A client with a route to the pods can try `ping -M do -s SIZE POD` with SIZE = its MTU
//! minus 28.
//!
//! # Fix
//! Let frag-needed and packet-too-big pass everywhere between node and client. Clamp the MSS of
//! connections that go out by the narrower device, so that no client depends on these messages. If the
//! pod's replies bypass this node, a clamp here does not reach the client: lower the MTU at either end.
use std::net::IpAddr;

use netdiag_common::flow::FlowKey;
use netdiag_lang::{mark, t};

use crate::{
    model::{
        flow,
        limits::{self, LimitFrom},
        node::Link,
        roles::Role,
        text::counted,
        total::Total,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity},
        world::station::Station,
    },
    pipeline::facts::{Facts, HopFlow, Loss},
    shared::{mtu, overlay, stall},
    shell,
};

pub const ID: &str = "pmtu-black-hole";
pub const TITLE: &str =
    mark!("clients outside get no frag-needed: the path to the pod has a smaller MTU");

/// Bytes of IP and TCP headers without options: what an MSS leaves out.
const HEADERS: (u32, u32) = (40, 60);

/// A flow from outside whose full-size packets come in again and again and go no further.
struct Stuck<'a> {
    hop: &'a HopFlow,
    /// Where it leads behind a Service's translation; as the client has it where there is none.
    leg: FlowKey,
    limit: u32,
    largest: u32,
    packets: u64,
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let stuck: Vec<Stuck<'_>> = facts.flows.iter().filter_map(|h| stuck(facts, h)).collect();
    let worst = stuck.iter().max_by_key(|s| s.hop.hop.stalled)?;
    let (_, destination) = flow::ends(&worst.leg);
    let onward = facts.link_by(&facts.packet_of(&worst.leg))?;
    let own = |flow: &FlowKey| stuck.iter().any(|s| s.hop.flow() == flow || s.leg == *flow);
    let sent = mtu::too_big(facts, own);
    let (size, at, limit) = (worst.largest, &worst.hop.interface, worst.limit);
    let (server, device) = (worst.whither(), &onward.name);
    let summary = match sent {
        Some(_) => t!(
            "packets of {size} B from {at} to {server} exceed {device}'s limit {limit} B: frag-needed does \
             not reach the clients, or they ignore it; large transfers hang"
        ),
        None => t!(
            "packets of {size} B from {at} to {server} exceed {device}'s limit {limit} B: no frag-needed \
             tells the clients so; large transfers hang"
        ),
    };
    let mut finding = Finding::new(ID, Severity::Critical, Confidence::Confirmed, summary);
    finding.evidence = evidence(worst, &stuck, onward);
    finding.evidence.push(told_evidence(worst.hop, sent));
    let hops: Vec<&HopFlow> = stuck.iter().map(|s| s.hop).collect();
    overlay::tell(&mut finding, facts, &hops);
    let servers = stuck.iter().map(|s| flow::ends(&s.leg).1);
    let pods = servers.filter_map(|s| facts.pod(s, PodRole::Destination));
    finding.pods.extend(pods);
    finding.pods.sort();
    finding.pods.dedup();
    let answers = |h: &HopFlow| stuck.iter().any(|s| *h.flow() == s.hop.flow().reversed());
    let through_here = facts.flows.iter().any(answers);
    finding.fix = fix(onward, worst.limit, destination, through_here);
    let ends = stuck.iter().flat_map(|s| [s.hop.flow(), &s.leg]);
    finding.about = ends.map(|f| flow::ends(f).1).collect();
    finding.about.sort_unstable();
    finding.about.dedup();
    finding.first_seen = facts.clock.text(hops.iter().map(|h| h.hop.first).min()?);
    finding.last_seen = facts.clock.text(hops.iter().map(|h| h.hop.last).max()?);
    Some(finding)
}

impl Stuck<'_> {
    fn whither(&self) -> String {
        let (asked, sent) = (flow::ends(self.hop.flow()).1, flow::ends(&self.leg).1);
        match asked == sent {
            true => sent.to_string(),
            false => t!("{sent}, to which {asked} is translated"),
        }
    }
}

fn stuck<'a>(facts: &'a Facts<'_>, hop: &'a HopFlow) -> Option<Stuck<'a>> {
    let (source, destination) = flow::ends(hop.flow());
    let from_outside = hop.plain() && !hop.egress() && hop.role == Some(Role::Uplink);
    let ours = || facts.is_local_pod(source) || facts.owns(source);
    if !from_outside || !stall::is_stalled(&hop.hop) || ours() || facts.is_local_pod(destination) {
        return None;
    }
    if facts.owns(destination) {
        return translated(facts, hop);
    }
    // What a tunnel's own headers leave no room for is that tunnel's cause.
    let narrow = matches!(hop.limit_from(), Some(LimitFrom::Device | LimitFrom::Route));
    (hop.hop.oversize > 0 && narrow).then_some(Stuck {
        hop,
        leg: *hop.flow(),
        limit: hop.hop.limit,
        largest: hop.hop.oversize_largest,
        packets: hop.hop.oversize,
    })
}

/// A NodePort: what comes in is for this node, and what dies on its way to the pod has the
/// client's address still.
fn translated<'a>(facts: &'a Facts<'_>, hop: &'a HopFlow) -> Option<Stuck<'a>> {
    let asked = hop.flow();
    let client = (asked.source, asked.source_port, asked.protocol);
    let same = |l: &&Loss| {
        let flow = l.flow();
        (flow.source, flow.source_port, flow.protocol) == client
            && flow.destination != asked.destination
            && l.is_at(Station::Size)
    };
    let lost = facts.losses.iter().find(same)?;
    let route = facts.way(&facts.packet_of(lost.flow()))?;
    let limit = limits::of_route(facts.node, route)?;
    let narrow = matches!(limit.from, LimitFrom::Device | LimitFrom::Route);
    (narrow && hop.hop.largest > limit.bytes).then_some(Stuck {
        hop,
        leg: *lost.flow(),
        limit: limit.bytes,
        largest: hop.hop.largest,
        packets: lost.dropped.packets,
    })
}

fn evidence(worst: &Stuck<'_>, stuck: &[Stuck<'_>], onward: &Link) -> Vec<Evidence> {
    let at = &worst.hop.interface;
    let (packets, largest, limit) = (
        stuck.iter().map(|s| s.packets).total(),
        worst.largest,
        worst.limit,
    );
    let text = t!(
        "{} came in by {at}: largest {largest} B, limit {limit} B ({})",
        counted(packets, mark!("oversize packet")),
        onward.name
    );
    let mut large = Evidence::new(EvidenceKind::Oversize, Origin::Observed, text);
    large.at = Some(at.clone());
    large.direction = Some("ingress".into());
    large.packets = Some(packets);
    large.largest = Some(largest);
    large.limit = Some(limit);
    large.limit_from = worst.hop.limit_from().map(|from| from.name().to_owned());
    large.confirm = Some(mtu::larger_than(at, limit));
    let again = stuck.iter().map(|s| u64::from(s.hop.hop.stalled)).total();
    let text = t!(
        "{} of these flows sent the same data {again} times; none of it got beyond {at}",
        stuck.len()
    );
    let mut stalled = Evidence::new(EvidenceKind::Retransmit, Origin::Observed, text);
    stalled.at = Some(at.clone());
    stalled.packets = Some(again);
    let mut lines = vec![large, stalled];
    lines.extend((worst.hop.hop.mss > 0).then(|| mss_evidence(worst.hop)));
    lines
}

fn mss_evidence(worst: &HopFlow) -> Evidence {
    let (at, mss) = (&worst.interface, worst.hop.mss);
    let text = t!("the client's SYN says MSS {mss}: its link takes more than the way onward");
    let mut line = Evidence::new(EvidenceKind::Oversize, Origin::Observed, text);
    line.at = Some(at.clone());
    line.confirm = Some(shell!(
        "timeout 10 tcpdump -c 5 -lnnvi {v} 'tcp[13] & 2 != 0 or (ip6[6] == 6 and ip6[53] & 2 != 0)'",
        at
    ));
    line
}

fn told_evidence(worst: &HopFlow, sent: Option<(u64, u32)>) -> Evidence {
    let at = &worst.interface;
    let text = match sent {
        Some((packets, mtu)) => t!(
            "this node sent {packets} frag-needed or packet-too-big with MTU {mtu} by {at}, and \
             large packets keep coming"
        ),
        None => t!("no frag-needed or packet-too-big was seen for these flows").into(),
    };
    let mut line = Evidence::new(EvidenceKind::Unreachable, Origin::Observed, text);
    line.at = Some(at.clone());
    line.packets = Some(sent.map_or(0, |(packets, _)| packets));
    let told = shell!(
        "timeout 10 tcpdump -c 5 -lnni {v} 'icmp[0] == 3 and icmp[1] == 4 or icmp6[0] == 2'",
        at
    );
    line.confirm = Some(match sent {
        Some(_) => told,
        None => told.showing_nothing(),
    });
    line
}

/// Where SYN|ACK passes this node, the MSS that it tells the client can be clamped here.
fn fix(onward: &Link, limit: u32, pod: IpAddr, through_here: bool) -> Fix {
    let device = &onward.name;
    let (tables, headers, error) = match pod.is_ipv4() {
        true => (shell!("iptables"), HEADERS.0, t!("ICMP type 3 code 4")),
        false => (shell!("ip6tables"), HEADERS.1, t!("ICMPv6 type 2")),
    };
    let mss = limit.saturating_sub(headers);
    let errors = t!("let {error} pass from the nodes to the clients");
    if !through_here {
        return Fix {
            summary: t!(
                "{errors}. If that cannot be done, one of these: set the MTU of pod {pod} to {limit} \
                 on its own node (the CNI's mtu); set mtu {limit} on the clients' route to it; set \
                 advmss {mss} on the pod's route back. The MSS cannot be clamped on this node: the \
                 pod's answers do not pass it"
            ),
            commands: Vec::new(),
        };
    }
    let clamp = |way: &str| {
        let rule = shell!(
            "-t mangle -A FORWARD {v} {} -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss {}",
            way,
            device,
            mss
        );
        rule.under(&tables)
    };
    Fix {
        summary: t!(
            "{errors}; and clamp the MSS of what goes through {device} to {mss} ({limit} minus \
             {headers} of headers), on each node that takes such connections"
        ),
        commands: vec![clamp("-o"), clamp("-i")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{OVERLAY, UPLINK, at, died, ip, overlay_node, tcp, with_facts},
    };

    /// A client outside asks a port of this node's, and what it sends dies on its way to `pod`.
    fn node_port(pod: &str, largest: u32, symbol: &str) -> Option<Finding> {
        let asked = tcp("198.51.100.7", "192.0.2.1", 30_080);
        let upload = at(asked, UPLINK, false, 0, |hop| {
            (hop.largest, hop.stalled, hop.retransmits) = (largest, 4, 4);
        });
        let leg = tcp("198.51.100.7", pod, 9000);
        let observation = Observation {
            now: 60_000_000_000,
            flows: vec![upload],
            drops: vec![died(leg, ("NOT_SPECIFIED", symbol), UPLINK, 5)],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_facts(&node, &observation, evaluate)
    }

    #[test]
    fn a_node_port_leads_to_a_narrower_tunnel() {
        let finding = node_port("172.20.2.9", 1500, "ip_forward").expect("a finding");
        assert!(
            finding
                .summary
                .contains("172.20.2.9, to which 192.0.2.1 is translated")
        );
        assert!(finding.fix.commands.is_empty(), "no answer passes here");
        assert!(node_port("172.20.2.9", 1450, "ip_forward").is_none());
        assert!(node_port("172.20.2.9", 1500, "nft_do_chain").is_none());
    }

    #[test]
    fn a_clamp_is_no_help_where_answers_take_another_way() {
        let node = overlay_node(1450, 1450, 1500);
        let tunnel = node.link(OVERLAY).expect("a tunnel");
        let here = fix(tunnel, 1450, ip("172.20.2.9"), true);
        assert!(here.commands[1].contains("-i vxlan.calico"));
        assert!(here.commands[1].text().ends_with("--set-mss 1410"));
        let elsewhere = fix(tunnel, 1450, ip("fd00::9"), false);
        assert!(elsewhere.commands.is_empty());
        assert!(elsewhere.summary.contains("the MTU of pod fd00::9 to 1450"));
        assert!(elsewhere.summary.contains("advmss 1390"));
    }
}
