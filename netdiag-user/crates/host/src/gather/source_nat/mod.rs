//! Which rule at postrouting translates the source of a packet: masquerade and SNAT. The chains are run as the kernel
//! does, on what is known of the packet: what nobody can tell may be so or not, and no mark is set on it (kube-proxy's own
//! rules are for marked packets).
mod keeper;
mod packet;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Result, ensure};
use netdiag_ruleset::{Index, Said, run};

use self::packet::Unsure;
use crate::{
    model::{
        netfilter::Iptables,
        source_nat::{Leaving, SourceNat},
        text,
        world::ruleset::{ChainKind, Expression, Hook, NatKind, Rule, Ruleset, Table},
    },
    stack::ruleset::{self, Most},
};

const MOST: Most = Most {
    rules: 1 << 17,
    elements: 1 << 18,
    comments: false,
};
/// Ways on which a packet may come through the chains, by what nobody can tell of it.
const WAYS: usize = 4096;
/// Characters of a rule's place.
const LONGEST: usize = 600;
const NAT: &str = "nat";
const POSTROUTING: &str = "POSTROUTING";
/// Targets of iptables that translate sources.
const TARGETS: [&str; 3] = ["MASQUERADE", "NETMAP", "SNAT"];

/// Of this thread's namespace; the CNI's files are looked up under `root`.
pub fn source_nat(root: &Path, packet: &Leaving) -> Result<SourceNat> {
    let mut found = of(&*ruleset::whole(MOST)?, packet)?;
    found.keeper = keeper::find(root);
    Ok(found)
}

fn of(rules: &Ruleset, packet: &Leaving) -> Result<SourceNat> {
    let ipv6 = packet.source.is_ipv6();
    let tables = rules.tables.iter().filter(|table| table.family.has(ipv6));
    let translating = tables.clone().flat_map(|table| &table.chains);
    let translating = translating
        .flat_map(|chain| &chain.rules)
        .filter(|rule| translates(rule));
    let rule = by(rules, packet)?;
    Ok(SourceNat {
        others: (translating.count() as u64).saturating_sub(u64::from(rule.is_some())),
        rule,
        programs: tables.filter_map(program).collect(),
        keeper: None,
    })
}

/// The rule that translates it, or may.
fn by(rules: &Ruleset, packet: &Leaving) -> Result<Option<String>> {
    let mut ways = 0;
    for (table, chain, base) in rules.at(Hook::Postrouting, packet.source.is_ipv6()) {
        if base.kind != ChainKind::Nat {
            continue;
        }
        let index = Index::new(table);
        // What was chosen so far, of ways that are still to go.
        let mut open = vec![Vec::new()];
        while let Some(chosen) = open.pop() {
            ways += 1;
            ensure!(
                ways <= WAYS,
                "more than {WAYS} ways lead through the rules that translate"
            );
            let mut asked = Unsure::new(packet, rules, &chosen);
            let ran = run(&index, &chain.name, &mut asked, None);
            let all = match ran.said {
                Said::Either => 2,
                Said::Chooses(shares) => shares.len(),
                Said::Nat(_) => return Ok(Some(place(table, ran.by))),
                // It may translate, and so may what is behind it.
                Said::Maybe | Said::TooLong if any(table) => {
                    return Ok(Some(place(table, ran.by)));
                }
                _ => continue,
            };
            // The first way, that it holds, is the next to go.
            open.extend(
                (0..all)
                    .rev()
                    .map(|way| [chosen.as_slice(), &[way]].concat()),
            );
        }
    }
    Ok(None)
}

fn any(table: &Table) -> bool {
    let mut rules = table.chains.iter().flat_map(|chain| &chain.rules);
    rules.any(translates)
}

fn translates(rule: &Rule) -> bool {
    rule.expressions.iter().any(|one| match one {
        Expression::Nat(nat) => matches!(nat.kind, NatKind::Source | NatKind::Masquerade),
        Expression::Xtables {
            target: true, name, ..
        } => TARGETS.contains(&name.as_str()),
        _ => false,
    })
}

fn place(table: &Table, rule: Option<&Rule>) -> String {
    let Some(rule) = rule else {
        return table.name.clone();
    };
    let mut chains = table.chains.iter();
    let chain = chains.find(|chain| chain.rules.iter().any(|one| std::ptr::eq(one, rule)));
    let chain = chain.map_or("", |chain| &chain.name);
    let place = format!(
        "{} {} {chain} handle {}",
        table.family.name(),
        table.name,
        rule.handle
    );
    text::line(&place, LONGEST)
}

/// Which iptables has rules there.
fn program(table: &Table) -> Option<Iptables> {
    let chain = table.chain(POSTROUTING).filter(|_| table.name == NAT)?;
    let program = table.program(table.chains.iter().flat_map(|chain| &chain.rules));
    program.filter(|_| !chain.rules.is_empty())
}
