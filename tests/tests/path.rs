//! The walk along a flow, over the recorded incidents: each ends at the hop where its packets died.
use std::path::PathBuf;

use netdiag_tests::{
    netdiag::{binary, netdiag},
    process::Ended,
    require,
};
use serde_json::Value;

/// Scenario, what became of its first finding's first flow, and what the last hop is to the
/// node; `none` where the packets die before any hop.
const WALKS: [(&str, &str, &str); 41] = [
    ("bridge-nf-disabled", "dropped", "pod"),
    ("checksum-offload", "dropped", "pod"),
    ("conntrack-full", "dropped", "none"),
    ("conntrack-insert-race", "lossy", "uplink"),
    ("dns-blocked", "dropped", "bridge"),
    ("dns-misconfigured", "answered", "none"),
    ("dns-unreachable", "lossy", "pod"),
    ("dns-upstream-failing", "lossy", "pod"),
    ("duplicate-address", "lossy", "uplink"),
    ("firewall-drop", "dropped", "bridge"),
    ("forwarding-disabled", "lossy", "bridge"),
    ("hairpin-off", "dropped", "bridge"),
    ("ipip-mtu-too-large", "lossy", "tunnel"),
    ("kube-proxy-missing", "silent", "uplink"),
    ("listen-backlog-overflow", "silent", "pod"),
    ("loopback-only-listener", "refused", "pod"),
    ("lsm-denied", "dropped", "none"),
    ("neighbour-failed", "unreachable", "bridge"),
    ("neighbour-table-full", "dropped", "bridge"),
    ("nic-queue-full", "dropped", "none"),
    ("no-route", "lossy", "bridge"),
    ("not-listening", "refused", "pod"),
    ("overlay-blocked", "silent", "uplink"),
    ("overlay-port-or-vni-mismatch", "silent", "uplink"),
    ("overlay-wrong-interface", "silent", "uplink"),
    ("pmtu-black-hole", "dropped", "uplink"),
    ("pod-mtu-too-large", "lossy", "bridge"),
    ("pod-route-missing", "silent", "uplink"),
    ("port-exhaustion", "answered", "none"),
    ("rp-filter-drop", "dropped", "uplink"),
    ("service-firewalled", "dropped", "uplink"),
    ("service-firewalled-ipvs", "dropped", "uplink"),
    ("service-no-endpoints", "unreachable", "bridge"),
    ("service-stale-endpoint", "lossy", "pod"),
    ("sidecar-blocked", "refused", "pod"),
    ("sidecar-without-dns", "silent", "uplink"),
    ("socket-buffer-overflow", "dropped", "pod"),
    ("tc-drop", "dropped", "pod"),
    ("tunnel-mtu-too-large", "lossy", "tunnel"),
    ("vxlan-mtu-too-large", "lossy", "uplink"),
    ("vxlan-source-mismatch", "lossy", "uplink"),
];

fn recording(stem: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings");
    folder.join(format!("{stem}.ndr")).display().to_string()
}

fn document(ended: &Ended) -> Value {
    ended.json()
}

/// The ends of the first finding's first flow, the client's port left out.
fn ends(stem: &str) -> (String, String) {
    let verdict = document(&netdiag(&["replay", &recording(stem), "-o", "json"]));
    let flow = &verdict["findings"][0]["flows"][0];
    let text = |key: &str| flow[key].as_str().unwrap_or_default().to_owned();
    let source = text("source");
    let client = match source.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default().to_owned(),
        None => source.split(':').next().unwrap_or_default().to_owned(),
    };
    (client, text("destination"))
}

fn walk(stem: &str) -> Value {
    let (from, to) = ends(stem);
    let file = recording(stem);
    document(&netdiag(&[
        "replay", &file, "--path", &from, &to, "-o", "json",
    ]))
}

fn role_of_last_hop(path: &Value) -> String {
    let steps = ["request", "reply"]
        .iter()
        .flat_map(|way| path[way]["steps"].as_array());
    let mut steps = steps.flatten();
    let last = steps.find(|step| step["interface"] == path["at"]);
    let role = last.and_then(|step| step["role"].as_str());
    role.unwrap_or("none").to_owned()
}

#[test]
fn a_walk_ends_where_the_packets_died() {
    for (stem, outcome, role) in WALKS {
        let path = walk(stem);
        let came = (path["outcome"].as_str(), role_of_last_hop(&path));
        assert_eq!(came, (Some(outcome), role.to_owned()), "{stem}: {path:#}");
        // The walk and the verdict speak of the same incident.
        let causes = path["causes"].as_array().map_or(0, Vec::len);
        assert!(causes > 0, "{stem}: {path:#}");
    }
}

/// What is wrong with a node's daemons and files leaves the packets of its pods alone.
#[test]
fn a_walk_beside_the_fault_is_whole() {
    let ends = ["10.244.20.23", "10.244.116.64:8080"];
    for stem in [
        "cni-daemon-oom",
        "etcd-nospace",
        "flannel-iface-regex-unanchored",
        "healthy",
        "ipam-exhausted",
        "noise",
    ] {
        let file = recording(stem);
        let given = ["replay", &file, "--path", ends[0], ends[1], "-o", "json"];
        let path = document(&netdiag(&given));
        assert_eq!(path["outcome"], "answered", "{stem}: {path:#}");
        let steps = path["request"]["steps"].as_array().expect("steps");
        let roles: Vec<_> = steps.iter().filter_map(|s| s["role"].as_str()).collect();
        assert_eq!(roles, ["pod", "bridge", "tunnel", "uplink"], "{stem}");
        assert!(
            steps.iter().all(|s| s["course"] == "expected"),
            "{stem}: {path:#}"
        );
    }
}

/// From a pod of the first node to one of the second, as the two recordings name them.
#[test]
fn a_walk_goes_on_at_the_next_node() {
    let files = ["healthy.worker-1", "healthy.worker-2"].map(recording);
    let ends = ["10.244.20.23", "10.244.116.64:8080"];
    let given = ["replay", &files[0], &files[1], "--path", ends[0], ends[1]];
    let ended = netdiag(&[&given[..], &["-o", "json"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let paths = document(&ended);
    let steps: Vec<&Value> = paths
        .as_array()
        .into_iter()
        .flatten()
        .map(expected)
        .collect();
    let place = |step: &Value| (step["role"].clone(), step["direction"].clone());
    let [here, there] = steps[..] else {
        panic!("a path a node: {paths:#}")
    };
    assert_eq!(place(&here[0]), ("pod".into(), "ingress".into()));
    let last = there.as_array().and_then(|s| s.last()).map(place);
    assert_eq!(last, Some(("pod".into(), "egress".into())));
}

/// Each node's sources name its own pods alone.
#[test]
fn each_end_is_known_to_the_node_that_has_it() {
    let files = ["healthy.worker-1", "healthy.worker-2"].map(recording);
    let (from, to) = ("shop/cart-psst9cbl8-xlksm", "prod/catalog-h2wvrdh2d-dvgx8");
    let to = format!("{to}:8080");
    let given = ["replay", &files[0], &files[1], "--path", from, &to];
    let ended = netdiag(&[&given[..], &["-o", "json"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let paths = document(&ended);
    assert_eq!(paths[1]["destination"]["addresses"][0], "10.244.116.64");
    expected(&paths[1]);
}

/// The steps of the requests, all of them where the routes lead.
fn expected(path: &Value) -> &Value {
    assert_eq!(path["outcome"], "answered", "{path:#}");
    let steps = &path["request"]["steps"];
    let mut all = steps.as_array().into_iter().flatten();
    assert!(all.all(|s| s["course"] == "expected"), "{path:#}");
    steps
}

/// Live, with packets of netdiag's own: echoes of both sizes pass, connections do not.
#[test]
fn probes_tell_what_comes_back() {
    if require::missing(&[]) {
        return;
    }
    let (from, to) = ends("firewall-drop");
    let program = binary().display().to_string();
    let walk = [&program, "path", &from, &to, "--probe", "-o", "json"];
    let ended = netdiag(&[&["lab", "run", "firewall-drop", "--exec"], &walk[..]].concat());
    let path = document(&ended);
    assert_eq!(path["outcome"], "dropped", "{path:#}");
    let probes: Vec<_> = path["probes"].as_array().into_iter().flatten().collect();
    let came: Vec<_> = probes
        .iter()
        .map(|p| (p["kind"].as_str(), &p["answer"]))
        .collect();
    let kinds = [
        ("icmp", "answered"),
        ("icmp", "answered"),
        ("connect", "timeout"),
    ];
    let wanted = kinds.map(|(kind, answer)| (Some(kind), Value::from(answer)));
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(kind, answer)| (*kind, answer))
        .collect();
    assert_eq!(came, wanted, "{path:#}");
    assert!(probes[1]["bytes"].as_u64() > probes[0]["bytes"].as_u64());
}

/// Live, to a Service by its name: connections of the last moment count on both sides of their
/// translation.
#[test]
fn every_hop_counts_the_same_packets() {
    if require::missing(&["nft"]) {
        return;
    }
    let (from, _) = ends("service-no-endpoints");
    let program = binary().display().to_string();
    let walk = [&program, "path", &from, "svc/web", "-d", "3s", "-o", "json"];
    let lab = ["lab", "run", "service-no-endpoints", "--exec"];
    let path = document(&netdiag(&[&lab[..], &walk[..]].concat()));
    expected(&path);
    assert_eq!(path["translated_by"], "conntrack", "{path:#}");
    let steps = path["request"]["steps"].as_array().expect("steps");
    let packets = steps.iter().filter_map(|s| s["packets"].as_u64());
    let (least, most) = (packets.clone().min(), packets.max());
    // One connection may be on its way while the counts are read.
    let apart = most.zip(least).map(|(most, least)| most - least);
    assert!(apart.is_some_and(|n| n <= 6), "{path:#}");
}

#[test]
fn ends_that_nobody_knows_are_usage() {
    let file = recording("healthy");
    let ended = netdiag(&["replay", &file, "--path", "shop/nobody", "10.0.0.1"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.join("\n").contains("shop/nobody"), "{ended:?}");
    let ended = netdiag(&["replay", &file, "--path", "10.0.0.1", "fd00::1"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}
