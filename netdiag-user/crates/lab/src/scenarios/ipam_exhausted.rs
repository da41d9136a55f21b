//! The real host-local plugin gives out a small range until it refuses: most of it to sandboxes
//! that a crash took away, or all of it to pods that are there.
use super::{Scenario, bulk, everyday};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, Plan};
use crate::step::Step;

pub const SCENARIO: Scenario = Scenario {
    name: "ipam-exhausted",
    summary: "the host-local plugin has no address left for a new pod",
    expected: &["ipam-exhausted"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::Program("host-local"),
    ],
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    faults,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    fixable: |plan| plan.variant != ALL_ALIVE,
    takes: &[Part::Cni],
    ..Scenario::BASE
};

/// Sandboxes leak in flannel's form and in that of a plain list; the third form has none.
const FLANNEL: u32 = 1;
const ALL_ALIVE: u32 = 2;

/// Where the node keeps addresses; the plugin is told by the machine's path.
const DATA: &str = "/var/lib/cni/networks";

fn faults(plan: &Plan) -> Vec<Step> {
    let network = &plan.cni_network;
    let conf =
        |plugin: String| format!(r#"{{ "cniVersion": "0.4.0", "name": "{network}", {plugin} }}"#);
    let own = match plan.variant {
        FLANNEL => r#""type": "flannel", "delegate": { "isDefaultGateway": true }"#.to_owned(),
        _ => format!(
            r#""type": "bridge", "bridge": "{}", {}"#,
            plan.bridge,
            ipam(plan, DATA)
        ),
    };
    let own = conf(format!(r#""plugins": [ {{ {own} }} ]"#));
    let plugins = conf(ipam(plan, &format!("{{root}}{DATA}")));
    let pods = plan.nodes[A].pods.iter().map(|pod| pod.sandbox.as_str());
    let pods = pods.collect::<Vec<_>>().join(" ");
    let script = format!(
        "{}mkdir -p {{root}}/etc/cni/net.d {{root}}{DATA}\n\
         echo '{own}' > {{root}}/etc/cni/net.d/10-{network}.conflist\n\
         echo '{plugins}' > {{dir}}/ipam.json\n\
         {ADD}for id in {pods}; do add $id; done\n{}\
         find {{root}}{DATA} -type f -exec touch -d '1 hour ago' {{}} +\n",
        if plan.variant == FLANNEL {
            subnet_env(plan)
        } else {
            String::new()
        },
        if plan.options.healthy { "" } else { FILL },
    );
    vec![Step::Run {
        netns: plan.nodes[A].netns.clone(),
        program: "sh",
        arguments: vec!["-eu".to_owned()],
        input: script,
    }]
}

/// As a runtime calls it (the CNI specification, "Execution Protocol").
const ADD: &str = "PATH=$PATH:/usr/lib/cni:/opt/cni/bin\n\
    add() { CNI_COMMAND=ADD CNI_CONTAINERID=$1 CNI_NETNS=/none CNI_IFNAME=eth0 CNI_PATH=/none \
    host-local < {dir}/ipam.json > {dir}/said; }\n";
/// Sandboxes that are gone, until none fits any more; and it must be for lack of an address.
const FILL: &str = "n=0; while [ $n -lt 40 ] && add gone-$n; do n=$((n+1)); done\n\
    grep -q 'no IP addresses available' {dir}/said\n";

fn subnet(plan: &Plan) -> String {
    let (node, length) = (&plan.nodes[A], length(plan));
    match plan.options.ipv6 {
        true => format!("{}/{length}", node.pods_ipv6),
        false => format!("{}/{length}", node.pods_ipv4),
    }
}

/// flannel's plugin gives out all of its subnet.
fn length(plan: &Plan) -> u8 {
    let small = plan.variant == FLANNEL && !plan.options.healthy;
    match (plan.options.ipv6, small) {
        (true, true) => 124,
        (true, false) => 64,
        (false, true) => 28,
        (false, false) => 24,
    }
}

fn ipam(plan: &Plan, data: &str) -> String {
    let subnet = subnet(plan);
    let network = subnet.split('/').next().unwrap_or_default();
    let first = network.trim_end_matches('0');
    let last = match plan.variant {
        _ if plan.options.healthy => None,
        FLANNEL => None,
        // As many addresses as there are pods.
        ALL_ALIVE => Some(3),
        _ => Some(9),
    };
    let range = last.map(|n| format!(r#", "rangeStart": "{first}2", "rangeEnd": "{first}{n}""#));
    let range = range.unwrap_or_default();
    format!(
        r#""ipam": {{ "type": "host-local", "dataDir": "{data}",
            "ranges": [[ {{ "subnet": "{subnet}"{range} }} ]] }}"#
    )
}

/// As flanneld writes it.
fn subnet_env(plan: &Plan) -> String {
    let (node, length) = (&plan.nodes[A], length(plan));
    let subnet = match plan.options.ipv6 {
        true => format!("FLANNEL_IPV6_SUBNET={}/{length}", node.gateway_ipv6()),
        false => format!("FLANNEL_SUBNET={}/{length}", node.gateway_ipv4()),
    };
    format!(
        "mkdir -p {{root}}/run/flannel\n\
         printf 'FLANNEL_MTU=1450\\n{subnet}\\n' > {{root}}/run/flannel/subnet.env\n"
    )
}
