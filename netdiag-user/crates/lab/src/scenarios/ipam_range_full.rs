//! A real containerd asks for more pods than the real host-local plugin has addresses.
use super::cni_add_failing::{CONTAINERD, Room, bridge, host_local, log, pods};
use super::{Scenario, bulk, everyday};
use crate::containerd::{self, network, runtime};
use crate::daemon::Daemon;
use crate::parts::Part;
use crate::plan::{A, Plan};

pub const SCENARIO: Scenario = Scenario {
    name: "ipam-range-full",
    summary: "containerd asks for more pods than host-local has addresses",
    expected: &["ipam-exhausted"],
    leads_to: &["cni-add-failing"],
    needs: CONTAINERD,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    daemons,
    takes: &[Part::Cni],
    ..Scenario::BASE
};

/// One address too few.
fn daemons(plan: &Plan) -> Vec<Daemon> {
    let node = &plan.nodes[A];
    let pods = [pods(plan), vec!["shop/backup-0".to_owned()]].concat();
    let room = Room {
        addresses: if plan.options.healthy {
            20
        } else {
            pods.len() as u8 - 1
        },
        gateway: false,
    };
    let plugins = bridge(plan, "bridge", false, &host_local(plan, &room));
    let before = vec![network(node, &plan.cni_network, &plugins)];
    vec![
        runtime(node, log(plan), before),
        containerd::kubelet(plan, node, &pods),
    ]
}
