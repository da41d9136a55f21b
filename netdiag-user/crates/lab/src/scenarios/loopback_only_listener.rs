//! The program in a pod listens on its loopback address: inside all is well, outside every
//! connection is refused.
use super::{POD_A, POD_B, Scenario, bulk, everyday};
use crate::parts::Part;
use crate::plan::{A, Place, Plan};
use crate::traffic::{Flow, Serving, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "loopback-only-listener",
    summary: "the program in a pod listens on 127.0.0.1 or ::1 only",
    expected: &["loopback-only-listener"],
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    traffic,
    takes: &[Part::Pod],
    relies_on: &[Part::Way],
    ..Scenario::BASE
};

fn traffic(plan: &Plan) -> Vec<Flow> {
    let from = [POD_B, Place::Pod(A, 1), Place::Node(A)][plan.variant as usize];
    let ports = [3000, 8443, 5432, 9090, 15432];
    let port = ports[plan.options.seed as usize % ports.len()];
    let serving = if plan.options.healthy {
        Serving::Usual
    } else {
        Serving::Loopback
    };
    let refused = Flow {
        serving,
        ..Flow::new(Work::Request, from, POD_A, port, 300)
    };
    [everyday(), bulk(100_000), vec![refused]].concat()
}
