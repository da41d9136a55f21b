//! `netdiag replay --path`: one flow over the nodes that were recorded.
use anyhow::Result;

use super::super::{Usage, exit, path::code as code_of_one};
use crate::{
    model::path::{End, Path, Wanted},
    pipeline::{
        join::Recorded,
        path::{ends, onward, path},
    },
};

/// The way on each node, the node where it begins first.
pub fn paths(recorded: &[Recorded], source: &Wanted, destination: &Wanted) -> Result<Vec<Path>> {
    let known = recorded.iter().map(|it| known(it, source, destination));
    let (known, whys): (Vec<_>, Vec<_>) = known.partition(Result::is_ok);
    let mut known: Vec<(End, End)> = known.into_iter().flatten().collect();
    if known.is_empty() {
        let why = whys.into_iter().find_map(Result::err);
        return Err(Usage(why.unwrap_or_else(|| "there is no recording".into())).into());
    }
    // Where one node translates, the next one knows it by other addresses.
    let further: Vec<_> = recorded.iter().map(|it| further(it, &known[0])).collect();
    known.extend(further);
    let ends = known.into_iter().reduce(both).unwrap_or_default();
    let mut paths: Vec<Path> = recorded.iter().map(|it| of(it, ends.clone())).collect();
    paths.sort_by_key(came_in);
    Ok(paths)
}

fn known(it: &Recorded, source: &Wanted, destination: &Wanted) -> Result<(End, End), String> {
    let rows = it.scene.rows(&it.last);
    ends(&it.scene.facts(&rows), source, destination)
}

fn further(it: &Recorded, ends: &(End, End)) -> (End, End) {
    let rows = it.scene.rows(&it.last);
    onward(&it.scene.facts(&rows), ends)
}

fn of(it: &Recorded, ends: (End, End)) -> Path {
    let rows = it.scene.rows(&it.last);
    path(&it.scene.facts(&rows), ends, &it.scene.run)
}

/// The addresses of both; a port only where they agree.
fn both(one: (End, End), other: (End, End)) -> (End, End) {
    let end = |one: End, other: End| {
        let mut addresses = [one.addresses, other.addresses].concat();
        addresses.sort();
        addresses.dedup();
        End {
            addresses,
            port: one.port.filter(|port| Some(*port) == other.port),
            pod: one.pod.or(other.pod),
            service: one.service.or(other.service),
            asked: one.asked,
        }
    };
    (end(one.0, other.0), end(one.1, other.1))
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
