//! The tunnel believes in an MTU that its uplink cannot carry. The outer packets may be
//! fragmented, so the node does that; the network in between drops fragments, as cloud firewalls
//! do. Small requests work, large transfers hang.
use super::{Scenario, VXLAN_NFT, bulk, everyday};
use crate::nft::{Action, Chain, Hook, Rule, Test};
use crate::parts::Part;
use crate::plan::Plan;
use crate::step::Step;
use crate::topology::{OVERHEAD, PORT_A, PORT_B};
use crate::traffic::{Flow, Pmtu};

pub const SCENARIO: Scenario = Scenario {
    name: "vxlan-mtu-too-large",
    summary: "the VXLAN device's MTU leaves no room for the outer headers; fragments are dropped",
    expected: &["vxlan-mtu-too-large"],
    needs: VXLAN_NFT,
    shape,
    late,
    faults: no_fragments,
    traffic,
    fixable: |_| true,
    takes: &[Part::Uplink, Part::Tunnel],
    relies_on: &[Part::Way, Part::Connections],
    ..Scenario::BASE
};

/// 50 bytes go to the outer headers, 70 where those are IPv6 (every other seed's IPv6 twin).
fn shape(plan: &mut Plan) {
    let (uplink, too_large) =
        plan.rng
            .pick(&[(1400, 1450), (1450, 1450), (1500, 1500), (1410, 1430)]);
    if plan.options.ipv6 && plan.form() % 2 == 1 {
        plan.ipv6_underlay();
    }
    let overhead = if plan.tunnel.ipv6 { 70 } else { 50 };
    let tunnel = if plan.options.healthy {
        uplink - overhead
    } else {
        too_large
    };
    plan.mtu.uplink = uplink;
    plan.mtu.tunnel = tunnel;
    plan.mtu.pod = tunnel;
}

/// No tunnel is given more than its uplink carries: somebody lowered that later.
fn late(plan: &Plan) -> Vec<Step> {
    let uplinks = |mtu| {
        plan.nodes.iter().map(move |node| Step::Mtu {
            netns: node.netns.clone(),
            device: node.uplink.clone(),
            mtu,
        })
    };
    let wide = uplinks(plan.mtu.tunnel + OVERHEAD);
    let narrow = uplinks(plan.mtu.uplink);
    wide.chain(super::resized(plan)).chain(narrow).collect()
}

/// When a tunnelled IPv6 packet was too large, the kernel remembers that for the pod's address and
/// from then on answers "packet too big" before the tunnel (`skb_tunnel_check_pmtu`; IPv4 forwards
/// regardless). An incident that lasts needs IPv6 senders that do not hear it.
fn traffic(plan: &Plan) -> Vec<Flow> {
    let deaf = plan.options.ipv6 && !plan.options.healthy;
    let pmtu = if deaf { Pmtu::Ignores } else { Pmtu::Obeys };
    let large = bulk(300_000).into_iter().map(|flow| Flow { pmtu, ..flow });
    everyday().into_iter().chain(large).collect()
}

/// `ip frag-off & 0x3fff != 0 drop` and `ip6 nexthdr 44 drop` where a node's packets enter its
/// switch.
fn no_fragments(plan: &Plan) -> Vec<Step> {
    let ipv4 = Rule {
        tests: vec![
            Test::Ethertype(libc::ETH_P_IP as u16),
            Test::NetworkBits {
                offset: 6,
                mask: vec![0x3f, 0xff],
            },
        ],
        action: Action::Drop,
    };
    let ipv6 = Rule {
        tests: vec![
            Test::Ethertype(libc::ETH_P_IPV6 as u16),
            Test::Network {
                offset: 6,
                value: vec![libc::IPPROTO_FRAGMENT as u8],
            },
        ],
        action: Action::Drop,
    };
    let ports = plan.switches.iter().zip([PORT_A, PORT_B]);
    let steps = ports.map(|(switch, port)| Step::Firewall {
        netns: switch.clone(),
        chain: Chain {
            table: "no-fragments".to_owned(),
            hook: Hook::Ingress(port.to_owned()),
            rules: vec![ipv4.clone(), ipv6.clone()],
        },
    });
    steps.collect()
}
