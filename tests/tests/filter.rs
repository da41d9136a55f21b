//! `--filter` in the kernel: what is not asked for is not counted.

use netdiag_tests::{
    cni,
    netdiag::{netdiag, start_in},
    process::{PATIENCE, Process, wait_until},
    require,
    shell_node::{CRON, DB, ShellNode, TOOLS, WEB},
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Packets that the kernel counted at the node's links, both directions, by link.
fn counted(events: &[Value]) -> Vec<(String, u64)> {
    let last = events.iter().rfind(|e| e["type"] == "stats");
    let hops = last.expect("a last word")["hops"].as_array().cloned();
    let mut sums: Vec<(String, u64)> = Vec::new();
    for hop in hops.expect("a list") {
        let name = hop["interface"].as_str().expect("a name").to_owned();
        let packets = hop["packets"].as_u64().expect("a number");
        match sums.iter_mut().find(|(n, _)| *n == name) {
            Some((_, sum)) => *sum += packets,
            None => sums.push((name, packets)),
        }
    }
    sums
}

fn stop(netdiag: Process) -> Vec<Value> {
    let ended = netdiag.stop(Signal::SIGTERM);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{:#?}", ended.stderr);
    ended.ndjson()
}

/// Servers on the other node's pod, which everybody has heard of: who is who on the links is
/// learned once.
fn servers(node: &ShellNode) -> [Process; 2] {
    let servers = ["9", "10"].map(|port| node.echo("db", DB, port));
    node.ask("web", DB, "9", "1");
    node.ask("cron", DB, "10", "1");
    servers
}

/// `web` asks the pod on the other node 7 times on port 9, `cron` 5 times on port 10: each
/// packet passes the pod's link, the tunnel and, inside another packet, the uplink.
fn ask(node: &ShellNode) {
    node.ask("web", DB, "9", "7");
    node.ask("cron", DB, "10", "5");
}

/// The packets that are counted of them.
fn watched(node: &ShellNode, pods: &str, arguments: &[&str]) -> Vec<(String, u64)> {
    let trace = ["run", "-o", "ndjson", "--pods", pods];
    let netdiag = start_in(&node.netns("left"), &[&trace, arguments].concat());
    ask(node);
    counted(&stop(netdiag))
}

fn sums(web: u64, cron: u64) -> Vec<(String, u64)> {
    let all = [
        ("calicron", cron),
        ("caliweb", web),
        ("ens5", web + cron),
        ("vxlan.calico", web + cron),
    ];
    let some = all.into_iter().filter(|(_, packets)| *packets > 0);
    some.map(|(name, packets)| (name.to_owned(), packets))
        .collect()
}

#[test]
fn only_what_is_asked_for_is_counted() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = ShellNode::up(&[]);
    let _servers = servers(&node);
    let both = |text: &str| {
        text.replace("WEB", WEB)
            .replace("CRON", CRON)
            .replace("DB", DB)
    };
    for (filter, web, cron) in [
        ("host DB", 14, 10),
        ("udp port 9", 14, 0),
        ("udp and portrange 10-11", 0, 10),
        ("src or dst host CRON", 0, 10),
        ("net 172.20.17.4/30", 14, 0),
        ("net 172.20.88.0 mask 255.255.255.0 and not port 9", 0, 10),
        ("not host CRON", 14, 0),
        ("tcp or icmp or port 11", 0, 0),
        // One direction: the answers are counted, and not shown.
        ("src host WEB and dst port 9", 7, 0),
        ("src net 172.20.88.0/24", 7, 5),
        // Nobody asks for the tunnel's own packets: the innermost one is what counts.
        ("udp port 4789", 0, 0),
        ("host 10.77.3.12", 0, 0),
    ] {
        let filter = both(filter);
        let watched = watched(&node, "none", &["--filter", &filter]);
        assert_eq!(watched, sums(web, cron), "{filter}");
    }
}

#[test]
fn a_filtered_verdict_says_that_it_is_partial_and_a_recording_can_be_filtered_later() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = ShellNode::up(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("all.ndr").display().to_string();
    let left = node.netns("left");
    let netdiag_run = start_in(&left, &["run", "-o", "ndjson", "--record", &file]);
    let _nine = node.echo("db", DB, "9");
    let _ten = node.echo("db", DB, "10");
    ask(&node);
    stop(netdiag_run);
    for (filter, web, cron) in [
        ("host DB", 14, 10),
        ("udp port 9", 14, 0),
        // Of UDP: the switch reports its multicast groups about now (IGMP).
        ("udp and not port 9", 0, 10),
    ] {
        let filter = filter.replace("DB", DB);
        let ended = netdiag(&["replay", &file, "-o", "ndjson", "--filter", &filter]);
        assert_eq!(counted(&ended.ndjson()), sums(web, cron), "{filter}");
    }
    let ended = netdiag(&["replay", &file, "-o", "json", "--filter", "udp port 9"]);
    let verdict = ended.json();
    let not_checked = verdict["not_checked"].as_array().expect("a list");
    let partial = |n: &&Value| n["what"] == "packets other than 'udp port 9'";
    assert!(not_checked.iter().any(|n| partial(&n)), "{verdict:#}");
}

/// What the firewall drops of the one flow is seen, what it drops of the other is not; inside the
/// tunnel's packet as outside.
#[test]
fn drops_are_filtered_where_they_happen() {
    if require::missing(&[&TOOLS[..], &["nft"]].concat()) {
        return;
    }
    let node = ShellNode::up(&[]);
    let left = node.netns("left");
    let rules = "table inet t {
        chain f { type filter hook forward priority 0; udp dport 9 drop; }
        chain o { type filter hook output priority 0; udp dport 4789 drop; }
    }";
    netdiag_tests::netns::exec(&left, &["nft", rules]);
    let trace = ["run", "-o", "ndjson", "--filter"];
    for (filter, ports) in [("udp port 9", [7, 0]), ("udp port 10", [0, 5])] {
        let netdiag = start_in(&left, &[&trace[..], &[filter]].concat());
        ask(&node);
        let events = stop(netdiag);
        let dropped = |port: &str| -> u64 {
            let of = |e: &&Value| {
                let to = e["flow"]["destination"].as_str().unwrap_or_default();
                e["type"] == "drop" && to.ends_with(port)
            };
            let counts = events.iter().filter(of).map(|e| e["count"].as_u64());
            counts.map(|c| c.expect("a number")).sum()
        };
        // What goes out by the tunnel is dropped as the tunnel's packet.
        assert_eq!(
            [dropped(":9"), dropped(":4789")],
            ports,
            "{filter}: {events:#?}"
        );
    }
}

/// The pods by address, as `--pods FILE` takes them, with labels and owners.
fn pods_file() -> tempfile::NamedTempFile {
    let pod = |name: &str, address: &str, app: &str| {
        serde_json::json!({ "namespace": "billing", "name": name, "addresses": [address],
            "labels": { "app": app }, "owner": { "kind": "Deployment", "name": app } })
    };
    let pods = [
        pod("web-0", WEB, "web"),
        pod("cron-28", CRON, "cron"),
        pod("db-0", DB, "db"),
    ];
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), Value::from(pods.to_vec()).to_string()).expect("written");
    file
}

#[test]
fn only_the_pods_that_are_asked_for_are_counted() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = ShellNode::up(&[]);
    let _servers = servers(&node);
    let file = pods_file();
    let pods = file.path().display().to_string();
    for (arguments, web, cron) in [
        (&["-p", "web-*"][..], 14, 0),
        (&["-n", "billing", "-l", "app in (cron)"], 0, 10),
        (&["--owner", "deploy/web", "--filter", "not port 9"], 0, 0),
        (&["-p", "billing/db-0", "--filter", "port 10"], 0, 10),
    ] {
        let watched = watched(&node, &pods, arguments);
        assert_eq!(watched, sums(web, cron), "{arguments:?}");
    }
}

#[test]
fn a_pod_that_comes_later_is_followed() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = ShellNode::up(&[]);
    let _servers = servers(&node);
    let cache = tempfile::tempdir().expect("a temporary folder");
    let folder = cache.path().display().to_string();
    let left = node.netns("left");
    let told = cache.path().join("told.ndjson").display().to_string();
    let trace = [
        "run",
        "-o",
        "ndjson",
        "--output-file",
        &told,
        "--pods",
        "auto",
    ];
    let asked = ["--cni-dir", &folder, "-p", "billing/web-0"];
    let netdiag = start_in(&left, &[&trace[..], &asked].concat());
    node.ask("cron", DB, "10", "5");
    let result = cni::result("web-0", &node.netns("web"), WEB);
    std::fs::write(cache.path().join("web-0"), result).expect("written");
    let events = || -> Vec<Value> {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let whole = text.lines().map(serde_json::from_str);
        whole.map_while(Result::ok).collect()
    };
    let stats = || events().iter().any(|e| e["type"] == "stats");
    wait_until("the new pod's packets", PATIENCE, || {
        node.ask("web", DB, "9", "1");
        stats() && counted(&events()).iter().any(|(link, _)| link == "caliweb")
    });
    node.ask("cron", DB, "10", "5");
    let ended = netdiag.stop(Signal::SIGTERM);
    let missing = ended
        .stderr
        .iter()
        .filter(|l| l.contains("no pod is known yet"));
    assert_eq!(missing.count(), 1, "{ended:?}");
    let links = counted(&events());
    assert!(
        links.iter().all(|(link, _)| link != "calicron"),
        "{links:?}"
    );
}
