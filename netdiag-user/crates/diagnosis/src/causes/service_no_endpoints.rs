//! # Symptom
//! Connections to one Service are refused at once, or time out. Other Services work.
//!
//! # Mechanism
//! The Service has no ready endpoints: its selector matches no pod, or none of its pods is ready. Instead
//! of translating the ClusterIP, kube-proxy then writes a rule that rejects (for some kinds of traffic:
//! drops) the packets.
//!
//! # Signals
//! Observed: connections from this node's pods to the address fail again and again, and the node itself
//! answers with ICMP port unreachable. Configured: the rule that rejects that address and port.
//!
//! # Look-alikes
//! `service-local-only`: the Service has endpoints, but none on this node, and its traffic policy is
//! Local. IPVS does not tell the two apart, the API does. `not-listening`: the Service has an endpoint,
//! and the refusal (RST) comes from the pod. `kube-proxy-missing`: no rule for the address exists.
//! `firewall-drop`: the rule belongs to no Service.
//!
//! # By hand
//! `kubectl -n NAMESPACE get endpointslices -l kubernetes.io/service-name=NAME` shows no ready endpoint.
//! The rule is in `iptables-save -c | grep 'no endpoints'`, where its counter moves with each attempt, or
//! in `nft list map ip kube-proxy no-endpoint-services`.
//!
//! # Fix
//! Compare the Service's selector with the pods' labels, and find out why those pods are not ready:
//! `kubectl -n NAMESPACE describe service NAME`, `kubectl -n NAMESPACE describe pod POD`.
use std::net::IpAddr;

use netdiag_lang::{mark, t};

use super::connection_groups::ConnectionGroup;
use crate::{
    model::{
        address::from_wire,
        services::Service,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    need::Need,
    pipeline::facts::Facts,
    shared::{
        followed,
        services::{self, errors},
        traffic_policy,
    },
    shell,
};

pub const ID: &str = "service-no-endpoints";
pub const TITLE: &str = mark!("a Service has no ready endpoints: the node rejects what goes to it");

/// ICMP and ICMPv6 port unreachable (RFC 792, RFC 4443), which kube-proxy's REJECT answers.
const PORT_UNREACHABLE: [(u8, u8); 2] = [(3, 3), (1, 4)];

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    services::wants(facts)
}

pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    let met = met(facts);
    let other = |server: &IpAddr| met.iter().all(|finding| !finding.about.contains(server));
    let followed = followed::refusal(facts);
    let followed = followed.filter(|(server, rule)| other(server) && has_none(facts, rule));
    let followed = followed.map(|(server, rule)| followed_by(facts, server, rule));
    met.into_iter().chain(followed).collect()
}

fn has_none(facts: &Facts<'_>, rule: &Service) -> bool {
    rule.rejected && !traffic_policy::is_local_only(facts, rule)
}

/// Told of connections that fail again and again.
fn met(facts: &Facts<'_>) -> Option<Finding> {
    let known = facts.gathered.services()?;
    let mut lost = services::silent(facts);
    lost.retain(|a| services::rule(known, a).is_some_and(|rule| has_none(facts, rule)));
    let worst = lost.first()?;
    let service = services::rule(known, worst)?;
    let (name, tries) = (services::title(facts, service), worst.tries.len());
    let summary = t!(
        "the Service {name} has no ready endpoints: {tries} connections from {} rejected by this \
         node",
        services::who(facts, worst.client),
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    services::tell(&mut finding, facts, &lost);
    finding
        .evidence
        .extend(lost.iter().filter_map(|a| unreachable(facts, a)));
    Some(with_rule(finding, facts, service))
}

/// Told of a Service to which somebody follows connections.
fn followed_by(facts: &Facts<'_>, server: IpAddr, service: &Service) -> Finding {
    let name = services::title(facts, service);
    let summary =
        t!("the Service {name} has no ready endpoints: this node rejects what goes to it");
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Configured, summary);
    finding.about.push(server);
    with_rule(finding, facts, service)
}

fn with_rule(mut finding: Finding, facts: &Facts<'_>, service: &Service) -> Finding {
    let name = services::title(facts, service);
    let text = t!("a rule of this node rejects {name}: it has no endpoints");
    let list = service.engine.list(service.address);
    let confirm = list.pipe(shell!("grep -F -e {v}", service.address));
    finding
        .evidence
        .push(services::rules_of(service, text, confirm));
    finding.evidence.extend(services::truth(facts, service));
    finding.fix = fix(facts, service);
    finding
}

fn unreachable(facts: &Facts<'_>, attempts: &ConnectionGroup<'_>) -> Option<Evidence> {
    let about = |flow: &netdiag_common::flow::FlowKey| {
        from_wire(flow.destination) == attempts.server
            && flow.destination_port == attempts.port
            && flow.protocol == attempts.protocol
    };
    let (packets, sender) = errors(facts, about, PORT_UNREACHABLE)?;
    let target = attempts.target();
    let text = t!("{sender} answered {packets} times: {target} port unreachable");
    let mut line = Evidence::new(EvidenceKind::Unreachable, Origin::Observed, text);
    line.packets = Some(packets);
    line.confirm = Some(shell!(
        "timeout 10 tcpdump -c 5 -lni any 'icmp[0] == 3 or icmp6[0] == 1'"
    ));
    Some(line)
}

fn fix(facts: &Facts<'_>, service: &Service) -> Fix {
    let path = services::path(facts, service).unwrap_or_default();
    let (summary, commands) = match path.split_once('/') {
        Some((namespace, name)) => (
            t!("find out why {path} has no ready pods: its selector, their readiness"),
            vec![
                shell!("kubectl -n {v} get service {} -o wide", namespace, name),
                shell!(
                    "kubectl -n {v} get endpointslices -l kubernetes.io/service-name={}",
                    namespace,
                    name
                ),
                shell!("kubectl -n {v} get pods --show-labels", namespace),
            ],
        ),
        None => (
            t!("find the Service of that address, its selector, and why no pod of it is ready")
                .into(),
            vec![shell!(
                "kubectl get services -A -o wide | grep -F -e {v}",
                service.address
            )],
        ),
    };
    Fix { summary, commands }
}
