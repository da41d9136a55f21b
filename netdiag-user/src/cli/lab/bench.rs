//! `netdiag lab bench`: the measurements of `cargo xtask bench`, one JSON line each.
use std::io::{self, Write};

use anyhow::{Context, Result};

use super::args::BenchArgs;
use super::{SKIPPED, outcome, report};
use crate::cli::run::LEVEL;
use crate::lab::bench::{Bench, Levels, Line, Sizes};

pub async fn run(args: &BenchArgs) -> Result<i32> {
    let mut bench = match outcome(Bench::build().await) {
        Ok(bench) => bench?,
        Err(why) => return report::skipped(&why).map(|()| SKIPPED),
    };
    let (sizes, levels, parts) = (sizes(args), Levels::new(LEVEL), args.parts());
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

fn tell(line: &Line) -> Result<()> {
    let text = serde_json::to_string(line).context("cannot describe a sample")?;
    // A reader that went away ends the bench.
    writeln!(io::stdout(), "{text}").context("cannot write the sample")
}
