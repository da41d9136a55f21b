//! # Symptom
//! A Service works through some nodes and times out through this one, for clients of a NodePort or load
//! balancer whose connections arrive at this node, or for this node's pods that use the ClusterIP.
//!
//! # Mechanism
//! The Service's traffic policy is `Local`: `externalTrafficPolicy` for a NodePort, an external address
//! or a load balancer's address, `internalTrafficPolicy` for the ClusterIP. A node then sends connections
//! to its own endpoints only, and kube-proxy drops them if there are none. That is by design: it keeps
//! the client's address, or keeps the traffic on the node.
//!
//! # Signals
//! Observed: NETFILTER_DROP again and again for connections to the Service, none of which gets through.
//! Configured: kube-proxy's rule for that port, "has no local endpoints" (iptables), or an element that
//! drops in its maps no-endpoint-services and no-endpoint-nodeports (nftables). IPVS has a virtual server
//! without real servers, as for a Service without any endpoint: then the policy and the endpoints' nodes
//! come from the Kubernetes API, and without it there is no finding. If the clients are beyond the
//! default gateway, the finding is info: a load balancer's health probe is meant to fail here.
//!
//! # Look-alikes
//! `service-no-endpoints`: the Service has no ready endpoint on any node, and kube-proxy rejects instead
//! of dropping. `firewall-drop`: the rule is not kube-proxy's for this Service. `kube-proxy-missing`:
//! nothing drops the packet, and it leaves the node untranslated.
//!
//! # By hand
//! `iptables-save -c | grep 'no local endpoints'`, or `nft list table ip kube-proxy`. `kubectl -n
//! NAMESPACE get service NAME -o yaml` shows the policy, `kubectl -n NAMESPACE get pods -o wide` the
//! nodes of its pods.
//!
//! # Fix
//! Use a node that has an endpoint, run a pod of it on this one (a DaemonSet), or set the policy to
//! `Cluster`: then every node sends on to every endpoint, and masquerades external clients' addresses.
use std::{collections::BTreeMap, net::IpAddr};

use netdiag_lang::{mark, t};

use crate::{
    model::{
        address::endpoint,
        flow::protocol,
        gather::Want,
        services::{Engine, Service},
        shell::CommandLine,
        total::Total,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity, Subject},
    },
    need::Need,
    pipeline::facts::{Facts, Loss},
    shared::{
        followed,
        losses::{self, DropGroup, Standing},
        overlay, services,
        traffic_policy::{by_api, is_local_only, ready},
    },
    shell,
};

pub const ID: &str = "service-local-only";
pub const TITLE: &str =
    mark!("a Service's traffic policy is Local, and no endpoint is on this node");

/// Nodes that a fix names.
const NODES: usize = 3;

/// What the node does for Services, once it drops what may be for one.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let mut dropped = dropped(facts);
    dropped.retain(|p| {
        let to = p.destination;
        facts.owns(to) || services::may_be_one(facts, to)
    });
    let bad = dropped
        .iter()
        .filter(|p| severity(facts, p) > Severity::Info);
    let mut needs = services::needs(bad.map(|p| (p.destination, p.sufferer())));
    needs.extend((!dropped.is_empty()).then(|| Need::detail(Want::Services)));
    needs
}

pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    let mut groups: BTreeMap<(IpAddr, u16, u8), (&Service, Vec<DropGroup<'_>>)> = BTreeMap::new();
    for pattern in dropped(facts) {
        let asked = (pattern.destination, pattern.port);
        let rule = services::refusal(facts, asked, pattern.protocol);
        if let Some(rule) = rule.filter(|rule| is_local_only(facts, rule)) {
            let key = (rule.address, rule.port, rule.protocol);
            let group = groups.entry(key).or_insert((rule, Vec::new()));
            group.1.push(pattern);
        }
    }
    let other = |rule: &Service| !groups.contains_key(&(rule.address, rule.port, rule.protocol));
    let followed = followed::refusal(facts);
    let followed = followed.filter(|(_, rule)| is_local_only(facts, rule) && other(rule));
    let followed = followed.map(|(server, rule)| followed_by(facts, server, rule));
    let groups = groups.into_values();
    groups
        .filter_map(|(rule, patterns)| told(facts, rule, &patterns))
        .chain(followed)
        .collect()
}

/// Requests that netfilter drops in the node's own namespace, none of which gets through.
fn dropped<'a>(facts: &'a Facts<'_>) -> Vec<DropGroup<'a>> {
    let here = |l: &Loss| l.reason == "NETFILTER_DROP" && l.key.netns == facts.node.netns;
    let mut patterns = losses::patterns(facts, here);
    patterns.retain(|p| !p.reply && p.port != 0);
    patterns
}

/// Which of its two policies it is. Where the API does not know the address, it is a ClusterIP if those
/// who ask it are here: outside nobody can.
fn is_external(
    facts: &Facts<'_>,
    rule: &Service,
    mut clients: impl Iterator<Item = IpAddr>,
) -> bool {
    if rule.address.is_unspecified() || facts.owns(rule.address) {
        return true;
    }
    match by_api(facts, rule) {
        Some((of, _)) => !of.addresses.contains(&rule.address),
        None => !clients.any(|client| facts.is_local_pod(client) || facts.owns(client)),
    }
}

/// The field of the Service that says so.
fn policy(
    facts: &Facts<'_>,
    rule: &Service,
    clients: impl Iterator<Item = IpAddr>,
) -> &'static str {
    match is_external(facts, rule, clients) {
        true => "externalTrafficPolicy",
        false => "internalTrafficPolicy",
    }
}

/// `shop/web:http`, else what is asked.
fn name(facts: &Facts<'_>, rule: &Service, asked: &str) -> String {
    let by_api = || by_api(facts, rule).map(|(of, port)| of.port_path(port));
    let name = rule.name.clone().or_else(by_api);
    name.unwrap_or_else(|| asked.to_owned())
}

/// Strangers are kept out as the policy says, load balancers that probe each node among them; pods
/// and nodes were sent here.
fn severity(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Severity {
    let bad = losses::standing(facts, pattern) == Some(Standing::Ours);
    match bad || losses::is_peer(facts, pattern.source) {
        true => Severity::Warning,
        false => Severity::Info,
    }
}

fn told(facts: &Facts<'_>, rule: &Service, patterns: &[DropGroup<'_>]) -> Option<Finding> {
    let worst = patterns.first()?;
    let severity = patterns.iter().map(|p| severity(facts, p)).max()?;
    let policy = policy(facts, rule, patterns.iter().map(|p| p.source));
    let (target, name) = (worst.target(), name(facts, rule, &worst.target()));
    let packets = patterns.iter().map(DropGroup::packets).total();
    let summary = t!(
        "this node drops {target} of the Service {name}: {policy} is Local and none of its endpoints \
         is here; {packets} packets from {}, none got through",
        worst.sender(facts),
    );
    let mut finding = losses::finding(facts, ID, severity, patterns, summary);
    // The Service's own policy says so.
    finding.meant = true;
    Some(with_rule(finding, facts, rule, (policy, name)))
}

/// Of a Service to which somebody follows connections: the rule tells without a pattern.
fn followed_by(facts: &Facts<'_>, server: IpAddr, rule: &Service) -> Finding {
    let clients = facts.followed().into_iter().flat_map(|f| &f.clients);
    let policy = policy(facts, rule, clients.copied());
    let target = format!(
        "{} {}",
        protocol(rule.protocol),
        endpoint(server, rule.port)
    );
    let name = name(facts, rule, &target);
    let summary = t!(
        "this node drops {target} of the Service {name}: {policy} is Local and none of its endpoints \
         is here"
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Configured, summary);
    finding.about.push(server);
    with_rule(finding, facts, rule, (policy, name))
}

fn with_rule(
    mut finding: Finding,
    facts: &Facts<'_>,
    rule: &Service,
    (policy, name): (&str, String),
) -> Finding {
    finding.evidence.push(rule_evidence(rule, &name));
    let truth = services::truth_of(facts, by_api(facts, rule));
    finding.evidence.extend(truth);
    finding.fix = fix(facts, rule, policy, &name);
    finding.blames(Subject::Service { name });
    finding
}

fn rule_evidence(rule: &Service, name: &str) -> Evidence {
    let text = match rule.engine {
        Engine::Ipvs => t!("IPVS has a virtual server for {name}, and no real server of it"),
        _ => t!("kube-proxy's rule for {name} drops it: it has no local endpoints"),
    };
    let list = rule.engine.list(rule.address);
    let mut line = match (rule.engine, &rule.name) {
        (Engine::Ipvs, _) => services::rules_of(rule, text, list),
        (_, Some(name)) => {
            services::rules_of(rule, text, list.pipe(shell!("grep -F -e {v}", name)))
        }
        (_, None) => services::rules_of(rule, text, list.pipe(shell!("grep -F -e {v}", rule.port))),
    };
    line.confirm = line.confirm.map(|list| match rule.engine {
        Engine::Ipvs => list.showing(&[&endpoint(rule.address, rule.port)]),
        _ => list.showing(&["drop", "DROP"]),
    });
    line.kind = EvidenceKind::Rule;
    line.origin = Origin::Configured;
    line
}

/// Nodes that have an endpoint: by their names as the API has them, else by the peers that the rules'
/// own backends are behind.
fn nodes(facts: &Facts<'_>, rule: &Service) -> Vec<String> {
    let mut nodes: Vec<String> = match ready(facts, rule) {
        Some(ready) => ready.iter().filter_map(|b| b.node.clone()).collect(),
        None => {
            let peers = rule.backends.iter().filter_map(|(a, _)| peer(facts, *a));
            peers.map(|a| a.to_string()).collect()
        }
    };
    nodes.sort();
    nodes.dedup();
    nodes
}

/// The node that has a pod of that address: behind a tunnel, or the gateway of its network's route.
fn peer(facts: &Facts<'_>, pod: IpAddr) -> Option<IpAddr> {
    overlay::peer_towards(facts, pod).or_else(|| {
        let route = facts.way(&facts.from_node(pod))?;
        route.gateway.filter(|_| !facts.leads_out(route))
    })
}

fn fix(facts: &Facts<'_>, rule: &Service, policy: &str, name: &str) -> Fix {
    let nodes = nodes(facts, rule);
    let told = nodes.iter().take(NODES).cloned().collect::<Vec<_>>();
    let told = match told.is_empty() {
        true => String::new(),
        false => t!(" ({})", told.join(t!(", "))),
    };
    let external = policy == "externalTrafficPolicy";
    let summary = match external {
        true => t!(
            "send its clients to a node that has an endpoint{told}: a load balancer learns by the \
             Service's healthCheckNodePort which ones do. Or run a pod of {name} on this node, or set \
             {policy} to Cluster: then every node leads on, and pods see a node's address in place \
             of the client's"
        ),
        false => t!(
            "run a pod of {name} on this node too (a DaemonSet does on every node); its endpoints are on \
             others{told}. Or set {policy} to Cluster: then every node leads on to all of them"
        ),
    };
    let path = services::path(facts, rule).or_else(|| Some(by_api(facts, rule)?.0.path()));
    let path = path.unwrap_or_default();
    let commands = match path.split_once('/') {
        Some((namespace, name)) => commands(namespace, name, external),
        None => vec![shell!(
            "kubectl get services -A -o wide | grep -F -e {v}",
            match rule.address.is_unspecified() {
                true => format!("{}/{}", rule.port, protocol(rule.protocol).to_uppercase()),
                false => rule.address.to_string(),
            }
        )],
    };
    Fix { summary, commands }
}

fn commands(namespace: &str, name: &str, external: bool) -> Vec<CommandLine> {
    let cluster = match external {
        true => shell!(
            "kubectl -n {v} patch service {} -p '{{\"spec\":{{\"externalTrafficPolicy\":\"Cluster\"}}}}'",
            namespace,
            name
        ),
        false => shell!(
            "kubectl -n {v} patch service {} -p '{{\"spec\":{{\"internalTrafficPolicy\":\"Cluster\"}}}}'",
            namespace,
            name
        ),
    };
    let endpoints = shell!(
        "kubectl -n {v} get endpointslices -l kubernetes.io/service-name={} -o yaml",
        namespace,
        name
    );
    vec![endpoints, cluster]
}

#[cfg(test)]
mod tests;
