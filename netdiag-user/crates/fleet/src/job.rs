//! A pod that is there for one recording. It belongs to a Job, so that the cluster itself takes both
//! away when whoever asked for them is gone: the Job's deadline ends the pod, its time to live the
//! Job (Kubernetes 1.23).
use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{PodSpec, PodTemplateSpec, Toleration},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// By which all that one call made is found.
pub const RUN: &str = "netdiag.io/run";
/// After its end, for whoever wants to see why.
const TIME_TO_LIVE: Duration = Duration::from_secs(10);

/// What one call brings to its nodes.
#[derive(Clone, Debug)]
pub struct Brief {
    pub namespace: String,
    /// The one call.
    pub run: String,
    /// How long its pods may take to run.
    pub start: Duration,
    /// What its pods are; each gets its node.
    pub pod: PodSpec,
    /// When they end by themselves.
    pub life: Duration,
}

impl Brief {
    pub fn labels(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("app.kubernetes.io/name", "netdiag"),
            ("app.kubernetes.io/component", "once"),
            ("app.kubernetes.io/managed-by", "kubectl-netdiag"),
            (RUN, &self.run),
        ];
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    pub fn selector(&self) -> String {
        format!("{RUN}={}", self.run)
    }

    /// The Job of the node of that name, the n-th of this call.
    pub fn job(&self, number: usize, node: &str) -> Job {
        let mut pod = self.pod.clone();
        pod.node_name = Some(node.to_owned());
        // It asks the API for nothing.
        pod.automount_service_account_token = Some(false);
        pod.restart_policy = Some("Never".into());
        pod.termination_grace_period_seconds = Some(5);
        // A node that is cordoned, tainted or sick is the one that is asked about.
        pod.tolerations = Some(vec![Toleration {
            operator: Some("Exists".into()),
            ..Toleration::default()
        }]);
        let template = PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(self.labels()),
                ..ObjectMeta::default()
            }),
            spec: Some(pod),
        };
        Job {
            metadata: ObjectMeta {
                name: Some(self.name(number)),
                namespace: Some(self.namespace.clone()),
                labels: Some(self.labels()),
                ..ObjectMeta::default()
            },
            spec: Some(JobSpec {
                backoff_limit: Some(0),
                active_deadline_seconds: Some(seconds(self.start.saturating_add(self.life))),
                ttl_seconds_after_finished: i32::try_from(TIME_TO_LIVE.as_secs()).ok(),
                template,
                ..JobSpec::default()
            }),
            status: None,
        }
    }

    pub fn name(&self, number: usize) -> String {
        format!("netdiag-{}-{number}", self.run)
    }
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs().max(1)).unwrap_or(i64::MAX)
}
