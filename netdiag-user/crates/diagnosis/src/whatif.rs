//! A change foretold: commands carried out on what was read of the node, and what becomes of the conversations that were
//! seen, there and back.
use std::collections::BTreeMap;

use netdiag_changes::{Refused, carry_out};
use netdiag_common::flow::FlowKey;
use netdiag_forwarding::Prepared;
use netdiag_lang::{mark, t};

use crate::{
    model::{
        flow,
        foretold::{Changed, Fate, Foretold, Kind, SCHEMA},
        text::counted,
        verdict::NotChecked,
        world::World,
    },
    pipeline::{facts::Facts, tried::End},
    shared::{asked::asked, ending},
};

/// Conversations that are walked: all of a busy node's would take minutes.
const MOST: usize = 4_096;
/// Told by themselves, those that are alike as one.
const TOLD: usize = 256;

/// A command that was not carried out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDone {
    pub command: String,
    pub why: String,
}

pub fn whatif(facts: &Facts<'_>, commands: &[Vec<String>]) -> Result<Foretold, NotDone> {
    let before = facts.prepared();
    let world = changed(facts, commands)?;
    let after = Prepared::new(&world);
    let asked = asked(facts, |_| true, usize::MAX);
    let mut foretold = Foretold {
        schema: SCHEMA.into(),
        node: facts.node.name.clone(),
        commands: commands.iter().map(|words| words.join(" ")).collect(),
        die: 0,
        live: 0,
        unchanged: 0,
        unknown: 0,
        conversations: Vec::new(),
        not_checked: Vec::new(),
    };
    let mut alike: BTreeMap<(Kind, Changed), u64> = BTreeMap::new();
    for (flow, asked) in asked.iter().take(MOST) {
        let of = (flow, asked.largest);
        let [now, then] = [before, &after].map(|world| facts.end_in(world, of));
        let one = told(
            flow,
            fate(facts, now.as_ref()),
            then_as(facts, (&now, &then)),
        );
        let kind = one.kind();
        *counter(&mut foretold, kind) += 1;
        if kind == Kind::Unknown || one.now != one.then {
            *alike.entry((kind, one)).or_default() += 1;
        }
    }
    if asked.len() > MOST {
        foretold.not_checked.push(NotChecked::new(
            counted((asked.len() - MOST) as u64, mark!("further conversation")),
            t!("{MOST} are walked at most"),
        ));
    }
    let told = alike.into_iter().map(|((_, one), conversations)| Changed {
        conversations,
        ..one
    });
    foretold.conversations = told.take(TOLD).collect();
    Ok(foretold)
}

/// What was read, with them carried out on it.
pub fn changed(facts: &Facts<'_>, commands: &[Vec<String>]) -> Result<World, NotDone> {
    let mut world = facts.prepared().world.clone();
    for command in commands {
        carried_out(facts, &mut world, command)?;
    }
    Ok(world)
}

fn carried_out(facts: &Facts<'_>, world: &mut World, command: &[String]) -> Result<(), NotDone> {
    let not_done = |why: String| NotDone {
        command: command.join(" "),
        why,
    };
    let in_one = facts.node.run_in(command);
    let (netns, words) = in_one.ok_or_else(|| {
        not_done(t!("it is run in a namespace that is none of this node's pods'").into())
    })?;
    if !world.stacks.contains_key(&netns) {
        return Err(not_done(
            t!("the state of that network namespace was not read").into(),
        ));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    carry_out(world, netns, &words).map_err(|refused| not_done(why(&refused)))
}

fn why(refused: &Refused) -> String {
    match refused {
        Refused::Word(word) => {
            t!("'{word}' is not understood (`netdiag whatif --help` has what is)")
        }
        Refused::Ends => t!("something is missing at its end").into(),
        Refused::NotRead => t!("what it changes was not read, or not whole").into(),
        Refused::NotModelled => {
            t!("what it changes is no part of what ways are computed from").into()
        }
        Refused::Nothing => t!("there is nothing of that name").into(),
        Refused::Exists => t!("it is there already").into(),
        Refused::NoWay => t!("no link that is up leads there").into(),
    }
}

fn fate(facts: &Facts<'_>, end: Option<&End<'_>>) -> Fate {
    match end {
        Some(End::Arrives { .. }) => Fate::GetsThrough,
        Some(End::Stops { step, .. }) => Fate::Ends {
            at: ending::said(facts, step),
        },
        Some(End::Untold(_)) | None => Fate::Unknown,
    }
}

/// Whether what leaves by other devices than it does now gets through there, nobody can tell.
fn then_as(facts: &Facts<'_>, ends: (&Option<End<'_>>, &Option<End<'_>>)) -> Fate {
    match ends {
        (Some(End::Arrives { out: now, .. }), Some(End::Arrives { out: then, .. }))
            if now != then && !then.is_empty() =>
        {
            Fate::Unknown
        }
        (_, then) => fate(facts, then.as_ref()),
    }
}

fn told(flow: &FlowKey, now: Fate, then: Fate) -> Changed {
    let (source, _) = flow::ends(flow);
    let (_, destination) = flow::endpoints(flow);
    Changed {
        protocol: flow::protocol(flow.protocol),
        source: source.to_string(),
        destination,
        conversations: 1,
        now,
        then,
    }
}

fn counter(foretold: &mut Foretold, kind: Kind) -> &mut u64 {
    match kind {
        Kind::Dies => &mut foretold.die,
        Kind::Lives => &mut foretold.live,
        Kind::Same => &mut foretold.unchanged,
        Kind::Unknown => &mut foretold.unknown,
    }
}
