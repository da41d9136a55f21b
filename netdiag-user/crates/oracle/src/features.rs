//! What worlds have of what people's networks have, so that a table tells which of these were tried together.
use std::collections::{BTreeMap, BTreeSet};

use netdiag_model::{
    node::{LOCAL, MAIN},
    world::{
        Stack, World,
        device::{Device, Kind as DeviceKind},
        route::{Kind, Route},
        ruleset::{Expression, NatKind, Table as Rules},
    },
};

type Has = fn(&Stack) -> bool;

/// Its name, and which worlds have it.
type Feature = (&'static str, Has);

const FEATURES: [Feature; 8] = [
    ("rule by mark", marked),
    ("strict reverse path", is_strict),
    ("two uplinks", has_two_uplinks),
    ("VXLAN", has_vxlan),
    ("small MTU", has_small_mtu),
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

/// Those of worlds with rules.
const OF_RULES: [Feature; 9] = [
    ("rule by mark", marked),
    ("DNAT", |stack| has_rule(stack, &|one| turns(one, true))),
    ("masquerade", |stack| {
        has_rule(stack, &|one| turns(one, false))
    }),
    ("br_netfilter", asks_at_bridges),
    ("VXLAN", has_vxlan),
    ("strict reverse path", is_strict),
    ("two uplinks", has_two_uplinks),
    ("small MTU", has_small_mtu),
    ("two engines", has_two_engines),
];

/// Those that are told apart.
pub fn of(rules: bool) -> &'static [Feature] {
    if rules { &OF_RULES } else { &FEATURES }
}

/// How many worlds have so many of them, and how many packets were sent where two are together.
#[derive(Default)]
pub struct Table {
    worlds: u64,
    with_three: u64,
    pairs: BTreeMap<(&'static str, &'static str), u64>,
}

impl Table {
    pub fn count(&mut self, features: &'static [Feature], world: &World, packets: u64) {
        let has = |(_, has): &&(&str, Has)| world.stacks.values().any(has);
        let here = features.iter().filter(has).map(|(name, _)| *name);
        let here: BTreeSet<&'static str> = here.collect();
        self.worlds += 1;
        self.with_three += u64::from(here.len() >= 3);
        for a in &here {
            for b in here.iter().filter(|b| *b > a) {
                *self.pairs.entry((a, b)).or_default() += packets;
            }
        }
    }

    /// A line for each pair, the rarest first.
    pub fn lines(&self, features: &'static [Feature]) -> Vec<String> {
        let names = || features.iter().map(|(name, _)| *name);
        let pairs = names().flat_map(|a| names().filter(move |b| *b > a).map(move |b| (a, b)));
        let count =
            |pair: &(&'static str, &'static str)| self.pairs.get(pair).copied().unwrap_or(0);
        let mut all: Vec<_> = pairs.map(|pair| (count(&pair), pair)).collect();
        all.sort_unstable();
        let first = format!(
            "{} of {} worlds have three or more of {} features; packets where two are together:",
            self.with_three,
            self.worlds,
            features.len()
        );
        let lines = all
            .iter()
            .map(|(count, (a, b))| format!("  {count:>8}  {a} + {b}"));
        [first].into_iter().chain(lines).collect()
    }
}

fn has_vxlan(stack: &Stack) -> bool {
    any_device(stack, |d| matches!(d.kind, DeviceKind::Vxlan(_)))
}

fn has_small_mtu(stack: &Stack) -> bool {
    any_device(stack, |d| d.mtu < 1450)
}

fn has_rule(stack: &Stack, is: &dyn Fn(&Expression) -> bool) -> bool {
    let tables = stack.ruleset.some().into_iter();
    let chains = tables
        .flat_map(|ruleset| &ruleset.tables)
        .flat_map(|table| &table.chains);
    let mut rules = chains.flat_map(|chain| &chain.rules);
    rules.any(|rule| rule.expressions.iter().any(is))
}

/// Whether it gives connections another destination, or another source.
fn turns(one: &Expression, destination: bool) -> bool {
    match one {
        Expression::Nat(nat) => {
            let other = matches!(nat.kind, NatKind::Destination | NatKind::Redirect);
            other == destination
        }
        Expression::Xtables { target, name, .. } => {
            let names: &[&str] = match destination {
                true => &["DNAT", "REDIRECT"],
                false => &["SNAT", "MASQUERADE"],
            };
            *target && names.contains(&name.as_str())
        }
        _ => false,
    }
}

/// What a bridge carries is asked about.
fn asks_at_bridges(stack: &Stack) -> bool {
    let all = stack
        .settings
        .some()
        .is_some_and(|it| it.bridge_calls_iptables || it.bridge_calls_ip6tables);
    let calls = |d: &Device| matches!(d.kind, DeviceKind::Bridge(own) if own.nf_call_iptables || own.nf_call_ip6tables);
    (all && any_device(stack, |d| d.port.is_some())) || any_device(stack, calls)
}

/// Tables of nft's own making, and of iptables-nft's.
fn has_two_engines(stack: &Stack) -> bool {
    let theirs = |one: &Expression| matches!(one, Expression::Xtables { .. });
    let tables = stack
        .ruleset
        .some()
        .into_iter()
        .flat_map(|ruleset| &ruleset.tables);
    let of = |table: &Rules| {
        let mut rules = table
            .chains
            .iter()
            .flat_map(|chain| &chain.rules)
            .peekable();
        let some = rules.peek().is_some();
        some.then(|| rules.flat_map(|rule| &rule.expressions).any(theirs))
    };
    let all: BTreeSet<bool> = tables.filter_map(of).collect();
    all.len() == 2
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
