//! The cluster's name server answers no more: its process hangs, here or on the other node, or
//! the other node drops the queries.
use super::{POD_A, POD_B, Scenario, bulk, everyday};
use crate::daemon::Daemon;
use crate::nameserver::{self, KUBERNETES, MISSING, SERVICE};
use crate::needs::Need;
use crate::nft::{Chain, End};
use crate::parts::Part;
use crate::plan::{A, B, Place, Plan};
use crate::step::Step;
use crate::timeline::Timeline;
use crate::traffic::{DNS_PORT, Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "dns-unreachable",
    summary: "the cluster's name server hangs, or the queries to it are lost behind this node",
    expected: &["dns-unreachable"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::NfTables,
        Need::Program("dnsmasq"),
        Need::Program("sh"),
    ],
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    faults,
    timeline,
    daemons: |plan| vec![server(plan)],
    traffic,
    takes: &[Part::NameServer],
    relies_on: &[Part::Way],
    hidden_as: |plan| match plan.variant {
        HANGS_HERE => &[],
        _ => &["dns-unreachable"],
    },
    ..Scenario::BASE
};

const HANGS_HERE: u32 = 0;
const HANGS_THERE: u32 = 1;

fn at(plan: &Plan) -> Place {
    let node = if plan.variant == HANGS_HERE { A } else { B };
    Place::Pod(node, 1)
}

fn server(plan: &Plan) -> Daemon {
    nameserver::cluster(plan, at(plan), None)
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let ask = |name, from, ms| Flow::new(Work::Resolve(name), from, at(plan), DNS_PORT, ms);
    let mut flows: Vec<_> = [everyday(), bulk(100_000)].concat();
    // It has a real name server instead.
    flows.retain(|flow| flow.work != Work::Nxdomain);
    flows.extend([
        ask(KUBERNETES, POD_A, 200),
        ask(SERVICE, POD_A, 300),
        ask(MISSING, POD_A, 400),
    ]);
    if plan.variant == HANGS_THERE {
        flows.push(ask(SERVICE, POD_B, 500));
    }
    flows
}

fn timeline(plan: &Plan) -> Timeline {
    match plan.variant {
        _ if plan.options.healthy => Timeline::default(),
        HANGS_HERE | HANGS_THERE => Timeline::once(vec![(1000, nameserver::hang(plan, at(plan)))]),
        _ => Timeline::default(),
    }
}

/// On the other node, which this one cannot see.
fn faults(plan: &Plan) -> Vec<Step> {
    if plan.options.healthy || plan.variant <= HANGS_THERE {
        return Vec::new();
    }
    let chain = Chain::dropping(libc::IPPROTO_UDP as u8, End::To, DNS_PORT);
    vec![Step::Firewall {
        netns: plan.nodes[B].netns.clone(),
        chain,
    }]
}
