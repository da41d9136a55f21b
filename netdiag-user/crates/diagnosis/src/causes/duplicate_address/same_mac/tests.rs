use super::*;
use crate::{
    model::{
        node::{LinkKind, Node},
        observation::Observation,
    },
    testing::{POD_NETNS, died, ip, link, overlay_node, tcp, with_facts},
};

const OTHER_NETNS: u32 = 4_026_999_777;
const BRIDGE: u32 = 21;

/// Two pods on one bridge, the second with a link-layer address that ends so.
fn node(last: u8) -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    let mut second = link(77, "veth2", LinkKind::Veth, 1450).with_peer(OTHER_NETNS);
    second.master = Some(BRIDGE);
    node.links[2].master = Some(BRIDGE);
    node.links.push(link(BRIDGE, "br0", LinkKind::Bridge, 1450));
    node.links.push(second);
    let mut side = node.pod_sides[0].clone();
    (side.netns, side.addresses) = (OTHER_NETNS, vec![ip("172.20.1.6")]);
    node.pod_sides.push(side);
    let entry = |address: &str, last: u8| Neighbour {
        ifindex: BRIDGE,
        address: ip(address),
        lladdr: Some(vec![2, 0, 0, 0, 9, last]),
        failed: false,
        permanent: false,
    };
    node.neighbours
        .extend([entry("172.20.1.5", 1), entry("172.20.1.6", last)]);
    node
}

/// What is for that address dies in the second pod.
fn found(last: u8, to: &str) -> Vec<Finding> {
    let refused = ("IP_INADDRERRORS", "ip_error");
    let mut lost = died(tcp("192.0.2.9", to, 8080), refused, 0, 9);
    lost.0.netns = OTHER_NETNS;
    let seen = Observation {
        drops: vec![lost],
        ..Observation::default()
    };
    with_facts(&node(last), &seen, evaluate)
}

#[test]
fn clones_on_one_bridge_are_told_with_both_addresses() {
    let all = found(1, "172.20.1.5");
    let [one] = all.as_slice() else {
        panic!("{all:?}");
    };
    let told = "(02:00:00:00:09:01): 172.20.1.5 and 172.20.1.6";
    assert!(one.summary.contains(told), "{}", one.summary);
    assert_eq!(one.about, [ip("172.20.1.5"), ip("172.20.1.6")]);
    assert_ne!(POD_NETNS, OTHER_NETNS);
}

#[test]
fn addresses_of_their_own_or_losses_of_others_are_none() {
    assert!(found(2, "172.20.1.5").is_empty());
    assert!(
        found(1, "172.20.1.6").is_empty(),
        "it came to whom it is for"
    );
}
