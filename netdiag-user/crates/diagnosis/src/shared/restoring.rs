//! How a way is opened again that a rule or a route refuses, or that is gone.
use std::net::IpAddr;

use netdiag_lang::t;

use super::{daemon, local_pod_route, own_range, pod_networks, refused::Case};
use crate::{
    model::{
        node::{MAIN, Route, RouteKind},
        policy::Chosen,
        shell::CommandLine,
        verdict::Fix,
    },
    pipeline::facts::Facts,
    shell,
};

/// Takes away the rule that says no by itself, or the route that it leads to; where that route is what a
/// table falls back on, the one before it is missing.
pub fn allow(facts: &Facts<'_>, chosen: Chosen<'_>, to: IpAddr) -> Option<Fix> {
    let (summary, command) = match chosen {
        Chosen::RefusingRule(rule) => (
            t!(
                "find out who set the policy rule \"{}\" and delete it",
                rule.text()
            ),
            rule.delete(),
        ),
        Chosen::RefusingRoute(route, Some(_)) if falls_back(facts, route, to) => (
            t!(
                "bring back the route to {to} in table {}: {} is what the table falls back on to \
                 keep packets from another way",
                route.table,
                route.destination
            ),
            missing(facts, route, to).unwrap_or_else(|| {
                shell!("ip route show table {}", route.table)
                    .of_family(route.destination.address.is_ipv6())
            }),
        ),
        Chosen::RefusingRoute(route, Some(rule)) if route.table != MAIN => {
            let (to, table) = (route.destination, route.table);
            (
                t!(
                    "find out who set the refusing route {to} in table {table}, to which \"{}\" \
                     leads, and take it away",
                    rule.text()
                ),
                delete(route).of_family(rule.ipv6),
            )
        }
        _ => return None,
    };
    Some(Fix {
        summary,
        commands: vec![command],
    })
}

/// Opens the way of a packet that no route takes, or one that refuses.
pub fn fix(facts: &Facts<'_>, case: &Case<'_, '_>) -> Fix {
    let to = case.pattern.destination;
    if let Some(fix) = allow(facts, case.asked, to) {
        return fix;
    }
    if let Some(link) = local_pod_route::missing(facts, to) {
        return local_pod_route::lead(facts, to, link);
    }
    if let Some(route) = own_range::of(facts, to) {
        return nobodys(route, to, own_range::is_translated(facts, &case.pattern));
    }
    // With the refusing one gone there may be none.
    let before = facts.way_before(&facts.from_to(case.pattern.source, to));
    let before = before.filter(|r| r.kind == RouteKind::Unicast);
    let before = before.and_then(|r| again(facts, r));
    match case.asked.route() {
        Some(route) if route.kind == RouteKind::Refusing => refusing(facts, route, to, before),
        _ => bring_back(facts, to, before),
    }
}

/// Of this node's own range, and no pod has it.
fn nobodys(route: &Route, to: IpAddr, translated: bool) -> Fix {
    let range = route.destination;
    if !translated {
        return Fix {
            summary: t!(
                "{} is this node's own range of pod addresses, and no pod has {to}: find out who \
                 still asks for it",
                range
            ),
            commands: vec![shell!("ip route show {}", range).of_family(to.is_ipv6())],
        };
    }
    let known = shell!("conntrack -L --reply-src {}", to);
    Fix {
        summary: t!(
            "{} is this node's own range of pod addresses, and no pod has {to}: a rule of this node \
             or an entry of its connection tracking still translates to it (a hostPort of a pod that \
             is gone): delete it",
            range
        ),
        commands: translating(to).into_iter().chain([known]).collect(),
    }
}

/// Lists the rules that translate to or from an address.
pub fn translating(address: IpAddr) -> Vec<CommandLine> {
    let by_iptables = match address.is_ipv4() {
        true => shell!("iptables-save -t nat"),
        false => shell!("ip6tables-save -t nat"),
    };
    let lists = [by_iptables, shell!("nft -a list ruleset")].into_iter();
    lists
        .map(|list| list.pipe(shell!("grep -F -w -e {v}", address)))
        .collect()
}

fn refusing(facts: &Facts<'_>, route: &Route, to: IpAddr, before: Option<CommandLine>) -> Fix {
    let range = route.destination;
    let mut pods = facts.node.pod_sides.iter().flat_map(|s| &s.addresses);
    if range.length > 0 && pods.any(|a| range.contains(*a)) {
        return Fix {
            summary: t!(
                "pods of this node are in {range}: where the CNI set it for this node's own \
                 range, the pod {to} is gone, and who still asks for it is to be found; else \
                 find out who set it and take it away"
            ),
            commands: vec![shell!("ip route show {}", range).of_family(to.is_ipv6())],
        };
    }
    let before = before.filter(|command| command.contains(&range.to_string()));
    let delete = delete(route).of_family(to.is_ipv6());
    Fix {
        summary: t!("find out who set the refusing route {range} and take it away"),
        commands: [delete].into_iter().chain(before).collect(),
    }
}

fn bring_back(facts: &Facts<'_>, to: IpAddr, before: Option<CommandLine>) -> Fix {
    let look = || {
        let show = [
            shell!("ip route show").of_family(to.is_ipv6()),
            shell!("ip route get {}", to),
        ];
        // Only its daemon knows by whom the other node's pods are reached.
        let pods = pod_networks::pod_address(facts, to).is_some();
        let daemon = daemon::of_network(facts).filter(|_| pods);
        let restart = daemon.map(|it| it.restart(facts));
        show.into_iter().chain(restart).collect()
    };
    Fix {
        summary: t!(
            "bring back the route to {to}: another node's pods are routed by the CNI's agent \
             (restart it), the rest of the world by the default route",
        ),
        commands: before.map_or_else(look, |command| vec![command]),
    }
}

/// What the kernel gives a route that nobody gave a metric (net/ipv6/route.c, IP6_RT_PRIO_USER).
const USUAL: [u32; 2] = [0, 1024];

/// A refusing route behind all others of its table (a VPN's, a policy's), so that nothing leaves by the
/// main table while they are gone.
fn falls_back(facts: &Facts<'_>, route: &Route, to: IpAddr) -> bool {
    let usual = USUAL[usize::from(route.destination.address.is_ipv6())];
    route.metric > usual || missing(facts, route, to).is_some()
}

/// The usable route of its table that was there when the run began.
fn missing(facts: &Facts<'_>, refusing: &Route, to: IpAddr) -> Option<CommandLine> {
    let leads = |r: &&Route| {
        r.kind == RouteKind::Unicast && r.table == refusing.table && r.destination.contains(to)
    };
    let before = facts.start.routes.iter().filter(leads);
    let before = before.max_by_key(|r| (r.destination.length, std::cmp::Reverse(r.metric)))?;
    again(facts, before).filter(|_| !facts.node.routes.contains(before))
}

pub fn delete(route: &Route) -> CommandLine {
    let delete = shell!("ip route del {}", route.destination);
    match route.table {
        MAIN => delete,
        table => delete.with_names(["table", &table.to_string()]),
    }
}

/// Sets the route again that was there when the run began.
pub fn again(facts: &Facts<'_>, route: &Route) -> Option<CommandLine> {
    let link = facts.start.link(route.oif?)?;
    let near = |to: IpAddr| link.addresses.iter().any(|a| a.prefix.contains(to));
    // A tunnel's gateway is the other end, which no address of the tunnel says to be near.
    let far = route.gateway.is_some_and(|g| !near(g));
    let add = shell!("ip route add {}", route.destination);
    let (table, metric) = (route.table.to_string(), route.metric.to_string());
    let add = match route.gateway {
        Some(gateway) => add.with_names(["via", &gateway.to_string()]),
        None => add,
    };
    let add = add.with_names(["dev", &link.name]);
    let add = add.with_names(far.then_some("onlink"));
    let add = match route.table {
        MAIN => add,
        _ => add.with_names(["table", &table]),
    };
    Some(match route.metric {
        0 => add,
        _ => add.with_names(["metric", &metric]),
    })
}
