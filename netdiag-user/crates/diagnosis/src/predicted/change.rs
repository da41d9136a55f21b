//! The smallest change that brings it through where it ends, and what becomes of it with that.
use netdiag_forwarding::{
    Prepared,
    connection::{Tracked, Tracking},
    packet::Packet,
    way::{Does, Filter, Station, Step, Subject},
};
use netdiag_lang::t;

use super::{is_at, is_untranslated};
use crate::{
    model::{
        address::endpoint,
        flow::{self, TCP, UDP},
        gather::Pass,
        shell::CommandLine,
        verdict::{Fix, Tried},
    },
    pipeline::{
        facts::Facts,
        predicted::{Came, Question},
        taker::taker,
    },
    shared::{dead_end, ending, matching_rules::of_taker, rule_evidence},
    tried,
};

/// Rules that are opened one behind the other: whoever needs more has another plan than this.
const MOST: usize = 4;

pub fn smallest(
    facts: &Facts<'_>,
    (step, answer): (&Step<'_>, bool),
    question: &Question,
) -> Option<Fix> {
    if let Some(told) = dead_end::told(facts, step) {
        return Some(told.fix);
    }
    let first = refusing(step)?;
    let taker = taker(first, false);
    let place = rule_evidence::place(&taker.chain);
    let list = rule_evidence::origin_of(&taker).list();
    let list = list.map(|list| facts.node.inside(step.netns, list));
    let mut commands: Vec<CommandLine> = list.into_iter().collect();
    if has_no_end(facts, &step.packet) {
        let to = endpoint(step.packet.destination, step.packet.dport);
        return Some(Fix {
            summary: t!(
                "give the Service behind {to} an endpoint that this may go to: the rule of {place} says that it has none, or none on this node where its traffic policy is Local"
            ),
            commands,
        });
    }
    let all = (facts.prepared(), MOST);
    opened(facts, all, (step, answer), question, &mut commands)?;
    Some(Fix {
        summary: match taker.rule {
            Some(_) => t!(
                "let it pass in the NetworkPolicy or firewall that set this rule of {place}; until then by a rule before it"
            ),
            None => t!(
                "let a rule of {place} accept it: its policy drops what none of them accepts; find out who set the policy"
            ),
        },
        commands,
    })
}

/// It is for a Service that has no endpoints, or none here: to let it pass would lead it nowhere.
fn has_no_end(facts: &Facts<'_>, packet: &Packet) -> bool {
    let services = facts.gathered.services();
    let mut all = services.into_iter().flat_map(|all| &all.rules);
    all.any(|it| {
        let is = it.port == packet.dport && is_at(facts, it, packet.destination);
        is && (it.rejected || it.local)
    })
}

/// A rule for it before the one that refuses it, and before each that it comes to behind that, there and back.
fn opened(
    facts: &Facts<'_>,
    (prepared, left): (&Prepared<'_>, usize),
    (step, answer): (&Step<'_>, bool),
    question: &Question,
    commands: &mut Vec<CommandLine>,
) -> Option<()> {
    let filter = refusing(step).filter(|_| left > 0)?;
    let command = opening(facts, (step, answer), filter)?;
    commands.push(facts.node.inside(step.netns, command));
    let prepared = prepared.letting(step.netns, filter, &step.packet);
    let foreseen = facts.foreseen(&prepared, question)?;
    match foreseen.came() {
        Came::Stops { step, answer, .. } if refusing(step).is_some() => {
            let of = (&prepared, left - 1);
            opened(facts, of, (step, answer), question, commands)
        }
        _ => Some(()),
    }
}

fn opening(
    facts: &Facts<'_>,
    (step, answer): (&Step<'_>, bool),
    filter: Filter<'_>,
) -> Option<CommandLine> {
    let taker = taker(filter, false);
    let found = of_taker(facts.gathered.rules(step.netns), &taker);
    let origin = found.map(|rule| rule.into_owned().origin);
    let origin = origin.unwrap_or_else(|| rule_evidence::origin_of(&taker));
    let packet = &step.packet;
    let ports = [TCP, UDP].contains(&packet.protocol);
    let own = if answer { packet.sport } else { packet.dport };
    origin.let_pass(&Pass {
        ipv6: packet.is_ipv6(),
        source: Some(packet.source),
        destination: Some(packet.destination),
        protocol: packet.protocol,
        port: ports.then_some(own),
        answer,
        established: matches!(
            packet.tracked,
            Tracked::Is {
                state: Tracking::Established,
                ..
            }
        ),
    })
}

fn refusing<'w>(step: &Step<'w>) -> Option<Filter<'w>> {
    let refuses = step.station == Station::Hook && matches!(step.does, Does::Refuses(_));
    match step.by? {
        Subject::Filter(filter) if refuses => Some(filter),
        _ => None,
    }
}

/// Nothing where it has no commands for this node, or they are not understood.
pub fn tried(facts: &Facts<'_>, fix: &Fix, question: &Question) -> Option<Tried> {
    let world = tried::changed(facts, fix)?;
    let prepared = Prepared::new(&world);
    let foreseen = facts.foreseen(&prepared, question)?;
    let mut tried = Tried {
        conversations: 1,
        ..Tried::default()
    };
    match foreseen.came() {
        // Past the rules it would leave for an address that nobody has.
        Came::Arrives if is_untranslated(facts, &foreseen, flow::ends(&question.flow).1) => {
            return None;
        }
        Came::Arrives => tried.get_through = 1,
        Came::Stops { step, .. } => tried.behind = Some(ending::said(facts, step)),
        Came::Untold(_) => return None,
    }
    Some(tried)
}
