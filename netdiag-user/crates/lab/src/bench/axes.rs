//! What a run of each program costs, and what the process takes, when there is more of something.
use anyhow::Result;
use netdiag_kernel::cost;

use super::line::{Line, Tell};
use super::rounds::Measuring;
use super::{Attached, Bench, Levels, Load, Sizes, Storm};

/// Flows of a storm whose drops are counted: what a few clients make.
const STORM_FLOWS: u32 = 1000;

pub fn compared(sizes: &Sizes, levels: &Levels) -> Vec<Attached> {
    if sizes.every_level {
        levels.with_empty()
    } else {
        levels.usual_with_empty()
    }
}

/// The same without the empty programs.
pub fn netdiags(sizes: &Sizes, levels: &Levels) -> Vec<Attached> {
    let mut all = compared(sizes, levels);
    all.retain(|what| *what != Attached::Empty);
    all
}

/// At each number of flows.
pub async fn flows(
    bench: &mut Bench,
    sizes: &Sizes,
    levels: &Levels,
    tell: Tell<'_>,
) -> Result<()> {
    let _timing = cost::timing()?;
    for at in &sizes.flows {
        for what in compared(sizes, levels) {
            bench.attach(&what).await?;
            let measuring = Measuring::begin(bench, &what, Load::Udp, true)?;
            let flooded = bench.flows(*at, sizes.axis_time).await?;
            let sample = measuring.end(bench, flooded)?;
            let (axis, at) = ("flows", *at);
            tell(&Line::Axis { axis, at, sample })?;
            bench.detach().await?;
        }
    }
    Ok(())
}

/// At each rate of drops; the machine may not make as many as are asked for.
pub async fn drops(
    bench: &mut Bench,
    sizes: &Sizes,
    levels: &Levels,
    tell: Tell<'_>,
) -> Result<()> {
    let _timing = cost::timing()?;
    for at in &sizes.drops {
        for what in compared(sizes, levels) {
            bench.attach(&what).await?;
            let measuring = Measuring::begin(bench, &what, Load::Storm, true)?;
            let storm = Storm {
                flows: STORM_FLOWS,
                pace: Some(*at),
                most: u64::MAX,
                time: sizes.axis_time,
            };
            let flooded = bench.storm(storm).await?;
            let sample = measuring.end(bench, flooded)?;
            let (axis, at) = ("drops", *at);
            tell(&Line::Axis { axis, at, sample })?;
            bench.detach().await?;
        }
    }
    Ok(())
}
