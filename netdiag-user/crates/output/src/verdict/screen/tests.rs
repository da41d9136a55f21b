//! Recorded incidents on screens of two sizes: what they must show, and the whole of six of them.
#![expect(clippy::disallowed_methods, reason = "files of the test's own")]
use std::path::{Path, PathBuf};

use anstream::adapter::strip_str;

use super::*;
use crate::{
    diagnosis::diagnoser::Diagnoser,
    model::{
        observation::Observation,
        verdict::{CannotTell, FlowRef, LabResult, NotChecked, Unexplained},
    },
    recording::Replay,
};

struct Told {
    verdict: Verdict,
    ways: Vec<FlowWay>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/tests/fixtures/recordings")
}

fn told(name: &str) -> Told {
    let mut replay = Replay::open(&folder().join(name)).expect("a recording");
    let mut judge = Diagnoser::default();
    let mut last = Observation::default();
    while let Some(reading) = replay.tick() {
        judge.findings(&replay.scene, &reading);
        last = reading;
    }
    let verdict = judge.verdict(&replay.scene, &last);
    let ways = Diagnoser::ways(&replay.scene, &last, &verdict.findings);
    Told { verdict, ways }
}

impl Told {
    fn screen(&self, width: usize, ascii: bool) -> String {
        let text = render(&self.verdict, &self.ways, width, ascii);
        strip_str(&text).to_string()
    }

    /// Lines of a terminal that is so wide.
    fn lines(&self, width: usize) -> usize {
        let long = |line: &str| line.chars().count().max(1).div_ceil(width);
        self.screen(width, false).lines().map(long).sum()
    }

    /// With what another incident has found.
    fn and(mut self, other: Self) -> Self {
        self.verdict.findings.extend(other.verdict.findings);
        self.ways.extend(other.ways);
        self
    }
}

#[test]
fn each_incident_fits_with_its_root_and_its_command() {
    let entries = std::fs::read_dir(folder()).expect("recordings").flatten();
    let names = entries.map(|it| it.file_name().to_string_lossy().into_owned());
    let mut drawn = 0;
    for name in names.filter(|it| it.ends_with(".ndr")) {
        let told = told(&name);
        for width in [80, 120] {
            let text = told.screen(width, false);
            assert!(told.lines(width) <= MOST, "{name} at {width}:\n{text}");
            let Some(root) = told.verdict.findings.first() else {
                continue;
            };
            assert!(text.contains(&root.cause), "{name}:\n{text}");
            let mut commands = root.fix.repairs().chain(root.fix.looks());
            if let Some(first) = commands.next() {
                let line = format!("    $ {first}");
                assert!(text.lines().any(|it| it == line), "{name}: {line}\n{text}");
            }
            drawn += usize::from(text.contains('╳'));
            let others = text.lines().filter(|it| !it.starts_with("    $ "));
            for line in others {
                assert!(line.chars().count() <= width, "{name} at {width}: {line}");
            }
        }
    }
    // Most of them lose packets at a place that is known.
    assert!(drawn > 60, "{drawn}");
}

#[test]
fn many_roots_fit_too() {
    let names = [
        "vxlan-mtu-too-large.ndr",
        "sidecar-without-dns.ndr",
        "firewall-drop.ndr",
        "etcd-nospace.ndr",
        "conntrack-full.ndr",
        "not-listening.ndr",
    ];
    let told = names.into_iter().map(told).reduce(Told::and).expect("some");
    let text = told.screen(80, false);
    assert!(told.lines(80) <= MOST, "{text}");
    for root in ["vxlan-mtu-too-large", "pod-route-missing", "firewall-drop"] {
        assert!(text.contains(root), "{root}:\n{text}");
    }
    assert_eq!(text.matches("    $ ").count(), 3, "{text}");
}

#[test]
fn the_labs_own_lines_find_room_below() {
    let mut told = ["sidecar-without-dns.ndr", "vxlan-mtu-too-large.ndr"]
        .map(told)
        .into_iter()
        .reduce(Told::and)
        .expect("some");
    assert_eq!(told.lines(80), MOST, "it fills the screen");
    told.verdict.lab = Some(LabResult::default());
    assert_eq!(told.lines(80), MOST - LABS);
}

#[test]
fn where_there_is_only_ascii_nothing_else_is_drawn() {
    let text = told("sidecar-without-dns.ndr").screen(80, true);
    assert!(text.is_ascii(), "{text}");
    assert!(text.contains("-X ") && text.contains("`- "), "{text}");
}

#[test]
fn a_verdict_that_goes_round_in_circles_ends() {
    let mut told = told("sidecar-without-dns.ndr");
    let last = told.verdict.findings.len() - 1;
    let id = told.verdict.findings[last].id.clone();
    told.verdict.findings[1].root = Some(id);
    assert!(told.lines(80) <= MOST);
}

#[test]
fn a_strangers_word_takes_no_more_than_its_line() {
    let mut told = told("sidecar-without-dns.ndr");
    let word = "x".repeat(5000);
    for finding in &mut told.verdict.findings {
        finding.summary = format!("a {word} b");
        finding.fix.summary.clone_from(&word);
    }
    let text = told.screen(80, false);
    assert!(told.lines(80) <= MOST, "{text}");
    assert!(text.contains("    $ kubectl get pods -A"), "{text}");
}

#[test]
fn two_nodes_with_one_cause_have_each_its_own_way() {
    let mut told = told("forwarding-disabled.ndr");
    let mut other = told.verdict.findings[0].clone();
    told.verdict.findings.truncate(1);
    told.verdict.findings[0].node = Some("one".into());
    other.node = Some("two".into());
    let mut way = told.ways[0].clone();
    told.ways[0].node = Some("one".into());
    way.node = Some("two".into());
    way.path.source.pod = None;
    told.ways.push(way);
    told.verdict.findings.push(other);
    let text = told.screen(80, false);
    assert!(text.contains("  10.244.20.23 ─ "), "{text}");
    assert!(text.contains("  cart-psst"), "{text}");
}

/// What a reader sees first, by what it comes to.
#[test]
fn six_incidents_as_they_look() {
    let two = told("firewall-drop.ndr").and(told("vxlan-mtu-too-large.ndr"));
    let mut cannot_tell = told("healthy.ndr");
    cannot_tell.verdict.verdict = Outcome::Incomplete;
    cannot_tell.verdict.cannot_tell.push(CannotTell {
        causes: vec!["not-listening".into(), "sidecar-blocked".into()],
        what: "rules for a sidecar in shop/cart-psst9cbl8-xlksm".into(),
        why: "nft is not installed here".into(),
        flows: vec![FlowRef::default()],
        pods: Vec::new(),
        node: None,
    });
    let mut unexplained = told("noise.ndr");
    unexplained.verdict.verdict = Outcome::Incomplete;
    let what = "7 packets to tcp 10.244.20.23:9999 of shop/cart-psst9cbl8-xlksm";
    let missing = NotChecked::new("pods by kubernetes and cri", "no socket");
    unexplained.verdict.not_checked.push(missing);
    unexplained.verdict.unexplained.push(Unexplained {
        what: what.into(),
        why: "no rule of this node accounts for them".into(),
        here: true,
        flows: Vec::new(),
        pods: Vec::new(),
        node: None,
    });
    let screens = [
        ("single", told("vxlan-mtu-too-large.ndr")),
        ("chain", told("sidecar-without-dns.ndr")),
        ("two", two),
        ("cannot-tell", cannot_tell),
        ("unexplained", unexplained),
        ("healthy", told("healthy.ndr")),
    ];
    for (name, told) in screens {
        for width in [80, 120] {
            let screen = told.screen(width, false);
            insta::assert_snapshot!(format!("{name}-{width}"), screen);
        }
    }
}
