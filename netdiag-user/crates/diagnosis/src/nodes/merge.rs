//! One verdict of several nodes' recordings.
use std::collections::BTreeSet;

use netdiag_lang::t;

use super::{
    super::{
        FlowWay,
        verdict::{by_rank, drops_of},
        way::{self, roots},
    },
    Recorded,
    incident::one_incident,
};
use crate::{
    causes,
    model::{
        flow,
        path::{Fate, FateKind, Path},
        pod::PodIndex,
        verdict::{
            Between, Finding, FlowRef, LostFlow, NodeRef, NotChecked, Observer, Outcome, SCHEMA,
            Severity, Verdict,
        },
    },
    multi_node::Sides,
    pipeline::{
        facts::Facts,
        join::{Count, NotComparable, Side, Way, Window, compare, pods_elsewhere},
    },
};

/// Flows and drops named for each direction between two nodes at most.
const MOST_NAMED: usize = 10;

/// What two nodes say of each other, the one's number first.
struct Pair<'a> {
    nodes: (usize, usize),
    window: Window,
    there: Way<'a>,
    back: Way<'a>,
}

/// Ways of one flow that are told: on the finding's node, and on the other end's.
const WAYS: usize = 2;
/// Nodes that are asked whether they have seen it.
const NODES_ASKED: usize = 8;

/// Everything that several nodes' recordings say together, and the ways of its roots' flows on their
/// nodes. `files` are what they are called.
pub fn joined(mut nodes: Vec<Recorded>, files: &[String]) -> (Verdict, Vec<FlowWay>) {
    let names = names(&nodes, files);
    let compared = compared(&nodes);
    introduce(&mut nodes, &compared);
    let judged = |it: &mut Recorded| it.judge.verdict(&it.scene, &it.last);
    let mut verdicts: Vec<Verdict> = nodes.iter_mut().map(judged).collect();
    for (verdict, name) in verdicts.iter_mut().zip(&names) {
        verdict.say_of(name);
    }
    let rows: Vec<_> = nodes.iter().map(|it| it.scene.rows(&it.last)).collect();
    let facts = nodes.iter().zip(&rows);
    let facts: Vec<Facts<'_>> = facts.map(|(it, rows)| it.scene.facts(rows)).collect();
    let sides: Vec<Side<'_>> = nodes.iter().map(Recorded::side).collect();
    let at_once = compared.iter().filter_map(|(one, other, window)| {
        let (a, b) = (&sides[*one], &sides[*other]);
        let window = (*window).ok()?;
        Some(Pair {
            nodes: (*one, *other),
            window,
            there: Way::new(a, b, &window, facts[*other].losses),
            back: Way::new(b, a, &window.for_the_other(), facts[*one].losses),
        })
    });
    let pairs: Vec<Pair<'_>> = at_once.collect();
    for pair in &pairs {
        tell_each_other(pair, &names, &facts, &mut verdicts);
    }
    for verdict in &mut verdicts {
        place_pods(verdict, &names, &sides);
    }
    let between = pairs
        .iter()
        .flat_map(|p| between(p, &names, &facts))
        .collect();
    let untold = untold(&compared, &names);
    let ends = facts.iter().map(|f| f.clock.text(f.now)).collect();
    let verdict = sum(verdicts, &names, ends, between, untold);
    let ways = roots(&verdict.findings).flat_map(|it| ways(it, &names, &nodes, &facts));
    let ways = ways.collect();
    (verdict, ways)
}

/// The way of a flow that a finding names on its node, then on another that saw it.
fn ways(
    finding: &Finding,
    names: &[String],
    nodes: &[Recorded],
    facts: &[Facts<'_>],
) -> Vec<FlowWay> {
    let at = |node: &String| names.iter().position(|name| name == node);
    let Some(own) = finding.node.as_ref().and_then(at) else {
        return Vec::new();
    };
    let others = finding.nodes.iter().chain(names).take(NODES_ASKED);
    let mut asked = vec![own];
    for other in others.filter_map(at) {
        if !asked.contains(&other) {
            asked.push(other);
        }
    }
    let way = |at: usize| {
        let mut way = way::of(&facts[at], &nodes[at].scene.run, finding)?;
        way.path.node.clone_from(&names[at]);
        if at != own {
            seen_from_afar(&mut way.path);
        }
        Some(way)
    };
    asked.into_iter().filter_map(way).take(WAYS).collect()
}

/// Another node than the finding's sees that nothing comes back, and not where it is lost; only what it
/// drops itself ends there.
fn seen_from_afar(path: &mut Path) {
    let certain = |it: &Fate| {
        !matches!(
            it.kind,
            FateKind::Stalled | FateKind::Vanished | FateKind::Icmp
        )
    };
    path.request.fates.retain(certain);
    path.reply.fates.retain(certain);
    let mut fates = path.request.fates.iter().chain(&path.reply.fates);
    if !fates.any(|it| matches!(it.kind, FateKind::Drop | FateKind::TooBig)) {
        path.at = None;
    }
}

/// The nodes' names, with their files where two are called alike.
fn names(nodes: &[Recorded], files: &[String]) -> Vec<String> {
    let name = |it: &Recorded| it.scene.node.name.clone();
    let alike = |one: &str| nodes.iter().filter(|it| name(it) == one).count() > 1;
    let short = |file: &str| {
        file.rsplit('/')
            .next()
            .map_or(file.to_owned(), str::to_owned)
    };
    let unique = |one: &str| files.iter().filter(|file| short(file) == one).count() == 1;
    let named = nodes.iter().zip(files).map(|(it, file)| match name(it) {
        one if !alike(&one) => one,
        one if unique(&short(file)) => format!("{one} ({})", short(file)),
        one => format!("{one} ({file})"),
    });
    named.collect()
}

type Compared = Vec<(usize, usize, Result<Window, NotComparable>)>;

fn compared(nodes: &[Recorded]) -> Compared {
    let sides: Vec<Side<'_>> = nodes.iter().map(Recorded::side).collect();
    let pairs = (0..sides.len()).flat_map(|one| (one + 1..sides.len()).map(move |n| (one, n)));
    let each = pairs.map(|(one, other)| (one, other, compare(&sides[one], &sides[other])));
    each.collect()
}

/// Each learns the names of the pods of those that it is compared with.
fn introduce(nodes: &mut [Recorded], compared: &Compared) {
    let pods: Vec<_> = nodes.iter().map(|it| pods_elsewhere(&it.scene)).collect();
    for (at, it) in nodes.iter_mut().enumerate() {
        let others = compared.iter().filter(|(_, _, window)| window.is_ok());
        let others = others.filter_map(|(one, other, _)| match at {
            at if at == *one => Some(*other),
            at if at == *other => Some(*one),
            _ => None,
        });
        // What the node itself says of an address comes last, and so counts.
        let mut all: Vec<_> = others.flat_map(|n| pods[n].iter().cloned()).collect();
        all.extend(it.scene.pods.iter().cloned());
        it.scene.pods = PodIndex::new(all);
    }
}

fn tell_each_other(
    pair: &Pair<'_>,
    names: &[String],
    facts: &[Facts<'_>],
    verdicts: &mut [Verdict],
) {
    let (one, other) = pair.nodes;
    let ways = [
        (one, other, &pair.there, &pair.back),
        (other, one, &pair.back, &pair.there),
    ];
    for (here, there, to, back) in ways {
        let sides = Sides {
            here: &facts[here],
            there: &facts[there],
            here_name: &names[here],
            there_name: &names[there],
            to,
            back,
        };
        for finding in &mut verdicts[here].findings {
            causes::complete(&sides, finding);
        }
    }
}

/// Says which node each pod is on.
fn place_pods(verdict: &mut Verdict, names: &[String], sides: &[Side<'_>]) {
    let pods = verdict.findings.iter_mut().flat_map(|f| &mut f.pods);
    for pod in pods.filter(|pod| pod.interface.is_none()) {
        let address = pod.ip.as_ref().and_then(|ip| ip.parse().ok());
        let owner = address.and_then(|a| sides.iter().position(|s| s.own.contains(&a)));
        pod.node = owner.map(|n| names[n].clone());
    }
}

fn between(pair: &Pair<'_>, names: &[String], facts: &[Facts<'_>]) -> [Between; 2] {
    let (one, other) = pair.nodes;
    let way = |from: usize, to: usize, way: &Way<'_>, window: &Window| {
        let all = way.sum(|_| true);
        let mut dropped = drops_of(&facts[to], way.dropped.iter().copied());
        dropped.truncate(MOST_NAMED);
        dropped.iter_mut().for_each(|d| d.say_of(&names[to]));
        Between {
            from: names[from].clone(),
            to: names[to].clone(),
            duration: window.seconds(),
            clock_ahead: window.ahead.map(seconds),
            clock_error: window.error.map(seconds),
            flows: way.flows.len() as u64,
            packets: all.left,
            arrived: all.came,
            never_came: way.flows.values().filter(|c| c.came == 0).count() as u64,
            lost: lost(way),
            dropped,
        }
    };
    [
        way(one, other, &pair.there, &pair.window),
        way(other, one, &pair.back, &pair.window.for_the_other()),
    ]
}

/// To the millisecond.
fn seconds(ns: i64) -> f64 {
    (ns / 1_000_000) as f64 / 1e3
}

/// The flows that lost most on the way.
fn lost(way: &Way<'_>) -> Vec<LostFlow> {
    let mut lost: Vec<_> = way.flows.iter().filter(|(_, c)| c.lost() > 0).collect();
    lost.sort_by_key(|(_, count)| std::cmp::Reverse(count.lost()));
    let refer = |(key, count): (&netdiag_common::flow::FlowKey, &Count)| {
        let (source, destination) = flow::endpoints(key);
        LostFlow {
            protocol: flow::protocol(key.protocol),
            source,
            destination,
            packets: count.left,
            arrived: count.came,
        }
    };
    lost.into_iter().take(MOST_NAMED).map(refer).collect()
}

/// What nothing can be said about, and why.
fn untold(compared: &Compared, names: &[String]) -> Vec<NotChecked> {
    let related = |at: usize| {
        let mut with = compared.iter().filter(|(a, b, _)| *a == at || *b == at);
        with.any(|(.., how)| *how != Err(NotComparable::Strangers))
    };
    let told = compared.iter().filter_map(|(one, other, how)| {
        let why = match how {
            Err(NotComparable::Strangers) if related(*one) && related(*other) => return None,
            Ok(_) => return None,
            Err(why) => why.told(),
        };
        let what = t!("what passed between {} and {}", names[*one], names[*other]);
        Some(NotChecked::new(what, why))
    });
    told.collect()
}

fn sum(
    verdicts: Vec<Verdict>,
    names: &[String],
    ends: Vec<String>,
    between: Vec<Between>,
    untold: Vec<NotChecked>,
) -> Verdict {
    let has = |wanted| verdicts.iter().any(|v| v.verdict == wanted);
    let bad = verdicts
        .iter()
        .flat_map(|v| &v.findings)
        .any(|f| f.severity > Severity::Info);
    let kernels: BTreeSet<String> = verdicts.iter().map(|v| v.kernel.clone()).collect();
    let mut all = Verdict {
        schema: SCHEMA.into(),
        node: names.join(", "),
        kernel: kernels.into_iter().collect::<Vec<_>>().join(", "),
        started: verdicts
            .iter()
            .map(|v| v.started.clone())
            .min()
            .unwrap_or_default(),
        duration: verdicts.iter().map(|v| v.duration).fold(0.0, f64::max),
        verdict: match (bad, has(Outcome::Incomplete), has(Outcome::Findings)) {
            (true, ..) | (false, false, true) => Outcome::Findings,
            (false, true, _) => Outcome::Incomplete,
            (false, false, false) => Outcome::Healthy,
        },
        findings: Vec::new(),
        drops: Vec::new(),
        retransmits: Vec::new(),
        unexplained: Vec::new(),
        cannot_tell: Vec::new(),
        not_checked: untold,
        observer: Observer::default(),
        nodes: Vec::new(),
        between,
        pod_sources: Vec::new(),
        level: None,
        lab: None,
    };
    let mut findings: Vec<Finding> = Vec::new();
    for verdict in verdicts {
        all.nodes.push(NodeRef {
            node: names[all.nodes.len()].clone(),
            kernel: verdict.kernel,
            started: verdict.started,
            ended: ends[all.nodes.len()].clone(),
            duration: verdict.duration,
            observer: verdict.observer.clone(),
        });
        all.observer.add(&verdict.observer);
        findings.extend(verdict.findings);
        all.drops.extend(verdict.drops);
        all.retransmits.extend(verdict.retransmits);
        all.unexplained.extend(verdict.unexplained);
        all.cannot_tell.extend(verdict.cannot_tell);
        all.not_checked.extend(verdict.not_checked);
    }
    // Not what a node had at another time, nor what befell strangers.
    let met = |one: &str, other: &str| {
        let mut ways = all.between.iter();
        one == other || ways.any(|b| b.from == one && b.to == other)
    };
    let related = |a: &Finding, b: &Finding| {
        let mut pairs = a
            .nodes
            .iter()
            .flat_map(|one| b.nodes.iter().map(move |n| (one, n)));
        pairs.any(|(one, other)| met(one, other))
    };
    all.findings = one_incident(findings, &related);
    all.findings.sort_by(by_rank);
    all.drops.sort_by_key(|d| std::cmp::Reverse(d.packets));
    let again = |f: &FlowRef| std::cmp::Reverse(f.retransmits);
    all.retransmits.sort_by_key(again);
    all
}
