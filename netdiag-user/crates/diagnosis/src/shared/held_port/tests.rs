use super::*;
use crate::{
    model::{
        gather::Piece,
        node::LinkKind,
        observation::Observation,
        world::{
            Known,
            device::{Bridge, Port as Told},
            of_node,
        },
    },
    testing::{NETNS, POD, ip, link, overlay_node, with_gathered},
};

const FORWARDS: Told = Told {
    state: PortState::Forwarding,
    learning: true,
    hairpin: false,
    isolated: false,
    unicast_flood: true,
    multicast_flood: true,
    broadcast_flood: true,
    locked: false,
    proxy_arp: false,
    neigh_suppress: false,
};

fn why(state: PortState) -> Option<String> {
    let usual = Told { state, ..FORWARDS };
    of_port(usual, "172.20.1.5", false)
}

/// Somebody else behind the bridge, or this node, asks for an address of the pod's.
fn of_port(port: Told, address: &str, other: bool) -> Option<String> {
    let mut node = overlay_node(1450, 1450, 1500);
    node.links.push(link(21, "br0", LinkKind::Bridge, 1450));
    node.links[2].master = Some(21);
    let own = ip("fd00::5");
    node.pod_sides[0].addresses.push(own);
    node.pod_sides.push(PodSide {
        netns: 77,
        ..PodSide::default()
    });
    let mut stack = of_node::stack(&node);
    if let Known::Is(devices) = &mut stack.devices {
        let bridge = devices.get_mut(&21).expect("the bridge");
        bridge.kind = Kind::Bridge(Bridge::default());
        let device = devices.get_mut(&POD).expect("the pod's link");
        device.port = Some(port);
    }
    let pieces = [(Want::Stack(NETNS), Ok(Piece::Stack(Box::new(stack))))];
    with_gathered(&node, &Observation::default(), pieces, |facts| {
        let port = {
            let asker = facts.node.pod_side(77).filter(|_| other);
            HeldPort::of(facts, ip(address), asker)?
        };
        let last = port.fix().commands.pop()?;
        Some(format!("{}; {}", port.text(), last.text()))
    })
}

#[test]
fn a_port_that_lets_nothing_pass_is_named() {
    let told = "the bridge's port cali1 is disabled: no frame passes there; bridge link set dev cali1 state 3";
    assert_eq!(why(PortState::Disabled).as_deref(), Some(told));
    let told =
        "the bridge's port cali1 is blocking: no frame passes there; bridge -d link show dev cali1";
    assert_eq!(
        why(PortState::Blocking).as_deref(),
        Some(told),
        "it may be a loop's"
    );
    assert!(why(PortState::Learning).is_none(), "it will forward soon");
    assert!(why(PortState::Forwarding).is_none());
}

#[test]
fn a_port_that_hands_on_no_questions_is_named() {
    let multicast = Told {
        multicast_flood: false,
        ..FORWARDS
    };
    let told = "the bridge's port cali1, behind which it is, hands on no questions (mcast_flood off); \
                bridge link set dev cali1 mcast_flood on";
    assert_eq!(of_port(multicast, "fd00::5", true).as_deref(), Some(told));
    let own = of_port(multicast, "fd00::5", false);
    assert!(own.is_none(), "what the node itself asks goes to all");
    assert!(of_port(multicast, "172.20.1.5", true).is_none(), "by ARP");
    let broadcast = Told {
        broadcast_flood: false,
        ..FORWARDS
    };
    let told = of_port(broadcast, "172.20.1.5", true).expect("the port");
    assert!(told.contains("(bcast_flood off)"), "{told}");
}
