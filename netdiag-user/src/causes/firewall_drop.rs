//! # Symptom
//! One kind of connection gets no answer, or is refused at once, while everything else works.
//!
//! # Mechanism
//! A rule of netfilter (iptables, nftables, a NetworkPolicy's implementation) drops or rejects
//! the packets on this node.
//!
//! # Signals
//! Observed: drops with the reason NETFILTER_DROP, again and again for the same destination, with
//! no answer ever seen. Where the location is `nft_do_chain`, the rule is nftables' or
//! iptables-nft's; `nf_hook_slow` stands for iptables-legacy, and on older kernels for all.
//!
//! # Look-alikes
//! A full conntrack table drops with the same reason in `nf_hook_slow`. Stray packets of finished
//! connections (FIN, RST) are dropped as INVALID on healthy nodes and are not counted here.
//!
//! # By hand
//! `nft list ruleset` or `iptables-save -c`: the counters of the rule move with each attempt.
//!
//! # Fix
//! Change or remove the rule; for a NetworkPolicy, allow the traffic that is meant to pass.
use super::{
    conntrack,
    losses::{self, Pattern},
    services,
};
use crate::{
    model::gather::Want,
    model::verdict::{Finding, Fix, Severity},
    pipeline::facts::{Facts, Loss},
};

pub const ID: &str = "firewall-drop";
pub const TITLE: &str = "a netfilter rule drops or rejects pods' or the node's packets";

fn by_netfilter(loss: &Loss) -> bool {
    loss.reason == "NETFILTER_DROP"
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    // No rule is behind what a full table drops.
    let full = conntrack::full(facts);
    let by_a_rule = |l: &Loss| by_netfilter(l) && !conntrack::for_want_of_room(full.as_ref(), l);
    let mut patterns = losses::patterns(facts, by_a_rule);
    patterns.retain(|p| severity(facts, p).is_some() && !is_services(facts, p));
    let worst = patterns.first()?;
    let severity = patterns.iter().filter_map(|p| severity(facts, p)).max()?;
    let summary = format!(
        "netfilter on this node drops {} from {}: {} packets, none got through",
        worst.target(),
        worst.sender(facts),
        worst.packets(),
    );
    let mut finding = losses::finding(facts, ID, severity, &patterns, summary);
    finding.fix = fix(worst);
    Some(finding)
}

/// What is dropped may be rejected for want of endpoints: `service-no-endpoints`.
pub fn wants(facts: &Facts<'_>) -> Vec<Want> {
    let patterns = losses::patterns(facts, by_netfilter);
    let mut to = patterns.iter().map(|p| p.destination);
    let services = to.any(|address| services::is_elsewhere(facts, address));
    services.then_some(Want::Services).into_iter().collect()
}

fn is_services(facts: &Facts<'_>, pattern: &Pattern<'_>) -> bool {
    let known = facts.gathered.services();
    let (to, port, protocol) = (pattern.destination, pattern.port, pattern.protocol);
    let rule = known.and_then(|s| s.rule(to, port, protocol));
    !pattern.reply && rule.is_some_and(|rule| rule.rejected)
}

/// What a pod or a node sends is meant to arrive; what the outside sends to a pod may be kept
/// out on purpose; what it sends to the node is scanned and dropped all day.
fn severity(facts: &Facts<'_>, pattern: &Pattern<'_>) -> Option<Severity> {
    let pod = |address| facts.is_local_pod(address) || facts.pods.by_address(address).is_some();
    if pod(pattern.source) || facts.node.owns(pattern.source) {
        Some(Severity::Warning)
    } else if !pod(pattern.destination) {
        None
    } else if in_cluster(facts, pattern.source) {
        Some(Severity::Warning)
    } else {
        Some(Severity::Info)
    }
}

/// Reached by a route of its own and not by the default one: another node or one of its pods.
fn in_cluster(facts: &Facts<'_>, address: std::net::IpAddr) -> bool {
    facts
        .node
        .route_to(address)
        .is_some_and(|r| r.destination.length > 0)
}

fn fix(worst: &Pattern<'_>) -> Fix {
    let destination = worst.destination;
    let legacy = if destination.is_ipv4() {
        "iptables-legacy-save -c"
    } else {
        "ip6tables-legacy-save -c"
    };
    let mut commands = vec!["nft -a list ruleset".to_owned()];
    // Older kernels report nftables' drops from nf_hook_slow too: then either may hold the rule.
    if !worst.losses.iter().any(|l| l.symbol() == "nft_do_chain") {
        commands.push(legacy.to_owned());
    }
    Fix {
        summary: format!(
            "find the rule that drops {}: its counter moves with every attempt; change it, or \
             allow the traffic in the NetworkPolicy behind it",
            worst.target(),
        ),
        commands,
    }
}
