//! Fixes tried before anybody is told of them: a finding's commands carried out on what was read of the node, and its
//! conversations walked there and back in that.
use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{
    Prepared,
    way::{Station, Step, Subject},
};

use crate::{
    model::{
        netfilter::Family,
        shell::{CommandKind, CommandLine},
        verdict::{Finding, Fix, Severity, Tried},
        world::{World, ruleset::Rule},
    },
    pipeline::{facts::Facts, tried::End},
    shared::{asked::asked, ending},
};

/// Findings whose fixes are tried, the first ones: each is a world of its own.
const MOST: usize = 8;
/// Conversations of each, likewise.
const CONVERSATIONS: usize = 8;

pub fn tell(facts: &Facts<'_>, findings: &mut [Finding]) {
    let asks = |finding: &&mut Finding| {
        finding.severity > Severity::Info && finding.consequence_of.is_none()
    };
    for finding in findings.iter_mut().filter(asks).take(MOST) {
        finding.tried = of(facts, finding);
    }
}

fn of(facts: &Facts<'_>, finding: &Finding) -> Option<Tried> {
    let wanted = |flow: &FlowKey| finding.scope.has_key(flow);
    let conversations = asked(facts, wanted, CONVERSATIONS);
    if conversations.is_empty() {
        return None;
    }
    let changed = changed(facts, &finding.fix)?;
    let prepared = Prepared::new(&changed);
    let (mut tried, mut same) = (Tried::default(), None);
    for (flow, asked) in &conversations {
        let of = (flow, asked.largest);
        let before = match facts.end_in(facts.prepared(), of) {
            Some(End::Stops { step, .. }) => Some(step),
            Some(End::Arrives { astray: true, .. }) => None,
            _ => continue,
        };
        let Some(after) = facts.end_in(&prepared, of) else {
            continue;
        };
        match after {
            End::Arrives { astray, .. } if before.is_some() || !astray => tried.get_through += 1,
            End::Arrives { .. } | End::Untold(_) => continue,
            // Who would answer for an address that nobody asked for yet is not always known.
            End::Stops { step, .. } if step.station == Station::Neighbour => continue,
            End::Stops { step, .. } if before.is_some_and(|before| is_same(&before, &step)) => {
                same.get_or_insert(step);
            }
            End::Stops { step, .. } if asked.seen => {
                tried
                    .behind
                    .get_or_insert_with(|| ending::said(facts, &step));
            }
            // What was lost behind a translation was asked otherwise, and may be led otherwise.
            End::Stops { .. } => continue,
        }
        tried.conversations += 1;
    }
    if let Some(step) = same.filter(|_| tried.get_through > 0) {
        tried
            .behind
            .get_or_insert_with(|| ending::said(facts, &step));
    }
    (tried.get_through > 0 || tried.behind.is_some()).then_some(tried)
}

/// The node with a fix's commands for it carried out; nothing where there is none, or one is not understood.
pub fn changed(facts: &Facts<'_>, fix: &Fix) -> Option<World> {
    // What is for kubectl or another node stands beside.
    let repairs = fix.repairs();
    let ours = repairs.filter(|line| line.kind() == CommandKind::Change);
    let repairs: Vec<&CommandLine> = ours.collect();
    let world = facts.prepared().world;
    if repairs.is_empty() || world.stacks.is_empty() {
        return None;
    }
    let mut world = world.clone();
    for line in repairs {
        let argv = line.argv();
        let (netns, words) = facts.node.run_in(&argv)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        netdiag_changes::carry_out(&mut world, netns, &words).ok()?;
    }
    Some(world)
}

/// Whether both are where the same says no.
fn is_same(before: &Step<'_>, after: &Step<'_>) -> bool {
    let place = |step: &Step<'_>| (step.netns, step.station);
    place(before) == place(after) && filter(before) == filter(after)
}

/// The rule or the policy that a step is, but for what is in its table beside it.
fn filter<'s>(step: &'s Step<'_>) -> Option<(Family, &'s str, &'s str, Option<&'s Rule>)> {
    match step.by? {
        Subject::Filter(of) => {
            let chain = of.holder();
            Some((of.table.family, &of.table.name, &chain.name, of.rule))
        }
        _ => None,
    }
}
