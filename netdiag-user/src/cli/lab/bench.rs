//! `netdiag lab bench`: the measurements of `cargo xtask bench`, one JSON line each.
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::args::BenchArgs;
use super::{SKIPPED, outcome, report};
use crate::kernel::cost::{self, ProgramCost};
use crate::lab::bench::{Attached, Bench, Flooded, Load, Tracer};

/// Rounds in which the kernel times every program run; apart, because that costs.
const TIMED_ROUNDS: u32 = 2;

/// One flood with something attached.
#[derive(Serialize)]
struct Sample {
    round: u32,
    attached: Attached,
    load: Load,
    #[serde(flatten)]
    flooded: Flooded,
    tracer: Option<Own>,
    /// Empty unless the kernel timed them.
    programs: Vec<ProgramCost>,
}

/// What the tracer took for itself.
#[derive(Serialize)]
struct Own {
    cpu_seconds: f64,
    rss_bytes: u64,
    map_bytes: u64,
}

pub async fn run(args: &BenchArgs) -> Result<i32> {
    let mut bench = match outcome(Bench::build().await) {
        Ok(bench) => bench?,
        Err(why) => return report::skipped(&why).map(|()| SKIPPED),
    };
    for number in 0..args.rounds {
        let all = [Attached::Nothing, Attached::Empty, Attached::Netdiag];
        round(&mut bench, number, &all, args.time).await?;
    }
    let _timing = cost::timing()?;
    for number in args.rounds..args.rounds + TIMED_ROUNDS {
        let some = [Attached::Empty, Attached::Netdiag];
        round(&mut bench, number, &some, args.time).await?;
    }
    Ok(0)
}

async fn round(bench: &mut Bench, number: u32, all: &[Attached], time: Duration) -> Result<()> {
    for attached in all {
        bench.attach(*attached).await?;
        for load in [Load::Flood, Load::Storm] {
            let before = bench.tracer().map(Tracer::used).transpose()?;
            let programs = programs(bench)?;
            let flooded = bench.run(load, time).await?;
            let cpu = before.map_or(0.0, |used| used.cpu_seconds);
            tell(&Sample {
                round: number,
                attached: *attached,
                load,
                flooded,
                tracer: bench.tracer().map(|it| own(it, cpu)).transpose()?,
                programs: difference(&programs, self::programs(bench)?),
            })?;
        }
    }
    Ok(())
}

fn programs(bench: &Bench) -> Result<Vec<ProgramCost>> {
    let pid = bench.tracer().map(|it| it.pid);
    pid.map_or(Ok(Vec::new()), cost::programs)
}

fn own(tracer: &Tracer, cpu_before: f64) -> Result<Own> {
    let used = tracer.used()?;
    Ok(Own {
        cpu_seconds: used.cpu_seconds - cpu_before,
        rss_bytes: used.rss_bytes,
        map_bytes: cost::map_bytes(tracer.pid)?,
    })
}

fn difference(before: &[ProgramCost], mut after: Vec<ProgramCost>) -> Vec<ProgramCost> {
    for program in &mut after {
        if let Some(old) = before.iter().find(|it| it.name == program.name) {
            program.runs -= old.runs;
            program.ns -= old.ns;
        }
    }
    after.retain(|program| program.runs > 0);
    after
}

fn tell(sample: &Sample) -> Result<()> {
    let text = serde_json::to_string(sample).context("cannot describe a sample")?;
    // A reader that went away ends the bench.
    writeln!(io::stdout(), "{text}").context("cannot write the sample")
}
