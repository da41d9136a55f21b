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
    let cannot = || format!("cannot anonymise {}", from.display());
    let mut anonymiser = Anonymiser::of(&mut Replay::open(from)?).with_context(cannot)?;
    let recorder = Recorder::create(to)?;
    let written = anonymiser.write(&mut Replay::open(from)?, recorder);
    if written.is_err() && to.metadata().is_ok_and(|it| it.is_file()) {
        // Half a recording says nothing that is wanted.
        let _ = std::fs::remove_file(to);
    }
    let readings = written.with_context(cannot)?;
    let (before, after) = (causes(args, from)?, causes(args, to)?);
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
