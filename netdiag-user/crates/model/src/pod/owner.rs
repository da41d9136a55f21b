//! What made a pod, as people name it: the Deployment, not the ReplicaSet between the two.
use std::collections::BTreeMap;

use crate::verdict::Owner;

/// The label by which a Deployment tells its ReplicaSets apart; the ReplicaSet's name ends in it.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// A StatefulSet's pod is labelled with its own name.
const ORDINAL: &str = "statefulset.kubernetes.io/pod-name";
/// A DaemonSet's pods have it (a StatefulSet's too).
const REVISION: &str = "controller-revision-hash";
const JOB: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];
/// What random parts of names are made of (k8s.io/apimachinery, pkg/util/rand).
const RANDOM: &str = "bcdfghjklmnpqrstvwxz2456789";
/// Random letters at the end of a pod's name.
const SUFFIX: usize = 5;
/// A CronJob's Jobs end in the minute that they were due, since 1970.
const MINUTES: usize = 8;

impl Owner {
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            name: name.into(),
        }
    }

    /// The owner behind the controller that a pod's `ownerReferences` name.
    pub fn of_controller(kind: &str, name: &str, labels: &BTreeMap<String, String>) -> Self {
        let above = match kind {
            "ReplicaSet" => deployment(name, labels).map(|name| ("Deployment", name)),
            "Job" => cron_job(name).map(|name| ("CronJob", name)),
            _ => None,
        };
        match above {
            Some((kind, name)) => Self::new(kind, name),
            None => Self::new(kind, name),
        }
    }

    /// What a pod's labels and name tell, where nobody can ask the API.
    pub fn of_labels(pod: &str, labels: &BTreeMap<String, String>) -> Option<Self> {
        let label = |key: &str| labels.get(key).map(String::as_str);
        if let Some(job) = JOB.iter().find_map(|key| label(key)) {
            return Some(Self::of_controller("Job", job, labels));
        }
        if label(ORDINAL).is_some() {
            let (name, _) = pod.rsplit_once('-')?;
            return Some(Self::new("StatefulSet", name));
        }
        let (controller, random) = pod.rsplit_once('-')?;
        if !is_random(random) || random.len() != SUFFIX {
            return None;
        }
        if label(TEMPLATE_HASH).is_some() {
            return Some(Self::of_controller("ReplicaSet", controller, labels));
        }
        label(REVISION).map(|_| Self::new("DaemonSet", controller))
    }
}

/// Without the label the hash is known by its letters: eight to ten of those that names are
/// made of.
fn deployment<'a>(set: &'a str, labels: &BTreeMap<String, String>) -> Option<&'a str> {
    let (name, hash) = set.rsplit_once('-')?;
    let own = match labels.get(TEMPLATE_HASH) {
        Some(label) => label == hash,
        None => is_random(hash) && (8..=10).contains(&hash.len()),
    };
    own.then_some(name)
}

fn cron_job(job: &str) -> Option<&str> {
    let (name, due) = job.rsplit_once('-')?;
    (due.len() >= MINUTES && due.bytes().all(|b| b.is_ascii_digit())).then_some(name)
}

fn is_random(text: &str) -> bool {
    text.chars().all(|c| RANDOM.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn a_replica_set_stands_for_its_deployment() {
        let owner = |name, pairs: &[_]| Owner::of_controller("ReplicaSet", name, &labels(pairs));
        let cart = Owner::new("Deployment", "cart");
        assert_eq!(owner("cart-5d4f7c9b8", &[]), cart);
        assert_eq!(owner("cart-1", &[(TEMPLATE_HASH, "1")]), cart);
        let own = Owner::new("ReplicaSet", "cart-blue");
        assert_eq!(owner("cart-blue", &[]), own);
        let job = Owner::of_controller("Job", "report-28412345", &labels(&[]));
        assert_eq!(job, Owner::new("CronJob", "report"));
    }

    #[test]
    fn labels_tell_where_the_api_cannot_be_asked() {
        let owner = |pod, pairs: &[_]| Owner::of_labels(pod, &labels(pairs));
        let hash = [(TEMPLATE_HASH, "5d4f7c9b8")];
        let cart = Owner::new("Deployment", "cart");
        assert_eq!(owner("cart-5d4f7c9b8-x7k2p", &hash), Some(cart));
        let db = Owner::new("StatefulSet", "db");
        assert_eq!(owner("db-0", &[(ORDINAL, "db-0")]), Some(db));
        let agent = Owner::new("DaemonSet", "agent");
        assert_eq!(owner("agent-x7k2p", &[(REVISION, "7f")]), Some(agent));
        assert_eq!(owner("cart-5d4f7c9b8-x7k2p", &[]), None);
    }
}
