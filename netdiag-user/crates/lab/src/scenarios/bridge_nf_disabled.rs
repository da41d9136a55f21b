//! A Service's pod is on the same bridge as its client, and the bridge does not ask netfilter:
//! the answers bypass the translation.
use std::net::SocketAddr;

use super::{HTTP, POD_A, Scenario, bulk, everyday};
use crate::kube_proxy::{self, Service};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, B, Place, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "bridge-nf-disabled",
    summary: "bridge-nf-call-iptables is 0: answers from a pod on the same bridge bypass NAT",
    expected: &["bridge-nf-disabled"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::NfTables,
        Need::BridgeNetfilter,
        Need::Program("nft"),
        Need::Program("iptables-legacy-restore"),
        Need::Program("iptables-nft-restore"),
    ],
    faults,
    traffic,
    fixable: |_| true,
    takes: &[Part::Services],
    relies_on: &[Part::Connections],
    ..Scenario::BASE
};

const NEIGHBOUR: Place = Place::Pod(A, 1);
const PORT: u16 = 80;

fn service(plan: &Plan) -> Service {
    Service {
        namespace: plan.nodes[A].pods[1].namespace.clone(),
        name: "beside".to_owned(),
        protocol: "tcp",
        address: plan.cluster_ip(77),
        port: PORT,
        node_port: None,
        backends: vec![(plan.address(NEIGHBOUR), HTTP)],
    }
}

fn faults(plan: &Plan) -> Vec<Step> {
    let (mode, all) = (plan.proxy_mode(), [service(plan)]);
    let value = if plan.options.healthy { "1" } else { "0" };
    let call = ["iptables", "ip6tables"].map(|tables| Step::Sysctl {
        netns: plan.nodes[A].netns.clone(),
        key: format!("net/bridge/bridge-nf-call-{tables}"),
        value: value.to_owned(),
    });
    let sync = [A, B].map(|node| kube_proxy::sync(plan, &plan.nodes[node], mode, &all));
    sync.into_iter().chain(call).collect()
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let service = service(plan);
    let asked = [200, 350].map(|ms| Flow {
        asks: Some(SocketAddr::new(service.address, service.port)),
        ..Flow::new(Work::Request, POD_A, NEIGHBOUR, HTTP, ms)
    });
    [everyday(), bulk(100_000), asked.to_vec()].concat()
}
