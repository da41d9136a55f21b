//! Findings as Kubernetes Events.
use netdiag_tests::{
    api::{Api, Login},
    lab::Lab,
    netdiag::start_in,
    netns::sh,
    process::{PATIENCE, Process, wait_until},
    require,
};

fn agent(lab: &Lab, api: &Api) -> Process {
    let config = api.kubeconfig(Login::Token).display().to_string();
    let place = ["--cni-dir", &lab.cni_dirs[0], "--kubeconfig", &config];
    let told = ["agent", "--events", "--resolve-after", "20s"];
    start_in(&lab.nodes[0], &[&told[..], &place].concat())
}

fn page(lab: &Lab) -> String {
    let url = "http://127.0.0.1:9464/metrics";
    sh(&[
        "ip",
        "netns",
        "exec",
        &lab.nodes[0],
        "curl",
        "--silent",
        url,
    ])
}

#[test]
fn a_finding_is_an_event_on_its_pod_until_it_is_over() {
    if require::missing(&["ip", "nft", "curl"]) {
        return;
    }
    let lab = Lab::up(&["firewall-drop"]);
    let api = Api::start_in(&lab.nodes[0]);
    let mut agent = agent(&lab, &api);
    let traffic = lab.traffic();
    wait_until("an event", PATIENCE, || !api.objects("events").is_empty());
    let events = api.objects("events");
    let event = &events[0];
    let (pod, _) = &lab.pods[0];
    let about = &event["involvedObject"];
    let named = format!(
        "{}/{}",
        about["namespace"].as_str().expect("a namespace"),
        about["name"].as_str().expect("a name")
    );
    assert_eq!((&named, &about["kind"]), (pod, &"Pod".into()), "{event:#}");
    assert_eq!(
        (&event["type"], &event["reason"]),
        (&"Warning".into(), &"FirewallDrop".into())
    );
    let message = event["message"].as_str().expect("a message");
    assert!(
        message.ends_with("(netdiag explain firewall-drop)"),
        "{message}"
    );
    assert!(
        event["firstTimestamp"].is_string() && event["count"].is_u64(),
        "{event:#}"
    );
    sh(&[
        "ip",
        "netns",
        "exec",
        &lab.nodes[0],
        "nft",
        "flush",
        "ruleset",
    ]);
    agent.wait_for("withdrawn: firewall-drop", PATIENCE);
    wait_until("each is counted", PATIENCE, || {
        let told = api.count("create events") + api.count("patch events");
        page(&lab).contains(&format!("netdiag_events_total{{result=\"sent\"}} {told}\n"))
    });
    drop(traffic);
}

#[test]
fn an_api_that_forbids_events_is_told_of_once_and_ends_nothing_else() {
    if require::missing(&["ip", "nft", "curl"]) {
        return;
    }
    let lab = Lab::up(&["firewall-drop"]);
    let api = Api::start_in(&lab.nodes[0]);
    api.forbid("events");
    let mut agent = agent(&lab, &api);
    let traffic = lab.traffic();
    agent.wait_for("no Kubernetes Events: the API does not allow", PATIENCE);
    assert_eq!(api.count("create events"), 1);
    assert!(page(&lab).contains("netdiag_events_total{result=\"sent\"} 0\n"));
    drop(traffic);
}
