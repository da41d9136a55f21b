//! Node A's uplink has two addresses, a static one and one from DHCP. Its own tunnel uses the
//! one, its peer knows it by the other. No rule on either node has a part in it: it is the
//! network in between that refuses or loses the packets.
use super::{Scenario, VXLAN_NFT, bulk, everyday};
use crate::nft::{Action, Chain, Hook, Rule, Test};
use crate::parts::Part;
use crate::plan::{A, B, Plan};
use crate::step::Step;
use crate::topology::{PORT_A, PORT_B};
use std::net::Ipv4Addr;

pub const SCENARIO: Scenario = Scenario {
    name: "vxlan-source-mismatch",
    summary: "the tunnel's source is not the address by which the peer knows this node",
    expected: &["vxlan-source-mismatch"],
    needs: VXLAN_NFT,
    shape,
    faults,
    no_late: Some("a tunnel with another source is another tunnel"),
    traffic: |plan| {
        let large = if plan.options.healthy {
            bulk(100_000)
        } else {
            Vec::new()
        };
        [everyday(), large].concat()
    },
    observer: |plan| if plan.variant == REFUSED { A } else { B },
    fixable: |_| true,
    takes: &[Part::Uplink, Part::Tunnel, Part::Way],
    stops: |_| &[Part::Way],
    ..Scenario::BASE
};

/// The network passes only the address that it gave by DHCP; node A sees its packets unanswered
/// and others come in for the address that it does not use.
const REFUSED: u32 = 0;
/// Node B's answers go to an address that the network does not deliver to.
const UNDELIVERED: u32 = 1;
/// Node B's answers go to an address that nobody holds any more.
const EXPIRED: u32 = 2;

fn shape(plan: &mut Plan) {
    let forms = [REFUSED, UNDELIVERED, REFUSED, EXPIRED];
    plan.variant = forms[plan.form() % forms.len()];
    let host = plan.rng.byte(150, 249);
    let [a, b, c, _] = plan.nodes[A].ipv4.octets();
    let leased = Ipv4Addr::new(a, b, c, host);
    // All agree on the leased address, or all agree on the static one: both work.
    let agreed = if plan.rng.coin() {
        leased
    } else {
        plan.nodes[A].ipv4
    };
    let node = &mut plan.nodes[A];
    node.leased = Some(leased);
    if plan.options.healthy {
        node.local = agreed.into();
        node.known_as = agreed.into();
        return;
    }
    node.known_as = leased.into();
    if plan.variant == EXPIRED {
        node.leased = None;
    }
}

fn faults(plan: &Plan) -> Vec<Step> {
    let node = &plan.nodes[A];
    let (Some(leased), false) = (node.leased, plan.options.healthy) else {
        return Vec::new();
    };
    // Offsets of the source and the destination in the IPv4 header.
    let (switch, port, offset, address) = match plan.variant {
        REFUSED => (&plan.switches[0], PORT_A, 12, node.ipv4),
        _ => (&plan.switches[1], PORT_B, 16, leased),
    };
    let rule = Rule {
        tests: vec![
            Test::Ethertype(libc::ETH_P_IP as u16),
            Test::Network {
                offset,
                value: address.octets().into(),
            },
            Test::Transport(libc::IPPROTO_UDP as u8),
            Test::Payload {
                offset: 2,
                value: plan.tunnel.port.to_be_bytes().into(),
            },
        ],
        action: Action::Drop,
    };
    let hook = Hook::Ingress(port.to_owned());
    let chain = Chain {
        table: "source-guard".to_owned(),
        hook,
        rules: vec![rule],
    };
    vec![Step::Firewall {
        netns: switch.clone(),
        chain,
    }]
}
