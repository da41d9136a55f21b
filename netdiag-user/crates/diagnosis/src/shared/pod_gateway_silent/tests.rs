use super::*;
use crate::{
    model::{
        node::{LinkKind, Node, RouteKind},
        observation::Observation,
    },
    testing::{POD_NETNS, UPLINK, died, ip, link, overlay_node, route, tcp, with_facts},
};

const ALL: [(&str, Fault); 3] = [
    ("forwarding", Fault::Forwarding),
    ("route", Fault::Route),
    ("neighbour", Fault::Neighbour),
];

/// A Calico node: proxy ARP answers for 169.254.1.1.
fn node() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    node.routes
        .push(route("0.0.0.0/0", UPLINK, Some("192.0.2.254")));
    let ways = [
        ("0.0.0.0/0", Some(ip("169.254.1.1"))),
        ("169.254.1.1/32", None),
    ];
    let parsed = ways.map(|(to, by)| (to.parse().expect("a prefix"), by));
    node.pod_sides[0].ways = parsed.to_vec();
    let on = ["net.ipv4.ip_forward", "net.ipv4.conf.cali1.proxy_arp"];
    node.sysctls = on.map(|n| (n.to_owned(), "1".to_owned())).to_vec();
    let all = "net.ipv4.conf.all.proxy_arp".to_owned();
    node.sysctls.push((all, "0".into()));
    node
}

fn set(node: &mut Node, name: &str, value: &str) {
    node.sysctls.retain(|(n, _)| n != name);
    node.sysctls.push((name.to_owned(), value.to_owned()));
}

/// The one cause that names it.
fn judge(node: &Node, to: &str, seconds: u64) -> Option<Finding> {
    let flow = tcp("172.20.1.5", to, 443);
    let mut drop = died(flow, ("NEIGH_FAILED", "neigh_invalidate"), 0, 6);
    drop.0.netns = POD_NETNS;
    drop.1.last = drop.1.first + seconds * 1_000_000_000;
    let observation = Observation {
        drops: vec![drop],
        ..Observation::default()
    };
    let of = |(cause, fault)| with_facts(node, &observation, |facts| evaluate(facts, cause, fault));
    let mut found = ALL.into_iter().filter_map(of);
    let first = found.next();
    assert!(found.next().is_none(), "two causes name it");
    first
}

#[test]
fn what_proxy_arp_needs_is_named() {
    let mut node = node();
    let found = judge(&node, "172.20.2.9", 4).expect("a finding");
    assert_eq!(found.cause, "neighbour");
    set(&mut node, "net.ipv4.conf.cali1.proxy_arp", "0");
    let found = judge(&node, "172.20.2.9", 4).expect("a finding");
    assert_eq!(found.cause, "neighbour");
    let set_on = "sysctl -w net.ipv4.conf.cali1.proxy_arp=1";
    assert_eq!(found.fix.commands, [set_on]);
    node.routes.retain(|r| r.destination.length > 0);
    let found = judge(&node, "172.20.2.9", 4).expect("a finding");
    assert_eq!(found.cause, "route");
    assert!(found.summary.contains("not even a default route"));
    set(&mut node, "net.ipv4.ip_forward", "0");
    let found = judge(&node, "172.20.2.9", 4).expect("a finding");
    assert_eq!(found.cause, "forwarding");
    assert_eq!(found.fix.commands[0], "sysctl -w net.ipv4.ip_forward=1");
}

#[test]
fn a_refusing_default_route_answers_for_nobody() {
    let mut node = node();
    let default = node.routes.iter_mut().find(|r| r.destination.length == 0);
    default.expect("the default route").kind = RouteKind::Refusing;
    let found = judge(&node, "172.20.2.9", 4).expect("a finding");
    assert_eq!(found.cause, "route");
}

#[test]
fn a_bridge_that_is_down_or_lost_its_address_is_told() {
    let mut node = node();
    let bridge = link(9, "cni0", LinkKind::Bridge, 1450).with_address("169.254.1.1/24");
    node.links.push(bridge);
    node.links[2].master = Some(9);
    let found = judge(&node, "172.20.2.9", 4).expect("a finding");
    assert!(
        found.summary.contains("does not answer on cali1; "),
        "it should"
    );
    node.links[3].addresses.clear();
    let found = judge(&node, "172.20.2.9", 4).expect("a finding");
    assert!(found.summary.contains("cni0 has no such address"));
    let shown = found
        .fix
        .commands
        .iter()
        .all(|c| !c.contains("address add"));
    assert!(shown, "it may be another host's");
    node.links[3].up = false;
    let found = judge(&node, "172.20.2.9", 4).expect("a finding");
    assert_eq!(found.fix.commands, ["ip link set dev cni0 up"]);
}

#[test]
fn only_a_gateway_that_stays_silent_counts() {
    let node = node();
    assert!(judge(&node, "172.20.2.9", 1).is_none(), "one round");
    assert!(judge(&node, "169.254.1.1", 4).is_none(), "on its own link");
    let mut older = node.clone();
    older.pod_sides[0].ways.clear();
    assert!(
        judge(&older, "172.20.2.9", 4).is_none(),
        "nothing says how it routes"
    );
    let mut down = node.clone();
    down.links[2].up = false;
    assert!(
        judge(&down, "172.20.2.9", 4).is_none(),
        "no link, no answer"
    );
}
