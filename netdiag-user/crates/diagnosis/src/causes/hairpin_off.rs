//! # Symptom
//! A pod cannot reach itself by its own Service: connections time out, always if it is the only backend,
//! sometimes if there are others. All other pods reach the Service, and the pod reaches all other
//! Services.
//!
//! # Mechanism
//! With br_netfilter the bridge translates the Service's address to the pod's own before it chooses the
//! output port. That is the port the frame came in by. A bridge does not send a frame back out of its
//! input port unless that port is in hairpin mode (net/bridge/br_forward.c, should_deliver). It drops the
//! frame without a reason of its own and without a counter.
//!
//! # Signals
//! Observed: packets from a pod's address to the same address, which only a translation can produce,
//! dropped by the bridge (NOT_SPECIFIED in br_forward or br_handle_frame_finish) at the pod's own port,
//! again and again, none of them delivered. Configured: hairpin mode of that port is off. Gathered: the
//! Services that this pod is a backend of.
//!
//! # Look-alikes
//! `bridge-nf-disabled`: the bridge does not translate at all, and replies of other pods on the bridge
//! get lost. Isolated ports (`bridge link set dev PORT isolated on`) get nothing from themselves either,
//! with or without hairpin mode. With hairpin mode on, but no masquerade for a pod's connections to
//! itself, the packets arrive and the pod drops them because they carry its own source address. Without
//! br_netfilter, and with CNIs that route instead of bridging (Calico, Cilium), hairpin mode does not
//! matter.
//!
//! # By hand
//! `bridge -d link show dev VETH` (hairpin off), `ip -d link show BRIDGE`; `tcpdump -nni VETH host
//! SERVICE` shows SYNs without an answer.
//!
//! # Fix
//! Switch hairpin mode on for the port, and for future pods set `"hairpinMode": true` in the
//! configuration of the CNI's bridge plugin. kubelet's --hairpin-mode did that up to Kubernetes 1.23, for
//! kubenet.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_lang::{mark, t};

use crate::{
    model::{
        address::endpoint,
        flow,
        gather::Want,
        node::{Link, LinkKind},
        services::Service,
        total::Total,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity},
        world::station::Station,
    },
    pipeline::facts::{Facts, Loss},
    shared::{
        losses::{self, DropGroup},
        services,
    },
    shell,
};

pub const ID: &str = "hairpin-off";
pub const TITLE: &str =
    mark!("a pod cannot reach itself by its own Service: its port's hairpin is off");

/// Ports that are told one by one.
const PORTS: usize = 10;

pub fn wants(facts: &Facts<'_>) -> Vec<Want> {
    let looped = looped(facts);
    looped.first().map(|_| Want::Services).into_iter().collect()
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let patterns = looped(facts);
    let worst = patterns.first()?;
    let mut ports: Vec<&Link> = Vec::new();
    for port in patterns
        .iter()
        .filter_map(|p| port(facts, p.losses.first()?))
    {
        if !ports.iter().any(|known| known.index == port.index) {
            ports.push(port);
        }
    }
    let first = ports.first()?;
    let asked = services_of(facts, worst).map(|s| services::title(facts, s));
    let asked: Vec<_> = asked.take(2).collect();
    let service = match asked.as_slice() {
        [one] => t!("the Service {one}"),
        _ => t!("the Service in front of its port {}", worst.port),
    };
    let summary = t!(
        "{} cannot reach itself by {service}: hairpin mode of {} is off, and {} drops the {} packets",
        worst.sender(facts),
        first.name,
        bridge(facts, first),
        patterns.iter().map(DropGroup::packets).total(),
    );
    let mut finding = losses::finding(facts, ID, Severity::Warning, &patterns, summary);
    // Both ends are the same pod.
    finding.pods.retain(|pod| pod.role == Some(PodRole::Source));
    for pattern in &patterns {
        for service in services_of(facts, pattern) {
            let (from, to) = ((pattern.source, 0), (service.address, service.port));
            finding.scope.add(pattern.protocol, from, to);
        }
    }
    let told = ports.iter().take(PORTS);
    finding
        .evidence
        .extend(told.clone().map(|p| hairpin(facts, p)));
    finding.evidence.extend(backend(facts, worst));
    finding.fix = fix(&ports);
    Some(finding)
}

/// Packets of a pod's that were translated to its own address, and went no further than the bridge.
fn looped<'a>(facts: &'a Facts<'_>) -> Vec<DropGroup<'a>> {
    losses::patterns(facts, |loss| {
        let (source, destination) = flow::ends(loss.flow());
        let by_bridge = loss.reason == "NOT_SPECIFIED" && loss.is_at(Station::Bridge);
        by_bridge
            && source == destination
            && port(facts, loss).is_some_and(|p| is_off(facts, p, source))
    })
}

/// The link of the node's at which it died.
fn port<'a>(facts: &Facts<'a>, loss: &Loss) -> Option<&'a Link> {
    let own = loss.key.netns == facts.node.netns;
    facts.link(loss.key.ifindex).filter(|_| own)
}

/// A bridge's port without hairpin mode that leads to the pod with this address.
fn is_off(facts: &Facts<'_>, port: &Link, address: IpAddr) -> bool {
    let master = port.master.and_then(|index| facts.link(index));
    let bridge = master.is_some_and(|m| m.kind == LinkKind::Bridge);
    let side = port.peer_netns.and_then(|netns| facts.node.pod_side(netns));
    bridge && !port.hairpin && side.is_some_and(|s| s.addresses.contains(&address))
}

fn bridge(facts: &Facts<'_>, port: &Link) -> String {
    port.master
        .map_or_else(String::new, |index| facts.node.link_name(index))
}

/// The Services that are translated to what was asked.
fn services_of<'a>(
    facts: &Facts<'a>,
    pattern: &DropGroup<'_>,
) -> impl Iterator<Item = &'a Service> {
    let backend = (pattern.destination, pattern.port);
    let protocol = pattern.protocol;
    let rules = facts.gathered.services().map_or(&[][..], |s| &s.rules);
    let mut seen = BTreeSet::new();
    rules.iter().filter(move |rule| {
        rule.protocol == protocol
            && rule.backends.contains(&backend)
            && seen.insert((rule.address, rule.port))
    })
}

fn hairpin(facts: &Facts<'_>, port: &Link) -> Evidence {
    let bridge = bridge(facts, port);
    let also = match port.isolated {
        true => t!(", and it is isolated"),
        false => "",
    };
    let text = t!(
        "hairpin mode of {}, a port of {bridge}, is off{also}",
        port.name
    );
    let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
    line.at = Some(port.name.clone());
    line.confirm = Some(shell!("bridge -d link show dev {}", port.name));
    line
}

/// What makes the pod ask itself.
fn backend(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Option<Evidence> {
    let service = services_of(facts, pattern).next()?;
    let own = endpoint(pattern.destination, pattern.port);
    let text = match service.backends.len() {
        1 => t!(
            "{own} is the only backend of {}",
            services::title(facts, service)
        ),
        n => t!(
            "{own} is one of {n} backends of {}",
            services::title(facts, service)
        ),
    };
    Some(services::rules(text, service.engine.list(service.address)))
}

fn fix(ports: &[&Link]) -> Fix {
    let told = ports.iter().take(PORTS);
    let mut commands: Vec<_> = told
        .clone()
        .map(|p| shell!("bridge link set dev {} hairpin on", p.name))
        .collect();
    let isolated = told.filter(|p| p.isolated);
    commands.extend(isolated.map(|p| shell!("bridge link set dev {} isolated off", p.name)));
    Fix {
        summary: t!(
            "hairpin mode for the port now, and \"hairpinMode\": true in the CNI's bridge plugin \
                  for the pods to come (flannel: in the `delegate` of its conflist)"
        )
        .into(),
        commands,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            gather::Piece,
            node::Node,
            observation::Observation,
            services::{Engine, Services},
        },
        testing::{POD, died, ip, link, overlay_node, tcp, with_gathered},
    };

    const BRIDGE: u32 = 9;

    fn node(hairpin: bool) -> Node {
        let mut node = overlay_node(1450, 1450, 1500);
        node.links.push(link(BRIDGE, "br0", LinkKind::Bridge, 1450));
        (node.links[2].master, node.links[2].hairpin) = (Some(BRIDGE), hairpin);
        node
    }

    fn services(backends: &[&str]) -> Piece {
        let service = Service {
            address: ip("10.96.7.7"),
            port: 80,
            protocol: 6,
            name: Some("shop/own:p".into()),
            backends: backends.iter().map(|a| (ip(a), 8080)).collect(),
            rejected: false,
            local: false,
            engine: Engine::Nftables,
            table: None,
        };
        Piece::Services(Services {
            rules: vec![service],
            ..Services::default()
        })
    }

    /// Packets between the two that died in that function, with what the node does for Services.
    fn judge(node: &Node, ends: [&str; 2], symbol: &str, packets: u64) -> Option<Finding> {
        let drop = died(
            tcp(ends[0], ends[1], 8080),
            ("NOT_SPECIFIED", symbol),
            POD,
            packets,
        );
        let observation = Observation {
            drops: vec![drop],
            ..Observation::default()
        };
        let known = [(Want::Services, Ok(services(&["172.20.1.5", "172.20.2.9"])))];
        with_gathered(node, &observation, known, evaluate)
    }

    const OWN: &str = "172.20.1.5";

    #[test]
    fn a_pod_that_asks_itself_needs_hairpin_mode() {
        let finding = judge(&node(false), [OWN, OWN], "br_forward", 5).expect("a finding");
        assert!(
            finding
                .summary
                .contains("the Service shop/own:p (10.96.7.7:80)")
        );
        assert_eq!(
            finding.fix.commands,
            ["bridge link set dev cali1 hairpin on"]
        );
        assert_eq!(
            finding
                .pods
                .iter()
                .filter(|p| p.ip.as_deref() == Some(OWN))
                .count(),
            1
        );
        let texts: Vec<_> = finding.evidence.iter().map(|e| e.text.as_str()).collect();
        assert!(
            texts.contains(&"hairpin mode of cali1, a port of br0, is off"),
            "{texts:?}"
        );
        assert!(
            texts.iter().any(|t| t.contains("is one of 2 backends")),
            "{texts:?}"
        );
    }

    #[test]
    fn other_losses_at_a_port_are_not_its_fault() {
        let named =
            |node: &Node, ends, symbol, packets| judge(node, ends, symbol, packets).is_some();
        let off = node(false);
        assert!(!named(&node(true), [OWN, OWN], "br_forward", 5), "it is on");
        assert!(
            !named(&off, [OWN, "172.20.1.6"], "br_forward", 5),
            "to another pod"
        );
        assert!(
            !named(&off, ["172.20.1.6"; 2], "br_forward", 5),
            "not the port's pod"
        );
        assert!(
            !named(&off, [OWN, OWN], "ip_rcv_core", 5),
            "not by the bridge"
        );
        assert!(!named(&off, [OWN, OWN], "br_forward", 2), "no pattern yet");
        let mut routed = node(false);
        routed.links[2].master = None;
        assert!(!named(&routed, [OWN, OWN], "br_forward", 5), "no bridge");
    }

    #[test]
    fn an_isolated_port_needs_both() {
        let mut node = node(false);
        node.links[2].isolated = true;
        let finding = judge(&node, [OWN, OWN], "br_forward", 5).expect("a finding");
        let both = [
            "bridge link set dev cali1 hairpin on",
            "bridge link set dev cali1 isolated off",
        ];
        assert_eq!(finding.fix.commands, both);
    }
}
