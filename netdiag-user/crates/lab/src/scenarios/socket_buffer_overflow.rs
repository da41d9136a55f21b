//! An application in a pod of node A takes metrics by UDP and does not keep up.
use super::{POD_A, POD_B, Scenario, bulk, everyday};
use crate::parts::Part;
use crate::plan::{Place, Plan};
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "socket-buffer-overflow",
    summary: "an application reads its datagrams slower than they come",
    expected: &["socket-buffer-overflow"],
    traffic: |plan| [everyday(), bulk(100_000), vec![metrics(plan)]].concat(),
    relies_on: &[Part::Way],
    ..Scenario::BASE
};

/// Twenty datagrams at a time; the slow reader of them takes one and rests.
fn metrics(plan: &Plan) -> Flow {
    let slow = !plan.options.healthy;
    let from = [POD_B, Place::Outside][plan.form() % 2];
    let port = [8125, 514, 2055, 6343][plan.options.seed as usize % 4];
    Flow::new(Work::Metrics { slow }, from, POD_A, port, 100)
}
