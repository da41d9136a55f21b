//! From samples to figures: medians of each round's ratio to nothing attached.
use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::samples::{EMPTY, FLOOD, NETDIAG, NOTHING, STORM, Sample, Samples};

/// A program that ran less often was not part of the load; its mean says nothing.
const ENOUGH_RUNS: f64 = 1000.0;

/// One kind of load.
#[derive(Debug)]
pub struct Rates {
    /// Packets a second with nothing attached.
    pub base: f64,
    /// The same a second of the sender's CPU time.
    pub cpu_base: f64,
    pub empty: Ratio,
    pub netdiag: Ratio,
}

/// Ratio to nothing attached.
#[derive(Debug)]
pub struct Ratio {
    pub rate: f64,
    /// Of the packets a second of the sender's CPU time.
    pub cpu: f64,
    /// The middle half of the rounds lies in this range of `cpu`.
    pub quartiles: (f64, f64),
}

#[derive(Debug)]
pub struct Own {
    pub share: f64,
    pub rss: f64,
}

#[derive(Debug)]
pub struct Numbers {
    pub rounds: usize,
    pub flood: Rates,
    pub storm: Rates,
    /// Packets of the flood that arrived, of those sent, netdiag attached.
    pub arrived: f64,
    /// Nanoseconds a run of each program.
    pub programs: BTreeMap<String, f64>,
    pub own_flood: Own,
    pub own_storm: Own,
    pub maps: f64,
}

impl Numbers {
    pub fn of(samples: &Samples) -> Result<Self> {
        let tracers = samples
            .of(NETDIAG, STORM)
            .filter_map(|it| it.tracer.as_ref());
        Ok(Self {
            rounds: samples.of(NOTHING, FLOOD).count(),
            flood: rates(samples, FLOOD)?,
            storm: rates(samples, STORM)?,
            arrived: median(samples.of(NETDIAG, FLOOD).map(|it| it.arrived))?,
            programs: programs(samples),
            own_flood: own(samples, FLOOD)?,
            own_storm: own(samples, STORM)?,
            maps: median(tracers.map(|it| it.maps))?,
        })
    }

    pub fn json(&self) -> Value {
        let rates = |it: &Rates| {
            let ratio = |it: &Ratio| json!({ "rate": it.rate, "cpu": it.cpu, "cpu_quartiles": it.quartiles });
            json!({
                "packets_per_second": it.base,
                "packets_per_cpu_second": it.cpu_base,
                "ratio": { EMPTY: ratio(&it.empty), NETDIAG: ratio(&it.netdiag) },
            })
        };
        let own = |it: &Own| json!({ "cpu_share": it.share, "rss_bytes": it.rss });
        json!({
            "rounds": self.rounds,
            FLOOD: rates(&self.flood),
            STORM: rates(&self.storm),
            "arrived": self.arrived,
            "ns_per_run": self.programs,
            "own": { FLOOD: own(&self.own_flood), STORM: own(&self.own_storm) },
            "map_bytes": self.maps,
        })
    }
}

fn rates(samples: &Samples, load: &str) -> Result<Rates> {
    Ok(Rates {
        base: median(samples.of(NOTHING, load).map(|it| it.rate))?,
        cpu_base: median(samples.of(NOTHING, load).map(|it| it.cpu_rate))?,
        empty: ratio(samples, EMPTY, load)?,
        netdiag: ratio(samples, NETDIAG, load)?,
    })
}

fn ratio(samples: &Samples, attached: &str, load: &str) -> Result<Ratio> {
    let ratios = |of: fn(&Sample) -> f64| {
        let pairs = samples.of(attached, load).filter_map(move |it| {
            let same = |base: &&Sample| base.round == it.round;
            let base = samples.of(NOTHING, load).find(same)?;
            Some(of(it) / of(base))
        });
        sorted(pairs)
    };
    let cpu = ratios(|it| it.cpu_rate);
    Ok(Ratio {
        rate: quantile(&ratios(|it| it.rate), 0.5)?,
        cpu: quantile(&cpu, 0.5)?,
        quartiles: (quantile(&cpu, 0.25)?, quantile(&cpu, 0.75)?),
    })
}

fn own(samples: &Samples, load: &str) -> Result<Own> {
    let own = || {
        samples
            .of(NETDIAG, load)
            .filter_map(|it| it.tracer.as_ref())
    };
    Ok(Own {
        share: median(own().map(|it| it.share))?,
        rss: median(own().map(|it| it.rss))?,
    })
}

fn programs(samples: &Samples) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (name, runs, ns) in samples.0.iter().flat_map(|it| &it.programs) {
        let sum = sums.entry(name.clone()).or_default();
        *sum = (sum.0 + runs, sum.1 + ns);
    }
    let often = sums
        .into_iter()
        .filter(|(_, (runs, _))| *runs >= ENOUGH_RUNS);
    often.map(|(name, (runs, ns))| (name, ns / runs)).collect()
}

fn median(values: impl Iterator<Item = f64>) -> Result<f64> {
    quantile(&sorted(values), 0.5)
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<_> = values.filter(|it| it.is_finite()).collect();
    all.sort_by(f64::total_cmp);
    all
}

/// Between two values it lies in proportion.
fn quantile(sorted: &[f64], part: f64) -> Result<f64> {
    let place = part * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => Ok(low + (high - low) * place.fract()),
        _ => bail!("`netdiag lab bench` gave too few samples"),
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::samples::tests::line;
    use super::*;

    pub fn numbers() -> Result<Numbers> {
        let mut samples = Samples::default();
        for round in 0..3 {
            for (attached, share) in [(NOTHING, 100), (EMPTY, 98), (NETDIAG, 90 + round)] {
                for load in [FLOOD, STORM] {
                    samples.add(&line(round, attached, load, (round + 1) * share * 1000))?;
                }
            }
        }
        Numbers::of(&samples)
    }

    #[test]
    fn ratios_are_taken_within_a_round() -> Result<()> {
        let numbers = numbers()?;
        assert_eq!(numbers.rounds, 3);
        assert_eq!(numbers.flood.base, 100_000.0);
        assert!((numbers.storm.netdiag.rate - 0.91).abs() < 1e-9);
        assert_eq!(numbers.programs.get("hop_ingress"), Some(&120.0));
        Ok(())
    }

    #[test]
    fn quantiles() -> Result<()> {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5)?, 2.0);
        assert_eq!(quantile(&[1.0, 3.0], 0.5)?, 2.0);
        assert!(quantile(&[], 0.5).is_err());
        Ok(())
    }
}
