//! A cluster in which all is well: transfers, closes, now and then a refused port and a name
//! that does not exist.
//!
//! The refused port is another one each time: a client that asks for the same port every second
//! or two and never gets it is no healthy cluster, but `not-listening`.
use super::{HTTP, POD_A, POD_B, Scenario, bulk, everyday};
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "healthy",
    summary: "nothing is wrong: mixed traffic with closes, a refused port and an NXDOMAIN",
    traffic: |_| {
        let refused = Flow::new(Work::Scan, POD_A, POD_B, HTTP + 1, 1500);
        [everyday(), bulk(300_000), vec![refused]].concat()
    },
    ..Scenario::BASE
};
