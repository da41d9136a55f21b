//! What shows that a rule took them.
use netdiag_lang::t;

use crate::{
    model::{
        address::Prefix,
        gather::Rule,
        journal::Thing,
        netfilter::Chain,
        node::Link,
        verdict::{Evidence, EvidenceKind, Origin},
    },
    pipeline::facts::Facts,
    shell,
};

/// How a rule was found out to take them.
#[derive(Clone, Copy)]
pub struct Found {
    /// Their ways end there.
    pub computed: bool,
    /// No other that refuses matches them.
    pub alone: bool,
}

pub fn rule(facts: &Facts<'_>, netns: u32, (rule, found): (&Rule, Found)) -> Evidence {
    let (place, text) = (&rule.place, &rule.text);
    let (origin, text) = match (rule.asks.policy, rule.counted) {
        (Some(_), true) => (
            Origin::Observed,
            t!("the counter of the policy of {place} moves: it drops what no rule accepts"),
        ),
        (Some(_), false) => (
            Origin::Configured,
            t!("the policy of {place} drops what no rule accepts: {text}"),
        ),
        (None, true) => (
            Origin::Observed,
            t!("the counter of this rule of {place} moves: {text}"),
        ),
        (None, false) if found.computed => (
            Origin::Configured,
            t!("of all rules as they are this one of {place} takes them: {text}"),
        ),
        (None, false) if found.alone => (
            Origin::Configured,
            t!("of the rules that refuse anything this one of {place} alone matches them: {text}"),
        ),
        (None, false) => (
            Origin::Configured,
            t!("this rule of {place} counts nothing and may take them: {text}"),
        ),
    };
    let mut line = Evidence::new(EvidenceKind::Rule, origin, text);
    line.packets = rule.counted.then_some(rule.packets);
    line.confirm = rule.list().map(|list| facts.node.inside(netns, list));
    // The journal is the node's own.
    let chain = rule.origin.chain().filter(|_| netns == facts.node.netns);
    line.of(chain.map(|chain| match rule.origin.handle() {
        Some(handle) => Thing::Rule { chain, handle },
        None => Thing::Chain { chain },
    }))
}

/// Whoever wrote the rule took that range for nobody's.
pub fn overlap((link, network, range): (&Link, Prefix, Prefix)) -> Evidence {
    let name = &link.name;
    let text = t!(
        "{network}, the network of {name}, lies in {range}, which the rule keeps away: its hosts are taken for what that range is for \
         (Services' addresses, pods')"
    );
    let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
    line.confirm = Some(shell!("ip address show dev {}", name));
    line
}

pub fn untracked((chain, handle): &(Chain, u64)) -> Evidence {
    let (family, table, name) = (chain.family.name(), &chain.table, &chain.chain);
    let text = t!(
        "a rule of {family} {table} {name} keeps connection tracking from seeing them (notrack, handle {handle}): rules for \
         established connections do not know them"
    );
    let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, text);
    line.confirm =
        Some(shell!("nft -a list chain {} {} {}", family, table, name).showing(&["notrack"]));
    line
}
