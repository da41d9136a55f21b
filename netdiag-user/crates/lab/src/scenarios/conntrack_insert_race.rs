//! Two pods of node A ask a name server outside at the same moment from the same port, and the
//! node's source NAT keeps ports as they are.
use super::{POD_A, Scenario, bulk, everyday};
use crate::nameserver;
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, Place, Plan};
use crate::step::Step;
use crate::traffic::{DNS_PORT, Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "conntrack-insert-race",
    summary: "two pods' queries at once are given the same port by the node's NAT: one is dropped",
    expected: &["conntrack-insert-race"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::TwoCpus,
        Need::Program("nft"),
        Need::Program("dnsmasq"),
    ],
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    faults,
    daemons: |plan| vec![nameserver::any(plan, Place::Outside)],
    traffic,
    takes: &[Part::Conntrack],
    relies_on: &[Part::Way],
    ..Scenario::BASE
};

const MASQUERADES: u32 = 0;

/// The healthy twin translates as well, to ports at random.
fn faults(plan: &Plan) -> Vec<Step> {
    let node = &plan.nodes[A];
    let (family, pods, own) = if plan.options.ipv6 {
        (
            "ip6",
            format!("{}/64", node.pods_ipv6),
            node.ipv6.to_string(),
        )
    } else {
        (
            "ip",
            format!("{}/24", node.pods_ipv4),
            node.ipv4.to_string(),
        )
    };
    let translate = match plan.variant {
        MASQUERADES => "masquerade".to_owned(),
        _ => format!("snat to {own}"),
    };
    let random = if plan.options.healthy {
        " fully-random"
    } else {
        ""
    };
    let rules = format!(
        "table {family} translation {{
            chain postrouting {{
                type nat hook postrouting priority 100
                oifname \"{}\" {family} saddr {pods} {translate}{random}
            }}
        }}
        ",
        node.uplink
    );
    vec![Step::Run {
        netns: node.netns.clone(),
        program: "nft",
        arguments: vec!["-f".to_owned(), "-".to_owned()],
        input: rules,
    }]
}

fn traffic(plan: &Plan) -> Vec<Flow> {
    let beside = Place::Pod(A, 1);
    let ask = |from, cpu| Flow {
        source: Some(plan.address(from)),
        ..Flow::new(Work::InStep { cpu }, from, Place::Outside, DNS_PORT, 0)
    };
    let asking = vec![ask(POD_A, 0), ask(beside, 1)];
    [everyday(), bulk(100_000), asking].concat()
}
