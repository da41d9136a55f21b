//! Pods on node A speak to more hosts on its network than the machine's neighbour table has room
//! for. The limit is the machine's own, so that machine must be the lab's.
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{POD_A, Scenario, everyday};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{Place, Plan};
use crate::step::Step;
use crate::topology::DEVICE;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "neighbour-table-full",
    summary: "more hosts on the node's network than its neighbour table has room for",
    expected: &["neighbour-table-full"],
    needs: &[
        Need::OwnMachine,
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::Program("ip"),
    ],
    faults,
    traffic,
    takes: &[Part::Machine],
    ..Scenario::BASE
};

/// The host outside has as many addresses more: a whole network that answers.
const HOSTS: u16 = 150;

fn faults(plan: &Plan) -> Vec<Step> {
    let mut batch = String::new();
    let (length, more) = if plan.options.ipv6 {
        (64, " nodad")
    } else {
        (24, "")
    };
    for n in 0..HOSTS {
        let host = host(plan, n);
        let _ = writeln!(batch, "address add {host}/{length} dev {DEVICE}{more}");
    }
    let mut steps = vec![Step::Run {
        netns: plan.outside.netns.clone(),
        program: "ip",
        arguments: vec!["-batch".to_owned(), "-".to_owned()],
        input: batch,
    }];
    if plan.options.healthy {
        return steps;
    }
    // What the lab itself takes fits; what is spoken to does not.
    let limit = 96 + 16 * (plan.options.seed % 3);
    let family = if plan.options.ipv6 { "ipv6" } else { "ipv4" };
    for (name, value) in [
        ("gc_thresh1", limit / 8),
        ("gc_thresh2", limit / 2),
        ("gc_thresh3", limit),
    ] {
        steps.push(Step::MachineSysctl {
            key: format!("net/{family}/neigh/default/{name}"),
            value: value.to_string(),
        });
    }
    steps
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let mut sweep = Flow::new(Work::Sweep(HOSTS), POD_A, Place::Outside, 0, 300);
    sweep.asks = Some(SocketAddr::new(host(plan, 0), 0));
    [everyday(), vec![sweep]].concat()
}

/// Above the nodes' own addresses.
fn host(plan: &Plan, n: u16) -> IpAddr {
    if plan.options.ipv6 {
        let own = plan.outside.ipv6.to_bits();
        return Ipv6Addr::from_bits(own + 0x1000 + u128::from(n)).into();
    }
    let own = plan.outside.ipv4.to_bits();
    Ipv4Addr::from_bits(own + 99 + u32::from(n)).into()
}
