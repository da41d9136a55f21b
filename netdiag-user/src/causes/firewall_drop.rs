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
//! Gathered: rules that drop or reject and whose counters move meanwhile, with their handles; those
//! whose selectors speak of other packets are left out. Where none counts, rules without a counter and
//! the policies of chains at that hook.
//!
//! # Look-alikes
//! A full conntrack table drops with the same reason in `nf_hook_slow`. Stray packets of finished
//! connections (FIN, RST) are dropped as INVALID on healthy nodes and are not counted here. What goes to
//! a Service's address by a port that it does not have is rejected by kube-proxy, pings included: told
//! with the ports that it has, and for pings not at all.
//!
//! # By hand
//! `nft list ruleset` or `iptables-save -c`: the counters of the rule move with each attempt.
//!
//! # Fix
//! Change or remove the rule; for a NetworkPolicy, allow the traffic that is meant to pass.
use super::{
    blame::blame,
    conntrack,
    losses::{self, Pattern},
    service_ports::Other,
    services,
};
use crate::{
    model::{
        gather::{Rule, Want},
        pod::label,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, PodRole},
    },
    pipeline::facts::{Facts, Loss},
    shell,
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
        losses::severity(facts, p).is_some()
            && !is_services(facts, p)
            && !is_own_error(facts, p)
            && !is_ping_of_a_service(facts, p)
    });
    let worst = patterns.first()?;
    let severity = patterns
        .iter()
        .filter_map(|p| losses::severity(facts, p))
        .max()?;
    let netns = netns(facts, worst);
    let summary = format!(
        "netfilter {} drops {} from {}: {} packets, none got through",
        place(facts, netns),
        worst.target(),
        worst.sender(facts),
        worst.packets(),
    );
    let mut finding = losses::finding(facts, ID, severity, &patterns, summary);
    let other = Other::of(facts, worst).filter(|_| netns == facts.node.netns);
    let mut rules = blame(facts, facts.gathered.rules(netns), worst);
    // kube-proxy's own rules count nothing, and one of them it is.
    rules.retain(|r| r.counted || other.is_none());
    rules.truncate(RULES);
    finding
        .evidence
        .extend(rules.iter().map(|r| rule_evidence(facts, netns, r)));
    let evidence = other.as_ref().and_then(|other| other.evidence(facts));
    finding.evidence.extend(evidence);
    finding.fix = match (&rules[..], other) {
        ([rule, ..], _) if rule.policy_at().is_some() && (rule.counted || rules.len() == 1) => {
            fix_policy(worst, rule)
        }
        ([rule, ..], _) if rule.counted => fix_rule(worst, rule),
        ([], Some(other)) => other.fix(facts, &worst.target()),
        ([], None) => fix(worst),
        _ => fix_one_of(worst, &rules),
    };
    // A pod's own rules are listed and deleted in its namespace: the node has handles of its own.
    for command in &mut finding.fix.commands {
        *command = facts.node.inside(netns, std::mem::take(command));
    }
    Some(finding)
}

/// The namespace whose rules took the packets; drops without one are told as the node's.
fn netns(facts: &Facts<'_>, worst: &Pattern<'_>) -> u32 {
    let died = worst.losses.first().map(|l| l.key.netns);
    died.filter(|netns| *netns != 0).unwrap_or(facts.node.netns)
}

fn place(facts: &Facts<'_>, netns: u32) -> String {
    if netns == facts.node.netns {
        return "on this node".into();
    }
    let side = facts.node.pod_side(netns);
    let mut addresses = side.into_iter().flat_map(|s| &s.addresses);
    match addresses.find_map(|a| facts.pod(*a, PodRole::Source)) {
        Some(pod) => format!("inside the pod {}", label(&pod)),
        None => "inside a pod".into(),
    }
}

fn rule_evidence(facts: &Facts<'_>, netns: u32, rule: &Rule) -> Evidence {
    let (place, text) = (&rule.place, &rule.text);
    let (origin, text) = match (rule.policy_at(), rule.counted) {
        (Some(_), true) => (
            Origin::Observed,
            format!("the counter of the policy of {place} moves: it drops what no rule accepts"),
        ),
        (Some(_), false) => (
            Origin::Configured,
            format!("the policy of {place} drops what no rule accepts: {text}"),
        ),
        (None, true) => (
            Origin::Observed,
            format!("the counter of this rule of {place} moves: {text}"),
        ),
        (None, false) => (
            Origin::Configured,
            format!("this rule of {place} counts nothing and may take them: {text}"),
        ),
    };
    let mut line = Evidence::new(EvidenceKind::Rule, origin, text);
    line.packets = rule.counted.then_some(rule.packets);
    line.confirm = rule.list().map(|list| facts.node.inside(netns, list));
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
        commands: [rule.list(), rule.delete()].into_iter().flatten().collect(),
    }
}

fn fix_policy(worst: &Pattern<'_>, rule: &Rule) -> Fix {
    Fix {
        summary: format!(
            "let a rule of {} accept {}, or let its policy accept what no rule drops: find out who \
             set the policy (Docker does for FORWARD, a hardening script for all)",
            rule.place,
            worst.target()
        ),
        commands: [rule.list(), rule.delete()].into_iter().flatten().collect(),
    }
}

/// Nothing counts, and several can have done it.
fn fix_one_of(worst: &Pattern<'_>, rules: &[&Rule]) -> Fix {
    Fix {
        summary: format!(
            "find out which of these takes {}: they count nothing (a rule with `meta nftrace set 1` \
             and `nft monitor trace` tell); let it pass there",
            worst.target()
        ),
        commands: rules.iter().filter_map(|r| r.list()).collect(),
    }
}

/// Which rule it is; and what is dropped may be rejected for want of endpoints:
/// `service-no-endpoints`.
pub fn wants(facts: &Facts<'_>) -> Vec<Want> {
    let patterns = losses::patterns(facts, by_netfilter);
    let mut to = patterns.iter().map(|p| p.destination);
    let services = to.any(|address| services::is_elsewhere(facts, address));
    let mut wants: Vec<_> = services.then_some(Want::Services).into_iter().collect();
    let told = patterns
        .iter()
        .filter(|p| losses::severity(facts, p).is_some());
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

/// A Service's address answers by its ports only: kube-proxy rejects everything else.
fn is_ping_of_a_service(facts: &Facts<'_>, pattern: &Pattern<'_>) -> bool {
    matches!(pattern.protocol, 1 | 58)
        && netns(facts, pattern) == facts.node.netns
        && Other::of(facts, pattern).is_some()
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

fn fix(worst: &Pattern<'_>) -> Fix {
    let destination = worst.destination;
    let legacy = if destination.is_ipv4() {
        shell!("iptables-legacy-save -c")
    } else {
        shell!("ip6tables-legacy-save -c")
    };
    let mut commands = vec![shell!("nft -a list ruleset")];
    // Older kernels report nftables' drops from nf_hook_slow too: then either may hold the rule.
    if !worst.losses.iter().any(|l| l.symbol() == "nft_do_chain") {
        commands.push(legacy);
    }
    Fix {
        summary: format!(
            "find the rule that drops {}: where it counts, its counter moves with every attempt; \
             it may be a chain's policy too; change it, or allow the traffic in the NetworkPolicy \
             behind it",
            worst.target(),
        ),
        commands,
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::flow::FlowKey;

    use super::*;
    use crate::{
        model::{
            gather::Piece,
            netfilter::{Chain, Family, RuleOrigin},
            observation::Observation,
            services::{Engine, Service, Services},
        },
        testing::{NETNS, POD_NETNS, UPLINK, died, overlay_node, tcp, with_gathered},
    };

    fn nft(family: Family, chain: &str, handle: Option<u64>) -> RuleOrigin {
        let chain = Chain {
            family,
            table: "filter".into(),
            chain: chain.into(),
        };
        RuleOrigin::Nft { chain, handle }
    }

    #[test]
    fn the_rule_that_moves_is_the_fix() {
        let rule = |text: &str, handle| Rule {
            place: "inet filter lab".into(),
            text: text.into(),
            packets: 4,
            origin: nft(Family::Inet, "lab", Some(handle)),
            counted: true,
        };
        let mut moved = vec![
            rule("ct state invalid counter packets 9 bytes 9 drop", 2),
            rule("ip daddr 172.20.9.0/24 drop", 4),
            rule("tcp dport 5433 drop", 5),
            rule("ip daddr 172.20.2.9 reject with icmp port-unreachable", 3),
        ];
        moved[0].packets = 900;
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
        let strays = vec![rule("ct state invalid drop", 2)];
        let pieces = [(Want::Rules(NETNS), Ok(Piece::Rules(strays)))];
        let found = with_gathered(&node, &observation, pieces, evaluate).expect("a finding");
        assert!(
            found.fix.commands[0].text().ends_with("list ruleset"),
            "its rule does not count"
        );
    }

    #[test]
    fn where_nothing_counts_policies_and_other_rules_are_told() {
        let rule = |text: &str, counted| Rule {
            place: "ip filter FORWARD".into(),
            text: text.into(),
            packets: u64::from(counted),
            origin: nft(Family::Ip, "FORWARD", Some(text.len() as u64)),
            counted,
        };
        let policy = |hook| {
            let text = format!("type filter hook {hook} priority filter; policy drop;");
            rule(&text, false)
        };
        let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
        let observation = Observation {
            drops: vec![died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        let judge = |rules: Vec<Rule>| {
            let pieces = [(Want::Rules(NETNS), Ok(Piece::Rules(rules)))];
            with_gathered(&node, &observation, pieces, evaluate).expect("a finding")
        };
        let found = judge(vec![policy("input"), policy("forward")]);
        let told = found.evidence.last().expect("the policy");
        assert!(
            told.text
                .starts_with("the policy of ip filter FORWARD drops")
        );
        let undone = |text: &str| {
            let handle = text.len();
            format!("nft delete rule ip filter FORWARD handle {handle}")
        };
        assert_eq!(
            found.fix.commands[1].text(),
            undone(&policy("forward").text)
        );
        let several = judge(vec![policy("forward"), rule("ip daddr @bad drop", false)]);
        assert_eq!(several.fix.commands.len(), 2, "both listed, none undone");
        assert!(!several.fix.commands.iter().any(|c| c.contains("delete")));
        let counted = judge(vec![policy("forward"), rule("tcp dport 5432 drop", true)]);
        assert_eq!(
            counted.fix.commands[1].text(),
            undone("tcp dport 5432 drop")
        );
    }

    #[test]
    fn a_pods_own_rule_is_deleted_in_its_namespace() {
        let rule = Rule {
            place: "ip filter OUTPUT".into(),
            text: "tcp dport 5432 drop".into(),
            packets: 4,
            origin: nft(Family::Ip, "OUTPUT", Some(2)),
            counted: true,
        };
        let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
        let mut drop = died(flow, ("NETFILTER_DROP", "nft_do_chain"), 0, 5);
        drop.0.netns = POD_NETNS;
        let observation = Observation {
            drops: vec![drop],
            ..Observation::default()
        };
        let mut node = overlay_node(1450, 1450, 1500);
        node.pod_sides[0].path = Some("/run/netns/cni-1".into());
        let pieces = [(Want::Rules(POD_NETNS), Ok(Piece::Rules(vec![rule])))];
        let found = with_gathered(&node, &observation, pieces, evaluate).expect("a finding");
        assert!(
            found.summary.contains("inside the pod"),
            "{}",
            found.summary
        );
        let list = "nsenter --net=/run/netns/cni-1 nft -a list chain ip filter OUTPUT";
        let delete = "nsenter --net=/run/netns/cni-1 nft delete rule ip filter OUTPUT handle 2";
        assert_eq!(found.fix.commands, [list, delete]);
        let evidence = found.evidence.last().expect("the rule");
        assert!(evidence.confirm.as_ref().is_some_and(|c| *c == list));
    }

    /// What becomes of packets to the Service 10.96.0.10:80.
    fn to_service(protocol: u8, port: u16) -> Option<Finding> {
        let service = Service {
            address: [10, 96, 0, 10].into(),
            port: 80,
            protocol: 6,
            name: Some("shop/web:http".into()),
            backends: Vec::new(),
            rejected: false,
            engine: Engine::Nftables,
        };
        let services = Services {
            rules: vec![service],
            ..Services::default()
        };
        let flow = FlowKey {
            protocol,
            ..tcp("172.20.1.5", "10.96.0.10", port)
        };
        let observation = Observation {
            drops: vec![died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)],
            ..Observation::default()
        };
        let pieces = [(Want::Services, Ok(Piece::Services(services)))];
        let node = overlay_node(1450, 1450, 1500);
        with_gathered(&node, &observation, pieces, evaluate)
    }

    #[test]
    fn a_port_that_the_service_does_not_have_is_told() {
        let found = to_service(6, 81).expect("a finding");
        let own = "the Service shop/web (10.96.0.10) has no such port: it has tcp 80";
        assert!(found.evidence.iter().any(|e| e.text == own), "{found:?}");
        assert!(found.fix.summary.contains("by a port that it has (tcp 80)"));
        let port = to_service(6, 80).expect("a finding");
        assert!(port.fix.summary.contains("find the rule"), "{port:?}");
    }

    #[test]
    fn a_services_address_answers_no_pings() {
        assert!(to_service(1, 0).is_none());
    }
}
