//! A client outside is passed on by node A to a pod on node B, through a tunnel that is narrower
//! than the MSS which client and pod agreed on. The node says so; something between it and the
//! client takes that away.
use std::net::SocketAddr;

use super::{BULK, POD_B, Scenario, bulk, everyday};
use crate::needs::Need;
use crate::nft::{Action, Chain, Hook, Rule, Test};
use crate::parts::Part;
use crate::plan::{A, B, Place, Plan};
use crate::step::Step;
use crate::topology::PORT_A;
use crate::traffic::{Flow, Work};

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
        Need::Program("nft"),
    ],
    shape,
    faults,
    no_late: Some("a client remembers for ten minutes how narrow the way is"),
    traffic: |plan| {
        let uploads = [250, 350].map(|ms| Flow {
            asks: (plan.variant == NODE_PORT).then(|| node_port(plan)),
            ..Flow::new(Work::Upload(100_000), Place::Outside, POD_B, BULK, ms)
        });
        [everyday(), bulk(100_000), uploads.to_vec()].concat()
    },
    fixable: |plan| plan.variant != ONE_WAY,
    takes: &[Part::Tunnel],
    relies_on: &[Part::Way],
    ..Scenario::BASE
};

/// Node B sends the pod's answers to the client itself; they go through node A as well; the client
/// asks a port of node A, which translates to the pod.
const ONE_WAY: u32 = 0;
const BOTH_WAYS: u32 = 1;
const NODE_PORT: u32 = 2;

fn node_port(plan: &Plan) -> SocketAddr {
    let port = 30_000 + (plan.options.seed * 97 % 2_700) as u16;
    SocketAddr::new(plan.address(Place::Node(A)), port)
}

fn shape(plan: &mut Plan) {
    plan.variant = (plan.form() % 3) as u32;
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
    let mut steps = vec![ip(&pod.netns, &["link", "set", "eth0", "mtu", "1500"])];
    if plan.variant == NODE_PORT {
        steps.push(translate(plan));
    } else {
        steps.push(ip(outside, &["route", "add", &ipv4, "via", &via4]));
        steps.push(ip(outside, &["-6", "route", "add", &ipv6, "via", &via6]));
    }
    if plan.variant == BOTH_WAYS {
        steps.extend(back_by_tunnel(plan));
    }
    if !plan.options.healthy {
        steps.push(no_errors(plan));
    }
    steps
}

/// What kube-proxy does for a NodePort: to the pod, and from an address of the node's, so that the
/// answers come back this way.
fn translate(plan: &Plan) -> Step {
    let family = if plan.options.ipv6 { "ip6" } else { "ip" };
    let from = node_port(plan);
    let to = SocketAddr::new(plan.address(POD_B), BULK);
    let input = format!(
        "table {family} node-port {{\n\
         chain nat-prerouting {{ type nat hook prerouting priority dstnat; \
         {family} daddr {} tcp dport {} dnat to {to}; }}\n\
         chain nat-postrouting {{ type nat hook postrouting priority srcnat; \
         ct status dnat masquerade; }}\n}}\n",
        from.ip(),
        from.port(),
    );
    Step::Run {
        netns: plan.nodes[A].netns.clone(),
        program: "nft",
        arguments: vec!["-f".into(), "-".into()],
        input,
    }
}

/// As with a gateway for what leaves the cluster.
fn back_by_tunnel(plan: &Plan) -> [Step; 2] {
    let (to, via, device) = (&plan.outside, &plan.nodes[A], &plan.tunnel.device);
    let ends = [
        (format!("{}/32", to.ipv4), via.pods_ipv4.to_string()),
        (format!("{}/128", to.ipv6), via.pods_ipv6.to_string()),
    ];
    ends.map(|(to, via)| {
        let words = ["route", "add", &to, "via", &via, "dev", device, "onlink"];
        ip(&plan.nodes[B].netns, &words)
    })
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
