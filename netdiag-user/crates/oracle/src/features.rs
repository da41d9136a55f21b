//! What worlds have of what people's networks have, so that a table tells which of these were tried together.
use std::collections::{BTreeMap, BTreeSet};

use netdiag_model::{
    node::{LOCAL, MAIN},
    world::{
        Stack, World,
        device::{Device, Kind as DeviceKind},
        route::{Kind, Route},
    },
};

type Has = fn(&Stack) -> bool;

const FEATURES: [(&str, Has); 8] = [
    ("rule by mark", marked),
    ("strict reverse path", |stack| is_strict(stack)),
    ("two uplinks", has_two_uplinks),
    ("VXLAN", |stack| {
        any_device(stack, |d| matches!(d.kind, DeviceKind::Vxlan(_)))
    }),
    ("small MTU", |stack| any_device(stack, |d| d.mtu < 1450)),
    ("isolation or hairpin", |stack| {
        any_device(stack, |d| {
            d.port.is_some_and(|port| port.isolated || port.hairpin)
        })
    }),
    ("refusing table", |stack| any_route(stack, refuses)),
    ("proxied neighbours", |stack| {
        stack.proxied.some().is_some_and(|all| !all.is_empty())
    }),
];

/// How many worlds have so many of them, and how many packets were sent where two are together.
#[derive(Default)]
pub struct Table {
    worlds: u64,
    with_three: u64,
    pairs: BTreeMap<(&'static str, &'static str), u64>,
}

impl Table {
    pub fn count(&mut self, world: &World, packets: u64) {
        let has = |(_, has): &&(&str, Has)| world.stacks.values().any(has);
        let here: BTreeSet<&'static str> =
            FEATURES.iter().filter(has).map(|(name, _)| *name).collect();
        self.worlds += 1;
        self.with_three += u64::from(here.len() >= 3);
        for a in &here {
            for b in here.iter().filter(|b| *b > a) {
                *self.pairs.entry((a, b)).or_default() += packets;
            }
        }
    }

    /// A line for each pair, the rarest first.
    pub fn lines(&self) -> Vec<String> {
        let names = || FEATURES.iter().map(|(name, _)| *name);
        let pairs = names().flat_map(|a| names().filter(move |b| *b > a).map(move |b| (a, b)));
        let count =
            |pair: &(&'static str, &'static str)| self.pairs.get(pair).copied().unwrap_or(0);
        let mut all: Vec<_> = pairs.map(|pair| (count(&pair), pair)).collect();
        all.sort_unstable();
        let first = format!(
            "{} of {} worlds have three or more of {} features; packets where two are together:",
            self.with_three,
            self.worlds,
            FEATURES.len()
        );
        let lines = all
            .iter()
            .map(|(count, (a, b))| format!("  {count:>8}  {a} + {b}"));
        [first].into_iter().chain(lines).collect()
    }
}

fn any_device(stack: &Stack, wanted: impl Fn(&Device) -> bool) -> bool {
    let all = stack.devices.some();
    all.is_some_and(|all| all.values().any(wanted))
}

fn any_route(stack: &Stack, wanted: impl Fn(&Route) -> bool) -> bool {
    let all = stack.routes.some();
    all.is_some_and(|all| all.iter().any(wanted))
}

fn marked(stack: &Stack) -> bool {
    let rules = stack.rules.some();
    rules.is_some_and(|all| all.iter().any(|rule| rule.mark.is_some()))
}

fn is_strict(stack: &Stack) -> bool {
    let all = stack
        .settings
        .some()
        .is_some_and(|it| it.all4.rp_filter == 1);
    all || any_device(stack, |d| d.conf4.is_some_and(|conf| conf.rp_filter == 1))
}

#[expect(clippy::disallowed_methods, reason = "of the routes themselves")]
fn has_two_uplinks(stack: &Stack) -> bool {
    let routes = stack.routes.some().into_iter().flatten();
    let defaults = routes.filter(|r| r.kind == Kind::Unicast && r.to.is_anywhere());
    let by: BTreeSet<u32> = defaults
        .flat_map(|r| r.hops.iter().map(|hop| hop.device))
        .collect();
    by.len() > 1
}

fn refuses(route: &Route) -> bool {
    let kind = matches!(
        route.kind,
        Kind::Blackhole | Kind::Unreachable | Kind::Prohibit | Kind::Throw
    );
    kind && ![MAIN, LOCAL].contains(&route.table)
}
