//! The network between the nodes passes their own traffic and takes the overlay's, as a security
//! group does that nobody told of the port. The rule sits on node B's switch: neither node drops
//! anything itself.
use super::{Scenario, VXLAN_NFT, bulk, everyday};
use crate::nft::{Action, Chain, Hook, Rule, Test};
use crate::parts::Part;
use crate::plan::{A, B, Plan};
use crate::step::Step;
use crate::topology::{PORT_B, TRUNK};

pub const SCENARIO: Scenario = Scenario {
    name: "overlay-blocked",
    summary: "the network between the nodes filters the overlay's port",
    expected: &["overlay-blocked"],
    needs: VXLAN_NFT,
    shape,
    faults,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    observer: |plan| if plan.variant == SEEN_BY_B { B } else { A },
    takes: &[Part::Tunnel, Part::Way],
    stops: |_| &[Part::Way],
    ..Scenario::BASE
};

/// Nothing passes in either direction.
const BOTH_WAYS: u32 = 0;
/// Node A's packets arrive, the answers do not.
const WAY_BACK: u32 = 1;
/// As the first, with node B diagnosing.
const SEEN_BY_B: u32 = 2;

/// The nodes talk to each other in the outer packets' family.
fn shape(plan: &mut Plan) {
    plan.variant = [BOTH_WAYS, WAY_BACK, SEEN_BY_B][plan.form() % 3];
    if plan.options.ipv6 {
        plan.ipv6_underlay();
        plan.mtu.tunnel = plan.mtu.uplink - 70;
        plan.mtu.pod = plan.mtu.tunnel;
    }
}

fn faults(plan: &Plan) -> Vec<Step> {
    let ports: &[&str] = match (plan.options.healthy, plan.variant) {
        (true, _) => &[],
        (false, WAY_BACK) => &[PORT_B],
        (false, _) => &[PORT_B, TRUNK],
    };
    let filter = |port: &&str| Step::Firewall {
        netns: plan.switches[1].clone(),
        chain: Chain {
            table: format!("security-group-{port}"),
            hook: Hook::Ingress((*port).to_owned()),
            rules: vec![no_overlay(plan)],
        },
    };
    ports.iter().map(filter).collect()
}

/// `udp dport PORT drop`.
fn no_overlay(plan: &Plan) -> Rule {
    let port = Test::Payload {
        offset: 2,
        value: plan.tunnel.port.to_be_bytes().into(),
    };
    Rule {
        tests: vec![Test::Transport(libc::IPPROTO_UDP as u8), port],
        action: Action::Drop,
    }
}
