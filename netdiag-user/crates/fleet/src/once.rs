//! The pods of one call: brought to their nodes, waited for, and taken away.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use futures_util::future::join_all;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams, PropagationPolicy},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    cluster::{Cluster, InPod, answered, each, in_pod, runs},
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
    /// Nodes with a Job.
    made: BTreeSet<String>,
    /// The API did not say whether it made one of them: it may come later.
    unsure: bool,
    stop: watch::Receiver<bool>,
}

impl Once {
    pub fn new(cluster: &Cluster, brief: Brief, stop: watch::Receiver<bool>) -> Self {
        let (client, namespace) = (&cluster.client, &brief.namespace);
        Self {
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            brief,
            made: BTreeSet::new(),
            unsure: false,
            stop,
        }
    }

    /// Asks for a pod on each of the nodes, until told to stop; fails where the API refuses. A request
    /// that is under way is never given up: what comes of it must be known.
    pub async fn bring(&mut self, nodes: &[String]) -> Result<()> {
        for (number, node) in nodes.iter().enumerate() {
            if *self.stop.borrow() {
                return Ok(());
            }
            let job = self.brief.job(number, node);
            let params = PostParams::default();
            let why = match answered(self.jobs.create(&params, &job)).await {
                Ok(Ok(_)) => None,
                // It was refused, and is not there.
                Ok(Err(kube::Error::Api(status))) if is_refusal(status.code) => {
                    let namespace = &self.brief.namespace;
                    let why = why(&kube::Error::Api(status));
                    bail!(
                        "the API lets no pod come to {node} (Jobs in namespace {namespace}): {why}"
                    );
                }
                Ok(Err(error)) => Some(why(&error)),
                Err(late) => Some(late),
            };
            self.made.insert(node.clone());
            if let Some(why) = why {
                self.unsure = true;
                bail!("the API does not say whether a pod comes to {node}: {why}");
            }
        }
        Ok(())
    }

    /// Waits until all run or cannot, or for as long as they may take; with why where one does not.
    pub async fn ready(&self) -> BTreeMap<String, Result<InPod, String>> {
        let begun = Instant::now();
        loop {
            let state = self.state().await;
            let settled = |node: &String| match &state {
                Ok(found) => found
                    .get(node)
                    .is_some_and(|it| !matches!(it, State::Coming(_))),
                Err(_) => false,
            };
            let over = begun.elapsed() >= self.brief.start || *self.stop.borrow();
            if over || self.made.iter().all(settled) {
                let waited = begun.elapsed().min(self.brief.start);
                let each = self.made.iter();
                return each.map(|node| self.told(node, &state, waited)).collect();
            }
            sleep(LOOK).await;
        }
    }

    fn told(
        &self,
        node: &str,
        state: &Result<BTreeMap<String, State>, String>,
        waited: Duration,
    ) -> (String, Result<InPod, String>) {
        let waited = waited.as_secs();
        let told = match state.as_ref().map(|found| found.get(node)) {
            Ok(Some(State::Runs(pod))) => Ok(pod.clone()),
            Ok(Some(State::Ended(why))) => Err(format!("its pod ended: {why}")),
            Ok(Some(State::Coming(why))) => {
                Err(format!("its pod did not run within {waited} s: {why}"))
            }
            Ok(None) => {
                let events = shell!("kubectl get events -n {v}", self.brief.namespace);
                let events = events.told_or("the events of its namespace");
                Err(format!(
                    "no pod was made for it within {waited} s: {events} may say why"
                ))
            }
            Err(why) => Err(format!("the API does not say whether its pod runs: {why}")),
        };
        (node.to_owned(), told)
    }

    /// The pods that there are by their nodes.
    async fn state(&self) -> Result<BTreeMap<String, State>, String> {
        let pods = self.own().await.map_err(|error| format!("{error:#}"))?;
        let each = pods.iter().filter_map(|pod| {
            let node = pod.spec.as_ref()?.node_name.clone()?;
            let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
            let state = match (runs(pod), in_pod(pod), phase) {
                (true, Some(at), _) => State::Runs(at),
                (_, _, Some("Failed" | "Succeeded")) => State::Ended(kept_by(pod)),
                _ => State::Coming(kept_by(pod)),
            };
            Some((node, state))
        });
        Ok(each.collect())
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
                self.unsure = false;
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

    /// Until neither Jobs nor pods of this call are there. One whose making was not confirmed may come
    /// late: that none is there yet is then no proof.
    async fn delete(&self) -> Result<()> {
        let begun = Instant::now();
        let selector = ListParams::default().labels(&self.brief.selector());
        loop {
            let jobs = each(&self.jobs, selector.clone()).await?;
            let pods = self.own().await?;
            let may_come = self.unsure && begun.elapsed() < GRACE;
            if jobs.is_empty() && pods.is_empty() && !may_come {
                return Ok(());
            }
            let params = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Background),
                ..DeleteParams::default()
            };
            let names = jobs.iter().filter_map(|job| job.metadata.name.as_deref());
            gone(join_all(names.map(|name| self.jobs.delete(name, &params))).await)?;
            // A node that is silent never says that its pod has ended.
            let params = match begun.elapsed() >= GRACE {
                true => DeleteParams::default().grace_period(0),
                false => DeleteParams::default(),
            };
            let names = pods.iter().filter_map(|pod| pod.metadata.name.as_deref());
            gone(join_all(names.map(|name| self.pods.delete(name, &params))).await)?;
            sleep(LOOK).await;
        }
    }
}

/// What is not there any more needs no deleting.
fn gone<T>(deleted: Vec<Result<T, kube::Error>>) -> Result<()> {
    let missing = |error: &kube::Error| matches!(error, kube::Error::Api(it) if it.code == 404);
    let mut failed = deleted.into_iter().filter_map(Result::err);
    match failed.find(|error| !missing(error)) {
        Some(error) => bail!("{}", why(&error)),
        None => Ok(()),
    }
}

/// A pod of the call.
enum State {
    Runs(InPod),
    /// What keeps it.
    Coming(String),
    Ended(String),
}

/// The client's fault, as RFC 9110 has it; not that it came too early, or too often.
fn is_refusal(code: u16) -> bool {
    (400..500).contains(&code) && ![408, 429].contains(&code)
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
        // Images of `localhost` are never pulled: whoever answers on the node's port 80 would be asked.
        let todo = match reason {
            "ErrImageNeverPull" => {
                "; import the image on that node, or name one of a registry by --image"
            }
            _ => "",
        };
        Some(format!("{reason} {message}{todo}"))
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
