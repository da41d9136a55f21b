//! Loads with nothing attached before and after each of those that are compared with it: a busy
//! spell of the machine hits both.
use std::time::Duration;

use anyhow::Result;
use netdiag_kernel::cost::{self, ProgramCost};

use super::attached::PEERS;
use super::line::{Line, Sample, Tell};
use super::{Attached, Bench, Flooded, Levels, Load, Sizes, peer};

pub async fn run(bench: &mut Bench, sizes: &Sizes, levels: &Levels, tell: Tell<'_>) -> Result<()> {
    let mut all = levels.with_empty();
    all.extend(peers(tell)?);
    let mut step = 0;
    for round in 0..sizes.rounds {
        all.rotate_left(1);
        // What cannot be attached here is left out from then on.
        let mut gone = Vec::new();
        samples(bench, (round, step), &Attached::Nothing, sizes.time, tell).await?;
        for what in &all {
            if let Err(error) = bench.attach(what).await {
                skip(what, error, tell)?;
                gone.push(*what);
                continue;
            }
            step += 1;
            samples(bench, (round, step), what, sizes.time, tell).await?;
            if let Err(error) = bench.detach().await {
                skip(what, error, tell)?;
                gone.push(*what);
            }
            step += 1;
            samples(bench, (round, step), &Attached::Nothing, sizes.time, tell).await?;
        }
        all.retain(|what| !gone.contains(what));
        step += 1;
    }
    Ok(())
}

/// Programs' times, apart from the rounds because taking them costs.
pub async fn timed(
    bench: &mut Bench,
    sizes: &Sizes,
    levels: &Levels,
    tell: Tell<'_>,
) -> Result<()> {
    let _timing = cost::timing()?;
    for _ in 0..sizes.timed_rounds {
        for what in levels.with_empty() {
            bench.attach(&what).await?;
            for load in Load::ALL {
                let measuring = Measuring::begin(bench, &what, load, true)?;
                let flooded = bench.run(load, sizes.time).await?;
                let sample = measuring.end(bench, flooded)?;
                tell(&Line::Timed { sample })?;
            }
            bench.detach().await?;
        }
    }
    Ok(())
}

/// Other tools that this machine has.
fn peers(tell: Tell<'_>) -> Result<Vec<Attached>> {
    let mut there = Vec::new();
    for what in PEERS {
        let Some(name) = peer::program(&what) else {
            continue;
        };
        if installed(name) {
            there.push(what);
        } else {
            let what = what.to_string();
            let why = format!("{name} is not installed");
            tell(&Line::Skipped { what, why })?;
        }
    }
    Ok(there)
}

fn installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// netdiag itself must always be there; another tool may not run on this kernel.
fn skip(what: &Attached, error: anyhow::Error, tell: Tell<'_>) -> Result<()> {
    if peer::program(what).is_none() {
        return Err(error);
    }
    let why = format!("{error:#}");
    let what = what.to_string();
    tell(&Line::Skipped { what, why })
}

async fn samples(
    bench: &Bench,
    (round, step): (u32, u32),
    what: &Attached,
    time: Duration,
    tell: Tell<'_>,
) -> Result<()> {
    for load in Load::ALL {
        let measuring = Measuring::begin(bench, what, load, false)?;
        let flooded = bench.run(load, time).await?;
        let sample = measuring.end(bench, flooded)?;
        tell(&Line::Round {
            round,
            step,
            sample,
        })?;
    }
    Ok(())
}

/// A load that is under way, with what was so before it.
pub struct Measuring {
    attached: Attached,
    load: Load,
    cpu_before: f64,
    before: Option<Vec<ProgramCost>>,
}

impl Measuring {
    pub fn begin(bench: &Bench, what: &Attached, load: Load, timed: bool) -> Result<Self> {
        Ok(Self {
            attached: *what,
            load,
            cpu_before: bench.used()?.map_or(0.0, |used| used.cpu_seconds),
            before: timed.then(|| programs(bench)).transpose()?,
        })
    }

    pub fn end(self, bench: &Bench, flooded: Flooded) -> Result<Sample> {
        let mut tracer = bench.used()?;
        if let Some(used) = &mut tracer {
            used.cpu_seconds -= self.cpu_before;
        }
        let programs = match self.before {
            Some(before) => difference(&before, programs(bench)?),
            None => Vec::new(),
        };
        Ok(Sample {
            attached: self.attached,
            load: self.load,
            flooded,
            tracer,
            programs,
        })
    }
}

fn programs(bench: &Bench) -> Result<Vec<ProgramCost>> {
    bench.pid().map_or(Ok(Vec::new()), cost::programs)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_before_does_not_count() {
        let cost = |name: &str, runs, ns| ProgramCost {
            name: name.to_owned(),
            runs,
            ns,
        };
        let before = [cost("a", 5, 50), cost("b", 1, 9)];
        let after = vec![cost("a", 7, 90), cost("b", 1, 9), cost("c", 1, 3)];
        let left = difference(&before, after);
        let left: Vec<_> = left
            .iter()
            .map(|it| (it.name.as_str(), it.runs, it.ns))
            .collect();
        assert_eq!(left, [("a", 2, 40), ("c", 1, 3)]);
    }

    #[test]
    fn a_tool_that_is_not_there_is_no_failure_and_netdiag_is() -> Result<()> {
        let mut told = Vec::new();
        let mut tell = |line: &Line| {
            told.push(serde_json::to_string(line)?);
            Ok(())
        };
        skip(&Attached::Tcpdump, anyhow::anyhow!("no"), &mut tell)?;
        assert!(skip(&Attached::Empty, anyhow::anyhow!("no"), &mut tell).is_err());
        assert_eq!(told, [r#"{"part":"skipped","what":"tcpdump","why":"no"}"#]);
        Ok(())
    }
}
