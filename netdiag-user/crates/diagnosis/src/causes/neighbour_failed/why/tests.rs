use super::*;
use crate::{
    model::{
        node::{LinkKind, Node},
        observation::Observation,
    },
    testing::{POD_NETNS, UPLINK, ip, link, overlay_node, with_facts},
};

fn told(node: &Node, address: &str, asker: Option<u32>) -> Option<(String, Vec<String>)> {
    with_facts(node, &Observation::default(), |facts| {
        let asker = asker.and_then(|netns| facts.node.pod_side(netns));
        let why = Why::of(facts, (ip(address), ip(address)), None, asker)?;
        let commands = why.fix(Vec::new()).commands;
        Some((why.text(), commands.iter().map(|c| c.text()).collect()))
    })
}

/// A bridge of pods whose network lies within the uplink's.
fn shadowed(pods: &str) -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    node.links[0] = link(UPLINK, "ens5", LinkKind::Physical, 1500).with_address("10.42.7.1/16");
    let bridge = link(60, "cni0", LinkKind::Bridge, 1450).with_address(pods);
    node.links.push(bridge);
    node
}

#[test]
fn pods_network_within_the_uplinks_hides_its_hosts() {
    let (text, commands) = told(&shadowed("10.42.0.1/24"), "10.42.0.200", None).expect("a reason");
    assert!(
        text.starts_with("10.42.0.0/24 of cni0 lies within 10.42.0.0/16, the network of ens5"),
        "{text}"
    );
    assert_eq!(commands[1], "ip route add 10.42.0.200/32 dev ens5");
    assert_eq!(
        told(&shadowed("10.43.0.1/24"), "10.43.0.200", None),
        None,
        "apart"
    );
    assert_eq!(
        told(&shadowed("10.42.0.1/24"), "10.42.9.9", None),
        None,
        "the uplink's alone"
    );
}

#[test]
fn a_pod_that_sits_on_a_link_of_the_node_and_the_node_do_not_reach_each_other() {
    let mut node = overlay_node(1450, 1450, 1500);
    node.pod_sides[0].addresses.push(ip("192.0.2.60"));
    assert_eq!(
        told(&node, "192.0.2.60", None),
        None,
        "by a link of its own"
    );
    node.pod_sides[0].lower = Some(UPLINK);
    let (text, _) = told(&node, "192.0.2.60", None).expect("the node asks");
    assert!(text.contains("192.0.2.60 sits on ens5 itself"), "{text}");
    assert!(
        told(&node, "192.0.2.1", Some(POD_NETNS)).is_some(),
        "the pod asks"
    );
    assert_eq!(
        told(&node, "192.0.2.9", Some(POD_NETNS)),
        None,
        "another host"
    );
    assert_eq!(told(&node, "172.20.1.5", None), None, "by its other link");
}
