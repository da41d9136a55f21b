//! `netdiag lab bench`: the measurements of `cargo xtask bench`, one JSON line each.
use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::{Args, Command};

use super::args::BenchArgs;
use super::{SKIPPED, outcome, report};
use crate::cli::run::RunArgs;
use crate::lab::bench::{Bench, Levels, Line, Sizes};

pub async fn run(args: &BenchArgs) -> Result<i32> {
    let mut bench = match outcome(Bench::build().await) {
        Ok(bench) => bench?,
        Err(why) => return report::skipped(&why).map(|()| SKIPPED),
    };
    let (sizes, levels, parts) = (sizes(args), levels(), args.parts());
    bench.measure(&sizes, &levels, &parts, &mut tell).await?;
    Ok(0)
}

fn sizes(args: &BenchArgs) -> Sizes {
    let mut sizes = match (args.smoke, args.long) {
        (true, _) => Sizes::smoke(),
        (_, true) => Sizes::long(),
        _ => Sizes::usual(),
    };
    sizes.rounds = args.rounds.unwrap_or(sizes.rounds);
    sizes.time = args.time.unwrap_or(sizes.time);
    sizes
}

/// What `netdiag run --level` takes, where there is such an option.
fn levels() -> Levels {
    let run = RunArgs::augment_args(Command::new("run"));
    let Some(level) = run
        .get_arguments()
        .find(|it| it.get_long() == Some("level"))
    else {
        return Levels::new(&[], None);
    };
    let names = level.get_possible_values();
    let names: Vec<_> = names.iter().map(|it| it.get_name().to_owned()).collect();
    let usual = level
        .get_default_values()
        .first()
        .and_then(|it| it.to_str());
    Levels::new(&names, usual)
}

fn tell(line: &Line) -> Result<()> {
    let text = serde_json::to_string(line).context("cannot describe a sample")?;
    // A reader that went away ends the bench.
    writeln!(io::stdout(), "{text}").context("cannot write the sample")
}
