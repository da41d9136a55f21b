//! A client outside is passed on by node A to a pod on node B, through a tunnel that is narrower
//! than the MSS which client and pod agreed on. The node says so; something between it and the
//! client takes that away.
use super::{BULK, POD_B, Scenario, bulk, everyday};
use crate::lab::needs::Need;
use crate::lab::nft::{Action, Chain, Hook, Rule, Test};
use crate::lab::plan::{A, B, Place, Plan};
use crate::lab::step::Step;
use crate::lab::topology::PORT_A;
use crate::lab::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "pmtu-black-hole",
    summary: "a client outside never hears that the tunnel to the pod is narrower",
    expected: &["pmtu-black-hole"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::NfTables,
        Need::Program("ip"),
    ],
    shape,
    faults,
    traffic: |_| {
        let uploads =
            [250, 350].map(|ms| Flow::new(Work::Upload(100_000), Place::Outside, POD_B, BULK, ms));
        [everyday(), bulk(100_000), uploads.to_vec()].concat()
    },
    ..Scenario::BASE
};

fn shape(plan: &mut Plan) {
    plan.mtu.tunnel = plan.rng.pick(&[1450, 1440, 1430, 1400]);
    plan.mtu.pod = plan.mtu.tunnel;
}

/// The pod on node B has room for all that its network carries: the way by node A is what is
/// narrower. The healthy twin has the same way, and its client hears of it.
fn faults(plan: &Plan) -> Vec<Step> {
    let pod = &plan.nodes[B].pods[0];
    let via = &plan.nodes[A];
    let (ipv4, ipv6) = (pod.ipv4.to_string(), pod.ipv6.to_string());
    let (via4, via6) = (via.ipv4.to_string(), via.ipv6.to_string());
    let outside = &plan.outside.netns;
    let mut steps = vec![
        ip(&pod.netns, &["link", "set", "eth0", "mtu", "1500"]),
        ip(outside, &["route", "add", &ipv4, "via", &via4]),
        ip(outside, &["-6", "route", "add", &ipv6, "via", &via6]),
    ];
    if !plan.options.healthy {
        steps.push(no_errors(plan));
    }
    steps
}

fn ip(netns: &str, arguments: &[&str]) -> Step {
    Step::Run {
        netns: netns.to_owned(),
        program: "ip",
        arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        input: String::new(),
    }
}

/// Frag-needed and packet-too-big die where they leave the node.
fn no_errors(plan: &Plan) -> Step {
    let drop = |protocol: i32, value: Vec<u8>| Rule {
        tests: vec![
            Test::Transport(protocol as u8),
            Test::Payload { offset: 0, value },
        ],
        action: Action::Drop,
    };
    let rules = vec![
        drop(libc::IPPROTO_ICMP, vec![3, 4]),
        drop(libc::IPPROTO_ICMPV6, vec![2]),
    ];
    Step::Firewall {
        netns: plan.switches[0].clone(),
        chain: Chain {
            table: "no-icmp".to_owned(),
            hook: Hook::Ingress(PORT_A.to_owned()),
            rules,
        },
    }
}
