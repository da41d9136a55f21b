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
//! Gathered: rules that drop or reject and whose counters move meanwhile, with their handles.
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
    model::gather::{Rule, Want},
    model::verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    pipeline::facts::{Facts, Loss},
};

pub const ID: &str = "firewall-drop";
pub const TITLE: &str = "a netfilter rule drops or rejects pods' or the node's packets";

/// Rules that a finding names at most.
const RULES: usize = 3;

fn by_netfilter(loss: &Loss) -> bool {
    loss.reason == "NETFILTER_DROP"
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    // No rule is behind what a full table drops.
    let full = conntrack::full(facts);
    let by_a_rule = |l: &Loss| by_netfilter(l) && !conntrack::for_want_of_room(full.as_ref(), l);
    let mut patterns = losses::patterns(facts, by_a_rule);
    patterns.retain(|p| {
        severity(facts, p).is_some() && !is_services(facts, p) && !is_own_error(facts, p)
    });
    let worst = patterns.first()?;
    let severity = patterns.iter().filter_map(|p| severity(facts, p)).max()?;
    let summary = format!(
        "netfilter on this node drops {} from {}: {} packets, none got through",
        worst.target(),
        worst.sender(facts),
        worst.packets(),
    );
    let mut finding = losses::finding(facts, ID, severity, &patterns, summary);
    let rules = rules(facts, worst);
    finding
        .evidence
        .extend(rules.iter().map(|r| rule_evidence(r)));
    finding.fix = match rules.first() {
        Some(rule) => fix_rule(worst, rule),
        None => fix(worst),
    };
    Some(finding)
}

/// Rules that drop where the packets died, those that name the port first.
fn rules<'a>(facts: &Facts<'a>, worst: &Pattern<'_>) -> Vec<&'a Rule> {
    let netns = worst
        .losses
        .first()
        .map_or(facts.node.netns, |l| l.key.netns);
    let mut rules: Vec<_> = facts.gathered.rules(netns).iter().collect();
    let port = worst.port.to_string();
    let names = |r: &Rule| r.text.split(' ').any(|word| word == port);
    rules.sort_by_key(|r| std::cmp::Reverse((names(r), r.packets)));
    rules.truncate(RULES);
    rules
}

fn rule_evidence(rule: &Rule) -> Evidence {
    let text = format!(
        "the counter of this rule of {} moves: {}",
        rule.place, rule.text
    );
    let mut line = Evidence::new(EvidenceKind::Rule, Origin::Observed, text);
    line.packets = Some(rule.packets);
    line.confirm = Some(rule.list.clone());
    line
}

fn fix_rule(worst: &Pattern<'_>, rule: &Rule) -> Fix {
    Fix {
        summary: format!(
            "let {} pass in the NetworkPolicy or firewall that set this rule of {}, or take the \
             rule away",
            worst.target(),
            rule.place
        ),
        commands: vec![rule.list.clone(), rule.delete.clone()],
    }
}

/// Which rule it is; and what is dropped may be rejected for want of endpoints:
/// `service-no-endpoints`.
pub fn wants(facts: &Facts<'_>) -> Vec<Want> {
    let patterns = losses::patterns(facts, by_netfilter);
    let mut to = patterns.iter().map(|p| p.destination);
    let services = to.any(|address| services::is_elsewhere(facts, address));
    let mut wants: Vec<_> = services.then_some(Want::Services).into_iter().collect();
    let told = patterns.iter().filter(|p| severity(facts, p).is_some());
    let died = told.filter_map(|p| Some(p.losses.first()?.key.netns));
    wants.extend(died.filter(|netns| *netns != 0).map(Want::Rules));
    wants
}

fn is_services(facts: &Facts<'_>, pattern: &Pattern<'_>) -> bool {
    let known = facts.gathered.services();
    let (to, port, protocol) = (pattern.destination, pattern.port, pattern.protocol);
    let rule = known.and_then(|s| s.rule(to, port, protocol));
    !pattern.reply && rule.is_some_and(|rule| rule.rejected)
}

/// An ICMP error or redirect of the node's own, about a connection that is translated: NAT drops
/// those that it cannot translate back (nf_nat_icmp_reply_translation), and no rule is behind it.
/// Without an echo's identifier it is no ping.
fn is_own_error(facts: &Facts<'_>, pattern: &Pattern<'_>) -> bool {
    let echo = |l: &&Loss| l.flow().source_port != 0;
    matches!(pattern.protocol, 1 | 58)
        && facts.node.owns(pattern.source)
        && !pattern.losses.iter().any(echo)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{gather::Piece, observation::Observation},
        testing::{NETNS, UPLINK, died, overlay_node, tcp, with_gathered},
    };

    #[test]
    fn the_rule_that_moves_is_the_fix() {
        let rule = |text: &str, handle| Rule {
            place: "inet filter lab".into(),
            text: text.into(),
            packets: 4,
            list: "nft -a list chain inet filter lab".into(),
            delete: format!("nft delete rule inet filter lab handle {handle}"),
        };
        let moved = vec![
            rule("ct state invalid drop", 2),
            rule("tcp dport 5432 drop", 3),
        ];
        let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
        let observation = Observation {
            drops: vec![died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        let pieces = [(Want::Rules(NETNS), Ok(Piece::Rules(moved)))];
        let found = with_gathered(&node, &observation, pieces, evaluate).expect("a finding");
        assert_eq!(
            found.fix.commands[1],
            "nft delete rule inet filter lab handle 3"
        );
    }
}
