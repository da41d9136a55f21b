//! The smallest world that still contradicts: lines are taken away while it does.
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{command::Command, fate::Fate, round::Round, traffic::Shot};

/// Each line costs the patience that found it; what is left then is small enough.
const LONGEST: Duration = Duration::from_secs(60);

/// A contradiction, as small as it gets.
pub struct Small {
    pub commands: Vec<Command>,
    pub expected: String,
    pub fate: Fate,
}

pub fn shrink(round: &mut Round, commands: &[Command], shot: &Shot) -> Result<Option<Small>> {
    let mut kept = commands.to_vec();
    round.take(&kept);
    if round.alone(shot)?.is_none() {
        return Ok(None);
    }
    let mut size = kept.len().div_ceil(2);
    let until = Instant::now() + LONGEST;
    while size > 0 {
        let mut at = 0;
        while at < kept.len() && Instant::now() < until {
            let mut fewer = kept.clone();
            fewer.drain(at..(at + size).min(kept.len()));
            round.take(&fewer);
            match round.alone(shot)? {
                Some(_) => kept = fewer,
                None => at += size,
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    round.take(&kept);
    let last = round.alone(shot)?;
    Ok(last.map(|(expected, fate)| Small {
        commands: kept,
        expected,
        fate,
    }))
}
