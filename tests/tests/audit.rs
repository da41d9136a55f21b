//! What a node owes its pods, walked before anybody sends.
use std::path::Path;

use netdiag_tests::{
    lab::Lab,
    netdiag::command_in,
    process::{Ended, run},
    require,
};
use serde_json::Value;

const TOOLS: [&str; 2] = ["ip", "nft"];

/// Of the node that an incident is on.
fn audited(lab: &Lab, output: &str) -> Ended {
    let cni = &lab.cni_dirs[0];
    let name = Path::new(cni).file_name().expect("a name");
    let root = format!("/run/netdiag/lab/{}/root/{}", lab.id, name.display());
    let cgroup = format!("netdiag-{}", lab.id);
    let place = ["--root", &root, "--cni-dir", cni, "--cgroup-root", &cgroup];
    let ask = [&["audit", "-o", output], &place[..]].concat();
    run(&mut command_in(&lab.nodes[0], &ask))
}

/// Of conversations that nobody has begun.
fn computed(verdict: &Value) -> Vec<(String, String)> {
    let findings = verdict["findings"].as_array().expect("findings").iter();
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let all = findings.map(|it| (word(it, "cause"), word(it, "summary")));
    all.filter(|(_, summary)| summary.contains("owes its pods"))
        .collect()
}

#[test]
fn a_fault_is_named_before_anybody_sends() {
    if require::missing(&TOOLS) {
        return;
    }
    for (incident, why) in [
        ("bridge-nf-disabled", "was asked"),
        ("hairpin-off", "port that it came in by"),
    ] {
        let lab = Lab::up(&[incident]);
        let ended = audited(&lab, "json");
        let told = computed(&ended.json());
        let named = told.iter().any(|(_, summary)| summary.contains(why));
        assert!(named, "{incident}: {:#}", ended.json());
        let cases = audited(&lab, "junit").text();
        assert!(
            cases.contains("<testsuite name=\"netdiag audit\""),
            "{cases}"
        );
        assert!(cases.contains(why), "{cases}");
    }
}

#[test]
fn what_is_owed_gets_through_where_nothing_is_wrong() {
    if require::missing(&TOOLS) {
        return;
    }
    for incident in ["hairpin-off", "dns-blocked"] {
        let lab = Lab::up(&[incident, "--healthy"]);
        let ended = audited(&lab, "json");
        let told = computed(&ended.json());
        assert!(told.is_empty(), "{incident}: {told:#?}");
    }
}
