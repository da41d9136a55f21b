//! What leaves this node dies at the very next hop, which says that its hops are used up, and a rule here sets how many it has.
use std::net::IpAddr;

use netdiag_lang::t;

use super::story::{Case, Story, each};
use crate::{
    model::{
        address::from_wire,
        flow::ends,
        gather::Want,
        journal::Thing,
        netfilter::Chain,
        node::Link,
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin},
        world::ruleset::{Base, Compare, Data, Expression, Load, Meta, Reg, Rule, Store, Table},
    },
    pipeline::facts::Facts,
    shared::{
        hops::{FEW, is_expired},
        rule_evidence::{origin, place, without},
    },
    unexplained::{Symptom, Symptoms},
};

/// The rule that sets it.
#[derive(PartialEq)]
struct Sets {
    chain: Chain,
    legacy: bool,
    handle: u64,
    /// The next hop that says so.
    says: IpAddr,
}

/// The rules tell.
pub fn wants(facts: &Facts<'_>) -> Option<Want> {
    let hop = |address: IpAddr| facts.node.routes.iter().any(|r| r.gateway == Some(address));
    let mut errors = facts.icmp_errors.iter();
    let says = errors.any(|(key, _)| is_expired(key) && hop(from_wire(key.sender)));
    says.then_some(Want::Stack(facts.node.netns))
}

pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let left = symptoms.left(facts, findings);
    let short = left.filter_map(|symptom| Some((Sets::of(facts, symptom)?, symptom)));
    each(facts, short, |case, sets| sets.tell(case))
}

impl Sets {
    fn of(facts: &Facts<'_>, symptom: &Symptom) -> Option<Self> {
        let says = next_hop_says_so(facts, symptom)?;
        let ipv6 = symptom.far().is_ipv6();
        let stack = facts.gathered.stack(facts.node.netns)?;
        let tables = &stack.ruleset.some()?.tables;
        let link = facts.link(symptom.last.as_ref()?.key.ifindex)?;
        let mine = |table: &&Table| table.family.has(ipv6) && !table.dormant;
        let rules = tables.iter().filter(mine).flat_map(|table| {
            let chains = table.chains.iter();
            chains.flat_map(move |chain| chain.rules.iter().map(move |rule| (table, chain, rule)))
        });
        let mut setting = rules.filter(|(.., rule)| few_hops(rule, ipv6) && leaves_by(rule, link));
        // Of several nobody knows which it was.
        let (table, chain, rule) = setting.next().filter(|_| setting.next().is_none())?;
        Some(Self {
            chain: Chain {
                family: table.family,
                table: table.name.clone(),
                chain: chain.name.clone(),
            },
            legacy: table.legacy,
            handle: rule.handle,
            says,
        })
    }

    fn tell(&self, case: &Case<'_, '_>) -> Story {
        let (client, what, asked, says) = (case.client, &case.what, case.asked, self.says);
        let rule = place(&self.chain);
        let summary = t!(
            "what {client} asks {what} dies at the next hop {says}, where its hops (TTL) are used up: a rule of {rule} sets them; {asked} times, unanswered"
        );
        let text = t!(
            "a rule of {rule} sets how many hops a packet has (handle {})",
            self.handle
        );
        let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, text);
        line.confirm = origin(&self.chain, self.legacy, self.handle).list();
        let thing = Thing::Rule {
            chain: self.chain.clone(),
            handle: self.handle,
        };
        let line = line.of((!self.legacy).then_some(thing));
        let left = { case.worst().last.as_ref() }.and_then(|hop| case.facts.link(hop.key.ifindex));
        let seen = left.map(|left| {
            let text = t!("{says} answers that its time to live is exceeded");
            case.leaving(left, text)
        });
        let fix = Fix {
            summary: t!(
                "take the rule away, or let it set more hops than the way has: find out who wrote it (against tethering, or to keep packets on one link)"
            )
            .into(),
            commands: self.commands(),
        };
        Story::suspected(summary, seen.into_iter().chain([line]), fix)
    }

    fn commands(&self) -> Vec<CommandLine> {
        match self.legacy {
            false => without(&self.chain, self.handle),
            true => { origin(&self.chain, true, self.handle).list() }
                .into_iter()
                .collect(),
        }
    }
}

/// Its own next hop, which nobody else comes before: there its hops were one.
fn next_hop_says_so(facts: &Facts<'_>, symptom: &Symptom) -> Option<IpAddr> {
    let gateway = facts.way(&facts.from_node(symptom.far()))?.gateway?;
    let about = |flow| {
        symptom
            .ends()
            .any(|(client, server)| ends(flow) == (client, server.0))
    };
    let mut errors = facts.icmp_errors.iter();
    let says = errors
        .any(|(key, _)| is_expired(key) && from_wire(key.sender) == gateway && about(&key.about));
    says.then_some(gateway)
}

/// Whether a rule writes the byte of the header that counts hops (RFC 791, RFC 8200), and a small number.
fn few_hops(rule: &Rule, ipv6: bool) -> bool {
    let (at, target) = if ipv6 { (7, "HL") } else { (8, "TTL") };
    rule.expressions
        .iter()
        .enumerate()
        .any(|(n, one)| match one {
            Expression::Store(Store::Payload { base, offset, .. }, reg) => {
                let byte = |at: u32| usize::try_from(at.checked_sub(*offset)?).ok();
                let byte = byte(at).filter(|_| *base == Base::Network);
                byte.and_then(|byte| written(&rule.expressions[..n], *reg, byte))
                    .is_some_and(|to| to <= FEW)
            }
            // `struct ipt_TTL_info`: to set it is the first of its modes.
            Expression::Xtables {
                target: true,
                name,
                info,
                ..
            } => name == target && matches!(info.as_slice(), [0, to, ..] if *to <= FEW),
            _ => false,
        })
}

/// What that byte of a register is set to, where it is not what it was.
fn written(before: &[Expression], to_store: Reg, byte: usize) -> Option<u8> {
    before.iter().rev().find_map(|one| match one {
        Expression::Sets(Data::Value(value), to) if *to == to_store => {
            Some(value.as_slice().get(byte).copied())
        }
        Expression::Masks { to, mask, xor, .. } if *to == to_store => {
            let cleared = mask.as_slice().get(byte) == Some(&0);
            Some(xor.as_slice().get(byte).copied().filter(|_| cleared))
        }
        _ => None,
    })?
}

/// It asks for no other link than that by which they left.
fn leaves_by(rule: &Rule, link: &Link) -> bool {
    let pairs = rule.expressions.windows(2);
    let other = |pair: &[Expression]| match pair {
        [
            Expression::Load(Load::Meta(Meta::OifName), _),
            Expression::Compare {
                how: Compare::Equal,
                with,
                ..
            },
        ] => {
            let own = link.name.as_bytes();
            let name = with.as_slice();
            // A whole name ends with zeros, the beginning of some does not.
            !match name.iter().position(|byte| *byte == 0) {
                Some(end) => own == &name[..end],
                None => own.starts_with(name),
            }
        }
        _ => false,
    };
    !{ pairs }.any(other)
}

#[cfg(test)]
mod tests;
