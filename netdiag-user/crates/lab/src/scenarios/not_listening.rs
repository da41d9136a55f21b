//! The clients of a pod ask for a port where no program listens: it crashed, or the Service's
//! targetPort is another one than the program's.
use super::{POD_A, POD_B, Scenario, bulk, everyday};
use crate::parts::Part;
use crate::plan::{A, Place, Plan};
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "not-listening",
    summary: "nobody listens on the port of a pod that its clients connect to",
    expected: &["not-listening"],
    shape: |plan| plan.variant = (plan.form() % 4) as u32,
    traffic,
    takes: &[Part::Pod],
    relies_on: &[Part::Way],
    ..Scenario::BASE
};

/// An agent for metrics or traces that is gone.
const DATAGRAMS: u32 = 3;

/// From another node, from the same node's other pod, or from the node itself, as probes come.
fn traffic(plan: &Plan) -> Vec<Flow> {
    let from = [POD_B, Place::Pod(A, 1), Place::Node(A), POD_B][plan.variant as usize];
    let work = match (plan.variant, plan.options.healthy) {
        (DATAGRAMS, true) => Work::Datagram,
        (DATAGRAMS, false) => Work::RefusedDatagram,
        (_, true) => Work::Request,
        (_, false) => Work::Refused,
    };
    let ports = [3000, 8443, 5432, 9090, 15432];
    let port = ports[plan.options.seed as usize % ports.len()];
    [
        everyday(),
        bulk(100_000),
        vec![Flow::new(work, from, POD_A, port, 300)],
    ]
    .concat()
}
