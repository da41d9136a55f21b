//! Which rule of netfilter's takes packets: the one where their computed way ends, in the namespace that they died in.
use std::{cell::RefCell, collections::HashMap};

use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{
    connection::Tracked,
    packet::{ICMP, ICMP6},
    way::{Does, Filter, Station, Step, Subject, Walk},
};

use crate::{
    agreement::Feature,
    conversation::{self, Conversation},
    facts::{Facts, Loss},
    model::{
        flow::TCP,
        netfilter::Chain,
        world::{
            Netns,
            ruleset::{self, Expression, Rule},
        },
    },
};

/// TCP's flag.
const SYN: u32 = 2;
/// Flows of a reading that are walked for it: rules that somebody else wrote may take long.
const MOST: usize = 32;

/// What the ways of flows came to, by flow and namespace.
pub(super) type Known = RefCell<HashMap<(FlowKey, Netns), Vec<Taker>>>;

/// A rule, or a chain's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taker {
    pub chain: Chain,
    /// Its chain is iptables' own, and none of nf_tables'.
    pub legacy: bool,
    /// None where it is the policy.
    pub rule: Option<Numbered>,
    /// Packets that it would take were seen to pass.
    pub doubted: bool,
    /// The one rule here that keeps connections from being tracked, where it took them untracked.
    pub untracked: Option<(Chain, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Nothing else in its table has it.
    pub handle: u64,
    /// In its chain, from 1 on.
    pub number: u64,
}

impl Facts<'_> {
    /// Those that may have taken such packets, one for each of the ways that they may take; none where it is not
    /// known which state their connection was in, nor what some rule does, nor where one that counts has not.
    pub fn takers(&self, loss: &Loss) -> Vec<Taker> {
        let key = (*loss.flow(), loss.key.netns);
        if let Some(known) = self.takers.borrow().get(&key) {
            return known.clone();
        }
        if self.takers.borrow().len() >= MOST {
            return Vec::new();
        }
        let found = self.walked(loss);
        self.takers.borrow_mut().insert(key, found.clone());
        found
    }

    /// The rule of which nobody can tell what it makes of a question, or of the answer to it: its ways are known up to there.
    pub fn uncomputed(&self, asked: &FlowKey) -> Option<(Netns, Taker)> {
        let prepared = self.prepared();
        let of = |conversation| conversation::ways(self, prepared, (conversation, 0));
        let question = Conversation::of(self, asked);
        let there = of(question)?;
        rule_untold(&there.all).or_else(|| rule_untold(&of(question.its_answer())?.all))
    }

    /// The rule of nf_tables' that keeps connections from being tracked, where there is one alone.
    pub(super) fn untracking(&self, netns: Netns) -> Option<(Chain, u64)> {
        let stack = self.prepared().world.stacks.get(&netns)?;
        let tables = stack.ruleset.some()?.tables.iter().filter(|t| !t.legacy);
        let mut all = tables.flat_map(|table| {
            let chains = table.chains.iter();
            chains.flat_map(move |chain| {
                let rules = chain.rules.iter().filter(|rule| untracks(rule));
                rules.map(move |rule| (named(table, chain), rule.handle))
            })
        });
        let first = all.next()?;
        all.next().is_none().then_some(first)
    }

    fn walked(&self, loss: &Loss) -> Vec<Taker> {
        let flow = loss.flow();
        let error = [ICMP, ICMP6].contains(&flow.protocol) && flow.source_port == 0;
        let conversation = Conversation::of(self, flow);
        let opens = loss.dropped.tcp_flags & SYN != 0;
        let midway = flow.protocol == TCP && !opens && !conversation.answer;
        if error || midway {
            return Vec::new();
        }
        let of = (conversation, loss.dropped.largest);
        let Some(ways) = conversation::ways(self, self.prepared(), of) else {
            return Vec::new();
        };
        let netns = match loss.key.netns {
            0 => self.node.netns,
            netns => netns,
        };
        let ends: Vec<&Step<'_>> = ways.all.iter().flat_map(conversation::ends).collect();
        // Any rule may stand behind what nobody can tell.
        let untold = |step: &&Step<'_>| is_at(step, netns) && matches!(step.does, Does::Unknown(_));
        if ends.iter().any(untold) {
            return Vec::new();
        }
        let mut all = Vec::new();
        for step in ends {
            let Some(filter) = refusing(step, netns) else {
                continue;
            };
            let feature = Feature::of(self.prepared().world, step);
            let mut taker = taker(filter, self.distrusted.contains(&feature));
            if step.packet.tracked == Tracked::Untracked {
                taker.untracked = self.untracking(netns);
            }
            if !all.contains(&taker) {
                all.push(taker);
            }
        }
        all
    }
}

fn rule_untold(ways: &[Walk<'_>]) -> Option<(Netns, Taker)> {
    let mut ends = ways.iter().flat_map(conversation::ends);
    ends.find_map(|step| match (step.by?, &step.does) {
        (Subject::Filter(filter), Does::Unknown(_)) => Some((step.netns, taker(filter, false))),
        _ => None,
    })
}

fn is_at(step: &Step<'_>, netns: Netns) -> bool {
    step.netns == netns && step.station == Station::Hook
}

fn refusing<'w>(step: &Step<'w>, netns: Netns) -> Option<Filter<'w>> {
    let here = is_at(step, netns);
    match step.by? {
        Subject::Filter(filter) if here && matches!(step.does, Does::Refuses(_)) => {
            let counts = filter.rule.and_then(Rule::packets);
            (counts != Some(0)).then_some(filter)
        }
        _ => None,
    }
}

fn untracks(rule: &Rule) -> bool {
    rule.expressions.iter().any(Expression::untracks)
}

fn named(table: &ruleset::Table, chain: &ruleset::Chain) -> Chain {
    Chain {
        family: table.family,
        table: table.name.clone(),
        chain: chain.name.clone(),
    }
}

/// Of a step's subject.
pub fn taker(filter: Filter<'_>, doubted: bool) -> Taker {
    let chain = filter.holder();
    let numbered = |rule: &Rule| {
        let before = chain
            .rules
            .iter()
            .take_while(|one| one.handle != rule.handle);
        Numbered {
            handle: rule.handle,
            number: before.count() as u64 + 1,
        }
    };
    Taker {
        chain: named(filter.table, chain),
        untracked: None,
        legacy: filter.table.legacy,
        rule: filter.rule.map(numbered),
        doubted,
    }
}
