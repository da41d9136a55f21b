use super::*;
use crate::{
    model::{
        gather::Piece,
        node::{LinkKind, Node},
        observation::Observation,
        world::{
            Known,
            address::{Address, Scope},
            of_node,
        },
    },
    testing::{POD_NETNS, link, overlay_node, with_gathered},
};

const OTHER_NETNS: u32 = 4_026_999_777;
const BRIDGE: u32 = 21;

/// Two pods on one bridge, each with that address.
fn node(address: &str) -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    let mut second = link(77, "veth2", LinkKind::Veth, 1450).with_peer(OTHER_NETNS);
    second.master = Some(BRIDGE);
    node.links[2].master = Some(BRIDGE);
    node.links.push(link(BRIDGE, "br0", LinkKind::Bridge, 1450));
    node.links.push(second);
    node.pod_sides[0].addresses = vec![address.parse().expect("an address")];
    let mut side = node.pod_sides[0].clone();
    side.netns = OTHER_NETNS;
    node.pod_sides.push(side);
    node
}

/// What is found where the address of the first has these flags.
fn found(address: &str, flags: u32) -> Vec<Finding> {
    let node = node(address);
    let stack = |flags: u32| {
        let mut stack = of_node::stack(&node);
        let own = format!("{address}/64").parse();
        stack.addresses = Known::Is(vec![Address {
            device: 2,
            own: own.expect("a network"),
            peer: None,
            broadcast: None,
            scope: Scope::UNIVERSE,
            flags: Flags(flags),
        }]);
        Box::new(stack)
    };
    let seen = Observation::default();
    let pieces = [
        (Want::Stack(POD_NETNS), Ok(Piece::Stack(stack(flags)))),
        (Want::Stack(OTHER_NETNS), Ok(Piece::Stack(stack(0)))),
    ];
    with_gathered(&node, &seen, pieces, evaluate)
}

#[test]
fn whoever_found_his_address_taken_is_told_with_the_one_that_has_it() {
    let all = found("fd42::25", Flags::DAD_FAILED | Flags::TENTATIVE);
    let [one] = all.as_slice() else {
        panic!("{all:?}");
    };
    let told = "the one behind cali1 found it taken";
    assert!(one.summary.contains(told), "{}", one.summary);
    assert!(found("fd42::25", 0).is_empty(), "both use it");
    assert!(
        found("fe80::25", Flags::DAD_FAILED).is_empty(),
        "each link has those"
    );
}
