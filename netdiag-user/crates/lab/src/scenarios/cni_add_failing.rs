//! A real containerd asks real CNI plugins for the networks of pods, and they fail: a plugin that
//! is not there, a bridge with another address than the configuration says, no configuration.
use super::{Scenario, bulk, everyday};
use crate::containerd::{self, network, runtime};
use crate::daemon::Daemon;
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, Plan};

pub const SCENARIO: Scenario = Scenario {
    name: "cni-add-failing",
    summary: "the CNI plugin fails, so that containerd cannot set up any pod",
    expected: &["cni-add-failing"],
    needs: CONTAINERD,
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    daemons,
    takes: &[Part::Cni],
    ..Scenario::BASE
};

pub const CONTAINERD: &[Need] = &[
    Need::Veth,
    Need::Bridge,
    Need::Vxlan,
    Need::Cri,
    Need::Program("containerd"),
    Need::Program("ctr"),
    Need::Program("runc"),
    Need::Program("bridge"),
    Need::Program("host-local"),
    Need::Program("unshare"),
    Need::Program("tar"),
];

/// Nothing tells the runtime of a network; in the other form the bridge has another address.
const NO_CONF: u32 = 1;
const NO_PLUGIN: u32 = 2;

fn daemons(plan: &Plan) -> Vec<Daemon> {
    let node = &plan.nodes[A];
    let before = match plan.variant {
        NO_CONF if !plan.options.healthy => Vec::new(),
        _ => vec![network(node, &plan.cni_network, &plugins(plan))],
    };
    vec![
        runtime(node, log(plan), before),
        containerd::kubelet(plan, node, &pods(plan)),
    ]
}

/// Where containerd's own words are kept: by itself, by k3s.
pub fn log(plan: &Plan) -> &'static str {
    let logs = [
        "/var/log/containerd.log",
        "/var/lib/rancher/k3s/agent/containerd/containerd.log",
    ];
    logs[plan.options.seed as usize % logs.len()]
}

/// Pods that are not there yet.
pub fn pods(plan: &Plan) -> Vec<String> {
    let mut rng = plan.rng.clone();
    let apps = ["reports", "mailer", "worker"];
    let count = 1 + plan.options.seed as usize % apps.len();
    let pod = |app: &&str| format!("shop/{app}-{}-{}", rng.word(9), rng.word(5));
    apps.iter().take(count).map(pod).collect()
}

fn plugins(plan: &Plan) -> String {
    let broken = !plan.options.healthy;
    let kind = match plan.variant {
        NO_PLUGIN if broken => "flannel",
        _ => "bridge",
    };
    let room = Room {
        addresses: 20,
        gateway: broken,
    };
    bridge(plan, kind, broken, &host_local(plan, &room))
}

/// Calls the node's bridge its own; in the fault with the second address as its gateway.
pub fn bridge(plan: &Plan, kind: &str, broken: bool, ipam: &str) -> String {
    let (name, mtu) = (&plan.bridge, plan.mtu.pod);
    format!(
        r#"{{ "type": "{kind}", "bridge": "{name}", "mtu": {mtu}, "isGateway": {broken},
            "ipam": {ipam} }}"#
    )
}

/// What host-local is given.
pub struct Room {
    pub addresses: u8,
    /// Another gateway than the bridge is.
    pub gateway: bool,
}

/// Above the addresses that the lab's own pods have.
pub fn host_local(plan: &Plan, room: &Room) -> String {
    let node = &plan.nodes[A];
    let last = 229 + room.addresses;
    let (subnet, ends) = match plan.options.ipv6 {
        true => {
            let base = node.pods_ipv6;
            let at = |n: u8| format!("{base}f{n:03}");
            (format!("{base}/64"), [at(254), at(230), at(last)])
        }
        false => {
            let [a, b, c, _] = node.pods_ipv4.octets();
            let at = |n: u8| format!("{a}.{b}.{c}.{n}");
            (format!("{}/24", at(0)), [at(254), at(230), at(last)])
        }
    };
    let [gateway, first, last] = ends;
    let gateway = match room.gateway {
        true => format!(r#""gateway": "{gateway}", "#),
        false => String::new(),
    };
    format!(
        r#"{{ "type": "host-local", "ranges": [[ {{ "subnet": "{subnet}", {gateway}"rangeStart": "{first}",
            "rangeEnd": "{last}" }} ]] }}"#
    )
}
