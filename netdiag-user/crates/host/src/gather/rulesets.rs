//! Netfilter's rules of this thread's namespace that refuse packets: as the kernel counts them, and as
//! the host's own programs list them.
//!
//! Whoever owns the namespace may have made any number of rules, with any names. What is listed is
//! read while it comes, a rule at a time, and only what is asked for is kept.
pub mod kernel;
pub mod saved;
mod turn;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;

use self::{saved::Lines, turn::Turn};
use crate::{
    model::netfilter::Iptables,
    sys::{
        file,
        program::{Failure, Program},
    },
};

/// The file that says whether an engine's tables are there: asking would make the kernel register tables
/// that nobody uses.
const LEGACY: [(&str, Iptables); 2] = [
    ("ip_tables_names", Iptables::Legacy4),
    ("ip6_tables_names", Iptables::Legacy6),
];

/// How long a listing of everything may take: of 100,000 rules it is 6 s and more.
const LISTING: Duration = Duration::from_secs(20);

/// Hands over the lines of each `iptables-legacy-save` that is in use; `options` are its own.
pub fn saved_legacy(
    options: &[&str],
    mut each: impl FnMut(Iptables, &mut Lines<'_>) -> Result<()>,
) -> Result<()> {
    for program in legacy() {
        match save(program, options, &mut each) {
            // Tables that were read here once stay listed, though the program is gone with its image.
            Err(Failure::NotInstalled(_) | Failure::Failed(..)) => {}
            read => read?,
        }
    }
    Ok(())
}

fn save(
    program: Iptables,
    options: &[&str],
    each: &mut impl FnMut(Iptables, &mut Lines<'_>) -> Result<()>,
) -> Result<(), Failure> {
    let _turn = Turn::take().map_err(|e| Failure::NotStarted(program.save(), e.to_string()))?;
    let save = Program::new(program.save()).within(LISTING);
    save.read(options, |from| each(program, &mut Lines::new(from)))
}

/// The old engine's programs, as far as it has tables here.
fn legacy() -> impl Iterator<Item = Iptables> {
    let used = |tables: &str| {
        let path = Path::new("/proc/thread-self/net").join(tables);
        file::text(&path, file::SMALL).is_ok_and(|names| !names.trim().is_empty())
    };
    let used = LEGACY.iter().filter(move |(tables, _)| used(tables));
    used.map(|(_, program)| *program)
}

/// The lines of nft's listing of one chain, with handles; its names are plain words.
pub fn chain(names: [&str; 3], within: Duration, each: impl FnMut(&str)) -> Result<(), Failure> {
    let until = Instant::now() + within;
    let _turn = Turn::within(within).map_err(|e| Failure::NotStarted("nft", e.to_string()))?;
    let [family, table, chain] = names;
    let list = ["-a", "list", "chain", family, table, chain];
    let left = until.saturating_duration_since(Instant::now());
    let nft = Program::new("nft").within(left);
    nft.read(&list, |from| saved::plain_lines(from, each))
}
