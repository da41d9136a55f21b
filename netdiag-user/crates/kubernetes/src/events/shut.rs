//! Namespaces whose events the API forbids: they are asked again, ever more seldom.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kube::core::Status;
use tokio::time::Instant;

/// After the first time.
const PAUSE: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
/// Namespaces that are kept in mind.
const MOST: usize = 256;

/// Why an API forbids an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    Rights,
    Terminating,
    Quota,
    Admission,
}

impl Why {
    pub fn of(status: &Status) -> Self {
        let causes = status.details.iter().flat_map(|it| &it.causes);
        let mut reasons = causes.map(|it| it.reason.as_str());
        if reasons.any(|it| it == "NamespaceTerminating") {
            Self::Terminating
        } else if status.message.contains("exceeded quota") {
            Self::Quota
        } else if status.message.contains("admission webhook") {
            Self::Admission
        } else {
            Self::Rights
        }
    }

    fn warn(self, namespace: &str) {
        let because = match self {
            Self::Rights => "the API does not allow to create and patch events (RBAC)",
            Self::Terminating => "the namespace is being deleted",
            Self::Quota => "the namespace's quota is used up",
            Self::Admission => "an admission webhook refuses them",
        };
        log::warn!(
            "no Kubernetes Events: {because}, first in namespace {namespace}; netdiag_events_total counts them as failed"
        );
    }
}

#[derive(Debug, Default)]
pub struct Shut {
    /// Until when, and after how long a pause.
    until: BTreeMap<String, (Instant, Duration)>,
    warned: BTreeSet<Why>,
}

impl Shut {
    pub fn has(&self, namespace: &str, now: Instant) -> bool {
        self.until
            .get(namespace)
            .is_some_and(|(until, _)| now < *until)
    }

    /// It was forbidden; that is told once for each reason.
    pub fn forbidden(&mut self, namespace: &str, why: Why, now: Instant) {
        if self.warned.insert(why) {
            why.warn(namespace);
        }
        let before = self.until.get(namespace);
        let pause = before.map_or(PAUSE, |(_, pause)| (*pause * 2).min(LONGEST));
        self.until
            .insert(namespace.to_owned(), (now + pause, pause));
        if self.until.len() > MOST {
            let first = self.until.iter().min_by_key(|(_, (until, _))| *until);
            let first = first.map(|(name, _)| name.clone());
            self.until.remove(&first.unwrap_or_default());
        }
    }

    pub fn allowed(&mut self, namespace: &str) {
        self.until.remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_namespace_is_asked_again_ever_more_seldom() {
        let (mut shut, mut now) = (Shut::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            shut.forbidden("shop", Why::Quota, now);
            let began = now;
            while shut.has("shop", now) {
                now += Duration::from_secs(1);
            }
            pauses.push((now - began).as_secs());
        }
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert!(!shut.has("other", now));
        shut.forbidden("shop", Why::Quota, now);
        shut.allowed("shop");
        assert!(!shut.has("shop", now));
        for n in 0..MOST * 2 {
            shut.forbidden(&n.to_string(), Why::Quota, now);
        }
        assert_eq!((shut.until.len(), shut.warned.len()), (MOST, 1));
    }

    #[test]
    fn why_it_is_forbidden_says_the_status() {
        let of = |status| Why::of(&serde_json::from_value(status).expect("a status"));
        let message = "events \"netdiag.x\" is forbidden: unable to create new content in namespace shop because it is being terminated";
        let causes = json!([{ "reason": "NamespaceTerminating", "field": "metadata.namespace" }]);
        let status = json!({ "code": 403, "message": message, "details": { "causes": causes } });
        assert_eq!(of(status), Why::Terminating);
        let message =
            "events \"netdiag.x\" is forbidden: exceeded quota: few, requested: count/events=1";
        assert_eq!(of(json!({ "message": message })), Why::Quota);
        let message = "admission webhook \"no.example\" denied the request";
        assert_eq!(of(json!({ "message": message })), Why::Admission);
        let message = "events is forbidden: User \"x\" cannot create resource \"events\"";
        assert_eq!(of(json!({ "message": message })), Why::Rights);
    }
}
