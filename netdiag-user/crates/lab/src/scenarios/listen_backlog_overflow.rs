//! A program with a short queue stops accepting: the first connections fill the queue, all others
//! are ignored.
use super::{POD_A, POD_B, Scenario, bulk, everyday};
use crate::parts::Part;
use crate::plan::{A, Place, Plan};
use crate::traffic::{Flow, Serving, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "listen-backlog-overflow",
    summary: "a program in a pod does not accept, and its short queue is full",
    expected: &["listen-backlog-overflow"],
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    traffic,
    takes: &[Part::Pod],
    relies_on: &[Part::Way],
    ..Scenario::BASE
};

/// The queue holds one more than its backlog, and the first four clients fill it at once.
fn traffic(plan: &Plan) -> Vec<Flow> {
    let backlog = 1 + plan.variant as i32;
    let serving = if plan.options.healthy {
        Serving::Narrow(backlog)
    } else {
        Serving::Stuck(backlog)
    };
    let ports = [3000, 8443, 5432, 9090, 15432];
    let port = ports[plan.options.seed as usize % ports.len()];
    let clients = [
        (POD_B, 200),
        (POD_B, 300),
        (Place::Pod(A, 1), 250),
        (Place::Node(A), 350),
    ];
    let ask = clients.map(|(from, ms)| Flow {
        serving,
        ..Flow::new(Work::Request, from, POD_A, port, ms)
    });
    [everyday(), bulk(100_000), ask.to_vec()].concat()
}
