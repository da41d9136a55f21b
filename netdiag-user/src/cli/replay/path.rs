//! `netdiag replay --path`: one flow over the nodes that were recorded.
use anyhow::Result;

use super::super::{Usage, exit, path::code as code_of_one};
use crate::{
    model::{
        path::{End, Path, Wanted},
        verdict::PodRole,
    },
    pipeline::{
        join::Recorded,
        path::{end, onward, paired, path},
    },
};

/// The way on each node, the node where it begins first.
pub fn paths(recorded: &[Recorded], source: &Wanted, destination: &Wanted) -> Result<Vec<Path>> {
    let ends = known(recorded, source, PodRole::Source).and_then(|source| {
        let destination = known(recorded, destination, PodRole::Destination)?;
        paired(source, destination)
    });
    let ends = ends.map_err(Usage)?;
    // Where one node translates, the next one knows it by other addresses.
    let further = recorded.iter().map(|it| further(it, &ends));
    let ends = further.fold(ends.clone(), both);
    let mut paths: Vec<Path> = recorded.iter().map(|it| of(it, ends.clone())).collect();
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

fn further(it: &Recorded, ends: &(End, End)) -> (End, End) {
    let rows = it.scene.rows(&it.last);
    onward(&it.scene.facts(&rows), ends)
}

fn of(it: &Recorded, ends: (End, End)) -> Path {
    let rows = it.scene.rows(&it.last);
    path(&it.scene.facts(&rows), ends, &it.scene.run)
}

fn both(former: (End, End), other: (End, End)) -> (End, End) {
    (one(former.0, other.0), one(former.1, other.1))
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
