//! The smallest change that brings packets through the rules that refuse them: tried on their computed ways, there and back.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netdiag_forwarding::way::Step;
use netdiag_lang::t;

use super::taken::Taken;
use crate::{
    model::{
        gather::{Asks, Pass, Rule},
        shell::CommandLine,
        verdict::Fix,
    },
    pipeline::{
        facts::Facts,
        tried::{Opened, Then},
    },
    shared::{
        dead_end,
        losses::DropGroup,
        matching_rules::{is_taker, origin},
        rule_evidence,
    },
};

/// Kinds of packets that are let through one by one: more than that are another matter.
const KINDS: usize = 4;
/// A change for each of them in each of the rules that they meet, there and back.
const COMMANDS: usize = 8;

/// By protocol and the server's port, where it is one.
type Kinds<'k, 'a> = BTreeMap<(u8, Option<u16>), Vec<&'k DropGroup<'a>>>;

/// What lets all of them through.
#[derive(Default)]
struct Plan {
    commands: Vec<CommandLine>,
    /// Where the rules are that refuse them, too, behind the one that took them.
    also: BTreeSet<String>,
    /// What stops them next, which is no rule.
    behind: Option<String>,
    /// Nobody can tell whether they come through.
    untold: bool,
    /// The rule takes others as well: it stays.
    stays: bool,
}

pub fn rule(facts: &Facts<'_>, taken: &Taken<'_>, (worst, rule): (&DropGroup<'_>, &Rule)) -> Fix {
    let plan = Plan::of(facts, taken, rule);
    let (what, place) = (worst.target(), &rule.place);
    let summary = match &plan {
        Some(plan) if plan.stays => t!(
            "let {what} pass in the NetworkPolicy or firewall that set this rule of {place}, which takes others as \
             well; until then by a rule before it"
        ),
        _ => t!(
            "let {what} pass in the NetworkPolicy or firewall that set this rule of {place}, or take the rule away"
        ),
    };
    let delete = rule.delete().map(|it| facts.node.inside(taken.netns, it));
    finished((facts, taken, rule), (summary, plan), delete)
}

/// Whoever lets questions pass and their answers not, keeps out what is not accepted on purpose: that is not opened as a whole.
pub fn policy(facts: &Facts<'_>, taken: &Taken<'_>, (worst, rule): (&DropGroup<'_>, &Rule)) -> Fix {
    let plan = Plan::of(facts, taken, rule);
    let (what, place) = (worst.target(), &rule.place);
    let summary = match plan {
        Some(_) => t!(
            "let a rule of {place} accept {what}: its policy drops what none of them accepts; find out who set the \
             policy (Docker does for FORWARD, a hardening script for all)"
        ),
        None => t!(
            "let a rule of {place} accept {what}, or let its policy accept what no rule drops: find out who set \
             the policy (Docker does for FORWARD, a hardening script for all)"
        ),
    };
    let open = rule.delete().filter(|_| !worst.reply);
    let open = open.map(|it| facts.node.inside(taken.netns, it));
    finished((facts, taken, rule), (summary, plan), open)
}

/// With what the plan knows of what comes behind it; else as it can be done without one.
fn finished(
    (facts, taken, rule): (&Facts<'_>, &Taken<'_>, &Rule),
    (mut summary, plan): (String, Option<Plan>),
    otherwise: Option<CommandLine>,
) -> Fix {
    let list = rule.list().map(|it| facts.node.inside(taken.netns, it));
    let Some(plan) = plan else {
        let commands = list.into_iter().chain(otherwise).collect();
        return Fix { summary, commands };
    };
    if !plan.also.is_empty() {
        let also = Vec::from_iter(plan.also).join(t!(", "));
        summary += &t!("; {also} would take them next, and lets them pass with it");
    }
    if let Some(behind) = &plan.behind {
        summary += &t!("; behind it they end all the same: {behind}");
    }
    if plan.untold {
        summary += t!("; whether they come through then is not known");
    }
    let commands = list.into_iter().chain(plan.commands).collect();
    Fix { summary, commands }
}

impl Plan {
    /// Nothing where another rule than the one that took them is where their ways end, or some change cannot be made.
    fn of(facts: &Facts<'_>, taken: &Taken<'_>, rule: &Rule) -> Option<Self> {
        let mut plan = Self::default();
        for ((_, port), kind) in kinds(&taken.patterns)? {
            let losses = kind.iter().flat_map(|pattern| &pattern.losses);
            let loss = losses.max_by_key(|loss| loss.dropped.packets)?;
            let told = |step: &Step<'_>| Some(dead_end::told(facts, step)?.what);
            let tried = facts.let_through(loss.flow(), loss.dropped.largest, &told)?;
            let its_own =
                |opened: &Opened| opened.netns == taken.netns && is_taker(rule, &opened.by);
            if !tried.opened.first().is_some_and(its_own) {
                return None;
            }
            for opened in &tried.opened {
                plan.open(facts, its_own(opened), (opened, pass(opened, port, &kind)))?;
            }
            match tried.then {
                Then::Arrives => {}
                Then::Stops(told) => plan.behind = Some(told),
                Then::Untold => plan.untold = true,
            }
        }
        (plan.commands.len() <= COMMANDS).then_some(plan)
    }

    /// One that is for nothing else is taken away; before another one, or behind a chain's rules, one that accepts them is put.
    fn open(
        &mut self,
        facts: &Facts<'_>,
        its_own: bool,
        (opened, pass): (&Opened, Pass),
    ) -> Option<()> {
        let origin = origin(facts, opened);
        let narrow = opened.by.rule.is_some() && is_narrow(&opened.asks);
        let delete = narrow.then(|| origin.delete()).flatten();
        match its_own {
            true => self.stays |= delete.is_none(),
            false => _ = self.also.insert(rule_evidence::place(&opened.by.chain)),
        }
        let command = delete.or_else(|| origin.let_pass(&pass))?;
        let command = facts.node.inside(opened.netns, command);
        if !self.commands.contains(&command) {
            self.commands.push(command);
        }
        Some(())
    }
}

/// Nothing where there are too many.
fn kinds<'k, 'a>(patterns: &'k [DropGroup<'a>]) -> Option<Kinds<'k, 'a>> {
    let mut kinds: Kinds<'k, 'a> = BTreeMap::new();
    for pattern in patterns {
        let port = (!pattern.scattered).then_some(pattern.port);
        kinds
            .entry((pattern.protocol, port))
            .or_default()
            .push(pattern);
    }
    (kinds.len() <= KINDS).then_some(kinds)
}

/// It is written for one host or one port.
fn is_narrow(asks: &Asks) -> bool {
    let one = |ports: Option<(u16, u16)>| ports.is_some_and(|(first, last)| first == last);
    let host = [asks.sources, asks.destinations]
        .into_iter()
        .flatten()
        .any(|it| it.is_one());
    !asks.negated && (host || one(asks.ports) || one(asks.source_ports))
}

/// All of that kind, by the addresses that they have in common, as they come to that rule.
fn pass(opened: &Opened, port: Option<u16>, kind: &[&DropGroup<'_>]) -> Pass {
    let (mut clients, mut servers) = (BTreeSet::new(), BTreeSet::new());
    for pattern in kind {
        let (asks, answers) = match pattern.reply {
            true => (pattern.destination, pattern.source),
            false => (pattern.source, pattern.destination),
        };
        clients.insert(asks);
        servers.insert(answers);
    }
    let one = |all: &BTreeSet<IpAddr>, is: Option<IpAddr>| is.filter(|_| all.len() == 1);
    let (source, destination) = match opened.answer {
        true => (&servers, &clients),
        false => (&clients, &servers),
    };
    let pass = opened.pass();
    Pass {
        source: one(source, pass.source),
        destination: one(destination, pass.destination),
        port: pass.port.filter(|_| port.is_some()),
        ..pass
    }
}
