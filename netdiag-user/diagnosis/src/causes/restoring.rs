//! How a way is opened again that a rule or a route refuses, or that is gone.
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        node::{MAIN, Route},
        policy::Chosen,
        shell::CommandLine,
        verdict::Fix,
    },
    pipeline::facts::Facts,
    shell,
};

/// Takes away the rule that says no by itself, or the route that it leads to.
pub fn allow(chosen: Chosen<'_>) -> Option<Fix> {
    let (summary, command) = match chosen {
        Chosen::RefusingRule(rule) => (
            t!(
                "find out who set the policy rule \"{}\" and delete it",
                rule.text()
            ),
            rule.delete(),
        ),
        Chosen::RefusingRoute(route, Some(rule)) if route.table != MAIN => {
            let (to, table) = (route.destination, route.table);
            (
                t!(
                    "find out who set the refusing route {to} in table {table}, to which \"{}\" \
                     leads, and take it away",
                    rule.text()
                ),
                shell!("ip route del {} table {}", to, table).of_family(rule.ipv6),
            )
        }
        _ => return None,
    };
    Some(Fix {
        summary,
        commands: vec![command],
    })
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
