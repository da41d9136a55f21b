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
mod advertised;
mod everyday;
mod inside;

use netdiag_lang::{mark, t};

use crate::{
    model::{
        flow,
        journal::Thing,
        policy::{Chosen, Packet, PolicyRule},
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Finding, Origin, Severity},
        world::station::Station,
    },
    pipeline::facts::Facts,
    shared::{
        local_pod_route, losses,
        own_range::{self, is_own},
        pod_gateway_silent::{self, Fault},
        refused::{self, Case},
        restoring,
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
    let mut cases = refused::at(facts, Station::Route);
    cases.retain(|case| sits(facts, case));
    let worst = cases.first()?;
    let summary = t!(
        "{} from {} cannot leave: {}; {} packets, none got through",
        worst.pattern.target(),
        worst.pattern.sender(facts),
        what_is_there(facts, worst),
        worst.pattern.packets(),
    );
    // Somebody asks for pods that are gone; the CNI's route is there to say so.
    let harmless = |case: &Case<'_, '_>| {
        is_own(facts, case) && !own_range::is_translated(facts, &case.pattern)
    };
    let severity = match cases.iter().all(harmless) {
        true => Severity::Info,
        false => Severity::Warning,
    };
    let unheard = advertised::unheard(facts, worst.pattern.destination);
    let fix = restoring::fix(facts, worst);
    let fix = match unheard {
        Some(link) => advertised::fix(link, fix),
        None => fix,
    };
    let mut asked: Vec<_> = cases.iter().collect();
    asked.sort_by_key(|case| case.pattern.destination);
    asked.dedup_by_key(|case| case.pattern.destination);
    let mut lines: Vec<_> = asked
        .iter()
        .map(|case| route_evidence(facts, case))
        .collect();
    let rules = asked.iter().filter_map(|case| case.asked.rule());
    let mut rules: Vec<_> = rules.map(rule_evidence).collect();
    rules.dedup();
    lines.extend(rules);
    lines.extend(unheard.map(advertised::evidence));
    let patterns: Vec<_> = cases.into_iter().map(|case| case.pattern).collect();
    let mut finding = losses::finding(facts, ID, severity, &patterns, summary);
    finding.evidence.extend(lines);
    finding.fix = fix;
    Some(finding)
}

/// A route that is back makes up for what was lost without it: a NIC's routes go and come with its
/// carrier.
const OVER_NS: u64 = 2_000_000_000;

fn sits(facts: &Facts<'_>, case: &Case<'_, '_>) -> bool {
    let back = case.asked.usable().is_some();
    let over = back && facts.now.saturating_sub(case.pattern.last()) > OVER_NS;
    // What a Service leads to pods that are gone is that Service's.
    let stale = is_own(facts, case) && own_range::is_a_services(facts, &case.pattern);
    case.here && !over && !stale && !everyday::is_everyday(facts, case)
}

fn what_is_there(facts: &Facts<'_>, case: &Case<'_, '_>) -> String {
    let to = case.pattern.destination;
    match case.asked {
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

fn route_evidence(facts: &Facts<'_>, case: &Case<'_, '_>) -> Evidence {
    let destination = case.pattern.destination;
    let text = t!("{destination}: {}", what_is_there(facts, case));
    let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
    line.at = Some(destination.to_string());
    let shown = shell!("ip route get {}", destination);
    let rule = case.asked.rule();
    // Where rules have a say, the asker matters.
    let packet = rule.and_then(|_| Some(refused::packet(facts, case.pattern.losses.first()?)));
    let shown = match packet.and_then(|packet| Some((packet, packet.iif?))) {
        Some((packet, iif)) => {
            let iif = facts.node.link_name(iif);
            let shown = shown.with_names(["from", &packet.source.to_string(), "iif", &iif]);
            match rule.is_some_and(|rule| rule.others) {
                true => with_ports(shown, &packet),
                false => shown,
            }
        }
        None => shown,
    };
    let shown = match rule.and_then(PolicyRule::mark) {
        Some(mark) => shown.with_names(["mark", mark]),
        None => shown,
    };
    line.confirm = Some(match case.asked {
        Chosen::Route(_) => shown,
        _ => shown.failing(),
    });
    line
}

/// A rule may ask for them.
fn with_ports(shown: CommandLine, packet: &Packet) -> CommandLine {
    let (sport, dport) = (packet.sport.to_string(), packet.dport.to_string());
    match flow::protocol(packet.protocol).as_str() {
        known @ ("tcp" | "udp") => {
            shown.with_names(["ipproto", known, "sport", &sport, "dport", &dport])
        }
        _ => shown,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            node::{MAIN, RouteKind},
            observation::Observation,
            policy::Action,
        },
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
