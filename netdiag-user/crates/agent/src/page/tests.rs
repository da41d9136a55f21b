use std::time::Duration;

use super::*;
use crate::{
    model::verdict::{Confidence, Finding, Severity},
    series::Workload,
};

fn page() -> Page {
    Page::new(State {
        hooks: 3,
        build: ["1", "6", "node-a"].map(str::to_owned),
        ..State::new(10, Standing::new(Duration::from_secs(60)))
    })
}

#[test]
fn hostile_names_stay_within_their_label() {
    let page = page();
    let who = Workload {
        namespace: "shop".into(),
        workload: "Deployment/\"} evil{x=\"1\\".into(),
    };
    let death = ("NO_SOCKET".to_owned(), "pod");
    page.state().meter.drops.add(death, who, [3, 180]);
    for format in [Format::OpenMetrics, Format::Prometheus] {
        let text = page.write(format).expect("written");
        let line = r#"netdiag_drops_total{reason="NO_SOCKET",hop="pod",namespace="shop",workload="Deployment/\"} evil{x=\"1\\"} 3"#;
        assert!(text.lines().any(|it| it == line), "{text}");
        assert!(text.lines().any(|it| it == "netdiag_blind 0"), "{text}");
    }
}

#[test]
fn what_was_lost_never_falls() {
    let mut losses = Losses::default();
    let mut reading = Observation {
        evicted_flows: 9,
        ..Observation::default()
    };
    losses.read(&reading);
    reading.evicted_flows = 4;
    losses.read(&reading);
    assert_eq!(losses.evicted_flows, 9);
}

/// Whoever is called for a cause is not called for what follows from it.
#[test]
fn a_consequence_says_so_and_a_root_does_not() {
    let finding = |cause: &str, root: Option<&str>| Finding {
        id: cause.to_owned(),
        consequence_of: root.map(str::to_owned),
        ..Finding::new(
            cause,
            Severity::Critical,
            Confidence::Confirmed,
            String::new(),
        )
    };
    let page = page();
    let both = [
        finding("no-route", None),
        finding("dns-unreachable", Some("no-route")),
    ];
    page.state().standing.found(Instant::now(), &both);
    let text = page.write(Format::Prometheus).expect("written");
    let of = |cause: &str| {
        let begins = format!("netdiag_finding{{cause=\"{cause}\"");
        let line = text.lines().find(|line| line.starts_with(&begins));
        line.expect("named").to_owned()
    };
    assert!(
        of("dns-unreachable").contains(r#",consequence_of="no-route"}"#),
        "{text}"
    );
    assert!(!of("no-route").contains("consequence_of"), "{text}");
}
