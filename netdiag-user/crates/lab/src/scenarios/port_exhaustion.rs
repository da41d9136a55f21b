//! A client with few local ports keeps all its connections to one server open.
use super::{POD_A, POD_B, Scenario, bulk, everyday};
use crate::parts::Part;
use crate::plan::{A, Place, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Serving, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "port-exhaustion",
    summary: "a pod's connections to one server take up all its local ports",
    expected: &["port-exhaustion"],
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    faults,
    traffic,
    fixable: |_| true,
    takes: &[Part::Pod],
    relies_on: &[Part::Way],
    ..Scenario::BASE
};

/// Local ports of the client; the healthy twin has the kernel's usual range.
const PORTS: u16 = 200;

fn faults(plan: &Plan) -> Vec<Step> {
    if plan.options.healthy {
        return Vec::new();
    }
    let low = 40_000 + 100 * (plan.options.seed % 50) as u16;
    vec![Step::Sysctl {
        netns: plan.netns(POD_A).to_owned(),
        key: "net/ipv4/ip_local_port_range".to_owned(),
        value: format!("{low} {}", low + PORTS - 1),
    }]
}

/// The server takes them all, on the other node or beside the client.
fn traffic(plan: &Plan) -> Vec<Flow> {
    let to = [POD_B, Place::Pod(A, 1)][plan.variant as usize];
    let ports = [5432, 6379, 3306, 27017];
    let port = ports[plan.options.seed as usize % ports.len()];
    let held = Flow {
        serving: Serving::Stuck(1024),
        ..Flow::new(Work::Hold(u32::from(PORTS) + 50), POD_A, to, port, 50)
    };
    [everyday(), bulk(100_000), vec![held]].concat()
}
