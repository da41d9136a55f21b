//! A scenario in a lab that stands: its programs, its traffic, and what happens meanwhile. The
//! same for a run, which judges it, and for a person.
use anyhow::Result;

use super::cluster::Cluster;
use super::guarded::Guarded;
use super::plan::Plan;
use super::scenarios::{self, Scenario};
use super::timeline::Timeline;
use super::traffic::{Flow, Traffic};

/// Traffic that goes on, and what is done to the lab beside it.
pub struct Incident {
    pub traffic: Traffic,
    pub timeline: Timeline,
}

impl Incident {
    /// Starts the scenario's traffic, and with `background` that of a busy healthy cluster.
    pub fn begin(scenario: &Scenario, cluster: &Cluster, background: bool) -> Result<Self> {
        Ok(Self {
            traffic: Traffic::start(cluster, &flows(scenario, &cluster.plan, background))?,
            timeline: scenario.timeline(&cluster.plan),
        })
    }

    /// What `work` comes to, while the lab changes beside it; later changes are left undone.
    pub async fn beside<T>(&self, cluster: &Cluster, work: impl Future<Output = T>) -> Result<T> {
        let changes = self.timeline.play(cluster);
        let (mut work, mut changes) = (std::pin::pin!(work), std::pin::pin!(changes));
        tokio::select! {
            done = &mut work => return Ok(done),
            changed = &mut changes => changed?,
        }
        Ok(work.await)
    }
}

/// Starts the scenario's programs; they end when they are dropped.
pub async fn daemons(scenario: &Scenario, cluster: &Cluster) -> Result<Vec<Guarded>> {
    let mut running = Vec::new();
    for daemon in scenario.daemons(&cluster.plan) {
        // What was started last needs the others, and is ended first.
        running.insert(0, daemon.start(cluster).await?);
    }
    Ok(running)
}

fn flows(scenario: &Scenario, plan: &Plan, background: bool) -> Vec<Flow> {
    let mut flows = scenario.traffic(plan);
    if background {
        let mut more = scenarios::background(plan, &scenario.daemons(plan));
        more.retain(|flow| !flows.contains(flow));
        flows.extend(more);
    }
    flows
}
