//! The profiles of `netdiag manifests`, each tried with no more than it asks for.
use std::{path::Path, process::Command};

use netdiag_tests::{
    lab::Lab,
    need,
    netdiag::{binary, netdiag},
    process::{PATIENCE, Process, run, wait_until},
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// The container of the printed DaemonSet.
fn container(profile: &str) -> Value {
    let ended = netdiag(&["manifests", "daemonset", "--profile", profile]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let daemonset: Value = serde_saphyr::from_str(&ended.text()).expect("YAML");
    daemonset["spec"]["template"]["spec"]["containers"][0].clone()
}

fn words(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list").iter();
    list.map(|it| it.as_str().expect("text").to_owned())
        .collect()
}

/// `netdiag ARGUMENTS` in a node, as a runtime starts such a container's process; its history is in
/// another folder than the node's.
fn confined(container: &Value, netns: &str, history: &Path, arguments: &[String]) -> Command {
    let added = words(&container["securityContext"]["capabilities"]["add"]);
    let added = added.iter().map(|it| format!(",+{}", it.to_lowercase()));
    let kept = format!("-all{}", added.collect::<String>());
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns, "setpriv", "--no-new-privs"]);
    command.args(["--inh-caps=-all", "--bounding-set", &kept]);
    command.arg(binary()).args(arguments);
    for unset in ["NODE_NAME", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"] {
        command.env_remove(unset);
    }
    let given = container["env"].as_array().expect("a list").iter();
    for (name, value) in given.filter_map(|it| Some((it["name"].as_str()?, it["value"].as_str()?)))
    {
        match name {
            "NETDIAG_HISTORY" => command.env(name, history),
            _ => command.env(name, value),
        };
    }
    command
}

/// Names come from the CNI's files here, and from the API in a cluster.
#[test]
fn the_minimal_profile_lets_an_agent_name_a_rule() {
    if need::missing(&["ip", "nft", "curl", "setpriv"]) {
        return;
    }
    let container = container("minimal");
    let folder = tempfile::tempdir().expect("a folder");
    let lab = Lab::up(&["firewall-drop"]);
    let traffic = lab.traffic();
    let node = &lab.nodes[0];
    let cni = ["--cni-dir".to_owned(), lab.cni_dirs[0].clone()];
    let mut shipped = words(&container["args"]);
    shipped.extend(cni.clone());
    let agent = Process::start(&mut confined(&container, node, folder.path(), &shipped));
    let get = |path: &str| {
        let url = format!("http://127.0.0.1:9464/{path}");
        let curl = [
            "ip", "netns", "exec", node, "curl", "--silent", "--fail", &url,
        ];
        let ended = run(Command::new(curl[0]).args(&curl[1..]));
        (ended.code == Some(0)).then(|| ended.text())
    };
    wait_until("the agent is ready", PATIENCE, || get("readyz").is_some());
    wait_until("the finding", PATIENCE, || {
        let page = get("metrics").unwrap_or_default();
        page.contains("netdiag_finding{cause=\"firewall-drop\",severity=\"warning\",confidence=\"confirmed\",namespace=\"shop\"")
    });
    let ended = agent.stop(Signal::SIGTERM);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let kept = folder.path().read_dir().expect("a folder").count();
    assert!(kept > 0, "no history was kept");

    // The rule itself, too: nobody needs a right to stay where it is.
    let diagnose = ["diagnose", "-o", "json", "--duration", "10s"].map(str::to_owned);
    let arguments = [&diagnose[..], &cni].concat();
    let verdict = run(&mut confined(&container, node, folder.path(), &arguments)).json();
    let evidence = verdict["findings"][0]["evidence"]
        .as_array()
        .expect("a list");
    assert!(evidence.iter().any(|it| it["kind"] == "rule"), "{verdict}");
    traffic.stop(Signal::SIGINT);
}
