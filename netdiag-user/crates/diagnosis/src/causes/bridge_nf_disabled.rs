//! # Symptom
//! A pod reaches a Service as long as the backend is on another node. When the backend is on the same
//! node, connections time out. Cluster DNS fails only for pods on CoreDNS's node.
//!
//! # Mechanism
//! The node translates the Service's address on the way to the backend. The reply goes from pod to pod on
//! the same bridge, which bypasses netfilter unless br_netfilter is active
//! (`net.bridge.bridge-nf-call-iptables`). So the reply reaches the client with the pod's own address as
//! its source. The client knows no such connection and resets it.
//!
//! # Signals
//! Observed: a connection that was translated to a pod of this node is answered from that pod's own
//! address on the client's link, again and again, and the client never gets an answer from the Service's
//! address. Configured: bridge-nf-call-iptables (IPv6: bridge-nf-call-ip6tables) is 0, or br_netfilter is
//! not loaded.
//!
//! # Look-alikes
//! `service-stale-endpoint` and `kube-proxy-missing`: no pod answers at all. CNIs without a bridge
//! (Calico, Cilium) route between pods and do not need br_netfilter.
//!
//! # By hand
//! `sysctl net.bridge.bridge-nf-call-iptables`, `lsmod | grep br_netfilter`; `tcpdump -nni VETH tcp` on
//! the client's link shows the SYN to the Service and the SYN-ACK from the pod.
//!
//! # Fix
//! Load br_netfilter (`modprobe br_netfilter`) and set the sysctl to 1. Make both permanent in
//! /etc/modules-load.d and /etc/sysctl.d.
use std::net::IpAddr;

use netdiag_common::hop::RST;
use netdiag_lang::{mark, t};

use super::connection_groups::{Connection, ConnectionGroup, Outcome};
use crate::{
    model::{
        address::endpoint,
        flow,
        roles::Role,
        total::Total,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity},
    },
    pipeline::facts::{Facts, HopFlow},
    shared::{losses::PATTERN, refusals::SPAN, services},
    shell,
};

pub const ID: &str = "bridge-nf-disabled";
pub const TITLE: &str =
    mark!("answers between pods of one bridge bypass the Service's translation");

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let all = facts.attempts();
    let bypassed: Vec<_> = all.iter().filter_map(|leg| bypassed(facts, leg)).collect();
    let worst = bypassed.iter().max_by_key(|b| b.leg.tries.len())?;
    let sysctl = sysctl(worst.leg.client);
    let state = state(facts, sysctl)?;
    let (service, tries) = (endpoint(worst.asked, worst.port), worst.leg.tries.len());
    let client = services::who(facts, worst.leg.client);
    let backend = services::who(facts, worst.leg.server);
    let summary = t!(
        "answers of {backend} to {client} bypass the translation of {service}: both are on one \
         bridge, and {state}; {tries} connections failed"
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    for bypass in &bypassed {
        bypass.tell(facts, &mut finding);
    }
    let mut line = Evidence::new(EvidenceKind::Sysctl, Origin::Configured, state);
    line.confirm = Some(shell!("sysctl {}", sysctl));
    finding.evidence.push(line);
    finding.pods.sort();
    finding.pods.dedup();
    finding.fix = fix(facts, sysctl);
    let first = bypassed.iter().map(|b| b.leg.first()).min().unwrap_or(0);
    let last = bypassed.iter().map(|b| b.leg.last()).max().unwrap_or(0);
    finding.first_seen = facts.clock.text(first);
    finding.last_seen = facts.clock.text(last);
    Some(finding)
}

/// Why answers to that client may pass a bridge untranslated, and what to do; nothing where netfilter is asked.
pub fn foretold(facts: &Facts<'_>, client: IpAddr) -> Option<(String, Fix)> {
    let sysctl = sysctl(client);
    let state = state(facts, sysctl)?;
    Some((state, fix(facts, sysctl)))
}

fn sysctl(client: IpAddr) -> &'static str {
    match client {
        IpAddr::V4(_) => "net.bridge.bridge-nf-call-iptables",
        IpAddr::V6(_) => "net.bridge.bridge-nf-call-ip6tables",
    }
}

/// What keeps netfilter off the bridge; nothing where it is asked.
fn state(facts: &Facts<'_>, sysctl: &str) -> Option<String> {
    match facts.node.sysctl(sysctl) {
        Some("0") => Some(t!("{sysctl} is 0")),
        Some(_) => None,
        // Sysctls that cannot be read at all prove nothing.
        None => {
            facts.node.sysctl("net.ipv4.ip_forward")?;
            Some(t!("br_netfilter is not loaded").into())
        }
    }
}

/// Translated connections whose answers arrived as they were.
struct Bypassed<'a> {
    /// The translated way: from the client to the pod.
    leg: ConnectionGroup<'a>,
    /// What the client had asked.
    asked: IpAddr,
    port: u16,
    /// The client's own link, where the answers arrived.
    hop: &'a HopFlow,
    resets: u64,
}

fn bypassed<'a>(facts: &Facts<'_>, leg: &ConnectionGroup<'a>) -> Option<Bypassed<'a>> {
    let tries = leg.tries.iter();
    let tries = tries.filter(|t| arrival(t).is_some() && !was_accepted(facts, t));
    let leg = ConnectionGroup {
        tries: tries.cloned().collect(),
        ..*leg
    };
    let lasted = leg.span() >= SPAN && leg.tries.len() as u64 >= PATTERN;
    if !lasted || !facts.is_local_pod(leg.server) {
        return None;
    }
    let original = leg.tries.first()?.was?;
    let hop = arrival(leg.tries.first()?)?;
    let resets = leg.tries.iter().map(|t| resets(t, hop.key.ifindex)).total();
    Some(Bypassed {
        asked: flow::ends(&original).1,
        port: original.destination_port,
        hop,
        resets,
        leg,
    })
}

/// The client's own link, where answers of the translated connection came out untranslated.
fn arrival<'a>(tried: &Connection<'a>) -> Option<&'a HopFlow> {
    tried.was?;
    let mut answers = tried.answers.iter();
    answers
        .find(|h| h.egress() && h.role == Some(Role::Pod))
        .copied()
}

/// Whether what the client had asked answered it after all.
fn was_accepted(facts: &Facts<'_>, tried: &Connection<'_>) -> bool {
    let original = tried.was.and_then(|flow| facts.tried(&flow));
    original.is_none_or(|t| matches!(t.outcome, Outcome::Accepted | Outcome::Pending))
}

/// RSTs that the client sent to the pod that it never asked.
fn resets(tried: &Connection<'_>, link: u32) -> u64 {
    let own = |h: &&&HopFlow| h.key.ifindex == link && !h.egress() && h.hop.flags & RST != 0;
    tried
        .requests
        .iter()
        .filter(own)
        .map(|h| u64::from(h.hop.resets))
        .total()
}

impl Bypassed<'_> {
    fn tell(&self, facts: &Facts<'_>, finding: &mut Finding) {
        let (link, tries) = (&self.hop.interface, self.leg.tries.len());
        let (backend, asked) = (self.leg.server, endpoint(self.asked, self.port));
        let text = t!(
            "{tries} connections to {asked} answered on {link} from {backend} itself; the client \
             sent {} RSTs back",
            self.resets,
        );
        let mut line = Evidence::new(EvidenceKind::Reset, Origin::Observed, text);
        line.at = Some(link.clone());
        line.direction = Some("egress".into());
        line.packets = Some(tries as u64);
        line.confirm = Some(shell!(
            "timeout 10 tcpdump -c 5 -lni {v} 'host {} or host {}'",
            link,
            backend,
            self.asked
        ));
        finding.evidence.push(line);
        finding.flows.push(self.leg.refer());
        finding.pods.extend(self.leg.pods(facts));
        finding
            .pods
            .extend(facts.pod(self.leg.client, PodRole::Source));
        finding.about.push(self.asked);
    }
}

fn fix(facts: &Facts<'_>, sysctl: &str) -> Fix {
    let load = facts.node.sysctl(sysctl).is_none();
    let mut commands = Vec::from_iter(load.then(|| shell!("modprobe br_netfilter")));
    commands.extend([
        shell!("sysctl -w {}=1", sysctl),
        shell!("echo br_netfilter > /etc/modules-load.d/br_netfilter.conf"),
        // One file a family: both may be off.
        shell!("echo {v}=1 > /etc/sysctl.d/90-{}.conf", sysctl, sysctl),
    ]);
    Fix {
        summary: t!("let the bridge ask netfilter, now and after the next boot").into(),
        commands,
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::{
        flow::FlowKey,
        hop::{ACK, SYN},
    };

    use super::*;
    use crate::{
        model::{
            node::{LinkKind, Node, PodSide},
            observation::Observation,
        },
        testing::{POD, at, from_pod, ip, link, overlay_node, tcp, with_facts},
    };

    const SECOND: u64 = 1_000_000_000;
    const BRIDGE: u32 = 9;
    const OTHER: u32 = 8;

    /// Two pods on a bridge.
    fn node(value: &str) -> Node {
        let mut node = overlay_node(1450, 1450, 1500);
        let mut other = link(OTHER, "cali2", LinkKind::Veth, 1450).with_peer(77);
        (node.links[2].master, other.master) = (Some(BRIDGE), Some(BRIDGE));
        let bridge = link(BRIDGE, "br0", LinkKind::Bridge, 1450);
        node.links.extend([other, bridge]);
        node.pod_sides.push(PodSide {
            netns: 77,
            addresses: vec![ip("172.20.1.6")],
            ..node.pod_sides[0].clone()
        });
        let name = "net.bridge.bridge-nf-call-iptables".to_owned();
        node.sysctls = vec![(name, value.into())];
        node
    }

    fn observation() -> Observation {
        let mut flows = Vec::new();
        for n in 1..6 {
            let time = SECOND * u64::from(n);
            let socket = |flow| FlowKey {
                source_port: 50_000 + n,
                ..flow
            };
            let asked = socket(tcp("172.20.1.5", "10.96.7.7", 80));
            let sent = socket(tcp("172.20.1.5", "172.20.1.6", 8080));
            let note = |after: u64, flags: u32| {
                move |hop: &mut netdiag_common::hop::FlowHop| {
                    (hop.first, hop.last, hop.flags) = (time + after, time + after, flags);
                    hop.syns = u32::from(flags == SYN);
                }
            };
            flows.extend([
                from_pod(asked, note(0, SYN)),
                at(asked, BRIDGE, false, 0, note(1, SYN)),
                at(sent, BRIDGE, true, 0, note(2, SYN)),
                at(sent, OTHER, true, 0, note(3, SYN)),
                at(sent.reversed(), POD, true, 0, note(5, SYN | ACK)),
            ]);
        }
        Observation {
            now: 60 * SECOND,
            flows,
            ..Observation::default()
        }
    }

    #[test]
    fn answers_from_the_pod_itself_need_the_sysctl_to_be_off() {
        let named = |value| with_facts(&node(value), &observation(), evaluate);
        let finding = named("0").expect("a finding");
        assert!(finding.summary.contains("10.96.7.7:80"));
        assert_eq!(named("1"), None);
    }
}
