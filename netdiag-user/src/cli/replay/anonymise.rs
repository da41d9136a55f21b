//! `netdiag replay FILE --anonymise OUT`
use std::{collections::BTreeSet, os::unix::fs::MetadataExt, path::Path};

use anyhow::{Context, Result};

use super::{
    super::{Usage, exit},
    ReplayArgs,
    player::Player,
};
use crate::{
    model::verdict::Verdict,
    recording::{Anonymiser, Recorder, Replay},
    sys::output_file::Replacement,
};

pub fn run(args: &ReplayArgs, to: &Path) -> Result<i32> {
    let [from] = args.files.as_slice() else {
        return Err(Usage("--anonymise takes one recording at a time".into()).into());
    };
    if is_same(from, to) {
        let told = format!(
            "{} is the recording itself: name another file",
            to.display()
        );
        return Err(Usage(told).into());
    }
    twice(from, "FILE", "it is read more than once")?;
    twice(to, "OUT", "it is read again when it is written")?;
    let cannot = || format!("cannot anonymise {}", from.display());
    let mut anonymiser = Anonymiser::of(&mut Replay::open(from)?).with_context(cannot)?;
    let cannot_write = || format!("cannot write {}", to.display());
    // Until it is whole, and was read back, what was there stays.
    let new = Replacement::of(to).with_context(cannot_write)?;
    let recorder = new.file().and_then(Recorder::to);
    let recorder = recorder.with_context(cannot_write)?;
    let written = anonymiser.write(&mut Replay::open(from)?, recorder);
    let readings = written.with_context(cannot)?;
    let (before, after) = (causes(args, from)?, causes(args, &new.readable())?);
    new.put().with_context(cannot_write)?;
    if before != after {
        let list = |causes: &BTreeSet<String>| match causes.len() {
            0 => "nothing".to_owned(),
            _ => causes.iter().cloned().collect::<Vec<_>>().join(", "),
        };
        log::warn!(
            "{} names {}, and {} names {}: some cause rests on what was mapped",
            from.display(),
            list(&before),
            to.display(),
            list(&after)
        );
    }
    log::info!("{}: {readings} readings", to.display());
    Ok(exit::OK)
}

/// Refuses what can be read only once, or not at all.
fn twice(path: &Path, what: &str, why: &str) -> Result<()> {
    match path.metadata() {
        Ok(found) if !found.is_file() && !found.is_dir() => {
            let told = format!(
                "{what} {} is a pipe or a device: name a plain file, because {why}",
                path.display()
            );
            Err(Usage(told).into())
        }
        _ => Ok(()),
    }
}

pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// What is named, how bad it is, and whether it is a root.
fn causes(args: &ReplayArgs, file: &Path) -> Result<BTreeSet<String>> {
    let asked = args.only.asked(&args.iface, &args.causes);
    let mut played = Player::open(file, &asked)?.play(None)?;
    let verdict: Verdict = played.judge.verdict(&played.scene, &played.last);
    let told = verdict.findings.iter().map(|it| {
        let of = it.consequence_of.as_ref();
        let of = of.map_or_else(String::new, |root| format!(" of {root:?}"));
        format!("{} ({:?}{of})", it.cause, it.severity)
    });
    Ok(told.collect())
}
