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

fn why(state: PortState) -> Option<String> {
    let mut node = overlay_node(1450, 1450, 1500);
    node.links.push(link(21, "br0", LinkKind::Bridge, 1450));
    node.links[2].master = Some(21);
    let mut stack = of_node::stack(&node);
    if let Known::Is(devices) = &mut stack.devices {
        let bridge = devices.get_mut(&21).expect("the bridge");
        bridge.kind = Kind::Bridge(Bridge::default());
        let device = devices.get_mut(&POD).expect("the pod's link");
        device.port = Some(Told {
            state,
            learning: true,
            hairpin: false,
            isolated: false,
            unicast_flood: true,
            multicast_flood: true,
            broadcast_flood: true,
            locked: false,
            proxy_arp: false,
            neigh_suppress: false,
        });
    }
    let pieces = [(Want::Stack(NETNS), Ok(Piece::Stack(Box::new(stack))))];
    with_gathered(&node, &Observation::default(), pieces, |facts| {
        let port = HeldPort::of(facts, ip("172.20.1.5"), None)?;
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
