//! A cluster in which all is well: transfers, closes, now and then a refused port and a name
//! that does not exist.
use super::{HTTP, POD_A, POD_B, Scenario, VXLAN, bulk, everyday};
use crate::lab::plan::{A, Kind};
use crate::lab::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "healthy",
    summary: "nothing is wrong: mixed traffic with closes, a refused port and an NXDOMAIN",
    topology: Kind::Vxlan,
    expected: &[],
    needs: VXLAN,
    no_ipv6: None,
    shape: |_| {},
    faults: |_| Vec::new(),
    traffic: |_| {
        let refused = Flow::new(Work::Refused, POD_A, POD_B, HTTP + 1, 1500);
        [everyday(), bulk(300_000), vec![refused]].concat()
    },
    observer: |_| A,
};
