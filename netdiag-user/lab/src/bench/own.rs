//! What netdiag's own process takes when nothing happens, and after very many drops of very many
//! flows.
use anyhow::{Context, Result};

use super::axes::compared;
use super::line::{Line, Tell};
use super::{Attached, Bench, Levels, Sizes, Storm};

pub async fn run(bench: &mut Bench, sizes: &Sizes, levels: &Levels, tell: Tell<'_>) -> Result<()> {
    for what in &levels.all {
        bench.attach(what).await?;
        idle(bench, sizes, what, tell).await?;
        if compared(sizes, levels).contains(what) {
            storm(bench, sizes, what, tell).await?;
        }
        bench.detach().await?;
    }
    Ok(())
}

async fn idle(bench: &Bench, sizes: &Sizes, what: &Attached, tell: Tell<'_>) -> Result<()> {
    let used = || bench.used()?.context("nothing is attached");
    // What the beginning stirs up is over by then.
    tokio::time::sleep(sizes.idle).await;
    let before = used()?;
    tokio::time::sleep(sizes.idle).await;
    let mut tracer = used()?;
    tracer.cpu_seconds -= before.cpu_seconds;
    tell(&Line::Idle {
        attached: what.clone(),
        seconds: sizes.idle.as_secs_f64(),
        tracer,
    })
}

async fn storm(bench: &Bench, sizes: &Sizes, what: &Attached, tell: Tell<'_>) -> Result<()> {
    let used = || bench.used()?.context("nothing is attached");
    let before = used()?;
    let storm = Storm {
        flows: sizes.storm_flows,
        pace: None,
        most: sizes.storm_drops,
        time: super::sizes::LONGEST,
    };
    let flooded = bench.storm(storm).await?;
    let mut tracer = used()?;
    tracer.cpu_seconds -= before.cpu_seconds;
    tell(&Line::Flooded {
        attached: what.clone(),
        flows: sizes.storm_flows,
        sent: flooded.sent,
        seconds: flooded.seconds,
        tracer,
    })
}
