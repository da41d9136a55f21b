//! A host outside was given node B's address as well. Both announce it, as hosts do that join a
//! network, and each time node A's neighbour entry follows.
use super::{HTTP, Scenario, VXLAN_IP, everyday};
use crate::lab::plan::{A, B, Place, Plan};
use crate::lab::step::Step;
use crate::lab::topology::DEVICE;
use crate::lab::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "duplicate-address",
    summary: "a second host on the nodes' network holds the other node's address",
    expected: &["duplicate-address"],
    needs: VXLAN_IP,
    faults,
    traffic: |_| {
        let node = Flow::new(Work::Request, Place::Node(A), Place::Node(B), HTTP, 300);
        [everyday(), vec![node]].concat()
    },
    moves,
    ..Scenario::BASE
};

/// Between two announcements, in ms: what takes an afternoon elsewhere.
const EVERY: u64 = 400;
const ANNOUNCEMENTS: u64 = 24;

/// Whoever joins the network tells it so, in the healthy twin as well.
fn faults(plan: &Plan) -> Vec<Step> {
    let peer = &plan.nodes[B];
    let mut steps = vec![
        announcing(&peer.netns, "ipv4", &peer.uplink, "arp_notify"),
        announcing(&peer.netns, "ipv6", &peer.uplink, "ndisc_notify"),
        announcing(&plan.outside.netns, "ipv4", DEVICE, "arp_notify"),
        announcing(&plan.outside.netns, "ipv6", DEVICE, "ndisc_notify"),
    ];
    if !plan.options.healthy {
        let (ipv4, ipv6) = (format!("{}/24", peer.ipv4), format!("{}/64", peer.ipv6));
        for arguments in [
            &["address", "add", &ipv4, "dev", DEVICE][..],
            &["address", "add", &ipv6, "dev", DEVICE, "nodad"],
        ] {
            steps.push(run(&plan.outside.netns, "ip", arguments));
        }
    }
    steps
}

fn announcing(netns: &str, family: &str, device: &str, knob: &str) -> Step {
    Step::Sysctl {
        netns: netns.to_owned(),
        key: format!("net/{family}/conf/{device}/{knob}"),
        value: "1".to_owned(),
    }
}

/// By turns. A NIC that is given its MAC again announces its addresses (`NETDEV_CHANGEADDR`).
fn moves(plan: &Plan) -> Vec<(u64, Step)> {
    let peer = &plan.nodes[B];
    let hosts = [
        (plan.outside.netns.as_str(), DEVICE),
        (peer.netns.as_str(), peer.uplink.as_str()),
    ];
    let announce = |n: u64| {
        let (netns, device) = hosts[n as usize % hosts.len()];
        let again = format!(
            "ip link set {device} address $(ip -o link show {device} | \
             sed 's/.*ether \\([0-9a-f:]*\\).*/\\1/')"
        );
        ((n + 1) * EVERY, run(netns, "sh", &["-c", &again]))
    };
    (0..ANNOUNCEMENTS).map(announce).collect()
}

fn run(netns: &str, program: &'static str, arguments: &[&str]) -> Step {
    Step::Run {
        netns: netns.to_owned(),
        program,
        arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        input: String::new(),
    }
}
