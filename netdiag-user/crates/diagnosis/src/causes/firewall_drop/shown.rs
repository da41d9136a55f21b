//! What shows that a rule took them.
use netdiag_lang::t;

use crate::{
    model::{
        address::Prefix,
        netfilter::Chain,
        node::Link,
        verdict::{Evidence, EvidenceKind, Origin},
    },
    shared::rule_evidence,
    shell,
};

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
    let list = rule_evidence::origin(chain, false, *handle).list();
    line.confirm = list.map(|list| list.showing(&["notrack"]));
    line
}
