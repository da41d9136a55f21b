//! Ways computed from other people's incidents, of connections that nobody has begun.
use std::path::Path;

use netdiag_tests::{
    netdiag::{netdiag, sentence},
    process::Ended,
};
use serde_json::Value;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

fn replayed(recording: &str, ends: [&str; 2], more: &[&str]) -> Ended {
    let file = Path::new(FIXTURES).join(format!("{recording}.ndr"));
    let file = file.display().to_string();
    let [source, destination] = ends;
    let words = ["replay", &file, "--path", source, destination];
    netdiag(&[&words, more].concat())
}

fn predicted(recording: &str, ends: [&str; 2]) -> (Value, Option<i32>) {
    let ended = replayed(recording, ends, &["--predict", "-o", "json"]);
    let told = ended.json();
    (told["predicted"][0].clone(), ended.code)
}

/// The last steps of all branches.
fn ends(steps: &Value) -> Vec<Value> {
    let steps = steps.as_array().into_iter().flatten();
    let of = |step: &Value| {
        let branches = step["branches"].as_array().into_iter().flatten();
        let inner: Vec<Value> = branches.flat_map(|one| ends(&one["steps"])).collect();
        let ends = ["leaves", "delivers", "refuses", "unknown"];
        match ends.iter().any(|word| step["does"] == *word) {
            true => vec![step.clone()],
            false => inner,
        }
    };
    steps.flat_map(of).collect()
}

#[test]
fn a_way_ends_where_the_incidents_packets_do() {
    for (recording, source, destination, at) in [
        (
            "incidents/23-host-net-in-service-range",
            "10.244.1.5",
            "10.100.0.100:6443",
            "rule 2 of ip kube-proxy cluster-ips-check",
        ),
        (
            "incidents/25-cni0-shadows-lan",
            "10.42.0.1",
            "10.42.0.200:445",
            "nobody answers for the next hop 10.42.0.200",
        ),
        (
            "incidents/35-ra-ignored-default-lost-v6",
            "2003:e5:d731:9d44::4",
            "[2001:db8:35::80]:443",
            "no route leads it on",
        ),
        (
            "incidents/33-veth-mac-changed",
            "10.80.4.142",
            "172.20.0.1:443",
            "for another link-layer address",
        ),
        (
            "recordings/path-broken",
            "10.244.20.23",
            "10.244.116.64:9000",
            "takes what shop/cart-psst9cbl8-xlksm sends from there for forged",
        ),
    ] {
        let (told, code) = predicted(recording, [source, destination]);
        assert_eq!(told["outcome"], "refused", "{recording}: {told:#}");
        assert_eq!(code, Some(1), "{recording}");
        let summary = told["summary"].as_str().expect("a sentence");
        assert!(summary.contains(at), "{recording}: {summary}");
        let last = ends(&told["request"]);
        let refuses = last.iter().any(|step| step["does"] == "refuses");
        assert!(refuses, "{recording}: {last:#?}");
    }
}

/// Its packets get through, and it does not: nobody takes them, they leave as nobody answers, or their answers come from somebody
/// else.
#[test]
fn what_gets_somewhere_for_nothing_is_refused() {
    let (client, server) = ("10.244.116.64", "10.244.20.23");
    for (incident, source, destination, why) in [
        (
            "not-listening",
            client,
            "10.244.20.23:8443",
            "nobody listens on TCP port 8443",
        ),
        (
            "loopback-only-listener",
            client,
            "10.244.20.23:8443",
            "listens on 127.0.0.1:8443 alone",
        ),
        // As the sidecar's rules lead it.
        (
            "sidecar-blocked",
            client,
            "10.244.20.23:8080",
            "nobody listens on TCP port 4143",
        ),
        (
            "bridge-nf-disabled",
            server,
            "10.152.37.77:80",
            "and 10.152.37.77 was asked: net.bridge",
        ),
        (
            "pod-route-missing",
            server,
            "10.244.116.64:8080",
            "is routed by the default route",
        ),
        (
            "overlay-wrong-interface",
            server,
            "10.244.116.64:8080",
            "sends from 59.110.12.2",
        ),
    ] {
        let (told, code) = predicted(&format!("predicted/{incident}"), [source, destination]);
        let summary = told["summary"].as_str().expect("a sentence");
        assert!(summary.contains(why), "{incident}: {summary}");
        assert_eq!(
            (told["outcome"].as_str(), code),
            (Some("refused"), Some(1)),
            "{incident}"
        );
        let refused = ends(&told["request"])
            .iter()
            .any(|step| step["does"] == "refuses");
        assert!(!refused, "{incident}: {told:#}");
        assert!(told["fix"]["summary"].is_string(), "{incident}");
    }
}

#[test]
fn the_change_that_is_printed_is_known_to_help() {
    for (recording, source, destination) in [
        // The answers are refused by the same policy.
        (
            "incidents/policy-on-bridged-frames",
            "192.168.152.11",
            "192.168.152.12:8080",
        ),
        (
            "recordings/path-broken",
            "10.244.20.23",
            "10.244.116.64:9000",
        ),
    ] {
        let (told, _) = predicted(recording, [source, destination]);
        assert_eq!(told["tried"]["get_through"], 1, "{recording}: {told:#}");
        let commands = told["fix"]["commands"].as_array().expect("commands");
        assert!(!commands.is_empty(), "{recording}");
    }
}

/// He sets it again, and what it lets pass is led nowhere.
#[test]
fn a_rule_of_whoever_leads_services_is_not_opened() {
    for (incident, source, destination) in [
        ("service-local-only", "10.12.186.85", "10.12.186.27:30053"),
        ("service-no-endpoints", "10.244.20.23", "10.152.37.77:80"),
    ] {
        let (told, _) = predicted(&format!("predicted/{incident}"), [source, destination]);
        assert_eq!(told["fix"]["commands"], serde_json::json!([]), "{incident}");
        let look = told["fix"]["look"].as_array().expect("commands");
        assert_eq!(look.len(), 1, "{incident}: {look:?}");
        let summary = told["fix"]["summary"].as_str().expect("a sentence");
        assert!(
            summary.contains("change the Service behind"),
            "{incident}: {summary}"
        );
        assert!(told["tried"].is_null(), "{incident}");
    }
    let ends = ["10.244.1.5", "10.100.0.100:6443"];
    let (told, _) = predicted("incidents/23-host-net-in-service-range", ends);
    let lists = "nft -a list chain ip kube-proxy cluster-ips-check";
    assert_eq!(told["fix"]["look"], serde_json::json!([lists]));
    assert_eq!(told["fix"]["commands"], serde_json::json!([]));
    let summary = told["fix"]["summary"].as_str().expect("a sentence");
    assert!(summary.contains("none has 10.100.0.100"), "{summary}");
    assert!(told["tried"].is_null());
}

#[test]
fn what_is_alive_arrives_there_and_back() {
    let ends_of = ["10.42.7.20", "10.43.0.77:5432"];
    let (told, code) = predicted("incidents/07-established-to-gone-pod", ends_of);
    assert_eq!((told["outcome"].as_str(), code), (Some("arrives"), Some(0)));
    for end in ends(&told["request"]) {
        assert_eq!(end["does"], "delivers", "{end:#}");
        assert_eq!(end["destination"], "10.42.7.22:5432", "behind the Service");
    }
    let translated = told["request"].as_array().expect("steps").iter();
    let by = translated.filter_map(|step| step["by"].as_str());
    let by: Vec<&str> = by.collect();
    assert!(by.contains(&"rule 1 of ip nat services"), "{by:?}");
    let back = told["reply"].as_array().expect("ways");
    assert_eq!(back.len(), 1, "those that look alike are one");
}

#[test]
fn a_recording_without_the_flow_is_asked_for_its_way() {
    let ends = ["10.244.1.5", "10.100.0.100:6444"];
    let ended = replayed("incidents/23-host-net-in-service-range", ends, &[]);
    let text = ended.text();
    assert!(text.contains("REFUSED"), "{text}");
    assert!(text.contains("$ nft -a list chain ip kube-proxy cluster-ips-check"));
    assert_eq!(ended.code, Some(1));
    let ended = replayed(
        "incidents/23-host-net-in-service-range",
        ["10.244.1.5", "10.100.0.100:6443"],
        &[],
    );
    assert!(!ended.text().contains("Computed"), "it was seen");
}

#[test]
fn what_was_not_read_cannot_be_told() {
    // Nobody asked for the state that its ways are computed from.
    let ends = ["10.244.20.23", "10.244.116.64:9000"];
    let ended = replayed("recordings/no-route", ends, &["--predict"]);
    assert_eq!(ended.code, Some(4));
    let text = ended.text();
    assert!(text.contains("was not read"), "{text}");
}

#[test]
fn two_ends_are_asked_for() {
    let file = format!("{FIXTURES}/recordings/no-route.ndr");
    let ended = netdiag(&["replay", &file, "--predict"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.join("\n").contains("--path SRC DST"));
    let ended = netdiag(&["path", "10.0.0.1", "10.0.0.2", "--predict", "--probe"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.join("\n").contains("sends nothing"));
    let ended = netdiag(&["path", "10.0.0.1", "10.0.0.2", "--mark", "0xg"]);
    assert_eq!(ended.code, Some(2));
    let without_port = ["10.0.0.1", "10.0.0.2"];
    let ended = replayed(
        "recordings/no-route",
        without_port,
        &["--predict", "--proto", "tcp"],
    );
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.join("\n").contains("DST:PORT"));
}

#[test]
fn a_change_is_told_before_anybody_makes_it() {
    let recording = "incidents/33-veth-mac-changed";
    let ends = ["10.80.4.142", "172.20.0.1:443"];
    let fix = "ip netns exec d33-argocd ip neighbour replace 169.254.1.1 lladdr 0e:33:4a:64:18:29 dev eth0 nud permanent";
    let changed = |command: &str| {
        let more = ["--predict", "--change", command, "-o", "json"];
        replayed(recording, ends, &more)
    };
    let ended = changed(fix);
    let told = ended.json();
    assert_eq!(ended.code, Some(0), "{told:#}");
    assert_eq!(told["predicted"][0]["after"], serde_json::json!([fix]));
    for (wrong, word) in [
        ("reboot now", "'reboot' is not understood"),
        ("ip 'link", "quote"),
    ] {
        let ended = changed(wrong);
        let said = sentence(&ended);
        assert_eq!(ended.code, Some(2), "{said}");
        assert!(said.contains(word), "{said}");
    }
}
