//! The cluster's name server knows its own names, and its upstream outside of the cluster hangs
//! or refuses every question.
use super::{POD_A, Scenario, bulk, everyday};
use crate::daemon::Daemon;
use crate::nameserver::{self, EXTERNAL, KUBERNETES, MISSING};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, B, Place, Plan};
use crate::timeline::Timeline;
use crate::traffic::{DNS_PORT, Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "dns-upstream-failing",
    summary: "the name server's upstream hangs or refuses: cluster names resolve, no others do",
    expected: &["dns-upstream-failing"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::Program("dnsmasq"),
        Need::Program("sh"),
    ],
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    timeline,
    daemons,
    traffic,
    takes: &[Part::NameServer],
    relies_on: &[Part::Way],
    hidden_as: |plan| match at(plan) {
        Place::Pod(B, _) => &["dns-unreachable"],
        _ => &[],
    },
    ..Scenario::BASE
};

/// Up to this form the server's own questions pass the diagnosing node; in the others than this
/// one its upstream hangs.
const REFUSES: u32 = 1;

fn at(plan: &Plan) -> Place {
    let node = if plan.variant <= REFUSES { A } else { B };
    Place::Pod(node, 1)
}

fn daemons(plan: &Plan) -> Vec<Daemon> {
    let refuses = !plan.options.healthy && plan.variant == REFUSES;
    let upstream = match refuses {
        true => nameserver::refusing(plan, Place::Outside),
        false => nameserver::outside(plan, Place::Outside),
    };
    let address = plan.address(Place::Outside);
    vec![upstream, nameserver::cluster(plan, at(plan), Some(address))]
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let ask = |name, ms| Flow::new(Work::Resolve(name), POD_A, at(plan), DNS_PORT, ms);
    let mut flows: Vec<_> = [everyday(), bulk(100_000)].concat();
    flows.retain(|flow| flow.work != Work::Nxdomain);
    flows.extend([ask(KUBERNETES, 300), ask(MISSING, 400)]);
    flows.extend(EXTERNAL.map(|name| ask(name, 200)));
    flows
}

fn timeline(plan: &Plan) -> Timeline {
    match plan.variant {
        REFUSES => Timeline::default(),
        _ if plan.options.healthy => Timeline::default(),
        _ => Timeline::once(vec![(1000, nameserver::hang(plan, Place::Outside))]),
    }
}
