use super::super::evaluate;
use netdiag_common::hop::INGRESS;

use super::*;
use crate::{
    model::{
        address::to_wire,
        gather::Piece,
        observation::Observation,
        world::{
            Known,
            device::{Df, Vxlan},
            of_node,
        },
    },
    testing::{NETNS, OVERLAY, UPLINK, died, ip, overlay_node, tcp, with_gathered},
};

const PORT: u16 = 4789;

/// What is said of a next hop that does not answer behind a tunnel that asks others, and gives its packets so many hops.
fn told(ttl: u8, says: bool) -> (String, String) {
    let mut node = overlay_node(1450, 1450, 1500);
    node.neighbours.clear();
    node.fdb[0].lladdr = vec![0; 6];
    let mut lost = died(
        tcp("172.20.1.5", "172.20.2.9", 443),
        ("NEIGH_FAILED", "neigh_invalidate"),
        OVERLAY,
        6,
    );
    lost.1.last = 6_000_000_000;
    let outer = netdiag_common::flow::FlowKey {
        protocol: crate::model::flow::UDP,
        ..tcp("192.0.2.1", "192.0.2.2", PORT)
    };
    let key = IcmpErrorKey {
        about: outer,
        sender: to_wire(ip("192.0.2.254")),
        ifindex: UPLINK,
        direction: INGRESS,
        kind: 11,
        ..IcmpErrorKey::default()
    };
    let mut stack = of_node::stack(&node);
    if let Known::Is(devices) = &mut stack.devices {
        let device = devices.get_mut(&OVERLAY).expect("the tunnel");
        device.kind = Kind::Vxlan(Vxlan {
            vni: 1,
            port: PORT,
            local: Some(ip("192.0.2.1")),
            remote: None,
            underlay: None,
            learning: true,
            external: false,
            proxy: false,
            ttl,
            ttl_inherit: false,
            tos: 0,
            udp_csum: false,
            df: Df::Unset,
        });
    }
    let seen = Observation {
        drops: vec![lost],
        icmp_errors: says
            .then(|| (key, IcmpError::default()))
            .into_iter()
            .collect(),
        ..Observation::default()
    };
    let pieces = [(Want::Stack(NETNS), Ok(Piece::Stack(Box::new(stack))))];
    let found = with_gathered(&node, &seen, pieces, |facts| {
        assert_eq!(wants(facts).is_empty(), !says);
        evaluate(facts).pop()
    });
    let found = found.expect("a finding");
    let last = found.fix.commands.last().map(|c| c.text().to_owned());
    (found.summary, last.unwrap_or_default())
}

#[test]
fn a_tunnel_that_gives_few_hops_is_told_where_a_router_says_so() {
    let (summary, command) = told(1, true);
    let why =
        "192.0.2.254 says that its hops are used up there: vxlan.calico gives its packets 1 (ttl)";
    assert!(summary.contains(why), "{summary}");
    assert_eq!(command, "ip link set dev vxlan.calico type vxlan ttl 64");
    for (ttl, says) in [(1, false), (64, true)] {
        let (summary, command) = told(ttl, says);
        let why = "the question leaves by vxlan.calico for 192.0.2.2, from where no answer comes";
        assert!(summary.contains(why), "{summary}");
        assert!(
            command.contains("udp port 4789 and host 192.0.2.2"),
            "{command}"
        );
    }
}
