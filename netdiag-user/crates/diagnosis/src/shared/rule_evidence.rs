//! What shows that a rule took packets.
use netdiag_lang::t;

use crate::{
    model::{
        gather::Rule,
        journal::Thing,
        netfilter::{Chain, Iptables, RuleOrigin},
        shell::CommandLine,
        text,
        verdict::{Evidence, EvidenceKind, Origin},
    },
    pipeline::{facts::Facts, taker::Taker},
};

/// Characters of the name of a rule's place.
const PLACE: usize = 200;

/// Its family, table and chain, which somebody named.
pub fn place(chain: &Chain) -> String {
    let place = format!("{} {} {}", chain.family.name(), chain.table, chain.chain);
    text::line(&place, PLACE)
}

/// A rule of whose words nothing is known: what it is listed by, and in nf_tables taken away.
pub fn origin(chain: &Chain, legacy: bool, handle: u64) -> RuleOrigin {
    let program = match chain.family.has(false) {
        true => Iptables::Legacy4,
        false => Iptables::Legacy6,
    };
    match legacy {
        true => RuleOrigin::Iptables {
            program,
            table: chain.table.clone(),
            chain: chain.chain.clone(),
            words: None,
            number: None,
        },
        false => RuleOrigin::Nft {
            chain: chain.clone(),
            handle: Some(handle),
        },
    }
}

/// The same of what takes packets; of a chain's policy the chain.
pub fn origin_of(taker: &Taker) -> RuleOrigin {
    let chain = &taker.chain;
    match (taker.rule, taker.legacy) {
        (Some(rule), true) => match origin(chain, true, rule.handle) {
            RuleOrigin::Iptables {
                program,
                table,
                chain,
                ..
            } => RuleOrigin::Iptables {
                program,
                table,
                chain,
                words: None,
                number: Some(rule.number),
            },
            other => other,
        },
        (Some(rule), false) => origin(chain, false, rule.handle),
        (None, true) => origin(chain, true, 0),
        (None, false) => RuleOrigin::Nft {
            chain: chain.clone(),
            handle: None,
        },
    }
}

/// Lists the chain of a rule of nf_tables, and takes the rule away.
pub fn without(chain: &Chain, handle: u64) -> Vec<CommandLine> {
    let origin = origin(chain, false, handle);
    [origin.list(), origin.delete()]
        .into_iter()
        .flatten()
        .collect()
}

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
