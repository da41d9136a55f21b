//! # Symptom
//! "Network is unreachable", "No route to host", or no answer: one network cannot be reached from this
//! node's pods, others can.
//!
//! # Mechanism
//! The node's routing table has no route for a packet that it should forward, or one that refuses it
//! (`unreachable`, `prohibit`, `blackhole`). Policy rules can refuse by themselves, or lead to a table
//! that does, whatever the main table says. Routes vanish when the daemon that manages the links restarts
//! and flushes the routes that it did not set, when a lease ends and takes the default route with it, or
//! when a link goes down: its IPv4 routes do not come back by themselves.
//!
//! # Signals
//! Observed: drops with the reasons IP_INNOROUTES and IP_OUTNOROUTES, again and again for the same
//! destination, and no answer ever; NOT_SPECIFIED in the functions that only refusing or missing routes
//! lead to; NEIGH_FAILED in a pod whose gateway does not answer, because the node that answers for it
//! (proxy ARP, Calico's 169.254.1.1) has no route to it; `OutNoRoutes` of a pod that has no default route
//! where other pods have one: its programs are refused before there is a packet. Configured: what the
//! policy rules, and the table that they select, say about the destination.
//!
//! # Look-alikes
//! `forwarding-disabled` drops in the same function with the reason IP_INADDRERRORS. If the default route
//! takes the packets by mistake, nothing is dropped here. A pod that tries IPv6 in a cluster without IPv6
//! to the outside is normal.
//!
//! # By hand
//! `ip route get DESTINATION from POD iif LINK`; `ip rule`; `nstat -asz IpExtInNoRoutes Ip6InNoRoutes`.
//!
//! # Fix
//! Delete the rule that refuses, or the route in its table. Restore a missing route: restart the CNI's
//! agent, which sets the routes to other nodes' pods, or configure the default route if that is missing.
mod everyday;
mod inside;

use netdiag_lang::{mark, t};

use crate::{
    model::{
        journal::Thing,
        node::RouteKind,
        policy::{Chosen, PolicyRule},
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    pipeline::facts::Facts,
    shared::{
        daemon, local_pod_route,
        losses::{self, DropGroup},
        pod_gateway_silent::{self, Fault},
        pod_networks, restoring,
        unrouted::{chosen, is_a_services, is_own, is_translated, is_unrouted, own_range, packet},
    },
    shell,
};

pub const ID: &str = "no-route";
pub const TITLE: &str = mark!("this node has no route to where its pods' packets go");

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let dropped = dropped(facts);
    let silent = || pod_gateway_silent::evaluate(facts, ID, Fault::Route);
    dropped.or_else(silent).or_else(|| inside::evaluate(facts))
}

fn dropped(facts: &Facts<'_>) -> Option<Finding> {
    let mut patterns = losses::patterns(facts, |l| is_unrouted(facts, l));
    patterns.retain(|p| !everyday::is_everyday(facts, p) && !is_over(facts, p));
    patterns.retain(|p| !is_own(facts, p) || !is_a_services(facts, p));
    let worst = patterns.first()?;
    let summary = t!(
        "{} from {} cannot leave: {}; {} packets, none got through",
        worst.target(),
        worst.sender(facts),
        what_is_there(facts, worst),
        worst.packets(),
    );
    // Somebody asks for pods that are gone; the CNI's route is there to say so.
    let harmless = |p: &DropGroup<'_>| is_own(facts, p) && !is_translated(facts, p);
    let severity = match patterns.iter().all(harmless) {
        true => Severity::Info,
        false => Severity::Warning,
    };
    let mut finding = losses::finding(facts, ID, severity, &patterns, summary);
    let mut asked: Vec<_> = patterns.iter().collect();
    asked.sort_by_key(|p| p.destination);
    asked.dedup_by_key(|p| p.destination);
    let lines = asked.iter().map(|p| route_evidence(facts, p));
    finding.evidence.extend(lines);
    let rules = asked.iter().filter_map(|p| chosen(facts, p).rule());
    let mut rules: Vec<_> = rules.map(rule_evidence).collect();
    rules.dedup();
    finding.evidence.extend(rules);
    finding.fix = fix(facts, worst);
    Some(finding)
}

/// A route that is back makes up for what was lost without it: a NIC's routes go and come with its
/// carrier.
const OVER_NS: u64 = 2_000_000_000;

fn is_over(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    chosen(facts, pattern).usable().is_some() && facts.now.saturating_sub(pattern.last()) > OVER_NS
}

fn what_is_there(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> String {
    let to = pattern.destination;
    match chosen(facts, pattern) {
        Chosen::RefusingRule(rule) => t!("the policy rule \"{}\" refuses it", rule.text()),
        Chosen::RefusingRoute(route, Some(rule)) => t!(
            "the policy rule \"{}\" leads to the route {} of table {}, which refuses it",
            rule.text(),
            route.destination,
            route.table
        ),
        Chosen::RefusingRoute(route, None) => match local_pod_route::missing(facts, to) {
            Some(link) => t!(
                "{}, and the route {} refuses it",
                local_pod_route::tell(to, link),
                route.destination
            ),
            None => t!("the route {} refuses it", route.destination),
        },
        Chosen::None => match local_pod_route::missing(facts, to) {
            Some(link) => local_pod_route::tell(to, link),
            None => t!("this node has no route to {to}"),
        },
        // It came back meanwhile, or rules decide by what a packet's mark is.
        Chosen::Route(route) => t!("the kernel did not take the route {}", route.destination),
        Chosen::Unknown => t!("this node's rules lead it where netdiag cannot follow").into(),
    }
}

fn route_evidence(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Evidence {
    let destination = pattern.destination;
    let text = t!("{destination}: {}", what_is_there(facts, pattern));
    let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
    line.at = Some(destination.to_string());
    let packet = pattern.losses.first().map(|loss| packet(facts, loss));
    let from = packet.and_then(|p| Some((p.source, p.iif?)));
    // Where rules have a say, the asker matters.
    let from = from.filter(|_| chosen(facts, pattern).rule().is_some());
    let shown = shell!("ip route get {}", destination);
    let shown = match from {
        Some((source, iif)) => {
            let iif = facts.node.link_name(iif);
            shown.with_names(["from", &source.to_string(), "iif", &iif])
        }
        None => shown,
    };
    let rule = chosen(facts, pattern).rule();
    let shown = match rule.and_then(PolicyRule::mark) {
        Some(mark) => shown.with_names(["mark", mark]),
        None => shown,
    };
    line.confirm = Some(match chosen(facts, pattern) {
        Chosen::Route(_) => shown,
        _ => shown.failing(),
    });
    line
}

fn rule_evidence(rule: &PolicyRule) -> Evidence {
    let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, rule.text());
    let shown = shell!("ip rule show pref {}", rule.priority);
    line.confirm = Some(shown.of_family(rule.ipv6));
    line.of([Thing::Policy {
        ipv6: rule.ipv6,
        priority: rule.priority,
    }])
}

fn fix(facts: &Facts<'_>, worst: &DropGroup<'_>) -> Fix {
    let to = worst.destination;
    let of_family = |command: CommandLine| command.of_family(to.is_ipv6());
    if let Some(fix) = restoring::allow(facts, chosen(facts, worst), to) {
        return fix;
    }
    if let Some(link) = local_pod_route::missing(facts, to) {
        return local_pod_route::lead(facts, to, link);
    }
    if let Some(route) = own_range(facts, to).filter(|_| is_translated(facts, worst)) {
        let named = |list: CommandLine| list.pipe(shell!("grep -F -w -e {v}", to));
        return Fix {
            summary: t!(
                "{} is this node's own range of pod addresses, and no pod has {to}: a rule of this node \
                 or an entry of its connection tracking still translates to it (a hostPort of a pod that \
                 is gone): delete it",
                route.destination
            ),
            commands: vec![
                named(shell!("iptables-save -t nat")),
                named(shell!("nft -a list ruleset")),
                shell!("conntrack -L --reply-src {}", to),
            ],
        };
    }
    if let Some(route) = own_range(facts, to) {
        return Fix {
            summary: t!(
                "{} is this node's own range of pod addresses, and no pod has {to}: find out who \
                 still asks for it",
                route.destination
            ),
            commands: vec![of_family(shell!("ip route show {}", route.destination))],
        };
    }
    // With the refusing one gone there may be none.
    let sent = facts.from_to(worst.source, to);
    let before = facts.way_before(&sent);
    let before = before.filter(|r| r.kind == RouteKind::Unicast);
    let before = before.and_then(|r| restoring::again(facts, r));
    let refusing = facts.way(&sent);
    if let Some(route) = refusing.filter(|r| r.kind == RouteKind::Refusing) {
        let range = route.destination;
        let mut pods = facts.node.pod_sides.iter().flat_map(|s| &s.addresses);
        if range.length > 0 && pods.any(|a| range.contains(*a)) {
            return Fix {
                summary: t!(
                    "pods of this node are in {range}: where the CNI set it for this node's own \
                     range, the pod {to} is gone, and who still asks for it is to be found; else \
                     find out who set it and take it away"
                ),
                commands: vec![of_family(shell!("ip route show {}", range))],
            };
        }
        return Fix {
            summary: t!(
                "find out who set the refusing route {} and take it away",
                route.destination
            ),
            commands: [
                Some(of_family(restoring::delete(route))),
                before.filter(|command| command.contains(&route.destination.to_string())),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
    }
    Fix {
        summary: t!(
            "bring back the route to {to}: another node's pods are routed by the CNI's agent \
             (restart it), the rest of the world by the default route",
        ),
        commands: match before {
            Some(command) => vec![command],
            None => {
                let show = [
                    of_family(shell!("ip route show")),
                    shell!("ip route get {}", to),
                ];
                // Only its daemon knows by whom the other node's pods are reached.
                let pods = pod_networks::pod_address(facts, to).is_some();
                let daemon = daemon::of_network(facts).filter(|_| pods);
                let restart = daemon.map(|it| it.restart(facts));
                show.into_iter().chain(restart).collect()
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{node::MAIN, observation::Observation, policy::Action},
        shared::daemon::FINDS_CALICO,
        testing::{POD, UPLINK, died, overlay_node, policy, route, tcp, with_facts},
    };

    fn judge(to: &str, reason: &str, symbol: &str) -> Option<Finding> {
        let from = if to.contains(':') {
            "fd00::5"
        } else {
            "172.20.1.5"
        };
        let flow = tcp(from, to, 443);
        let observation = Observation {
            drops: vec![died(flow, (reason, symbol), POD, 4)],
            ..Observation::default()
        };
        with_facts(&overlay_node(1450, 1450, 1500), &observation, evaluate)
    }

    #[test]
    fn the_reason_or_the_place_and_the_table_decide() {
        let found = judge("198.51.100.7", "IP_INNOROUTES", "ip_error").expect("a finding");
        assert!(found.summary.contains("no route to 198.51.100.7"));
        assert!(judge("198.51.100.7", "NOT_SPECIFIED", "ip_error").is_some());
        let routed = judge("172.20.2.9", "NOT_SPECIFIED", "ip_error");
        assert!(
            routed.is_none(),
            "there is a route, something else is wrong"
        );
        assert!(judge("198.51.100.7", "IP_INADDRERRORS", "ip_error").is_none());
    }

    #[test]
    fn a_route_that_is_back_makes_up_for_it() {
        let flow = tcp("172.20.1.5", "172.20.2.9", 443);
        let lost_until = |now| Observation {
            drops: vec![died(flow, ("IP_INNOROUTES", "ip_error"), POD, 4)],
            now,
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        let named = |now| with_facts(&node, &lost_until(now), evaluate).is_some();
        assert!(named(3_000_000_000), "the last one was lost a second ago");
        assert!(!named(9_000_000_000));
    }

    #[test]
    fn a_cnis_own_blackhole_is_no_fault() {
        let flow = tcp("192.0.2.9", "172.20.1.77", 443);
        let observation = Observation {
            drops: vec![died(flow, ("NOT_SPECIFIED", "ip_error"), POD, 4)],
            ..Observation::default()
        };
        let severity = |range: &str| {
            let mut node = overlay_node(1450, 1450, 1500);
            let mut hole = route(range, POD, None);
            (hole.kind, hole.oif) = (RouteKind::Refusing, None);
            node.routes.push(hole);
            let found = with_facts(&node, &observation, evaluate).expect("a finding");
            (found.severity, found.fix.commands[0].text())
        };
        let (own, commands) = severity("172.20.1.0/24");
        assert_eq!(own, Severity::Info);
        assert!(!commands.contains("del"), "{commands}");
        let (wider, commands) = severity("172.20.0.0/16");
        assert_eq!(wider, Severity::Warning);
        assert!(
            !commands.contains("del"),
            "this node's pods are in it: {commands}"
        );
    }

    #[test]
    fn a_pod_of_this_node_without_its_route_gets_it_back() {
        let flow = tcp("192.0.2.9", "172.20.1.5", 443);
        let observation = Observation {
            drops: vec![died(flow, ("NOT_SPECIFIED", "ip_error"), UPLINK, 4)],
            ..Observation::default()
        };
        let mut node = overlay_node(1450, 1450, 1500);
        let mut hole = route("172.20.1.0/24", POD, None);
        (hole.kind, hole.oif) = (RouteKind::Refusing, None);
        node.routes.retain(|r| r.oif != Some(POD));
        node.routes.push(hole);
        let found = with_facts(&node, &observation, evaluate).expect("a finding");
        assert_eq!(found.severity, Severity::Warning);
        let told = "no route leads to the pod 172.20.1.5 behind cali1";
        assert!(found.summary.contains(told), "{}", found.summary);
        let lead = "ip route replace 172.20.1.5/32 dev cali1 scope link";
        assert_eq!(found.fix.commands, [lead, FINDS_CALICO]);
        node.links[2].up = false;
        let found = with_facts(&node, &observation, evaluate).expect("a finding");
        let up = "ip link set dev cali1 up";
        assert_eq!(found.fix.commands, [up, lead, FINDS_CALICO]);
    }

    #[test]
    fn a_rule_that_refuses_is_named_whatever_the_table_knows() {
        let flow = tcp("172.20.1.5", "172.20.2.9", 443);
        let observation = Observation {
            drops: vec![died(flow, ("NOT_SPECIFIED", "ip_error"), POD, 4)],
            ..Observation::default()
        };
        let mut node = overlay_node(1450, 1450, 1500);
        let mut rule = policy(
            100,
            Action::Refuse,
            "from 172.20.1.0/24 to 172.20.2.0/24 prohibit",
        );
        rule.from = "172.20.1.0/24".parse().ok();
        rule.to = "172.20.2.0/24".parse().ok();
        let main = policy(32_766, Action::Table(MAIN), "from all lookup main");
        node.rules = vec![rule, main.clone()];
        let found = with_facts(&node, &observation, evaluate).expect("a finding");
        let text = "\"100: from 172.20.1.0/24 to 172.20.2.0/24 prohibit\"";
        assert!(found.summary.contains(text), "{}", found.summary);
        let delete = "ip rule del pref 100 from 172.20.1.0/24 to 172.20.2.0/24 prohibit";
        assert_eq!(found.fix.commands, [delete]);
        let mut refusing = route("0.0.0.0/0", POD, None);
        (refusing.kind, refusing.oif, refusing.table) = (RouteKind::Refusing, None, 77);
        node.routes.push(refusing);
        let lookup = policy(100, Action::Table(77), "from all iif cali1 lookup 77");
        node.rules = vec![lookup, main.clone()];
        let found = with_facts(&node, &observation, evaluate).expect("a finding");
        assert_eq!(found.fix.commands, ["ip route del 0.0.0.0/0 table 77"]);
        node.rules = vec![main];
        assert!(with_facts(&node, &observation, evaluate).is_none());
    }

    #[test]
    fn trying_ipv6_is_everyday() {
        assert!(judge("2001:db8::7", "IP_INNOROUTES", "ip6_pkt_drop").is_none());
    }
}
