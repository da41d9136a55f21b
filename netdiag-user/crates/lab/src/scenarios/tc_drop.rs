//! A program that somebody left at a pod's link drops what is for one port: as a filter of tc's, at
//! tcx, or by XDP.
use super::{POD_A, POD_B, Scenario, bulk, everyday};
use crate::cgroup::filter::Filter;
use crate::link_filter::{At, LinkFilter};
use crate::needs::Need;
use crate::nft::End;
use crate::parts::Part;
use crate::plan::{A, Place, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "tc-drop",
    summary: "a BPF program at a pod's link (tc, tcx or XDP) drops what is for one port",
    expected: &["tc-drop"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::LinkPrograms,
        Need::Program("tc"),
        Need::Program("ip"),
    ],
    shape: |plan| plan.variant = (plan.form() % 5) as u32,
    faults,
    late,
    traffic,
    // Nobody but its owner takes a program from tcx.
    fixable: |plan| plan.variant != TCX,
    takes: &[Part::Database],
    relies_on: &[Part::Way, Part::Connections],
    ..Scenario::BASE
};

/// What the pod sends, and what is sent to it.
const SENT: u32 = 0;
const RECEIVED: u32 = 1;
const TCX: u32 = 2;
const XDP_GENERIC: u32 = 3;

fn port(plan: &Plan) -> u16 {
    let ports = [5432, 3306, 6379, 8443, 27017];
    ports[plan.options.seed as usize % ports.len()]
}

fn preference(plan: &Plan) -> u16 {
    10 + (plan.options.seed % 40) as u16
}

/// One program of a preference takes the other's place.
fn late(plan: &Plan) -> Vec<Step> {
    let side = match plan.variant {
        SENT => "ingress",
        RECEIVED => "egress",
        _ => return Vec::new(),
    };
    let (node, preference) = (&plan.nodes[A], preference(plan));
    let words = format!(
        "filter del dev {} {side} pref {preference}",
        node.pods[0].veth
    );
    vec![Step::Run {
        netns: node.netns.clone(),
        program: "tc",
        arguments: words.split(' ').map(str::to_owned).collect(),
        input: String::new(),
    }]
}

/// The healthy twin has the same program for a port that nobody uses.
fn faults(plan: &Plan) -> Vec<Step> {
    let seed = plan.options.seed;
    let at = match plan.variant {
        TCX => At::Tcx,
        XDP_GENERIC => At::XdpGeneric,
        SENT | RECEIVED => At::Clsact {
            preference: preference(plan),
            handle: 1 + (seed % 7) as u32,
        },
        _ => At::XdpDriver,
    };
    vec![Step::Filter(LinkFilter {
        netns: plan.nodes[A].netns.clone(),
        device: plan.nodes[A].pods[0].veth.clone(),
        at,
        name: ["db_guard", "ratelimit", "acl_v2"][seed as usize % 3],
        drops: Filter {
            egress: plan.variant == RECEIVED,
            ipv6: plan.options.ipv6,
            protocol: libc::IPPROTO_TCP as u8,
            end: End::To,
            port: if plan.options.healthy { 1 } else { port(plan) },
        },
    })]
}

/// Others in the cluster use the same service.
fn traffic(plan: &Plan) -> Vec<Flow> {
    let neighbour = Place::Pod(A, 1);
    let (from, to, beside) = match plan.variant {
        RECEIVED => (POD_B, POD_A, neighbour),
        _ => (POD_A, POD_B, POD_B),
    };
    let flows = vec![
        Flow::new(Work::Request, from, to, port(plan), 250),
        match plan.variant {
            RECEIVED => Flow::new(Work::Request, from, beside, port(plan), 300),
            _ => Flow::new(Work::Request, neighbour, beside, port(plan), 300),
        },
    ];
    [everyday(), bulk(100_000), flows].concat()
}
