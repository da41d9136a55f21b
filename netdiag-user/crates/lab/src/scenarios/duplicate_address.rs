//! An address was given out twice: a host outside has the other node's as well, or that of the node
//! which diagnoses, or two pods have the same one. Both announce it, as hosts do that join a
//! network.
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{HTTP, Scenario, VXLAN_IP, everyday};
use crate::parts::Part;
use crate::plan::{A, B, Node, Place, Plan, Pod};
use crate::step::Step;
use crate::timeline::Timeline;
use crate::topology::DEVICE;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "duplicate-address",
    summary: "a second host holds a node's address, or a second pod a pod's",
    expected: &["duplicate-address"],
    needs: VXLAN_IP,
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    faults,
    traffic: |_| {
        let node = Flow::new(Work::Request, Place::Node(A), Place::Node(B), HTTP, 300);
        [everyday(), vec![node]].concat()
    },
    timeline,
    takes: &[Part::Way],
    ..Scenario::BASE
};

/// Who holds an address: its namespace, its device, and what the address is.
#[derive(Clone, Copy)]
struct Holder<'a> {
    netns: &'a str,
    device: &'a str,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
}

impl<'a> Holder<'a> {
    fn node(node: &'a Node) -> Self {
        Self {
            netns: &node.netns,
            device: &node.uplink,
            ipv4: node.ipv4,
            ipv6: node.ipv6,
        }
    }

    fn pod(pod: &'a Pod) -> Self {
        Self {
            netns: &pod.netns,
            device: DEVICE,
            ipv4: pod.ipv4,
            ipv6: pod.ipv6,
        }
    }

    /// Who has the address by right, and who has it too.
    fn both(plan: &'a Plan) -> (Self, Self) {
        let outside = Self {
            netns: &plan.outside.netns,
            device: DEVICE,
            ipv4: plan.outside.ipv4,
            ipv6: plan.outside.ipv6,
        };
        let pods = &plan.nodes[A].pods;
        match plan.variant {
            0 => (Self::node(&plan.nodes[B]), outside),
            1 => (Self::node(&plan.nodes[A]), outside),
            _ => (Self::pod(&pods[0]), Self::pod(&pods[1])),
        }
    }
}

/// Between two announcements, in ms: what takes an afternoon elsewhere.
const EVERY: u64 = 400;

/// Whoever joins the network tells it so, in the healthy twin as well.
fn faults(plan: &Plan) -> Vec<Step> {
    let (owner, other) = Holder::both(plan);
    let mut steps = Vec::new();
    for holder in [&owner, &other] {
        steps.push(announcing(holder, "ipv4", "arp_notify"));
        steps.push(announcing(holder, "ipv6", "ndisc_notify"));
    }
    if !plan.options.healthy {
        let (ipv4, ipv6) = (format!("{}/24", owner.ipv4), format!("{}/64", owner.ipv6));
        for arguments in [
            &["address", "add", &ipv4, "dev", other.device][..],
            &["address", "add", &ipv6, "dev", other.device, "nodad"],
        ] {
            steps.push(run(other.netns, "ip", arguments));
        }
    }
    steps
}

fn announcing(holder: &Holder<'_>, family: &str, knob: &str) -> Step {
    Step::Sysctl {
        netns: holder.netns.to_owned(),
        key: format!("net/{family}/conf/{}/{knob}", holder.device),
        value: "1".to_owned(),
    }
}

/// By turns. A NIC that is given its MAC again announces its addresses (`NETDEV_CHANGEADDR`).
fn timeline(plan: &Plan) -> Timeline {
    let (owner, other) = Holder::both(plan);
    let hosts = [other, owner];
    let announce = |n: u64| {
        let Holder { netns, device, .. } = hosts[n as usize % hosts.len()];
        let again = format!(
            "ip link set {device} address $(ip -o link show {device} | \
             sed 's/.*ether \\([0-9a-f:]*\\).*/\\1/')"
        );
        ((n + 1) * EVERY, run(netns, "sh", &["-c", &again]))
    };
    let both = (0..2).map(announce).collect();
    Timeline::again(2 * EVERY, both)
}

fn run(netns: &str, program: &'static str, arguments: &[&str]) -> Step {
    Step::Run {
        netns: netns.to_owned(),
        program,
        arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        input: String::new(),
    }
}
