//! Recordings as anybody reads them, on any machine.
mod foretold;
mod help;
mod incidents;
mod predicted;
mod recorded;
mod redact;
mod replayed;
mod schemas;
mod snapshots;
mod tables;

use std::{collections::BTreeSet, process::Command};

use netdiag_tests::{
    lab::Lab,
    netdiag::{command_in, netdiag, sentence},
    process::{Ended, PATIENCE, Process, run, wait_until},
    recordings, require,
    workdir::Workdir,
};
use nix::sys::signal::Signal;
use serde_json::Value;

fn json(ended: &Ended) -> Value {
    ended.json()
}

/// The causes that the lab would take as named: roots that are bad enough.
fn named(verdict: &Value) -> BTreeSet<String> {
    let findings = verdict["findings"].as_array().expect("findings");
    let roots = findings
        .iter()
        .filter(|f| f["severity"] != "info" && f["consequence_of"].is_null());
    let causes = roots.filter_map(|f| f["cause"].as_str());
    causes.map(str::to_owned).collect()
}

/// A verdict that is made later, and of the same readings, says the same.
#[test]
fn a_verdict_is_the_same_again() {
    if require::missing(&[]) {
        return;
    }
    let workdir = Workdir::new();
    let file = workdir.put("recorded.ndr", b"");
    let live = netdiag(&[
        "lab",
        "run",
        "firewall-drop",
        "--record",
        &file,
        "-o",
        "json",
    ]);
    assert_eq!(live.code, Some(0), "{live:?}");
    let mut live = json(&live);
    live.as_object_mut().expect("an object").remove("lab");
    // What the run itself took is not what it saw.
    let observer = live["observer"].as_object_mut().expect("an observer");
    assert!(observer.remove("cost").is_some());
    let again = workdir.replay(&[&file, "-o", "json"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert_eq!(json(&again), live);
    for format in ["table", "wide", "yaml", "ndjson"] {
        let ended = workdir.replay(&[&file, "-o", format]);
        assert_eq!(ended.code, Some(1), "{format}: {ended:?}");
        assert!(ended.text().contains("firewall-drop"), "{format}");
    }
    chosen_nodes(&workdir, &file);
}

fn chosen_nodes(workdir: &Workdir, file: &str) {
    let name = &json(&workdir.replay(&[file, "-o", "json"]))["node"];
    let name = name.as_str().expect("a node's name");
    let one = workdir.replay(&[file, "--node", name, "-o", "json"]);
    assert_eq!(json(&one)["node"], name);
    let none = workdir.replay(&[file, "--node", "nobody", "-o", "json"]);
    assert_eq!(
        (none.code, json(&none)),
        (Some(4), Value::Array(Vec::new()))
    );
    assert!(none.stderr.concat().contains(name), "{none:?}");
}

/// Events of which a recording that is compared has at least so many.
const ENOUGH: usize = 8;

/// `run` and `replay -o ndjson` tell the same events, byte for byte; and what is left of a run
/// that was killed is read up to its last second.
#[test]
fn events_are_the_same_again() {
    if require::missing(&["ip"]) {
        return;
    }
    let workdir = Workdir::new();
    let lab = Lab::up(&["firewall-drop"]);
    let record = |name: &str, end: Signal| {
        let file = workdir.put(name, b"");
        let arguments = ["run", "-o", "ndjson", "--record", &file];
        let mut netdiag = Process::start(&mut command_in(&lab.nodes[0], &arguments));
        netdiag.wait_for("netdiag: ready", PATIENCE);
        let _traffic = lab.traffic();
        wait_until("drops are in the recording", PATIENCE, || {
            let so_far = workdir.replay(&[&file, "-o", "ndjson"]).text();
            so_far.contains("\"drop\"") && so_far.lines().count() > ENOUGH
        });
        (file, netdiag.stop(end))
    };
    let (file, told) = record("whole.ndr", Signal::SIGINT);
    assert_eq!(told.code, Some(0), "{told:?}");
    let again = workdir.replay(&[&file, "-o", "ndjson"]);
    assert!(again.stderr.is_empty(), "{again:?}");
    assert!(told.text().contains("\"drop\""), "{told:?}");
    assert_eq!(again.text(), told.text());

    let (file, told) = record("killed.ndr", Signal::SIGKILL);
    let again = workdir.replay(&[&file, "-o", "ndjson"]);
    let said = sentence(&again);
    assert!(said.contains("killed"), "{said}");
    let told = told.text();
    let events: Vec<&str> = told.lines().collect();
    // The statistics at its end are of the replay.
    let again = again.text();
    let again: Vec<&str> = again.lines().collect();
    let same = again.len().saturating_sub(1);
    // What came after the last block that was written is lost with the kill, however much it was.
    assert!(same >= ENOUGH, "{same} of {}", events.len());
    assert_eq!(again[..same], events[..same]);
    let verdict = workdir.replay(&[&file, "-o", "json"]);
    let missing = verdict.text().contains("the rest of the recording");
    assert!(missing, "{verdict:?}");
}

#[test]
fn what_is_no_recording_is_one_sentence() {
    let workdir = Workdir::new();
    let none = workdir.put("none", b"\x7fELF");
    let later = workdir.put("later", b"netdiag.recording/9\n");
    let empty = workdir.put("empty", b"netdiag.recording/1\n");
    let missing = workdir.path("missing").display().to_string();
    for (file, word) in [
        (&none, "no recording"),
        (&later, "newer netdiag"),
        (&empty, "no reading"),
        (&missing, "No such file"),
    ] {
        let ended = workdir.replay(&[file]);
        assert_eq!(ended.code, Some(3), "{ended:?}");
        let said = sentence(&ended);
        assert!(said.contains(word) && said.contains(file), "{said}");
    }
    assert_eq!(workdir.replay(&[]).code, Some(2));
}

/// What the node translated is one flow with its legs: by a Service's address, and by a node's port.
#[test]
fn a_translated_connection_is_one_flow() {
    let workdir = Workdir::new();
    let file = workdir.put("a.ndr", &recordings::bytes("service-firewalled"));
    let verdict = json(&workdir.replay(&[&file, "-o", "json"]));
    let flows = verdict["findings"][0]["flows"].as_array().expect("flows");
    let ends = flows
        .iter()
        .map(|f| (&f["destination"], &f["legs"][0]["destination"]));
    let ends: Vec<_> = ends.collect();
    let [(one, backend), (other, same)] = ends[..] else {
        panic!("{flows:#?}");
    };
    assert_eq!(backend, same, "the same pod");
    assert!(backend.is_string() && one != other, "{flows:#?}");
    let by = |f: &Value| f["legs"][0]["by"].clone();
    assert!(
        flows.iter().all(|f| by(f) == "inferred"),
        "nothing got into conntrack"
    );
}

/// tcpdump reads the capture, and sees the flow that was dropped.
#[test]
fn a_capture_is_what_tcpdump_reads() {
    if require::missing(&["ip", "tcpdump"]) {
        return;
    }
    let workdir = Workdir::new();
    let lab = Lab::up(&["firewall-drop"]);
    let file = workdir.put("live.pcapng", b"");
    let record = workdir.put("live.ndr", b"");
    let arguments = [
        "diagnose",
        "--duration",
        "4s",
        "--pcap",
        &file,
        "--record",
        &record,
    ];
    let mut diagnosis = Process::start(&mut command_in(&lab.nodes[0], &arguments));
    diagnosis.wait_for("netdiag: ready", PATIENCE);
    let traffic = lab.traffic();
    let ended = diagnosis.end(PATIENCE);
    drop(traffic);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let bytes = std::fs::read(&file).expect("a capture");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains("drop: NETFILTER_DROP in "), "{text}");
    let seen = tcpdump(&file);
    assert!(
        seen.iter().any(|line| line.contains("Flags [S]")),
        "{seen:#?}"
    );
    // Every comment has its packet.
    let comments = ["drop: ", "oversize: ", "retransmit: "];
    let comments: usize = comments.map(|word| text.matches(word).count()).iter().sum();
    assert_eq!(comments, seen.len(), "{seen:#?}");

    let again = workdir.put("again.pcapng", b"");
    let replayed = netdiag(&["replay", &record, "--pcap", &again]);
    assert_eq!(replayed.code, Some(1), "{replayed:?}");
    assert!(std::fs::read(&again).expect("a capture") == bytes);
}

/// The packets; anything on stderr but its greeting is an error.
fn tcpdump(file: &str) -> Vec<String> {
    let mut command = Command::new("tcpdump");
    let ended = run(command.args(["-nn", "-r", file]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let greeting = |line: &String| line.starts_with("reading from file");
    assert!(ended.stderr.iter().all(greeting), "{ended:?}");
    // What is inside a tunnel has a line of its own, without a time.
    let text = ended.text();
    let timed = |line: &&str| line.starts_with(|c: char| c.is_ascii_digit());
    text.lines().filter(timed).map(str::to_owned).collect()
}
