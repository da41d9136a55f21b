//! A real Prometheus, a real agent, a real fault: what is shipped alerts, shows and resolves.
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use netdiag_tests::{
    lab::Lab,
    need,
    netdiag::start_in,
    netns,
    process::{PATIENCE, Process, wait_until},
    prometheus::{Prometheus, panels, repair},
};
use nix::sys::signal::Signal;

const TOOLS: [&str; 4] = ["ip", "nft", "curl", "prometheus"];
/// Two minutes are two seconds and a half then.
const SCALE: &str = "0.02";
/// And six seconds: a consequence may be named before the cause behind it is.
const SLOWER: &str = "0.05";

fn agent(lab: &Lab) -> Process {
    let usual = ["agent", "--cni-dir", &lab.cni_dirs[0], "--canary", "2s"];
    let soon = ["--resolve-after", "20s"];
    start_in(&lab.nodes[0], &[&usual[..], &soon].concat())
}

/// `NetdiagVxlanMtuTooLarge`
fn alert_of(cause: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    let words: Vec<_> = cause.split('-').map(word).collect();
    format!("Netdiag{}", words.concat())
}

/// Names of the causes that it alerts about.
fn causes(prometheus: &Prometheus) -> Vec<String> {
    let alerts = prometheus.alerts();
    let firing = alerts.iter().filter(|alert| alert.firing);
    let mut causes: Vec<_> = firing
        .map(|alert| alert.label("cause").to_owned())
        .collect();
    causes.retain(|cause| !cause.is_empty());
    causes.sort();
    causes.dedup();
    causes
}

/// Until the alert fires, and from then; how long it took.
fn wait_for_alert(prometheus: &Prometheus, cause: &str) -> Duration {
    let begun = Instant::now();
    let alert = alert_of(cause);
    wait_until(&format!("{alert} fires"), PATIENCE, || {
        prometheus.is_firing(&alert)
    });
    begun.elapsed()
}

fn wait_for_resolution(prometheus: &Prometheus, cause: &str) -> Duration {
    let begun = Instant::now();
    let alert = alert_of(cause);
    wait_until(&format!("{alert} is resolved"), PATIENCE, || {
        !prometheus.is_firing(&alert)
    });
    begun.elapsed()
}

/// Every panel has data; those that show more than noughts, by their titles.
fn shown(prometheus: &Prometheus) -> Vec<String> {
    let panels = panels();
    let mut alive = Vec::new();
    for (title, queries) in &panels {
        let mut most: f64 = 0.0;
        for query in queries {
            let samples = prometheus.query(query);
            assert!(!samples.is_empty(), "{title} is empty: {query}");
            let broken = samples.iter().find(|(_, value)| !value.is_finite());
            assert!(broken.is_none(), "{title}: {broken:?}");
            most = samples
                .iter()
                .fold(most, |most, (_, value)| most.max(*value));
        }
        if most > 0.0 {
            alive.push(title.clone());
        }
    }
    assert!(panels.len() > 20, "{panels:?}");
    alive
}

#[test]
fn an_incident_alerts_and_resolves_and_so_does_a_killed_agent() {
    if need::missing(&TOOLS) {
        return;
    }
    let lab = Lab::up(&["firewall-drop"]);
    let traffic = lab.traffic();
    let agent = agent(&lab);
    let prometheus = Prometheus::start(&lab.nodes[0], SCALE);
    wait_for_alert(&prometheus, "firewall-drop");
    assert_eq!(causes(&prometheus), ["firewall-drop"]);
    let alerts = prometheus.alerts();
    let named = alerts
        .iter()
        .find(|it| it.label("cause") == "firewall-drop");
    let named = named.expect("it fires");
    assert_eq!(named.label("severity"), "warning", "{named:?}");
    assert_eq!(named.label("namespace"), "shop", "{named:?}");
    let alive = shown(&prometheus);
    for title in [
        "Warnings",
        "Findings",
        "Drops by reason",
        "Nodes watched",
        "Memory",
        "Hooks attached",
    ] {
        assert!(alive.iter().any(|it| it == title), "{title}: {alive:?}");
    }

    netns::exec(&lab.nodes[0], &["nft", "flush", "ruleset"]);
    wait_for_resolution(&prometheus, "firewall-drop");
    assert!(!prometheus.is_firing("NetdiagAgentDown"));

    agent.stop(Signal::SIGKILL);
    wait_until("the agent's own alert fires", PATIENCE, || {
        prometheus.is_firing("NetdiagAgentDown")
    });
    traffic.stop(Signal::SIGINT);
    assert_eq!(netdiag_tests::netdiag::netdiag(&["cleanup"]).code, Some(0));
}

/// One of each family of causes. By hand, for it takes minutes:
/// `cargo test -p netdiag-tests --test alerts -- --ignored --nocapture`
#[test]
#[ignore = "six labs take minutes"]
fn six_incidents_alert_and_resolve() {
    const INCIDENTS: [&str; 6] = [
        "firewall-drop",
        "vxlan-mtu-too-large",
        "vxlan-source-mismatch",
        "rp-filter-drop",
        "forwarding-disabled",
        "tc-drop",
    ];
    if need::missing(&TOOLS) {
        return;
    }
    let mut panels: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for cause in INCIDENTS {
        let lab = Lab::up(&[cause]);
        let traffic = lab.traffic();
        let agent = agent(&lab);
        let prometheus = Prometheus::start(&lab.nodes[0], SLOWER);
        let fired = wait_for_alert(&prometheus, cause);
        let named = causes(&prometheus);
        for title in shown(&prometheus) {
            panels.entry(title).or_default().push(cause);
        }
        let commands = repair(&lab.nodes[0], &lab.cni_dirs[0]);
        assert!(commands > 0, "{cause}: no command repairs it");
        let resolved = wait_for_resolution(&prometheus, cause);
        agent.stop(Signal::SIGKILL);
        let begun = Instant::now();
        wait_until("the agent's own alert fires", PATIENCE, || {
            prometheus.is_firing("NetdiagAgentDown")
        });
        eprintln!(
            "{cause}: fires after {:.1} s beside {named:?}, {commands} commands repair it, resolved after \
             {:.1} s, the agent's own alert {:.1} s after it was killed",
            fired.as_secs_f64(),
            resolved.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
        assert_eq!(named, [cause]);
        traffic.stop(Signal::SIGINT);
    }
    for (title, causes) in panels {
        eprintln!(
            "panel {title}: more than 0 in {} of 6 ({})",
            causes.len(),
            causes.join(", ")
        );
    }
    assert_eq!(netdiag_tests::netdiag::netdiag(&["cleanup"]).code, Some(0));
}
