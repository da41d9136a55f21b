//! What a node owes its pods, walked before anybody sends: each pod to its name servers and the world, and the node to it; one of
//! those alike to other nodes' pods, and to every Service that this node leads. What no state tells (whether somebody beyond it
//! answers) is nobody's fault here.
mod class;
mod ended;
mod owed;
mod whom;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use netdiag_forwarding::way::{Does, Unknown};
use netdiag_lang::{english, mark, t};

use self::{
    ended::Ended,
    owed::{Owed, all},
};
use crate::{
    model::{
        address::endpoint,
        flow::{self, UDP},
        gather::Want,
        node::PodSide,
        roles::Role,
        text::counted,
        verdict::{NotChecked, Outcome, PodRole, Severity, Verdict},
    },
    pipeline::{facts::Facts, tried::End},
    predicted::{self, behind},
    shared::ending,
    verdict::by_rank,
};

/// Pods whose state is asked for.
const MOST: usize = 256;
/// Pods whose sockets are asked for: whose they are takes a look at every process.
const LISTENING: usize = 32;
/// How long walking may take.
const TIME: Duration = Duration::from_secs(10);
/// Findings that are told, those that most rests on.
const TOLD: usize = 8;

/// What has to be read for it.
pub fn wants(facts: &Facts<'_>) -> BTreeSet<Want> {
    let mut wants = BTreeSet::from([Want::Services, Want::Resolvers]);
    wants.insert(Want::Stack(facts.node.netns));
    // Whoever shares a bridge with them hears whom they ask for.
    let beside = facts.node.links.iter().filter(|link| link.master.is_some());
    let beside = beside.filter_map(|link| link.peer_netns);
    let all: BTreeSet<u32> = pods(facts).map(|side| side.netns).chain(beside).collect();
    wants.extend(all.into_iter().take(MOST).map(Want::Stack));
    wants.extend(servers(facts));
    wants.extend(owed::leaving(facts));
    wants
}

/// Whose sockets are asked for: first those of pods that Services lead to.
fn servers(facts: &Facts<'_>) -> Vec<Want> {
    let services = facts.gathered.services().into_iter();
    let rules = services.flat_map(|all| all.rules.iter().chain(&all.node_ports));
    let backends: HashSet<(IpAddr, u8, u16)> = rules
        .flat_map(|rule| {
            rule.backends
                .iter()
                .map(|(to, port)| (*to, rule.protocol, *port))
        })
        .collect();
    let leads = |side: &&PodSide| {
        let of = |(to, _, _): &(IpAddr, u8, u16)| side.addresses.contains(to);
        backends.iter().any(of)
    };
    let (first, rest): (Vec<_>, Vec<_>) = pods(facts).partition(leads);
    let all = first.iter().chain(&rest).take(LISTENING);
    let mut wants: Vec<Want> = all.map(|side| Want::Listeners(side.netns)).collect();
    let datagrams = backends.iter().filter(|(_, protocol, _)| *protocol == UDP);
    let receivers = datagrams.filter_map(|(to, _, port)| {
        let netns = facts.pod_side_of(*to)?.netns;
        Some(Want::Receivers { netns, port: *port })
    });
    wants.extend(receivers.take(LISTENING));
    wants
}

/// Those that a link of this node leads to, and nobody else behind them.
fn pods<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a PodSide> {
    let node = facts.node;
    let linked: BTreeSet<u32> = node
        .links
        .iter()
        .filter(|link| link.up && facts.role(link) == Some(Role::Pod))
        .filter_map(|link| link.peer_netns)
        .collect();
    let pods = node.pod_sides.iter();
    pods.filter(move |side| {
        linked.contains(&side.netns) && side.ports.is_empty() && !side.addresses.is_empty()
    })
}

/// What became of all of them.
#[derive(Default)]
struct Walked {
    /// By where they end, in words.
    ended: BTreeMap<String, Ended>,
    walked: usize,
    /// Where nobody can tell what becomes of them, by why.
    untold: BTreeMap<String, usize>,
    /// Those that time was too short for.
    left: usize,
}

/// Adds to a verdict what the ways of all that is owed come to.
pub fn tell(facts: &Facts<'_>, asked: &[String], verdict: &mut Verdict) {
    let unread = pods(facts).count().saturating_sub(MOST);
    let walked = walk(facts);
    let unheard = pods(facts)
        .filter(|side| facts.gathered.listeners(side.netns).is_none())
        .count();
    let all = walked.walked + walked.left;
    let named: BTreeSet<String> = verdict.findings.iter().map(|f| f.cause.clone()).collect();
    let mut ended: Vec<Ended> = walked.ended.into_values().collect();
    ended.retain(|it| {
        let asked = asked.is_empty() || asked.iter().any(|cause| cause == it.cause);
        asked && !named.contains(it.cause)
    });
    ended.sort_by_key(|it| std::cmp::Reverse((it.severity, it.count)));
    let findings = ended.into_iter().take(TOLD);
    verdict
        .findings
        .extend(findings.map(|it| it.finding(facts, all)));
    verdict.findings.sort_by(by_rank);
    let bad = verdict.findings.iter().any(|f| f.severity > Severity::Info);
    verdict.verdict = match (bad, verdict.verdict) {
        (true, _) => Outcome::Findings,
        (false, Outcome::Healthy) if !verdict.findings.is_empty() => Outcome::Findings,
        (false, before) => before,
    };
    let untold: usize = walked.untold.values().sum();
    if let Some((why, _)) = walked.untold.iter().max_by_key(|(_, count)| **count) {
        let what = english!("{untold} of {all} ways that this node owes");
        verdict.not_checked.push(NotChecked::new(what, why.clone()));
    }
    if walked.left > 0 {
        let what = english!("{} of {all} ways that this node owes", walked.left);
        let why = mark!("computing the others took the time that there is for all");
        verdict.not_checked.push(NotChecked::new(what, why));
    }
    if unheard > 0 {
        let what = english!("who listens in {}", counted(unheard as u64, mark!("pod")));
        let why = english!("the sockets of {LISTENING} pods are read at most, and only by root");
        verdict.not_checked.push(NotChecked::new(what, why));
    }
    if unread > 0 {
        let what = english!("the ways of {}", counted(unread as u64, mark!("pod")));
        let why = mark!("there are more than are read");
        verdict.not_checked.push(NotChecked::new(what, why));
    }
}

fn walk(facts: &Facts<'_>) -> Walked {
    let begun = Instant::now();
    let mut walked = Walked::default();
    for owed in all(facts, pods(facts).take(MOST).collect()) {
        if begun.elapsed() >= TIME {
            walked.left += 1;
            continue;
        }
        walked.walked += 1;
        let Some(foreseen) = facts.foreseen(facts.prepared(), &owed.question) else {
            let from = owed.from;
            let why = t!("nobody knows where {from} is, nor by which link it comes in");
            *walked.untold.entry(why).or_default() += 1;
            continue;
        };
        match foreseen.end() {
            End::Stops {
                step,
                answer,
                partly,
            } => {
                let severity = Ended::severity(facts, (&step, partly), &owed);
                let Some(severity) = severity else { continue };
                let ended = walked.ended.entry(ending::said(facts, &step));
                // What would help is tried once for all of them.
                let ended = ended.or_insert_with(|| Ended::of(facts, (&step, answer), &owed));
                ended.meet(&owed, severity);
            }
            // Whoever is beyond a link that nobody read may answer.
            End::Untold(Some(step)) if matches!(step.does, Does::Unknown(Unknown::Beyond(_))) => {}
            End::Untold(step) => {
                let why = step.and_then(|step| predicted::words::untold(facts, &step));
                let why = why
                    .unwrap_or_else(|| t!("it cannot be told where its answer would begin").into());
                *walked.untold.entry(why).or_default() += 1;
            }
            End::Arrives { .. } => {
                let told = behind::in_vain(facts, &foreseen, &owed.question);
                let told = told.filter(|it| !it.by_port || owed.whom.is_asked_by_port());
                if let Some(told) = told {
                    let severity = match told.partly {
                        false => Severity::Warning,
                        true => Severity::Info,
                    };
                    let ended = walked.ended.entry(told.what.clone());
                    let ended = ended.or_insert_with(|| Ended::in_vain(facts, told, &owed));
                    ended.meet(&owed, severity);
                }
            }
        }
    }
    walked
}

/// Who asks whom, in words.
fn named(facts: &Facts<'_>, owed: &Owed) -> String {
    let (from, (to, port)) = (owed.from, owed.to);
    let pod = facts.pod(from, PodRole::Source);
    let who = pod.map_or_else(|| from.to_string(), |pod| crate::model::pod::label(&pod));
    let services = facts.gathered.services();
    let rule = services.and_then(|all| all.rule(to, port, owed.question.flow.protocol));
    let whom = match rule {
        Some(service) => service.label(),
        None => endpoint(to, port),
    };
    let protocol = flow::protocol(owed.question.flow.protocol);
    t!("{who} to {whom} by {protocol}")
}
