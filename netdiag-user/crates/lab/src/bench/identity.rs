//! Whether what was dropped is told to the last packet: the sender knows how many there were.
use anyhow::Result;

use super::axes::netdiags;
use super::line::{Line, Tell};
use super::tracer::Tracer;
use super::{Bench, Levels, Sizes, Storm, many};
use netdiag_model::verdict::Verdict;

/// What an nftables rule drops.
const REASON: &str = "NETFILTER_DROP";
/// In turn: a client, more than the table has rows, more than a table can be read with.
const FLOWS: [u32; 3] = [100, 20_000, 2 * many::PORTS];

pub async fn run(bench: &mut Bench, sizes: &Sizes, levels: &Levels, tell: Tell<'_>) -> Result<()> {
    for number in 0..sizes.storms {
        for what in netdiags(sizes, levels) {
            let flows = FLOWS[number as usize % FLOWS.len()];
            let tracer = Tracer::start_to_tell(&bench.cluster, &what).await?;
            let storm = Storm {
                flows,
                pace: None,
                most: u64::MAX,
                time: sizes.storm_time,
            };
            let flooded = bench.storm(storm).await?;
            let verdict = tracer.summary().await?;
            tell(&Line::Identity {
                attached: what,
                flows,
                sent: flooded.sent,
                told: told(&verdict),
                lost: verdict.observer.lost,
            })?;
        }
    }
    Ok(())
}

fn told(verdict: &Verdict) -> u64 {
    let rows = verdict.drops.iter().filter(|row| row.reason == REASON);
    rows.map(|row| row.packets).sum()
}
