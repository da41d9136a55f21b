//! What happens to a lab while its traffic goes on.
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep_until};

use super::cluster::Cluster;
use super::step::Step;

/// Steps as data, each so many milliseconds after the traffic began.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    pub steps: Vec<(u64, Step)>,
    /// All of them happen again so often. Only events do: a link that flaps, a daemon that is
    /// killed. Whoever looks later than the traffic began sees the next one.
    pub recurs: Option<Duration>,
}

impl Timeline {
    /// Steps that leave the lab changed for good.
    pub fn once(steps: Vec<(u64, Step)>) -> Self {
        Self {
            steps,
            recurs: None,
        }
    }

    /// Events that come back as long as there is traffic.
    pub fn again(recurs_ms: u64, steps: Vec<(u64, Step)>) -> Self {
        Self {
            steps,
            recurs: Some(Duration::from_millis(recurs_ms)),
        }
    }

    /// Until then nothing is wrong that could be named.
    pub fn begins(&self) -> Duration {
        let first = self.steps.first().map_or(0, |(after, _)| *after);
        Duration::from_millis(first)
    }

    /// Does it to the lab, of whose timelines it has that number. What left it changed for good is not done twice, however often the
    /// traffic is started.
    pub async fn play(&self, cluster: &Cluster, number: usize) -> Result<()> {
        let mut begun = Instant::now();
        let mut done = match self.recurs {
            Some(_) => 0,
            None => steps_done(cluster, number),
        };
        loop {
            for (n, (after, step)) in self.steps.iter().enumerate().skip(done) {
                sleep_until(begun + Duration::from_millis(*after)).await;
                step.apply(cluster).await?;
                if self.recurs.is_none() {
                    note(cluster, number, n + 1)?;
                }
            }
            match self.recurs {
                Some(after) if !self.steps.is_empty() => begun += after,
                _ => return Ok(()),
            }
            done = 0;
        }
    }

    /// What has become of it, for people.
    pub fn told(&self, cluster: &Cluster, number: usize) -> Option<String> {
        let all = self.steps.len();
        let last = Duration::from_millis(self.steps.last()?.0).as_secs_f64();
        let first = self.begins().as_secs_f64();
        Some(match (self.recurs, steps_done(cluster, number)) {
            (Some(every), _) => format!(
                "timeline: from {first} s on, and again every {} s",
                every.as_secs_f64()
            ),
            (None, done) if done >= all => {
                "timeline: all of it has happened; only a new lab begins with it again".to_owned()
            }
            (None, _) if all == 1 => format!("timeline: the fault comes after {first} s"),
            (None, _) => format!("timeline: the fault comes from {first} s to {last} s"),
        })
    }
}

/// Where the lab keeps how many steps have been done to it for good.
fn file(cluster: &Cluster, number: usize) -> PathBuf {
    cluster.dir().join(format!("timeline-{number}"))
}

fn steps_done(cluster: &Cluster, number: usize) -> usize {
    let text = fs::read_to_string(file(cluster, number)).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn note(cluster: &Cluster, number: usize, done: usize) -> Result<()> {
    fs::write(file(cluster, number), done.to_string()).context("cannot note the timeline's step")
}
