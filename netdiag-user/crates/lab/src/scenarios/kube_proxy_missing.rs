//! kube-proxy does not run on the node: ClusterIPs leave it as they are, and nobody answers. The
//! cluster's name server is such an address too.
use std::net::{IpAddr, SocketAddr};

use super::{DNS_B, HTTP, KUBE_PROXY, POD_A, POD_B, Scenario, bulk, everyday};
use crate::cgroup::seat::Seat;
use crate::daemon::Daemon;
use crate::kube_proxy::{self, Service};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, B, Plan};
use crate::step::Step;
use crate::traffic::{DNS_PORT, Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "kube-proxy-missing",
    summary: "kube-proxy is gone from the node, and ClusterIPs leave it untranslated",
    expected: &["kube-proxy-missing"],
    needs: NEEDS,
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    faults,
    late,
    daemons,
    traffic,
    takes: &[Part::Services],
    relies_on: &[Part::Way, Part::Connections],
    ..Scenario::BASE
};

/// And a container that was told of Services.
const NEEDS: &[Need] = &{
    let mut all = [Need::Cgroups; KUBE_PROXY.len() + 1];
    let mut n = 0;
    while n < KUBE_PROXY.len() {
        all[n] = KUBE_PROXY[n];
        n += 1;
    }
    all
};

const PORT: u16 = 80;
const ECHO: u16 = 7;

/// The Service that was there before, and those that came later.
fn services(plan: &Plan) -> [Service; 4] {
    let service = |name: &str, protocol, number, port, (place, to)| Service {
        namespace: plan.nodes[B].pods[0].namespace.clone(),
        name: name.to_owned(),
        protocol,
        address: plan.cluster_ip(number),
        port,
        node_port: None,
        backends: vec![(plan.address(place), to)],
    };
    [
        service("old", "tcp", 9, PORT, (POD_B, HTTP)),
        service("web", "tcp", 77, PORT, (POD_B, HTTP)),
        service("echo", "udp", 78, ECHO, (POD_B, ECHO)),
        service("kube-dns", "udp", 10, DNS_PORT, (DNS_B, DNS_PORT)),
    ]
}

/// It never ran here, or it died and left the rules of that time behind.
fn faults(plan: &Plan) -> Vec<Step> {
    let (mode, all) = (plan.proxy_mode(), services(plan));
    let here = match (plan.options.healthy, plan.variant) {
        (true, _) => &all[..],
        (false, 0) => &[],
        (false, _) => &all[..1],
    };
    let mut steps = vec![kube_proxy::sync(plan, &plan.nodes[B], mode, &all)];
    if !here.is_empty() {
        steps.push(kube_proxy::sync(plan, &plan.nodes[A], mode, here));
    }
    steps
}

/// Somebody cleans up after it; where it died, its rules go with its chains.
fn late(plan: &Plan) -> Vec<Step> {
    let gone = plan.variant == 0;
    let gone = gone.then(|| kube_proxy::cleanup(plan, &plan.nodes[A], plan.proxy_mode()));
    gone.into_iter().collect()
}

/// A container, told of its namespace's Services as kubelet does it; the API server, which knows
/// that it is told the truth; and kube-proxy.
fn daemons(plan: &Plan) -> Vec<Daemon> {
    let [_, web, echo, dns] = services(plan).map(|s| s.address);
    let told = [
        format!("HOSTNAME={}", plan.nodes[A].pods[0].name),
        format!("WEB_SERVICE_HOST={web}"),
        format!("ECHO_SERVICE_HOST={echo}"),
        format!("KUBE_DNS_SERVICE_HOST={dns}"),
    ];
    let sleep = ["sleep", "600"].map(str::to_owned);
    let container = Daemon {
        netns: plan.netns(POD_A).to_owned(),
        program: "env".to_owned(),
        arguments: told.into_iter().chain(sleep.clone()).collect(),
        seat: Seat::Container,
        ..Daemon::default()
    };
    let proxy = Daemon {
        netns: plan.nodes[A].netns.clone(),
        program: "sleep".to_owned(),
        shown_as: Some("kube-proxy".to_owned()),
        arguments: sleep[1..].to_vec(),
        seat: Seat::Service,
        ..Daemon::default()
    };
    let range = match web {
        IpAddr::V4(web) => {
            let [a, b, ..] = web.octets();
            format!("{a}.{b}.0.0/16")
        }
        IpAddr::V6(web) => {
            let [a, b, c, ..] = web.segments();
            format!("{a:x}:{b:x}:{c:x}::/64")
        }
    };
    let api = Daemon {
        netns: plan.nodes[A].netns.clone(),
        program: "sh".to_owned(),
        shown_as: Some("kube-apiserver".to_owned()),
        arguments: vec![
            "-c".to_owned(),
            "while :; do sleep 1; done".to_owned(),
            format!("--service-cluster-ip-range={range}"),
        ],
        seat: Seat::Service,
        ..Daemon::default()
    };
    if plan.options.healthy {
        vec![container, api, proxy]
    } else {
        vec![container, api]
    }
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let [_, web, echo, dns] = services(plan);
    let ask = |service: &Service, flow: Flow| Flow {
        asks: Some(SocketAddr::new(service.address, service.port)),
        ..flow
    };
    let asked = vec![
        ask(&web, Flow::new(Work::Request, POD_A, POD_B, HTTP, 200)),
        ask(&echo, Flow::new(Work::Datagram, POD_A, POD_B, ECHO, 300)),
        ask(&dns, Flow::new(Work::Nxdomain, POD_A, DNS_B, DNS_PORT, 250)),
    ];
    [everyday(), bulk(100_000), asked].concat()
}
