//! A scenario in a lab that stands: its programs, its traffic, and what happens meanwhile. The
//! same for a run, which judges it, and for a person.
use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;

use super::case::Case;
use super::cluster::Cluster;
use super::guarded::Guarded;
use super::step::Step;
use super::timeline::Timeline;
use super::traffic::Traffic;

/// Traffic that goes on, and what is done to the lab beside it.
pub struct Incident {
    pub traffic: Traffic,
    pub timelines: Vec<Timeline>,
}

impl Incident {
    /// Starts the scenario's traffic, and with `background` that of a busy healthy cluster.
    pub fn begin(case: Case, cluster: &Cluster, background: bool) -> Result<Self> {
        Ok(Self {
            traffic: Traffic::start(cluster, &case.traffic(&cluster.plan, background))?,
            timelines: case.timelines(&cluster.plan),
        })
    }

    /// Nothing goes wrong before so long: then these steps are done, and all else happens so much later.
    pub fn put_off(&mut self, by: Duration, faults: Vec<Step>) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let all = self.timelines.iter_mut().flat_map(|it| &mut it.steps);
        all.for_each(|(after, _)| *after += ms);
        if !faults.is_empty() {
            let faults = faults.into_iter().map(|step| (ms, step));
            self.timelines.push(Timeline::once(faults.collect()));
        }
    }

    /// Until then nothing is wrong that could be named.
    pub fn begins(&self) -> Duration {
        let first = self.timelines.iter().map(Timeline::begins).min();
        first.unwrap_or_default()
    }

    /// What `work` comes to, while the lab changes beside it; later changes are left undone.
    pub async fn beside<T>(&self, cluster: &Cluster, work: impl Future<Output = T>) -> Result<T> {
        let each = self.timelines.iter().enumerate();
        let changes = try_join_all(each.map(|(n, it)| it.play(cluster, n)));
        let (mut work, mut changes) = (std::pin::pin!(work), std::pin::pin!(changes));
        tokio::select! {
            done = &mut work => return Ok(done),
            changed = &mut changes => drop(changed?),
        }
        Ok(work.await)
    }
}

/// Starts the scenario's programs; they end when they are dropped.
pub async fn daemons(case: Case, cluster: &Cluster) -> Result<Vec<Guarded>> {
    let mut running = Vec::new();
    for daemon in case.daemons(&cluster.plan) {
        // What was started last needs the others, and is ended first.
        running.insert(0, daemon.start(cluster).await?);
    }
    Ok(running)
}
