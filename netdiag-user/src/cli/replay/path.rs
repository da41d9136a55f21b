//! `netdiag replay --path`: one flow over the nodes that were recorded.
use std::{collections::BTreeSet, net::IpAddr};

use anyhow::Result;
use netdiag_common::flow::FlowKey;

use super::super::{
    Usage, exit,
    path::{code as code_of_one, predict::Computed},
};
use crate::{
    diagnosis::{
        nodes::Recorded,
        path::{end, onward, paired, path_with},
    },
    model::{
        flow::ends as addresses,
        path::{End, Followed, Path, Wanted},
        verdict::PodRole,
    },
};

/// Nodes that translate one after the other, as a NodePort's and a gateway may.
const MOST_TRANSLATIONS: usize = 3;

/// The way on each node, the node where it begins first.
pub fn paths(
    recorded: &mut [Recorded],
    [source, destination]: [&Wanted; 2],
    computed: &Computed,
) -> Result<Vec<Path>> {
    let ends = known(recorded, source, PodRole::Source).and_then(|source| {
        let destination = known(recorded, destination, PodRole::Destination)?;
        paired(source, destination)
    });
    let ends = ends.and_then(|ends| computed.checked(ends));
    let ends = ends.map_err(Usage)?;
    // Where one node translates, the next one knows it by other flows, and may translate again.
    let mut legs = BTreeSet::new();
    for _ in 0..MOST_TRANSLATIONS {
        let further = recorded.iter().flat_map(|it| further(it, &ends, &legs));
        let further: BTreeSet<FlowKey> = further.collect();
        legs.extend(further);
    }
    let paths = recorded
        .iter_mut()
        .map(|it| of(it, &ends, (&legs, computed)));
    let mut paths = paths.collect::<Result<Vec<Path>>>()?;
    paths.sort_by_key(came_in);
    Ok(paths)
}

/// An end as those nodes know it that do: each knows its own pods.
fn known(recorded: &[Recorded], wanted: &Wanted, role: PodRole) -> Result<End, String> {
    let known = recorded.iter().map(|it| {
        let rows = it.scene.rows(&it.last);
        end(&it.scene.facts(&rows), wanted, role)
    });
    let (known, whys): (Vec<_>, Vec<_>) = known.partition(Result::is_ok);
    let known = known.into_iter().flatten().reduce(one);
    known.ok_or_else(|| {
        let why = whys.into_iter().find_map(Result::err);
        why.unwrap_or_else(|| "there is no recording".into())
    })
}

fn further(it: &Recorded, ends: &(End, End), legs: &BTreeSet<FlowKey>) -> BTreeSet<FlowKey> {
    let rows = it.scene.rows(&it.last);
    onward(&it.scene.facts(&rows), ends, legs)
}

fn of(
    it: &mut Recorded,
    ends: &(End, End),
    (legs, computed): (&BTreeSet<FlowKey>, &Computed),
) -> Result<Path> {
    let rows = it.scene.rows(&it.last);
    let facts = it.scene.facts(&rows);
    facts.follow(Followed::between(ends));
    let findings = it.judge.evaluated(&facts).findings;
    let way = |ends| path_with(&facts, ends, legs, &it.scene.run, &findings);
    let mut path = way(ends.clone());
    let read = !facts.prepared().world.stacks.is_empty();
    if computed.predict || read && path.flows == 0 && legs.is_empty() {
        path.predicted = computed.predicted(&facts, ends)?;
    }
    Ok(match (path.flows, behind(ends, legs)) {
        // Then the routes are asked for what should have come here.
        (0, Some(behind)) => Path {
            predicted: path.predicted,
            ..way(behind)
        },
        _ => path,
    })
}

/// The ends of the legs; nothing where nobody translates.
fn behind((source, destination): &(End, End), legs: &BTreeSet<FlowKey>) -> Option<(End, End)> {
    let sorted = |all: BTreeSet<IpAddr>| all.into_iter().collect::<Vec<_>>();
    let ports: BTreeSet<u16> = legs.iter().map(|l| l.destination_port).collect();
    let mut ports = ports.into_iter();
    let source = End {
        addresses: sorted(legs.iter().map(|l| addresses(l).0).collect()),
        port: None,
        ..source.clone()
    };
    let destination = End {
        addresses: sorted(legs.iter().map(|l| addresses(l).1).collect()),
        port: ports.next().filter(|_| ports.next().is_none()),
        ..destination.clone()
    };
    (!legs.is_empty()).then_some((source, destination))
}

/// The addresses of both; a port only where they agree.
fn one(former: End, other: End) -> End {
    let mut addresses = [former.addresses, other.addresses].concat();
    addresses.sort();
    addresses.dedup();
    End {
        addresses,
        port: former.port.filter(|port| Some(*port) == other.port),
        pod: former.pod.or(other.pod),
        service: former.service.or(other.service),
        asked: former.asked,
    }
}

/// Where SRC is not, the requests come by an uplink.
fn came_in(path: &Path) -> bool {
    let first = path.request.steps.first();
    first.is_none_or(|s| s.role.as_deref() == Some("uplink") && s.direction == "ingress")
}

/// The worst of them.
pub fn code(paths: &[Path]) -> i32 {
    let codes: Vec<i32> = paths.iter().map(code_of_one).collect();
    let worst = [exit::FINDINGS, exit::OK];
    let worst = worst.into_iter().find(|code| codes.contains(code));
    worst.unwrap_or(exit::INCOMPLETE)
}
