//! A line for each question without an answer on which something hangs.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netdiag_lang::t;

use super::{Open, covers};
use crate::{
    causes,
    model::{
        address::endpoint,
        flow,
        verdict::{CannotTell, Finding, FlowRef, PodRef, PodRole},
    },
    need::{Asked, Query, Sufferer},
    pipeline::facts::Facts,
};

/// Flows that a line names; more of them tell nothing new.
const NAMED: usize = 5;
/// Lines of a verdict.
const LINES: usize = 10;

/// By what is asked: who suffers, nobody where it is about the node, and what it may be for each.
type Hanging = BTreeMap<Option<Sufferer>, BTreeSet<String>>;

/// What hangs on one question, or on several of one kind.
struct Line<'a> {
    queries: BTreeSet<&'a Query>,
    why: &'a str,
    causes: BTreeSet<String>,
    sufferers: BTreeSet<Sufferer>,
}

pub fn of(
    facts: &Facts<'_>,
    open: &[Open],
    findings: &[Finding],
    held: &[Finding],
) -> Vec<CannotTell> {
    let mut all: BTreeMap<&Query, (&str, Hanging)> = BTreeMap::new();
    for one in open {
        let (_, hanging) = all
            .entry(&one.need.query)
            .or_insert_with(|| (one.why.as_str(), Hanging::new()));
        hang(one, findings, held, hanging);
    }
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (query, (why, hanging)) in all {
        for (who, causes) in hanging {
            add(&mut lines, query, why, causes, who);
        }
    }
    let more = lines.len().saturating_sub(LINES);
    let mut rows: Vec<CannotTell> = lines
        .into_iter()
        .take(LINES)
        .map(|line| line.tell(facts))
        .collect();
    if let Some(last) = rows.last_mut().filter(|_| more > 0) {
        last.what.push_str(&t!(", and {more} other questions"));
    }
    rows
}

/// Notes what is not explained without this answer.
fn hang(open: &Open, findings: &[Finding], held: &[Finding], hanging: &mut Hanging) {
    // What names an effect has found it, whatever is behind it.
    let settles = |f: &&Finding| match causes::strength(f) {
        None => f.cause == open.cause,
        Some(strength) => strength >= open.at_best,
    };
    let settled = || findings.iter().filter(settles);
    let cause = || open.cause.to_owned();
    for who in &open.need.sufferers {
        let Sufferer::Flow(asked, _) = who else {
            if open.need.likely && settled().all(|f| f.cause != open.cause) {
                hanging.entry(Some(*who)).or_default().insert(cause());
            }
            continue;
        };
        let weaker: Vec<_> = held.iter().filter(|f| covers(f, asked)).collect();
        if settled().any(|f| covers(f, asked)) || !open.need.likely && weaker.is_empty() {
            continue;
        }
        let causes = hanging.entry(Some(*who)).or_default();
        causes.insert(cause());
        causes.extend(weaker.iter().map(|f| f.cause.clone()));
    }
    let of_node = open.need.sufferers.is_empty() && open.need.likely;
    if of_node && findings.iter().all(|f| f.cause != open.cause) {
        hanging.entry(None).or_default().insert(cause());
    }
}

fn add<'a>(
    lines: &mut Vec<Line<'a>>,
    query: &'a Query,
    why: &'a str,
    causes: BTreeSet<String>,
    who: Option<Sufferer>,
) {
    let same = |line: &&mut Line<'_>| {
        let mut queries = line.queries.iter();
        let kind = queries.any(|q| q.is_like(query));
        kind && line.why == why && line.causes == causes
    };
    match lines.iter_mut().find(same) {
        Some(line) => {
            line.queries.insert(query);
            line.sufferers.extend(who);
        }
        None => lines.push(Line {
            queries: BTreeSet::from([query]),
            why,
            causes,
            sufferers: who.into_iter().collect(),
        }),
    }
}

impl Line<'_> {
    fn tell(self, facts: &Facts<'_>) -> CannotTell {
        let first = self.queries.first().map(|query| query.name());
        let what = match self.queries.len() {
            0 | 1 => first.unwrap_or_default(),
            n => t!("{} and {} more", first.unwrap_or_default(), n - 1),
        };
        let flows: BTreeMap<Asked, u64> = self.flows().collect();
        let flows = flows.into_iter().take(NAMED).map(refer);
        CannotTell {
            causes: self.causes.iter().cloned().collect(),
            what,
            why: self.why.to_owned(),
            flows: flows.collect(),
            pods: self.pods(facts),
            node: None,
        }
    }

    fn flows(&self) -> impl Iterator<Item = (Asked, u64)> {
        self.sufferers.iter().filter_map(|who| match who {
            Sufferer::Flow(asked, packets) => Some((*asked, *packets)),
            Sufferer::Namespace(_) => None,
        })
    }

    fn pods(&self, facts: &Facts<'_>) -> Vec<PodRef> {
        let ends = self.sufferers.iter().flat_map(|who| match who {
            Sufferer::Flow(asked, _) => vec![
                (asked.client, PodRole::Source),
                (asked.server, PodRole::Server),
            ],
            Sufferer::Namespace(netns) => victims(facts, *netns),
        });
        let pods: BTreeSet<PodRef> = ends.filter_map(|(a, role)| facts.pod(a, role)).collect();
        pods.into_iter().take(2 * NAMED).collect()
    }
}

fn victims(facts: &Facts<'_>, netns: u32) -> Vec<(IpAddr, PodRole)> {
    let side = facts.node.pod_side(netns);
    let own = side.and_then(|side| side.addresses.first());
    own.map(|a| (*a, PodRole::Victim)).into_iter().collect()
}

fn refer((asked, packets): (Asked, u64)) -> FlowRef {
    FlowRef {
        protocol: flow::protocol(asked.protocol),
        source: asked.client.to_string(),
        destination: endpoint(asked.server, asked.port),
        packets,
        ..FlowRef::default()
    }
}
