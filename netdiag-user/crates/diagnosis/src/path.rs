//! Follows one flow over the node: every hop in both directions, through translation and
//! encapsulation, beside the way that the routes lead, and what became of it.
mod ends;
mod fate;
mod probed;
mod steps;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

pub use self::{
    ends::{end, ends, paired},
    probed::conclude,
};
use crate::{
    model::{
        flow::ends as addresses,
        path::{Concern, End, KnownBy, Outcome, Path, SCHEMA, Step, Way},
        verdict::{Confidence, Finding, Severity},
    },
    pipeline::{
        facts::{Facts, Loss},
        scene::Run,
    },
};

/// A connection between the two ends, and what it was translated to.
pub(super) struct Conversation {
    pub asked: FlowKey,
    pub sent: Option<FlowKey>,
}

/// The way between two ends, as far as `run` saw it.
/// `findings` are what the arbiter makes of the same reading, in which these ends are followed.
pub fn path(facts: &Facts<'_>, ends: (End, End), run: &Run, findings: &[Finding]) -> Path {
    path_with(facts, ends, &BTreeSet::new(), run, findings)
}

/// The same, with flows that the node before made of such.
pub fn path_with(
    facts: &Facts<'_>,
    (source, destination): (End, End),
    legs: &BTreeSet<FlowKey>,
    run: &Run,
    findings: &[Finding],
) -> Path {
    let (conversations, translated_by) = conversations(facts, (&source, &destination), legs);
    let (mut request, mut reply) = steps::ways(facts, (&source, &destination), &conversations, run);
    let (outcome, at, summary) = fate::judge(facts, &conversations, &mut request, &mut reply);
    let causes = concerns(findings, &source, &destination, &conversations);
    let strained = is_strained(&request) || is_strained(&reply);
    let (outcome, summary) = match suffers(findings, &conversations) {
        Some(cause) if outcome == Outcome::Answered && strained => (
            Outcome::Lossy,
            t!("{summary} answered, and {cause} is about them"),
        ),
        _ => (outcome, summary),
    };
    Path {
        schema: SCHEMA.into(),
        node: facts.node.name.clone(),
        kernel: facts.node.kernel.clone(),
        started: facts.clock.text(run.started),
        duration: facts.now.saturating_sub(run.started) as f64 / 1e9,
        source,
        destination,
        outcome,
        at,
        summary,
        protocol: steps::protocol(&conversations),
        flows: conversations.len(),
        answered: conversations
            .iter()
            .filter(|c| fate::answered(facts, c))
            .count(),
        translated_by,
        predicted: Vec::new(),
        request,
        reply,
        probes: Vec::new(),
        causes,
        not_checked: run.not_checked.clone(),
    }
}

/// The flows that the next node knows them by: what this one's translation makes of them.
pub fn onward(
    facts: &Facts<'_>,
    (source, destination): &(End, End),
    legs: &BTreeSet<FlowKey>,
) -> BTreeSet<FlowKey> {
    let (all, _) = conversations(facts, (source, destination), legs);
    all.iter().filter_map(|c| c.sent).collect()
}

/// Flows from one end to the other, with the legs that the node made of them.
fn conversations(
    facts: &Facts<'_>,
    (source, destination): (&End, &End),
    made: &BTreeSet<FlowKey>,
) -> (Vec<Conversation>, Option<KnownBy>) {
    let from = |flow: &FlowKey| {
        source.addresses.contains(&addresses(flow).0)
            && source.port.is_none_or(|p| p == flow.source_port)
    };
    let to = |flow: &FlowKey| {
        destination.addresses.contains(&addresses(flow).1)
            && destination.port.is_none_or(|p| p == flow.destination_port)
    };
    let mut asked: BTreeMap<FlowKey, Option<FlowKey>> = BTreeMap::new();
    let mut by = None;
    let legs = facts.legs();
    // What dies in the pod's own namespace passes no hop.
    let lost = facts.losses.iter().filter(|l| !l.harmless);
    let seen = facts.journeys().keys().chain(lost.map(Loss::flow));
    for flow in seen {
        // What the node itself asks is translated before any hop sees it; and who asks for the
        // server means those too that come to it by a Service.
        match legs.pair(flow) {
            Some((first, leg, how))
                if made.contains(&first) || from(&first) && (to(&first) || to(&leg)) =>
            {
                by = Some(how);
                asked.insert(first, Some(leg));
            }
            _ if made.contains(flow) || from(flow) && to(flow) => {
                asked.insert(*flow, None);
            }
            _ => {}
        }
    }
    // Both ends may ask each other; a flow that only answers is no question of its own.
    let asks = |flow: &FlowKey| {
        destination.port.is_some() || facts.direction().seen_to_answer(flow) != Some(true)
    };
    // A leg whose ends are asked for too is no conversation of its own.
    let legs: BTreeSet<FlowKey> = asked.values().flatten().copied().collect();
    let conversations = asked
        .into_iter()
        .filter(|(flow, _)| asks(flow) && !legs.contains(flow));
    let conversations = conversations.map(|(asked, sent)| Conversation { asked, sent });
    (conversations.collect(), by)
}

/// Something was sent again on this way, or was larger than what a hop takes.
fn is_strained(way: &Way) -> bool {
    let large = |step: &Step| step.fits.is_some_and(|fits| step.largest > fits);
    way.steps.iter().any(|s| s.retransmits > 0 || large(s))
}

/// A cause that packets of these flows confirm: they are answered in spite of it.
fn suffers<'a>(findings: &'a [Finding], conversations: &[Conversation]) -> Option<&'a str> {
    let flows = conversations.iter().flat_map(|c| [Some(c.asked), c.sent]);
    let flows: Vec<FlowKey> = flows.flatten().collect();
    let bad = |f: &&Finding| f.severity > Severity::Info && f.confidence == Confidence::Confirmed;
    let mut bad = findings.iter().filter(bad);
    let own = bad.find(|f| flows.iter().any(|flow| f.scope.has_key(flow)))?;
    Some(&own.cause)
}

/// Findings that account for one of these flows, or are about an address of theirs.
fn concerns(
    findings: &[Finding],
    source: &End,
    destination: &End,
    conversations: &[Conversation],
) -> Vec<Concern> {
    let flows = conversations.iter().flat_map(|c| [Some(c.asked), c.sent]);
    let flows: Vec<FlowKey> = flows.flatten().collect();
    let server = |address: &IpAddr| destination.addresses.contains(address);
    let both = |f: &Finding| {
        let names = |end: &End| {
            let mut pods = f.pods.iter().filter_map(|p| p.ip.as_ref());
            pods.any(|ip| end.addresses.iter().any(|a| a.to_string() == *ip))
        };
        names(source) && names(destination)
    };
    // Of other connections between the same two: all of them, where no port is asked for.
    let between = |f: &Finding| {
        let to = |from: IpAddr| {
            let mut all = destination.addresses.iter();
            all.any(|to| f.scope.is_between(from, *to))
        };
        let any = source.port.is_none() && destination.port.is_none();
        any && source.addresses.iter().any(|from| to(*from))
    };
    let about = |f: &&Finding| {
        let has = flows.iter().any(|flow| f.scope.has_key(flow));
        has || f.about.iter().any(server) || both(f) || between(f)
    };
    let bad = findings.iter().filter(|f| f.severity > Severity::Info);
    let concern = |f: &Finding| Concern {
        cause: f.cause.clone(),
        summary: f.summary.clone(),
    };
    bad.filter(about).map(concern).collect()
}
