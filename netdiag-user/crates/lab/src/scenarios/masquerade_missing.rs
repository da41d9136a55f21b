//! Pods ask somebody outside of the cluster, and nothing on the node gives their packets its own
//! address: the world does not know where to send the answers.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{KUBE_PROXY, POD_A, Scenario, bulk, everyday};
use crate::kube_proxy;
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, B, Place, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Serving, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "masquerade-missing",
    summary: "pods' own addresses leave the cluster, and the world does not know them",
    expected: &["masquerade-missing"],
    needs: NEEDS,
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    faults,
    late,
    traffic,
    // Elsewhere no file says which networks the rule has to spare.
    fixable: |plan| plan.variant == NEVER,
    takes: &[Part::Conntrack, Part::Services],
    relies_on: &[Part::Way, Part::Connections],
    ..Scenario::BASE
};

const NEEDS: &[Need] = &{
    let mut all = [Need::Program("ip"); KUBE_PROXY.len() + 1];
    let mut n = 0;
    while n < KUBE_PROXY.len() {
        all[n] = KUBE_PROXY[n];
        n += 1;
    }
    all
};

/// Nobody ever masqueraded; kube-proxy and somebody else's rules are there; what masquerades spares
/// the destinations. The healthy twins: flannel's rules; a rule of nftables; a network that routes
/// pods' addresses.
const NEVER: u32 = 0;
const OTHERS: u32 = 1;
const PORT: u16 = 8443;

/// Somebody beyond the gateway: in a network that is for documents (RFC 5737, RFC 3849).
fn world(plan: &Plan, host: u8) -> SocketAddr {
    let address: IpAddr = match plan.options.ipv6 {
        true => Ipv6Addr::new(0x2001, 0xdb8, 0x71, 0, 0, 0, 0, host.into()).into(),
        false => Ipv4Addr::new(198, 51, 100, host).into(),
    };
    SocketAddr::new(address, PORT)
}

fn run(netns: &str, program: &'static str, arguments: &[&str], input: String) -> Step {
    Step::Run {
        netns: netns.to_owned(),
        program,
        arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        input,
    }
}

/// The network that the nodes' pods have parts of, and this node's.
fn networks(plan: &Plan) -> (String, String) {
    let node = &plan.nodes[A];
    if plan.options.ipv6 {
        let mut all = node.pods_ipv6.segments();
        all[3] = 0;
        return (
            format!("{}/48", Ipv6Addr::from(all)),
            format!("{}/64", node.pods_ipv6),
        );
    }
    let [a, b, ..] = node.pods_ipv4.octets();
    (format!("{a}.{b}.0.0/16"), format!("{}/24", node.pods_ipv4))
}

fn faults(plan: &Plan) -> Vec<Step> {
    let mut steps = outside(plan);
    let healthy = plan.options.healthy;
    match (healthy, plan.variant) {
        (false, NEVER) | (true, NEVER) => {
            steps.push(subnet_env(plan));
            if healthy {
                steps.push(flannel(plan));
            }
        }
        (false, OTHERS) => {
            let node = &plan.nodes[A];
            steps.push(kube_proxy::sync(plan, node, plan.proxy_mode(), &[]));
            steps.push(nft(plan, "saddr != { POD } IP daddr != { ALL } masquerade"));
        }
        (true, OTHERS) => steps.push(nft(plan, "saddr { ALL } IP daddr != { ALL } masquerade")),
        (false, _) => {
            let spared = world(plan, 0).ip();
            let length = if plan.options.ipv6 { 64 } else { 24 };
            let rules = format!("daddr {{ {spared}/{length}, ALL }} return; masquerade");
            steps.push(nft(plan, &rules));
        }
        (true, _) => {}
    }
    steps
}

/// flanneld is started without `--ip-masq`, and takes its rules away; of what else there is others come in its place.
fn late(plan: &Plan) -> Vec<Step> {
    let program = match plan.options.ipv6 {
        true => "ip6tables-nft-restore",
        false => "iptables-nft-restore",
    };
    let none = "*nat\nCOMMIT\n".to_owned();
    let taken = (plan.variant == NEVER).then(|| run(&plan.nodes[A].netns, program, &[], none));
    taken.into_iter().collect()
}

/// The world beyond the gateway, which knows the way to the pods only where the network routes them.
fn outside(plan: &Plan) -> Vec<Step> {
    let netns = &plan.outside.netns;
    let mut steps = Vec::new();
    for host in [10, 20] {
        let address = world(plan, host).ip().to_string();
        steps.push(run(
            netns,
            "ip",
            &["addr", "add", &address, "dev", "lo"],
            String::new(),
        ));
    }
    let routed = plan.options.healthy && plan.variant > OTHERS;
    if !routed {
        for node in [A, B] {
            let node = &plan.nodes[node];
            let pods: [(IpAddr, u8); 2] =
                [(node.pods_ipv4.into(), 24), (node.pods_ipv6.into(), 64)];
            steps.extend(pods.map(|to| Step::Unroute {
                netns: netns.clone(),
                to,
            }));
        }
    }
    steps
}

/// What flannel's CNI plugin reads (flannel, pkg/subnet/subnet.go).
fn subnet_env(plan: &Plan) -> Step {
    let (all, _) = networks(plan);
    let key = if plan.options.ipv6 {
        "FLANNEL_IPV6_NETWORK"
    } else {
        "FLANNEL_NETWORK"
    };
    let masq = plan.options.healthy;
    let file = format!("{key}={all}\nFLANNEL_IPMASQ={masq}\n");
    let write = "mkdir -p {root}/run/flannel && cat > {root}/run/flannel/subnet.env";
    run(&plan.nodes[A].netns, "sh", &["-c", write], file)
}

/// flanneld's rules (flannel, pkg/trafficmngr/iptables).
fn flannel(plan: &Plan) -> Step {
    let (all, own) = networks(plan);
    let (program, many) = match plan.options.ipv6 {
        true => ("ip6tables-nft-restore", "ff00::/8"),
        false => ("iptables-nft-restore", "224.0.0.0/4"),
    };
    let rules = format!(
        "*nat\n:FLANNEL-POSTRTG - [0:0]\n\
         -A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG\n\
         -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment \"flanneld masq\" -j RETURN\n\
         -A FLANNEL-POSTRTG -s {own} -d {all} -m comment --comment \"flanneld masq\" -j RETURN\n\
         -A FLANNEL-POSTRTG -s {all} -d {own} -m comment --comment \"flanneld masq\" -j RETURN\n\
         -A FLANNEL-POSTRTG ! -s {all} -d {own} -m comment --comment \"flanneld masq\" -j RETURN\n\
         -A FLANNEL-POSTRTG -s {all} ! -d {many} -m comment --comment \"flanneld masq\" -j MASQUERADE\n\
         COMMIT\n"
    );
    run(&plan.nodes[A].netns, program, &[], rules)
}

/// Rules at postrouting; `ALL` and `POD` stand for the pods' networks, `IP` for the family.
fn nft(plan: &Plan, rules: &str) -> Step {
    let ip = if plan.options.ipv6 { "ip6" } else { "ip" };
    let (all, own) = networks(plan);
    let rules = rules
        .replace("IP", ip)
        .replace("ALL", &all)
        .replace("POD", &own);
    let lines: String = rules
        .split(';')
        .map(|rule| format!("  {}\n", rule.trim()))
        .collect();
    let lines = lines.trim_start();
    let text = format!(
        "add table {ip} egress\nflush table {ip} egress\ntable {ip} egress {{\n chain postrouting {{\n  type nat hook postrouting priority 100;\n  \
         {ip} {lines} }}\n}}\n"
    );
    run(&plan.nodes[A].netns, "nft", &["-f", "-"], text)
}

/// Two pods ask one of them each, and the node both.
fn traffic(plan: &Plan) -> Vec<Flow> {
    let ask = |from, host, ms| Flow {
        asks: Some(world(plan, host)),
        serving: Serving::Everywhere,
        ..Flow::new(Work::Request, from, Place::Outside, PORT, ms)
    };
    let node = Place::Node(A);
    let asked = vec![
        ask(POD_A, 10, 300),
        ask(Place::Pod(A, 1), 20, 350),
        ask(node, 10, 250),
        ask(node, 20, 400),
    ];
    let mut usual = [everyday(), bulk(100_000)].concat();
    // Nobody outside knows the way to them.
    usual.retain(|flow| flow.from != Place::Outside);
    [usual, asked].concat()
}
