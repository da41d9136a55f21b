//! Nodes that have an agent, and those that have none.
use super::*;

/// Whoever may serve an image that nobody named would be root on the node; and a pod with an agent's labels
/// is none, unless a DaemonSet made it.
#[test]
fn nodes_without_an_agent_want_an_image() {
    if require::missing(&TOOLS) {
        return;
    }
    let cluster = Cluster::up("no-route");
    let mut tenants = agent("left");
    tenants["metadata"]["ownerReferences"] = json!([]);
    cluster.api.run(tenants);
    let asked = ["diagnose", "--all-nodes", "--duration", "2s"];
    let ended = run(&mut cluster.without_image(&asked));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        sentence(&ended).contains("nothing names an image"),
        "{ended:?}"
    );
    assert_eq!(cluster.api.names("jobs"), [""; 0]);
}

/// An agent's pod as the printed DaemonSet makes it.
fn agent(node: &str) -> Value {
    let all = [
        "BPF",
        "PERFMON",
        "NET_ADMIN",
        "NET_RAW",
        "SYS_CHROOT",
        "SYS_ADMIN",
        "SYS_PTRACE",
        "DAC_READ_SEARCH",
        "SYSLOG",
    ];
    json!({
        "metadata": { "namespace": "netdiag", "name": format!("netdiag-{node}"),
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "netdiag", "uid": "1",
                "controller": true }],
            "labels": { "app.kubernetes.io/name": "netdiag", "app.kubernetes.io/component": "agent" } },
        "spec": { "nodeName": node, "hostNetwork": true, "hostPID": true,
            "containers": [{ "name": "netdiag", "args": ["agent"],
                "env": [{ "name": "NODE_NAME", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
                    { "name": "NETDIAG_HISTORY", "value": "/tmp/history" }],
                "securityContext": { "capabilities": { "drop": ["ALL"], "add": all } },
                "volumeMounts": [{ "name": "host", "mountPath": "/host", "readOnly": true }] }] },
    })
}

/// Whether a cause is on the page of that node's agent.
fn knows(netns: &str, cause: &str) -> bool {
    let url = "http://127.0.0.1:9464/metrics";
    let curl = ["netns", "exec", netns, "curl", "--silent", url];
    let page = run(Command::new("ip").args(curl));
    let row = format!("netdiag_finding{{cause=\"{cause}\"");
    page.text().contains(&row)
}

#[test]
fn agents_know_the_last_minutes() {
    if require::missing(&TOOLS) || require::missing(&["curl"]) {
        return;
    }
    let cluster = Cluster::up("overlay-blocked");
    NODES.iter().for_each(|node| cluster.api.run(agent(node)));
    let traffic = cluster.lab.traffic();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    // What is over when it is asked about.
    wait_until("an agent has the finding", PATIENCE, || {
        cluster
            .lab
            .nodes
            .iter()
            .any(|node| knows(node, "overlay-blocked"))
    });
    traffic.stop(Signal::SIGINT);
    let ask = ["diagnose", "--all-nodes", "--record", &path, "-o", "json"];
    let ended = cluster.ask(&ask);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let verdict = ended.json();
    assert_eq!(roots(&verdict), ["overlay-blocked"], "{verdict:#}");
    assert_eq!(nodes(&verdict), NODES);
    // No pod came.
    assert_eq!(cluster.api.count("create jobs"), 0);
    for node in NODES {
        assert!(
            folder.path().join(format!("{node}.ndr")).is_file(),
            "{node}"
        );
    }
    // A node without an agent has no last minutes.
    let pod = "netdiag/netdiag-right";
    cluster.api.end(pod);
    let ended = cluster.ask(&["diagnose", "--all-nodes", "--since", "1m", "-o", "json"]);
    let verdict = ended.json();
    assert!(
        why(&verdict, "node right").starts_with("no agent runs on it"),
        "{verdict:#}"
    );
    cluster.api.end("netdiag/netdiag-left");
}
