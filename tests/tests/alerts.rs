//! A real Prometheus, a real agent, a real fault: what is shipped alerts, shows and resolves.
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::{Duration, Instant},
};

use netdiag_tests::{
    lab::Lab,
    netdiag::{netdiag, start_in},
    netns,
    process::{PATIENCE, Process, run, wait_until},
    prometheus::{Prometheus, panels, repair},
    require,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const TOOLS: [&str; 4] = ["ip", "nft", "curl", "prometheus"];
/// Four minutes are five seconds then.
const SCALE: &str = "0.02";
/// And twelve: a consequence may be named before the cause behind it is.
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

/// Of what no healthy node has: where nothing was counted yet they are empty, and say so.
const MAY_BE_EMPTY: [&str; 11] = [
    "Findings",
    "Findings over time",
    "Drops by reason",
    "Drops by hop",
    "Drops by workload",
    "Bytes dropped",
    "Retransmissions",
    "Oversize packets",
    "Wrong outer addresses",
    "Answers by code",
    "Queries without an answer",
];

#[test]
fn panels_that_may_be_empty_say_what_that_means() {
    let ended = netdiag(&["manifests", "dashboard", "--plain"]);
    let dashboard: Value = serde_json::from_str(&ended.text()).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let said = panels.filter(|it| it["fieldConfig"]["defaults"]["noValue"].is_string());
    let titles: Vec<_> = said.map(|it| it["title"].as_str().expect("text")).collect();
    assert_eq!(titles, MAY_BE_EMPTY);
}

/// Each metric that a query names, without what its kind adds.
fn metrics(query: &str) -> BTreeSet<String> {
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let named = query.split(word).filter(|it| it.starts_with("netdiag_"));
    named
        .map(|it| it.trim_end_matches("_total").to_owned())
        .collect()
}

/// Those that the agent serves, of which some have no series yet.
fn served(node: &str) -> BTreeSet<String> {
    let url = "http://127.0.0.1:9464/metrics";
    let curl = ["netns", "exec", node, "curl", "--silent", "--fail", url];
    let page = run(Command::new("ip").args(curl));
    assert_eq!(page.code, Some(0), "{page:?}");
    let page = page.text();
    let types = page.lines().filter_map(|it| it.strip_prefix("# TYPE "));
    types
        .filter_map(|it| it.split(' ').next())
        .map(|it| it.trim_end_matches("_total").to_owned())
        .collect()
}

/// Every panel has data, or is one that may have none of what the agent does serve; those that show
/// more than noughts, by their titles.
fn shown(prometheus: &Prometheus, node: &str) -> Vec<String> {
    let (panels, served) = (panels(), served(node));
    let mut alive = Vec::new();
    for (title, queries) in &panels {
        let mut most: f64 = 0.0;
        for query in queries {
            let samples = prometheus.query(query);
            let metrics = metrics(query);
            assert!(
                !samples.is_empty() || MAY_BE_EMPTY.contains(&title.as_str()),
                "{title} is empty: {query}"
            );
            assert!(
                metrics.is_subset(&served),
                "{title}: {metrics:?} of {served:?}"
            );
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
    if require::missing(&TOOLS) {
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
    let wanted = [
        "Warnings",
        "Findings",
        "Drops by reason",
        "Nodes watched",
        "Memory",
        "Hooks attached",
    ];
    // A rate takes a drop between two scrapes, and the finding may stand before the second.
    wait_until("the panels show it", PATIENCE, || {
        let alive = shown(&prometheus, &lab.nodes[0]);
        wanted
            .iter()
            .all(|title| alive.iter().any(|it| it == title))
    });

    netns::exec(&lab.nodes[0], &["nft", "flush", "ruleset"]);
    wait_for_resolution(&prometheus, "firewall-drop");
    assert!(!prometheus.is_firing("NetdiagAgentDown"));

    agent.stop(Signal::SIGKILL);
    wait_until("the agent's own alert fires", PATIENCE, || {
        prometheus.is_firing("NetdiagAgentDown")
    });
    traffic.stop(Signal::SIGINT);
    assert_eq!(netdiag(&["cleanup"]).code, Some(0));
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
    if require::missing(&TOOLS) {
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
        for title in shown(&prometheus, &lab.nodes[0]) {
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
    assert_eq!(netdiag(&["cleanup"]).code, Some(0));
}
