//! Labs that a person stands up: their programs, their timeline, and what is printed of them.
use std::{fs, path::PathBuf, process::Command, time::Duration};

use netdiag_tests::{
    netdiag::{command, netdiag},
    netns::{exec, packets},
    process::{PATIENCE, Process, run, wait_until},
    require,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// A lab as `lab up -o json` tells of it; taken down when dropped.
struct Standing(Value);

impl Standing {
    fn up(scenario: &str) -> Self {
        let ended = netdiag(&["lab", "up", scenario, "-o", "json"]);
        assert!(ended.code == Some(0), "{ended:?}");
        Self(ended.json())
    }

    fn id(&self) -> &str {
        self.0["id"].as_str().expect("an id")
    }

    fn line(&self, name: &str) -> &str {
        self.0["commands"][name].as_str().expect("a line")
    }

    /// The namespace that the printed diagnosis is for.
    fn netns(&self) -> &str {
        let word = self.line("diagnose").split(' ').nth(3);
        word.expect("ip netns exec NETNS")
    }

    fn dir(&self) -> PathBuf {
        PathBuf::from("/run/netdiag/lab").join(self.id())
    }

    fn keeper(&self) -> u32 {
        let text = fs::read(self.dir().join("keeper.json")).expect("a keeper");
        let keeper: Value = serde_json::from_slice(&text).expect("JSON");
        keeper["pid"].as_u64().expect("a pid") as u32
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if self.dir().exists() {
            netdiag(&["lab", "down", self.id()]);
        }
    }
}

/// Command lines of the processes that it started.
fn children(pid: u32) -> Vec<(String, String)> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |pid: &str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    };
    let pids = text.split_whitespace();
    pids.map(|pid| (pid.to_owned(), line(pid))).collect()
}

fn is_gone(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.is_empty() || status.contains("State:\tZ")
}

#[test]
fn programs_run_until_the_lab_is_taken_down() {
    if require::missing(&["ip"]) {
        return;
    }
    let lab = Standing::up("flannel-iface-regex-unanchored");
    let keeper = lab.keeper();
    let programs = children(keeper);
    let [(pid, line)] = programs.as_slice() else {
        panic!("one program: {programs:?}");
    };
    assert!(line.starts_with("/opt/bin/flanneld "), "{line}");
    let ended = run(Command::new("sh").args(["-c", lab.line("down")]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(is_gone(&keeper.to_string()) && is_gone(pid));
    assert!(!lab.dir().exists());
}

#[test]
fn programs_end_with_a_killed_keeper_and_traffic_tells() {
    if require::missing(&["ip"]) {
        return;
    }
    let lab = Standing::up("flannel-iface-regex-unanchored");
    let keeper = lab.keeper();
    let programs = children(keeper);
    assert!(!programs.is_empty());
    kill(Pid::from_raw(keeper as i32), Signal::SIGKILL).expect("a keeper");
    wait_until("the programs end", PATIENCE, || {
        programs.iter().all(|(pid, _)| is_gone(pid))
    });
    let traffic = netdiag(&["lab", "traffic", lab.id()]);
    assert_ne!(traffic.code, Some(0));
    let said = traffic.stderr.join("\n");
    assert!(said.contains("the programs of lab"), "{said}");
    let down = netdiag(&["lab", "down", lab.id()]);
    assert_eq!(down.code, Some(0), "{down:?}");
}

#[test]
fn traffic_ends_with_its_lab() {
    if require::missing(&["ip"]) {
        return;
    }
    let lab = Standing::up("healthy");
    let traffic = Process::start(&mut command(&["lab", "traffic", lab.id()]));
    wait_until("there is traffic", PATIENCE, || packets(lab.netns()) > 20);
    let down = netdiag(&["lab", "down", lab.id()]);
    assert_eq!(down.code, Some(0), "{down:?}");
    let ended = traffic.end(PATIENCE);
    assert_ne!(ended.code, Some(0), "{ended:?}");
    let said = ended.stderr.join("\n");
    assert!(said.contains("has been taken down"), "{said}");
}

/// An operator's fix stands, though the traffic is started anew.
#[test]
fn what_the_timeline_changes_for_good_happens_once() {
    if require::missing(&["ip", "sh"]) {
        return;
    }
    let lab = Standing::up("forwarding-disabled");
    let netns = lab.netns().to_owned();
    let key = "/proc/sys/net/ipv4/ip_forward";
    let value = || exec(&netns, &["cat", key]).trim().to_owned();
    assert_eq!(value(), "1");
    let traffic = || Process::start(&mut command(&["lab", "traffic", lab.id()]));
    let first = traffic();
    wait_until("forwarding is switched off", PATIENCE, || value() == "0");
    let told = first.stop(Signal::SIGINT).text();
    assert!(
        told.contains("timeline: the fault comes after 0.5 s"),
        "{told}"
    );
    exec(&netns, &["sh", "-c", &format!("echo 1 > {key}")]);
    let again = traffic();
    // Longer than the step took to come.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(value(), "1");
    let told = again.stop(Signal::SIGINT).text();
    assert!(told.contains("all of it has happened"), "{told}");
}

#[test]
fn two_that_take_the_same_are_refused_and_no_lab_is_built() {
    for command in ["run", "up"] {
        let ended = netdiag(&["lab", command, "no-route", "--with", "link-failure"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let said = ended.stderr.join("\n");
        assert!(
            said.contains("both take the way to the other node's pods"),
            "{said}"
        );
    }
}
