//! What a node owes its pods, walked before anybody sends.
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Stdio},
};

use netdiag_tests::{
    lab::Lab,
    netdiag::{command, command_in},
    process::{Ended, run},
    require,
};
use serde_json::Value;

const TOOLS: [&str; 2] = ["ip", "nft"];

/// A lab's servers, and those who ask them.
struct Traffic {
    program: Child,
    _said: BufReader<ChildStdout>,
}

impl Traffic {
    /// Once they listen.
    fn of(lab: &Lab) -> Self {
        let mut program = command(&["lab", "traffic", &lab.id]);
        let mut program = program.stdout(Stdio::piped()).spawn().expect("traffic");
        let mut said = BufReader::new(program.stdout.take().expect("its words"));
        let mut line = String::new();
        while !line.contains("goes on") {
            line.clear();
            let read = said.read_line(&mut line).expect("a line");
            assert_ne!(read, 0, "it ended");
        }
        Self {
            program,
            _said: said,
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn up(arguments: &[&str]) -> (Traffic, Lab) {
    let lab = Lab::up(arguments);
    (Traffic::of(&lab), lab)
}

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
    all.filter(|(_, summary)| summary.contains("this node owes"))
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
        let (_traffic, lab) = up(&[incident]);
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
        let (_traffic, lab) = up(&[incident, "--healthy"]);
        let ended = audited(&lab, "json");
        let told = computed(&ended.json());
        assert!(told.is_empty(), "{incident}: {told:#?}");
    }
}
