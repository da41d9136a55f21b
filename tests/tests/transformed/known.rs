//! What does not hold yet. An entry goes when it holds: the tests fail where one could.
use std::collections::{BTreeMap, BTreeSet};

use netdiag_tests::recordings;

/// A recording, what is done to it, and why it comes to something else.
pub struct Known {
    pub recording: &'static str,
    pub change: &'static str,
    pub why: &'static str,
}

const fn known(recording: &'static str, change: &'static str, why: &'static str) -> Known {
    Known {
        recording,
        change,
        why,
    }
}

/// The roots are others.
pub const ROOTS: &[Known] = &[known(
    "sidecar-without-dns",
    "unchanged, live",
    "not-listening is told before the proxy's rules are known",
)];

/// Something else is named, or the node is called healthy.
pub const EVIDENCE: &[Known] = &[
    known("cni-add-failing", "Runtime refused", HEALTHY),
    known("cni-add-failing", "Runtime unanswered", HEALTHY),
    known("dns-misconfigured", "Resolvers refused", HEALTHY),
    known("dns-misconfigured", "Resolvers unanswered", HEALTHY),
    known("etcd-nospace", "Etcd refused", HEALTHY),
    known("etcd-nospace", "Etcd unanswered", HEALTHY),
    known(
        "flannel-iface-regex-unanchored",
        "Commands refused",
        HEALTHY,
    ),
    known(
        "flannel-iface-regex-unanchored",
        "Commands unanswered",
        HEALTHY,
    ),
    known("ipam-exhausted", "Ipam refused", HEALTHY),
    known("ipam-exhausted", "Ipam unanswered", HEALTHY),
    known("loopback-only-listener", "Listeners refused", HEALTHY),
    known("loopback-only-listener", "Listeners unanswered", HEALTHY),
    known("not-listening", "Listeners refused", HEALTHY),
    known("not-listening", "Listeners unanswered", HEALTHY),
    known("port-exhaustion", "Connections refused", HEALTHY),
    known("port-exhaustion", "Connections unanswered", HEALTHY),
    known("service-local-only", "Services refused", HEALTHY),
    known("service-local-only", "Services unanswered", HEALTHY),
    known(
        "service-no-endpoints",
        "Services refused",
        "firewall-drop: a Service's own refusal is taken for a filter's",
    ),
    known("service-stale-endpoint", "Services refused", HEALTHY),
    known("service-stale-endpoint", "Services unanswered", HEALTHY),
    known(
        "sidecar-blocked",
        "Interception refused",
        "not-listening: the proxy's port is taken for the pod's own",
    ),
    known(
        "sidecar-blocked",
        "Interception unanswered",
        "not-listening: the proxy's port is taken for the pod's own",
    ),
    known("sidecar-blocked", "Listeners refused", HEALTHY),
    known("sidecar-blocked", "Listeners unanswered", HEALTHY),
    known(
        "sidecar-without-dns",
        "Interception refused",
        "not-listening: the proxy's port is taken for the pod's own",
    ),
    known(
        "sidecar-without-dns",
        "Interception unanswered",
        "not-listening: the proxy's port is taken for the pod's own",
    ),
];

/// Nothing else tells of it, and that it is missing does not count as unseen.
const HEALTHY: &str = "the node is called healthy";

/// Fails where something does not hold that is not known, or holds that is known not to.
pub fn compare(recording: &str, found: &BTreeMap<String, String>, known: &[Known]) {
    let known = known.iter().filter(|it| it.recording == recording);
    let known: BTreeMap<&str, &str> = known.map(|it| (it.change, it.why)).collect();
    let new = found
        .iter()
        .filter(|(change, _)| !known.contains_key(change.as_str()));
    let new = new.map(|(change, what)| format!("{recording}, {change}: {what}"));
    let gone = known
        .iter()
        .filter(|(change, _)| !found.contains_key(**change));
    let gone = gone.map(|(change, why)| {
        format!("{recording}, {change} holds now: its entry goes from known.rs ({why})")
    });
    let all: Vec<String> = new.chain(gone).collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn each_is_of_a_recording_and_there_once() {
    let names: BTreeSet<String> = recordings::names().into_iter().collect();
    for list in [ROOTS, EVIDENCE] {
        let mut seen = BTreeSet::new();
        for it in list {
            let of = (it.recording, it.change);
            assert!(names.contains(it.recording), "no such recording: {of:?}");
            assert!(seen.insert(of), "twice: {of:?}");
            assert!(!it.why.is_empty(), "why not? {of:?}");
        }
    }
}
