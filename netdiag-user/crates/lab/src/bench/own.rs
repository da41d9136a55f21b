//! What netdiag's own process takes when nothing happens, and after very many drops of very many
//! flows.
use anyhow::{Context, Result};

use super::axes::compared;
use super::line::{Line, Stormed, Tell};
use super::sizes::LONGEST;
use super::{Attached, Bench, Levels, Sizes, Storm};

/// Drops a second, and their flows, of a storm that a few clients make.
const USUAL_PACE: u32 = 300_000;
const USUAL_FLOWS: u32 = 1000;

pub async fn run(bench: &mut Bench, sizes: &Sizes, levels: &Levels, tell: Tell<'_>) -> Result<()> {
    for what in &levels.all {
        bench.attach(what).await?;
        idle(bench, sizes, what, tell).await?;
        usual_storm(bench, sizes, what, tell).await?;
        if compared(sizes, levels).contains(what) {
            long_storm(bench, sizes, what, tell).await?;
        }
        bench.detach().await?;
    }
    Ok(())
}

async fn idle(bench: &Bench, sizes: &Sizes, what: &Attached, tell: Tell<'_>) -> Result<()> {
    let used = || bench.used()?.context("nothing is attached");
    tokio::time::sleep(sizes.settle).await;
    let before = used()?;
    tokio::time::sleep(sizes.idle).await;
    let mut tracer = used()?;
    tracer.cpu_seconds -= before.cpu_seconds;
    tell(&Line::Idle {
        attached: *what,
        seconds: sizes.idle.as_secs_f64(),
        tracer,
    })
}

/// A storm of a few clients that lasts many readings.
async fn usual_storm(bench: &Bench, sizes: &Sizes, what: &Attached, tell: Tell<'_>) -> Result<()> {
    let storm = Storm {
        flows: USUAL_FLOWS,
        pace: Some(USUAL_PACE),
        most: u64::MAX,
        time: sizes.idle,
    };
    let measured = measured(bench, storm, what).await?;
    tell(&Line::Storm(measured))
}

async fn long_storm(bench: &Bench, sizes: &Sizes, what: &Attached, tell: Tell<'_>) -> Result<()> {
    let storm = Storm {
        flows: sizes.storm_flows,
        pace: None,
        most: sizes.storm_drops,
        time: LONGEST,
    };
    let measured = measured(bench, storm, what).await?;
    tell(&Line::Flooded(measured))
}

async fn measured(bench: &Bench, storm: Storm, what: &Attached) -> Result<Stormed> {
    let used = || bench.used()?.context("nothing is attached");
    let before = used()?;
    let flooded = bench.storm(storm).await?;
    let mut tracer = used()?;
    tracer.cpu_seconds -= before.cpu_seconds;
    Ok(Stormed {
        attached: *what,
        flows: storm.flows,
        sent: flooded.sent,
        seconds: flooded.seconds,
        tracer,
    })
}
