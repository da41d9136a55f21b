//! The pods of one call: brought to their nodes, waited for, and taken away.
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use futures_util::future::join_all;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams, PropagationPolicy},
};
use tokio::time::{sleep, timeout};

use super::{
    cluster::{Cluster, InPod, each, in_pod, runs},
    job::Brief,
    kubernetes::why,
    model::{shell, text},
};

const LOOK: Duration = Duration::from_millis(500);
/// A node that lives ends a pod within this.
const GRACE: Duration = Duration::from_secs(8);
/// How long taking away may take in all.
const AT_MOST: Duration = Duration::from_secs(20);

/// What one call has made.
pub struct Once {
    jobs: Api<Job>,
    pods: Api<Pod>,
    brief: Brief,
    /// Names of its Jobs, by their nodes.
    made: BTreeMap<String, String>,
}

impl Once {
    pub fn new(cluster: &Cluster, brief: Brief) -> Self {
        let (client, namespace) = (&cluster.client, &brief.namespace);
        Self {
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            brief,
            made: BTreeMap::new(),
        }
    }

    /// Asks for a pod on each of the nodes; fails where the API refuses.
    pub async fn bring(&mut self, nodes: &[String]) -> Result<()> {
        for (number, node) in nodes.iter().enumerate() {
            let job = self.brief.job(number, node);
            // Even if its answer is lost, it is taken away.
            self.made.insert(node.clone(), self.brief.name(number));
            if let Err(error) = self.jobs.create(&PostParams::default(), &job).await {
                if matches!(error, kube::Error::Api(_)) {
                    self.made.remove(node);
                }
                bail!(
                    "the API lets no pod come to {node} (Jobs in namespace {}): {}",
                    self.brief.namespace,
                    why(&error)
                );
            }
        }
        Ok(())
    }

    /// Waits until all run, or for as long as they may take; with why where one does not.
    pub async fn ready(&self) -> BTreeMap<String, Result<InPod, String>> {
        let begun = Instant::now();
        loop {
            let found = self.state().await;
            let all = self
                .made
                .keys()
                .all(|node| found.get(node).is_some_and(Result::is_ok));
            if all || begun.elapsed() >= self.brief.start {
                return self
                    .made
                    .keys()
                    .map(|node| self.told(node, &found))
                    .collect();
            }
            sleep(LOOK).await;
        }
    }

    fn told(
        &self,
        node: &str,
        found: &BTreeMap<String, Result<InPod, String>>,
    ) -> (String, Result<InPod, String>) {
        let waited = self.brief.start.as_secs();
        let state = match found.get(node) {
            Some(Ok(pod)) => Ok(pod.clone()),
            Some(Err(state)) => Err(format!("its pod did not run within {waited} s: {state}")),
            None => {
                let events = shell!("kubectl get events -n {v}", self.brief.namespace);
                let events = events.told_or("the events of its namespace");
                Err(format!(
                    "no pod was made for it within {waited} s: {events} may say why"
                ))
            }
        };
        (node.to_owned(), state)
    }

    /// The pods that there are by their nodes: running, or what keeps them.
    async fn state(&self) -> BTreeMap<String, Result<InPod, String>> {
        let Ok(pods) = self.own().await else {
            return BTreeMap::new();
        };
        let each = pods.iter().filter_map(|pod| {
            let node = pod.spec.as_ref()?.node_name.clone()?;
            let state = match (runs(pod), in_pod(pod)) {
                (true, Some(at)) => Ok(at),
                _ => Err(kept_by(pod)),
            };
            Some((node, state))
        });
        each.collect()
    }

    async fn own(&self) -> Result<Vec<Pod>> {
        each(
            &self.pods,
            ListParams::default().labels(&self.brief.selector()),
        )
        .await
    }

    /// Takes away what was made. Says in a sentence what could not be.
    pub async fn take_away(&mut self) -> Result<(), String> {
        if self.made.is_empty() {
            return Ok(());
        }
        let away = timeout(AT_MOST, self.delete()).await;
        let trouble = match away {
            Ok(Ok(())) => {
                self.made.clear();
                return Ok(());
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("no answer within {} s", AT_MOST.as_secs()),
        };
        let delete = shell!(
            "kubectl delete jobs -n {v} -l {v}",
            self.brief.namespace,
            self.brief.selector()
        );
        Err(format!(
            "what was brought may still be there ({trouble}); it ends by itself within {} s, and {} \
             takes it away",
            self.brief.start.saturating_add(self.brief.life).as_secs(),
            delete.told_or("deleting its Job")
        ))
    }

    async fn delete(&self) -> Result<()> {
        let gone = |error: &kube::Error| matches!(error, kube::Error::Api(it) if it.code == 404);
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let jobs = self
            .made
            .values()
            .map(|name| self.jobs.delete(name, &params));
        for deleted in join_all(jobs).await {
            if let Err(error) = deleted
                && !gone(&error)
            {
                bail!("{}", why(&error));
            }
        }
        let begun = Instant::now();
        loop {
            let left = self.own().await?;
            if left.is_empty() {
                return Ok(());
            }
            // A node that is silent never says that its pod has ended.
            let params = match begun.elapsed() >= GRACE {
                true => DeleteParams::default().grace_period(0),
                false => DeleteParams::default(),
            };
            let names = left.iter().filter_map(|pod| pod.metadata.name.as_deref());
            let deletes = names.map(|name| self.pods.delete(name, &params));
            for deleted in join_all(deletes).await {
                if let Err(error) = deleted
                    && !gone(&error)
                {
                    bail!("{}", why(&error));
                }
            }
            sleep(LOOK).await;
        }
    }
}

/// Why a pod does not run, as `kubectl get pods` shows it.
fn kept_by(pod: &Pod) -> String {
    let Some(status) = &pod.status else {
        return "its node has not taken it".into();
    };
    let containers = status.container_statuses.iter().flatten();
    let mut waiting = containers.filter_map(|it| it.state.as_ref()?.waiting.as_ref());
    let waiting = waiting.find_map(|it| {
        let reason = it.reason.as_deref()?;
        let message = it.message.as_deref().unwrap_or_default();
        Some(format!("{reason} {message}"))
    });
    let of_pod = || {
        Some(format!(
            "{} {}",
            status.reason.as_deref()?,
            status.message.as_deref()?
        ))
    };
    let phase = || {
        format!(
            "it is {}",
            status.phase.as_deref().unwrap_or("unknown to its node")
        )
    };
    let why = waiting.or_else(of_pod).unwrap_or_else(phase);
    text::line(why.trim(), 300)
}
