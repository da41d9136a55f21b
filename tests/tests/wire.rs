//! What netdiag counts is what tcpdump sees on the same links at the same time.
use std::collections::{BTreeMap, HashMap};

use netdiag_tests::{
    lab::Lab,
    netdiag::start_in,
    netns::{link_of_kind, link_towards},
    pcap::Packet,
    process::{PATIENCE, Process, wait_until},
    require, retransmits, schema,
    tcpdump::Capture,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const TOOLS: [&str; 3] = ["ip", "tcpdump", "sysctl"];
const DIRECTIONS: [&str; 2] = ["ingress", "egress"];

/// A place where packets are counted: link and direction.
type Hop = (String, &'static str);

/// What both observers saw of the same traffic.
struct Seen {
    events: Vec<Value>,
    captures: BTreeMap<Hop, Vec<Packet>>,
}

/// Starts both on the first node, then the traffic; ends the traffic when `enough` events came, waits
/// for silence, and only then ends the observers.
fn observe(lab: &Lab, level: &str, links: &[&str], enough: impl Fn(&[Value]) -> bool) -> Seen {
    let netns = &lab.nodes[0];
    lab.without_ipv6();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("events.ndjson");
    let path = file.display().to_string();
    let netdiag = trace(netns, &lab.cni_dirs[0], level, &path);
    let mut captures = BTreeMap::new();
    for link in links {
        for direction in DIRECTIONS {
            let capture = Capture::start(netns, link, direction, folder.path());
            captures.insert(((*link).to_owned(), direction), capture);
        }
    }
    let traffic = lab.traffic();
    wait_until("events of the fault", PATIENCE, || enough(&events(&path)));
    lab.silence(traffic);
    let ended = netdiag.stop(Signal::SIGINT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    Seen {
        captures: captures
            .into_iter()
            .map(|(hop, c)| (hop, c.stop()))
            .collect(),
        events: events(&path),
    }
}

fn trace(netns: &str, cni_dir: &str, level: &str, file: &str) -> Process {
    let arguments = [
        "run",
        "-o",
        "ndjson",
        "--level",
        level,
        "--cni-dir",
        cni_dir,
        "--output-file",
        file,
    ];
    start_in(netns, &arguments)
}

/// The whole lines of the file so far.
fn events(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parse = |line| schema::parsed(line).expect("a line of JSON");
    whole.lines().map(parse).collect()
}

fn of_type<'a>(events: &'a [Value], name: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |e| e["type"] == name)
}

fn is_at(event: &Value, hop: &Hop) -> bool {
    event["interface"] == hop.0.as_str() && event["direction"] == hop.1
}

/// Sum of the events' counts.
fn total<'a>(events: impl Iterator<Item = &'a Value>) -> u64 {
    events.filter_map(|e| e["count"].as_u64()).sum()
}

fn by_flow<'a>(events: impl Iterator<Item = &'a Value>) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for event in events {
        let flow = &event["flow"];
        let text = |end: &str| flow[end].as_str().expect("a flow has two ends").to_owned();
        let key = format!("{} {}", text("source"), text("destination"));
        *sums.entry(key).or_default() += event["count"].as_u64().expect("a count");
    }
    sums
}

/// netdiag's totals of a hop, packets and bytes, from its last word.
fn hop_total(events: &[Value], hop: &Hop) -> (u64, u64) {
    let last = of_type(events, "stats").last().expect("a last word");
    assert_eq!(last["lost"], 0);
    let hops = last["hops"].as_array().expect("a list");
    let of = |h: &&Value| is_at(h, hop);
    let total = hops.iter().find(of).expect("a covered hop");
    let number = |name: &str| total[name].as_u64().expect("a number");
    (number("packets"), number("bytes"))
}

fn assert_totals_agree(seen: &Seen) {
    for (hop, packets) in &seen.captures {
        let bytes = packets.iter().map(|p| u64::from(p.length)).sum();
        let counted = (packets.len() as u64, bytes);
        assert_eq!(
            hop_total(&seen.events, hop),
            counted,
            "packets and bytes of {hop:?}"
        );
    }
}

fn assert_oversize_agrees(seen: &Seen, hop: &Hop, limit: u64) {
    let packets = &seen.captures[hop];
    let larger = packets.iter().filter(|p| u64::from(p.length) > limit);
    let events = of_type(&seen.events, "oversize").filter(|e| is_at(e, hop));
    assert_eq!(
        total(events),
        larger.count() as u64,
        "oversize packets of {hop:?}"
    );
}

fn assert_retransmits_agree(seen: &Seen, hop: &Hop) -> u64 {
    let events = of_type(&seen.events, "retransmit");
    let counted = by_flow(events.filter(|e| e["seen"] == "wire" && is_at(e, hop)));
    let text = |flow: (std::net::IpAddr, std::net::IpAddr, u16, u16)| {
        format!("{}:{} {}:{}", flow.0, flow.2, flow.1, flow.3)
    };
    let found: HashMap<_, u64> = retransmits::count(&seen.captures[hop]);
    let found: BTreeMap<_, _> = found.into_iter().map(|(f, n)| (text(f), n)).collect();
    assert_eq!(counted, found, "retransmits of {hop:?}");
    found.values().sum()
}

#[test]
fn oversize_packets_and_retransmits_are_those_of_the_wire() {
    if require::missing(&TOOLS) {
        return;
    }
    let lab = Lab::up(&["vxlan-mtu-too-large", "--offload", "off", "--seed", "2"]);
    let node = &lab.nodes[0];
    let (tunnel, veth) = (link_of_kind(node, "vxlan"), link_of_kind(node, "veth"));
    let uplink = link_towards(node, "198.51.100.1");
    assert_ne!(veth, "", "a pod's link");
    let seen = observe(&lab, "full", &[&tunnel, &uplink], |events| {
        total(of_type(events, "oversize")) > 60 && total(of_type(events, "retransmit")) > 60
    });
    assert_totals_agree(&seen);
    let oversize = of_type(&seen.events, "oversize")
        .next()
        .expect("an oversize event");
    let limit = oversize["limit"].as_u64().expect("a limit");
    assert_eq!(limit, 1350);
    assert_eq!(oversize["largest"], 1450);
    for direction in DIRECTIONS {
        let hop = (tunnel.clone(), direction);
        // What comes in is going to pods, whose links take it.
        if direction == "egress" {
            assert_oversize_agrees(&seen, &hop, limit);
        }
        assert_retransmits_agree(&seen, &hop);
    }
    assert!(assert_retransmits_agree(&seen, &(tunnel, "egress")) > 10);
    for name in ["oversize", "retransmit"] {
        let named = |e: &Value| e["pod"]["name"].is_string() && e["pod"]["namespace"].is_string();
        assert!(
            of_type(&seen.events, name).all(named),
            "{name} without a pod"
        );
    }
}

#[test]
fn outer_sources_that_mismatch_are_those_of_the_wire() {
    if require::missing(&TOOLS) {
        return;
    }
    // This seed's node A is refused by the network; it is the one that can see it.
    let lab = Lab::up(&["vxlan-source-mismatch", "--offload", "off", "--seed", "4"]);
    let node = &lab.nodes[0];
    let (uplink, tunnel) = (
        link_towards(node, "198.51.100.1"),
        link_of_kind(node, "vxlan"),
    );
    let seen = observe(&lab, "flows", &[&uplink, &tunnel], |events| {
        total(of_type(events, "vxlan_source_mismatch")) > 20
    });
    assert_totals_agree(&seen);
    let event = of_type(&seen.events, "vxlan_source_mismatch")
        .next()
        .expect("an event");
    let text = |name: &str| event[name].as_str().expect("an address").to_owned();
    let (source, destination) = (text("outer_source"), text("outer_destination"));
    let port = u16::try_from(event["port"].as_u64().expect("a port")).expect("a port");
    let is = |p: &&Packet| {
        let ends = (p.source.to_string(), p.destination.to_string());
        ends == (source.clone(), destination.clone()) && p.ports.1 == port
    };
    let sent = seen.captures[&(uplink.clone(), "egress")].iter().filter(is);
    let hop = (uplink, "egress");
    let mismatches = of_type(&seen.events, "vxlan_source_mismatch").filter(|e| is_at(e, &hop));
    assert_eq!(total(mismatches), sent.clone().count() as u64);
    assert_inner_flow(event, sent.filter_map(|p| p.inside_vxlan(port)));
    let expected = event["expected"][0].as_str().expect("an address");
    let back = &seen.captures[&(hop.0, "ingress")];
    assert!(
        back.iter()
            .any(|p| p.destination.to_string() == expected && p.ports.1 == port)
    );
}

/// The inner flow that the event tells was inside one of those packets.
fn assert_inner_flow(event: &Value, mut inside: impl Iterator<Item = Packet>) {
    let source = event["flow"]["source"].as_str().expect("an inner flow");
    let destination = event["flow"]["destination"]
        .as_str()
        .expect("an inner flow");
    let ends = |p: &Packet| {
        let with = |port: u16| {
            if port == 0 {
                String::new()
            } else {
                format!(":{port}")
            }
        };
        let ends = (
            format!("{}{}", p.source, with(p.ports.0)),
            format!("{}{}", p.destination, with(p.ports.1)),
        );
        source.starts_with(&ends.0) && destination.starts_with(&ends.1)
    };
    assert!(inside.any(|p| ends(&p)), "no such inner flow: {event:#}");
}
