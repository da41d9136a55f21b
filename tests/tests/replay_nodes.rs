//! Recordings of several nodes, joined into one incident.
use std::collections::BTreeSet;

use netdiag_tests::{
    netdiag::netdiag,
    process::Ended,
    recordings::{bytes, rewritten},
    require,
    workdir::Workdir,
};
use serde_json::Value;

/// The recordings of both nodes, made at once by `lab run SCENARIO --record-all DIR`.
const REFUSED: [&str; 2] = [
    "vxlan-source-mismatch.worker-1",
    "vxlan-source-mismatch.worker-2",
];
const UNDELIVERED: [&str; 2] = [
    "vxlan-source-mismatch.k8s-n1",
    "vxlan-source-mismatch.k8s-n2",
];
const ROUTE: [&str; 2] = ["pod-route-missing.worker-1", "pod-route-missing.worker-2"];
const NO_ROUTE: [&str; 2] = ["no-route.worker-1", "no-route.worker-2"];
const DISAGREE: [&str; 2] = [
    "overlay-port-or-vni-mismatch.worker-1",
    "overlay-port-or-vni-mismatch.worker-2",
];
const HEALTHY: [&str; 2] = ["healthy.worker-1", "healthy.worker-2"];

/// Both recordings where they can be replayed, the second one's clock wrong by so many seconds.
fn pair(workdir: &Workdir, names: [&str; 2], wrong: i64) -> [String; 2] {
    let second = match wrong {
        0 => bytes(names[1]),
        wrong => shifted(&bytes(names[1]), wrong),
    };
    [
        workdir.put(&format!("{}.ndr", names[0]), &bytes(names[0])),
        workdir.put(&format!("{}.ndr", names[1]), &second),
    ]
}

fn joined(workdir: &Workdir, [one, other]: &[String; 2]) -> Value {
    let ended = workdir.replay(&[one, other, "-o", "json"]);
    assert!(ended.stderr.is_empty(), "{ended:?}");
    ended.json()
}

/// The recording of a node whose clock is wrong by so many seconds.
fn shifted(recording: &[u8], seconds: i64) -> Vec<u8> {
    rewritten(recording, |text| later(text, seconds))
}

/// The time of day stands in one place, all else counts from the start of the machine.
fn later(text: &str, seconds: i64) -> String {
    const MARK: &str = "\"wall\":\"";
    let Some(at) = text.find(MARK).map(|at| at + MARK.len()) else {
        return text.to_owned();
    };
    let end = at + text[at..].find('"').expect("its end");
    let time: jiff::Timestamp = text[at..end].parse().expect("a time");
    let time = time + jiff::SignedDuration::from_secs(seconds);
    format!("{}{time}{}", &text[..at], &text[end..])
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// Root causes that are bad enough, each with its node.
fn roots(verdict: &Value) -> Vec<(&str, &str)> {
    let findings = list(verdict, "findings").iter();
    let roots = findings.filter(|f| f["severity"] != "info" && f["consequence_of"].is_null());
    let named = roots.map(|f| (f["cause"].as_str(), f["node"].as_str()));
    named
        .filter_map(|(cause, node)| Some((cause?, node?)))
        .collect()
}

/// What the evidence of what passed says, with the node that should have seen it.
fn paths(finding: &Value) -> Vec<(&str, &str)> {
    let lines = list(finding, "evidence").iter();
    let paths = lines.filter(|line| line["kind"] == "path");
    let told = paths.map(|line| (line["node"].as_str(), line["text"].as_str()));
    told.filter_map(|(node, text)| Some((node?, text?)))
        .collect()
}

fn says(finding: &Value, node: &str, words: &[&str]) {
    let all = paths(finding);
    let told = |(at, text): &(&str, &str)| *at == node && words.iter().all(|w| text.contains(w));
    assert!(all.iter().any(told), "{node} {words:?}: {all:#?}");
}

/// Nothing is told that does not say of which node it is.
fn all_named(verdict: &Value) {
    for finding in list(verdict, "findings") {
        assert!(finding["node"].is_string(), "{finding:#}");
        for part in ["evidence", "flows"] {
            let named = |it: &Value| it["node"].is_string();
            assert!(list(finding, part).iter().all(named), "{finding:#}");
        }
    }
    let drops = list(verdict, "drops").iter();
    let all = drops.chain(list(verdict, "retransmits"));
    let all: Vec<_> = all.filter(|it| it["node"].is_null()).collect();
    assert!(all.is_empty(), "{all:#?}");
}

/// Each cause once, whoever found it.
fn none_twice(verdict: &Value) {
    let causes: Vec<_> = list(verdict, "findings")
        .iter()
        .map(|f| &f["cause"])
        .collect();
    let texts: BTreeSet<String> = causes.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), causes.len(), "{causes:?}");
}

#[test]
fn a_wrong_outer_source_is_seen_from_both_ends() {
    let workdir = Workdir::new();
    for wrong in [0, 90, -300] {
        let verdict = joined(&workdir, &pair(&workdir, REFUSED, wrong));
        assert_eq!(roots(&verdict), [("vxlan-source-mismatch", "worker-1")]);
        let finding = &verdict["findings"][0];
        says(
            finding,
            "worker-2",
            &["left worker-1", "none came to worker-2"],
        );
        says(
            finding,
            "worker-1",
            &["left worker-2", "all came to worker-1"],
        );
        let fdb = |e: &Value| e["kind"] == "fdb" && e["node"] == "worker-2";
        assert!(list(finding, "evidence").iter().any(fdb), "{finding:#}");
        skew(&verdict, wrong);
        all_named(&verdict);
        none_twice(&verdict);
    }
}

/// The difference of the clocks is found out, to a tenth of a second.
fn skew(verdict: &Value, wrong: i64) {
    let between = &verdict["between"][0];
    let ahead = between["clock_ahead"].as_f64().expect("compared");
    assert!((ahead - wrong as f64).abs() < 0.1, "{ahead} of {wrong}");
    assert!(between["duration"].as_f64() > Some(1.0), "{between:#}");
}

#[test]
fn answers_that_go_astray_are_seen_from_both_ends() {
    let workdir = Workdir::new();
    for wrong in [0, -90, 300] {
        let verdict = joined(&workdir, &pair(&workdir, UNDELIVERED, wrong));
        assert_eq!(roots(&verdict), [("vxlan-source-mismatch", "k8s-n2")]);
        let finding = &verdict["findings"][0];
        says(finding, "k8s-n2", &["left k8s-n1", "all came to k8s-n2"]);
        says(finding, "k8s-n1", &["left k8s-n2", "none came to k8s-n1"]);
        // The other one believed in a filter between them.
        let silence = &verdict["findings"][1];
        assert_eq!(silence["cause"], "overlay-blocked");
        assert_eq!(silence["node"], "k8s-n1");
        assert_eq!(silence["consequence_of"], "vxlan-source-mismatch");
        all_named(&verdict);
        none_twice(&verdict);
    }
}

#[test]
fn pods_without_a_route_are_seen_on_their_own_node() {
    let workdir = Workdir::new();
    for wrong in [0, 90, -300] {
        let verdict = joined(&workdir, &pair(&workdir, ROUTE, wrong));
        assert_eq!(roots(&verdict), [("pod-route-missing", "worker-1")]);
        let finding = &verdict["findings"][0];
        says(
            finding,
            "worker-2",
            &["left worker-1", "none came to worker-2"],
        );
        let lives = |e: &Value| {
            let text = e["text"].as_str().unwrap_or_default();
            e["node"] == "worker-2" && text.contains("is a pod of worker-2")
        };
        assert!(list(finding, "evidence").iter().any(lives), "{finding:#}");
        // What came from there did come, and was answered by the same way into nothing.
        let findings = list(&verdict, "findings").iter();
        let silence = findings.clone().find(|f| f["cause"] == "overlay-blocked");
        let silence = silence.expect("the other side's finding");
        assert_eq!(silence["consequence_of"], "pod-route-missing");
        says(
            silence,
            "worker-1",
            &["left worker-2", "all came to worker-1"],
        );
        let lost = list(&verdict["between"][0], "lost");
        assert!(lost.iter().any(|flow| flow["arrived"] == 0), "{lost:#?}");
        skew(&verdict, wrong);
        all_named(&verdict);
        none_twice(&verdict);
    }
}

/// A node that has no way back, and a peer that would have blamed the network.
#[test]
fn answers_that_find_no_route_are_not_the_networks_fault() {
    let workdir = Workdir::new();
    let verdict = joined(&workdir, &pair(&workdir, NO_ROUTE, 0));
    assert_eq!(roots(&verdict), [("no-route", "worker-1")]);
    let findings = list(&verdict, "findings").iter();
    let silence = findings.clone().find(|f| f["cause"] == "overlay-blocked");
    let silence = silence.expect("the other side's finding");
    assert_eq!(silence["node"], "worker-2");
    assert_eq!(silence["consequence_of"], "no-route");
}

/// Both name the same disagreement, each with its own values.
#[test]
fn one_disagreement_is_one_finding() {
    let workdir = Workdir::new();
    let verdict = joined(&workdir, &pair(&workdir, DISAGREE, 0));
    let finding = &verdict["findings"][0];
    assert_eq!(finding["cause"], "overlay-port-or-vni-mismatch");
    assert_eq!(list(finding, "nodes").len(), 2, "{finding:#}");
    let of = |node: &str| {
        let named = |e: &&Value| e["node"] == node;
        list(finding, "evidence").iter().filter(named).count()
    };
    assert!(of("worker-1") > 0 && of("worker-2") > 0, "{finding:#}");
    none_twice(&verdict);
    all_named(&verdict);
}

#[test]
fn a_healthy_pair_lost_nothing() {
    let workdir = Workdir::new();
    for wrong in [0, 90, -300] {
        let [one, other] = pair(&workdir, HEALTHY, wrong);
        let ended = workdir.replay(&[&one, &other, "-o", "json"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let verdict = ended.json();
        assert_eq!(verdict["verdict"], "healthy");
        for way in list(&verdict, "between") {
            assert!(way["packets"].as_u64() > Some(1000), "{way:#}");
            assert_eq!(way["packets"], way["arrived"], "{way:#}");
        }
        assert_eq!(list(&verdict, "between").len(), 2);
        skew(&verdict, wrong);
    }
}

#[test]
fn every_line_names_its_node() {
    let workdir = Workdir::new();
    let [one, other] = pair(&workdir, ROUTE, 0);
    let ended = workdir.replay(&[&one, &other, "-o", "ndjson"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let events = ended.ndjson();
    assert!(events.iter().all(|e| e["node"].is_string()), "{events:#?}");
    let findings = events.iter().filter(|e| e["type"] == "finding");
    let causes: Vec<_> = findings
        .map(|e| e["finding"]["cause"].to_string())
        .collect();
    let once: BTreeSet<_> = causes.iter().collect();
    assert_eq!(once.len(), causes.len(), "{causes:?}");
    let between = events.iter().filter(|e| e["type"] == "between");
    assert_eq!(between.count(), 2);
    let table = workdir.replay(&[&one, &other]).text();
    for words in [
        "pod-route-missing  on worker-1",
        "worker-2: ",
        "Fix on worker-1",
        "Between the nodes",
        "Left worker-1 and lost on the way to worker-2",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
}

/// The rows of what could not be checked between nodes.
fn untold(ended: &Ended) -> String {
    let verdict = ended.json();
    let rows = list(&verdict, "not_checked").iter();
    let all = rows.filter_map(|row| row["why"].as_str());
    all.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_same_file_twice_counts_once() {
    let workdir = Workdir::new();
    let [one, _] = pair(&workdir, REFUSED, 0);
    let copy = workdir.put("copy.ndr", &bytes(REFUSED[0]));
    let alone = workdir.replay(&[&one, "-o", "json"]).json();
    for other in [&one, &copy] {
        let ended = workdir.replay(&[&one, other, "-o", "json"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.json()["findings"], alone["findings"]);
        assert!(untold(&ended).contains("counts once"), "{ended:?}");
    }
}

#[test]
fn strangers_are_judged_each_by_itself() {
    let workdir = Workdir::new();
    // Another cluster, the same node at another time, another node at another time.
    for (one, other, why) in [
        (REFUSED[0], UNDELIVERED[1], "different clusters"),
        (REFUSED[0], ROUTE[0], "both are recordings of one node"),
        (REFUSED[0], ROUTE[1], "not recorded at the same time"),
    ] {
        let files = pair(&workdir, [one, other], 0);
        let ended = workdir.replay(&[&files[0], &files[1], "-o", "json"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(untold(&ended).contains(why), "{ended:?}");
        let verdict = ended.json();
        assert!(verdict["between"].is_null());
        assert_eq!(list(&verdict, "nodes").len(), 2);
        all_named(&verdict);
        for file in &files {
            for (cause, _) in roots(&workdir.replay(&[file, "-o", "json"]).json()) {
                let found = list(&verdict, "findings").iter();
                assert!(found.clone().any(|f| f["cause"] == cause), "{cause}");
            }
        }
    }
}

/// Both nodes of a lab are recorded while it happens.
#[test]
fn a_lab_is_recorded_on_all_its_nodes() {
    if require::missing(&["ip"]) {
        return;
    }
    for scenario in ["vxlan-source-mismatch", "pod-route-missing"] {
        let workdir = Workdir::new();
        let folder = workdir.path("nodes").display().to_string();
        let live = netdiag(&[
            "lab",
            "run",
            scenario,
            "--record-all",
            &folder,
            "-o",
            "json",
        ]);
        assert_eq!(live.code, Some(0), "{live:?}");
        let made = std::fs::read_dir(&folder).expect("recordings");
        let files: Vec<String> = made
            .map(|file| file.expect("a file").path().display().to_string())
            .collect();
        assert_eq!(files.len(), 2, "{files:?}");
        files.iter().for_each(|file| workdir.hand_over(file));
        let ended = workdir.replay(&[&files[0], &files[1], "-o", "json"]);
        assert!(ended.stderr.is_empty(), "{ended:?}");
        let verdict = ended.json();
        let roots = roots(&verdict);
        assert_eq!(roots.len(), 1, "{verdict:#}");
        assert_eq!(roots[0].0, scenario);
        let told = paths(&verdict["findings"][0]);
        assert!(
            told.iter().any(|(_, text)| text.contains(": none came")),
            "{verdict:#}"
        );
        all_named(&verdict);
        none_twice(&verdict);
    }
}
