//! # Symptom
//! Packets arrive at the node (tcpdump shows them) and vanish. Typically these are replies that come in
//! by another interface than the route back uses.
//!
//! # Mechanism
//! Strict reverse-path filtering (RFC 3704): with `rp_filter` = 1 the kernel drops a packet if the route
//! back to its source leaves by another interface than the one the packet came in by. The larger of
//! `conf.all` and the interface's own value counts (Documentation/networking/ip-sysctl.rst).
//!
//! # Signals
//! Observed: drops with the reason IP_RPFILTER. Configured: rp_filter of `all` and of that interface, and
//! the route back to the source.
//!
//! # Look-alikes
//! `firewall-drop`: an nftables rule with `fib`, or iptables' rpfilter match, does the same with the
//! reason NETFILTER_DROP. For IPv6 only such rules do it: the kernel has no rp_filter for IPv6.
//!
//! # By hand
//! `sysctl net/ipv4/conf/all/rp_filter net/ipv4/conf/IF/rp_filter` (with slashes, because IF may contain
//! a dot, as flannel.1 does). `ip route get SOURCE` names the interface of the route back. `nstat -asz
//! TcpExtIPReversePathFilter` counts the drops.
//!
//! # Fix
//! Make the route back use the interface that the packets come in by, or set rp_filter to 2 (loose) on
//! that interface.
use netdiag_forwarding::way::{How, Subject};
use netdiag_lang::{mark, t};

use crate::{
    model::{
        journal::Thing,
        node::Route,
        pod::label,
        policy::Chosen,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity},
        world::station::Station,
    },
    pipeline::facts::{Facts, Loss},
    shared::{
        losses::{self, DropGroup},
        refused::{self, Case},
    },
    shell,
};

pub const ID: &str = "rp-filter-drop";
pub const TITLE: &str = mark!("strict reverse-path filtering drops asymmetrically routed packets");

const COUNTER: &str = "TcpExt.IPReversePathFilter";

/// Where the kernel gives no reason, martian addresses end at the same place, and are not counted there.
fn sits(facts: &Facts<'_>, case: &Case<'_, '_>) -> bool {
    let pattern = &case.pattern;
    let said = |l: &&Loss| l.reason == "IP_RPFILTER";
    let counted = |l: &&Loss| losses::counted(facts, l, COUNTER);
    let computed = case.no.is_some_and(|no| no.how == How::ReversePath);
    let mut lost = pattern.losses.iter().copied();
    let filtered = lost.all(|l| said(&l) && (computed || counted(&l)));
    // That is what the filter is for.
    filtered && !losses::is_forged_outside(facts, pattern)
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let mut cases = refused::at(facts, Station::ReversePath);
    cases.retain(|case| sits(facts, case));
    let first = cases.first()?;
    let (here, asked, no) = (first.here, first.asked, first.no);
    let worst = &first.pattern;
    let died = worst.losses.first()?.key;
    let interface = interface(facts, worst);
    let (on, came_by) = (
        whose(facts, died.netns, interface.as_deref()),
        interface.as_deref(),
    );
    let back = asked.usable().and_then(|route| facts.link(route.oif?));
    let back = back
        .map(|link| link.name.as_str())
        .filter(|back| Some(*back) != came_by);
    let way_back = match back {
        Some(back) => t!(", because the route back leaves by {back}"),
        None => String::new(),
    };
    let summary = t!(
        "the reverse-path filter (rp_filter) on {on} drops packets from {} to {}{way_back}: {} so far",
        worst.source,
        worst.target(),
        worst.packets(),
    );
    let sysctl = came_by
        .filter(|_| here)
        .and_then(|i| sysctl_evidence(facts, i));
    let route = back.map(|back| route_evidence(worst, back));
    // A device without an address, as pods' links are where they are routed: what has another way back is dropped
    // there however loose the filter is (fib_validate_source, `last_resort`).
    let by_device = no.is_some_and(|no| matches!(no.by, Some(Subject::Setting(..))));
    let fix = match (asked, came_by) {
        (Chosen::RefusingRoute(route, _), _) => fix_route(worst, route),
        (Chosen::None, _) if by_device => fix_unrouted(worst),
        (Chosen::Route(_), Some(bare)) if by_device => fix_bare(bare),
        _ => fix(came_by),
    };
    let patterns: Vec<_> = cases.into_iter().map(|case| case.pattern).collect();
    let mut finding = losses::finding(facts, ID, Severity::Warning, &patterns, summary);
    finding.evidence.extend(sysctl.into_iter().chain(route));
    finding.fix = fix;
    for command in finding.fix.commands.iter_mut().filter(|_| !here) {
        *command = facts.node.inside(died.netns, std::mem::take(command));
    }
    Some(finding)
}

/// A pod's indexes are its own.
fn interface(facts: &Facts<'_>, worst: &DropGroup<'_>) -> Option<String> {
    let died = worst.losses.first()?.key;
    match facts.node.pod_side(died.netns) {
        Some(side) => {
            let mut links = side.links.iter();
            let own = links.find(|(index, _)| *index == died.ifindex);
            own.map(|(_, name)| name.clone())
        }
        None => worst.losses.iter().find_map(|l| l.interface.clone()),
    }
}

/// The interface, with the pod that has it.
fn whose(facts: &Facts<'_>, netns: u32, interface: Option<&str>) -> String {
    let on = interface.unwrap_or(t!("the interface they came in by"));
    let side = facts.node.pod_side(netns);
    match side.and_then(|side| side.addresses.first()) {
        Some(address) => {
            let pod = facts.pod(*address, PodRole::Destination);
            t!(
                "{on} inside {}",
                pod.map_or_else(|| address.to_string(), |p| label(&p))
            )
        }
        None => on.to_owned(),
    }
}

/// Loose filtering wants some way back, too (fib_validate_source).
fn fix_route(worst: &DropGroup<'_>, route: &Route) -> Fix {
    let source = worst.source;
    Fix {
        summary: t!(
            "bring back the route to {source}: {} refuses it, and without a way back nothing from \
             there is taken, with rp_filter 2 (loose) either",
            route.destination
        ),
        commands: vec![shell!("ip route get {}", source).failing()],
    }
}

fn fix_unrouted(worst: &DropGroup<'_>) -> Fix {
    let source = worst.source;
    Fix {
        summary: t!(
            "give this node a route to {source}: without a way back nothing from there is taken, \
             with rp_filter 2 (loose) either"
        ),
        commands: vec![shell!("ip route get {}", source).failing()],
    }
}

fn sysctl_name(interface: &str) -> String {
    format!("net.ipv4.conf.{}.rp_filter", interface.replace('.', "/"))
}

fn sysctl_evidence(facts: &Facts<'_>, interface: &str) -> Option<Evidence> {
    let all = facts.node.sysctl("net.ipv4.conf.all.rp_filter")?;
    let name = sysctl_name(interface);
    let own = facts.node.sysctl(&name)?;
    let text = t!("rp_filter is {all} for all and {own} for {interface}: 1 is strict");
    let mut line = Evidence::new(EvidenceKind::Sysctl, Origin::Configured, text);
    line.at = Some(interface.to_owned());
    line.confirm = Some(shell!("sysctl net.ipv4.conf.all.rp_filter {}", name));
    let both = [name, "net.ipv4.conf.all.rp_filter".to_owned()];
    Some(line.of(both.map(|sysctl| Thing::Setting { sysctl })))
}

fn route_evidence(worst: &DropGroup<'_>, back: &str) -> Evidence {
    let text = t!("the way back to {} leaves by {}", worst.source, back);
    let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
    line.at = Some(back.to_owned());
    line.confirm = Some(shell!("ip route get {}", worst.source));
    line
}

/// The larger of both values counts, so that neither may be other than 0.
fn fix_bare(interface: &str) -> Fix {
    Fix {
        summary: t!(
            "route the answers back by {interface}; it has no IPv4 address, and there rp_filter 2 \
             (loose) drops them too: only 0 lets them pass, on {interface} and for all, and in \
             /etc/sysctl.d"
        ),
        commands: vec![
            shell!("sysctl -w net.ipv4.conf.all.rp_filter=0"),
            shell!("sysctl -w {}=0", sysctl_name(interface)),
        ],
    }
}

fn fix(interface: Option<&str>) -> Fix {
    let command = |i| shell!("sysctl -w {}=2", sysctl_name(i));
    Fix {
        summary: t!(
            "if that source may arrive there, set rp_filter to 2 (loose) on that interface, and in \
             /etc/sysctl.d (the larger one of conf.all and conf.INTERFACE counts), or route the \
             answers back by it"
        )
        .into(),
        commands: interface.map(command).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use netdiag_common::loss::NO_REASON;

    use super::*;
    use crate::{
        model::{
            node::{Counters, Node},
            observation::Observation,
        },
        testing::{POD, UPLINK, died, overlay_node, route, since, tcp, with_facts},
    };

    /// The node with so many in its counter, where it has one.
    fn node(count: Option<u64>) -> Node {
        let mut node = overlay_node(1450, 1450, 1500);
        let values = count.map(|n| (COUNTER.into(), n));
        node.counters = vec![Counters {
            netns: node.netns,
            values: BTreeMap::from_iter(values),
        }];
        node
    }

    fn is_named(reason: Option<u32>, (before, now): (Option<u64>, Option<u64>)) -> bool {
        let flow = tcp("203.0.113.9", "172.20.1.5", 80);
        let mut drop = died(flow, ("IP_RPFILTER", "ip_rcv_finish_core"), UPLINK, 4);
        drop.0.reason = reason.unwrap_or(drop.0.reason);
        let observation = Observation {
            drops: vec![drop],
            ..Observation::default()
        };
        since(&node(before), &node(now), &observation, [], |facts| {
            evaluate(facts).is_some()
        })
    }

    #[test]
    fn a_link_without_an_address_is_not_helped_by_loose_filtering() {
        let on = |link, by: &str| {
            let flow = tcp("203.0.113.9", by, 80);
            let drop = died(flow, ("IP_RPFILTER", "ip_rcv_finish_core"), link, 4);
            let observation = Observation {
                drops: vec![drop],
                ..Observation::default()
            };
            let mut node = node(None);
            node.routes
                .push(route("0.0.0.0/0", UPLINK, Some("192.0.2.1")));
            let strict = |name: &str| (sysctl_name(name), "1".to_owned());
            node.sysctls = node.links.iter().map(|l| strict(&l.name)).collect();
            with_facts(&node, &observation, |facts| {
                let found = evaluate(facts).expect("a finding");
                let all = found.fix.commands.iter().map(ToString::to_string);
                all.collect::<Vec<_>>()
            })
        };
        let bare = on(POD, "172.20.2.9");
        let zero = [
            "sysctl -w net.ipv4.conf.all.rp_filter=0",
            "sysctl -w net.ipv4.conf.cali1.rp_filter=0",
        ];
        assert_eq!(bare, zero);
        let [loose] = &on(UPLINK, "172.20.1.5")[..] else {
            panic!("one command")
        };
        assert!(loose.ends_with(".rp_filter=2"), "{loose}");
    }

    #[test]
    fn a_pods_address_from_outside_is_what_the_filter_is_for() {
        let named = |source: &str, left: bool| {
            let flow = tcp(source, "192.0.2.1", 80);
            let out = crate::testing::at(flow, UPLINK, true, 0, |_| {});
            let observation = Observation {
                drops: vec![died(flow, ("IP_RPFILTER", "ip_rcv_finish_core"), UPLINK, 4)],
                flows: left.then_some(out).into_iter().collect(),
                ..Observation::default()
            };
            with_facts(&node(None), &observation, |facts| evaluate(facts).is_some())
        };
        assert!(!named("172.20.1.5", false), "made up");
        assert!(named("172.20.1.5", true), "sent round by a router");
        assert!(named("172.20.2.9", false), "another node's");
    }

    #[test]
    fn without_a_reason_the_counter_tells_it_from_martians() {
        let none = Some(NO_REASON);
        assert!(is_named(None, (Some(7), Some(7))), "the kernel's own word");
        assert!(is_named(none, (Some(7), Some(11))));
        assert!(!is_named(none, (Some(7), Some(7))));
        assert!(is_named(none, (None, None)), "an unread counter");
    }
}
