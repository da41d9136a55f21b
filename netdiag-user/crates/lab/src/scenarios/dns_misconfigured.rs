//! One pod's resolv.conf names a server outside of the cluster, which knows none of its names.
use super::{DNS_B, POD_A, Scenario, bulk, everyday};
use crate::cgroup::seat::Seat;
use crate::daemon::Daemon;
use crate::nameserver::{self, EXTERNAL, KUBERNETES, SERVICE};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, Place, Plan};
use crate::traffic::{DNS_PORT, Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "dns-misconfigured",
    summary: "a pod's resolv.conf names a server that does not know the cluster's names",
    expected: &["dns-misconfigured"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::Program("dnsmasq"),
        Need::Program("getent"),
        Need::Program("mount"),
        Need::Program("sh"),
    ],
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    daemons: |plan| {
        vec![
            nameserver::cluster(plan, DNS_B, None),
            other(plan),
            kubelet(plan),
            resolver(plan),
        ]
    },
    traffic,
    takes: &[Part::NameServer],
    relies_on: &[Part::Way],
    ..Scenario::BASE
};

const REFUSES: u32 = 1;

fn other(plan: &Plan) -> Daemon {
    match plan.variant {
        REFUSES => nameserver::refusing(plan, Place::Outside),
        _ => nameserver::outside(plan, Place::Outside),
    }
}

/// What kubelet tells all other pods, by its configuration.
fn kubelet(plan: &Plan) -> Daemon {
    let text = format!(
        "kind: KubeletConfiguration\nclusterDomain: cluster.local\nclusterDNS:\n- {}\n",
        plan.address(DNS_B)
    );
    Daemon {
        netns: plan.nodes[A].netns.clone(),
        program: "sleep".to_owned(),
        shown_as: Some("kubelet".to_owned()),
        arguments: vec!["600".to_owned()],
        seat: Seat::Service,
        files: vec![("{root}/var/lib/kubelet/config.yaml".to_owned(), text)],
        ..Daemon::default()
    }
}

/// The pod's own lookups, by the C library and the file that kubelet would write.
fn resolver(plan: &Plan) -> Daemon {
    let server = if plan.options.healthy {
        DNS_B
    } else {
        Place::Outside
    };
    let address = plan.address(server);
    let text = format!(
        "search default.svc.cluster.local svc.cluster.local cluster.local\n\
         nameserver {address}\n\
         options ndots:5 timeout:1 attempts:2\n"
    );
    let names = [SERVICE, KUBERNETES].map(|name| name.trim_end_matches(".svc.cluster.local"));
    let lookups = names
        .map(|name| format!("getent ahosts {name}; sleep 0.2"))
        .join("; ");
    let file = format!("{}.resolv.conf", plan.netns(POD_A));
    let mount = format!("mount --bind {{dir}}/{file} /etc/resolv.conf");
    Daemon {
        netns: plan.netns(POD_A).to_owned(),
        program: "sh".to_owned(),
        arguments: vec![
            "-c".to_owned(),
            format!("{mount} && while :; do {lookups}; done >/dev/null"),
        ],
        files: vec![(file, text)],
        ..Daemon::default()
    }
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let neighbour = Place::Pod(A, 1);
    let ask = |name, ms| Flow::new(Work::Resolve(name), neighbour, DNS_B, DNS_PORT, ms);
    let mut flows: Vec<_> = [everyday(), bulk(100_000)].concat();
    flows.retain(|flow| flow.work != Work::Nxdomain);
    flows.extend([ask(KUBERNETES, 300), ask(SERVICE, 400)]);
    // A pod may ask whom it likes for other names.
    let [name, _] = EXTERNAL;
    if plan.variant != REFUSES {
        let other = Flow::new(
            Work::Resolve(name),
            neighbour,
            Place::Outside,
            DNS_PORT,
            500,
        );
        flows.push(other);
    }
    flows
}
