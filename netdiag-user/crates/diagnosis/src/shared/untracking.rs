//! Rules that keep packets from connection tracking, or give them a zone of their own.
use netdiag_lang::t;

use super::rule_evidence::{origin, place};
use crate::{
    model::{
        journal::Thing,
        netfilter::Chain,
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Origin},
        world::ruleset::{self, Expression, Rule, Table},
    },
    pipeline::facts::Facts,
    shell,
};

/// Rules that are told.
const RULES: usize = 3;

/// Where those of this node stand, as far as they are known.
pub fn evidence(facts: &Facts<'_>) -> Vec<Evidence> {
    let stack = facts.gathered.stack(facts.node.netns);
    let tables = stack.and_then(|stack| stack.ruleset.some());
    let tables = tables.into_iter().flat_map(|all| all.tables.iter());
    let rules = tables.flat_map(|table| {
        table.chains.iter().flat_map(move |chain| {
            let apart = chain.rules.iter().filter(|rule| {
                let mut all = rule.expressions.iter();
                all.any(|one| one.untracks() || one.gives_zone())
            });
            apart.map(move |rule| (table, chain, rule))
        })
    });
    let line = |(table, chain, rule): (&Table, &ruleset::Chain, &Rule)| {
        let of = Chain {
            family: table.family,
            table: table.name.clone(),
            chain: chain.name.clone(),
        };
        let handle = rule.handle;
        let what = match rule.expressions.iter().any(Expression::untracks) {
            true => t!("does not let connection tracking see what it takes"),
            false => t!("gives what it takes a zone of its own"),
        };
        let text = t!("a rule of {} {what} (handle {handle})", place(&of));
        let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, text);
        line.confirm = origin(&of, table.legacy, handle).list();
        line.of((!table.legacy).then_some(Thing::Rule { chain: of, handle }))
    };
    rules.take(RULES).map(line).collect()
}

/// Shows them.
pub fn look() -> Vec<CommandLine> {
    vec![
        shell!("nft -a list ruleset | grep -e notrack -e zone"),
        shell!("iptables-save -t raw"),
    ]
}
