//! From readings to facts: names for numbers, pods for addresses, journeys for flows.
pub mod agreement;
pub mod asked;
pub mod attribution;
pub mod clock;
pub mod connection_groups;
pub mod conversation;
pub mod coverage;
pub mod difference;
pub mod direction;
pub mod excerpt;
pub mod expected_path;
pub mod facts;
mod forged;
pub mod join;
pub mod journey;
pub mod legs;
pub mod misled;
pub mod names;
pub mod owed;
pub mod picture;
pub mod predicted;
pub mod samples;
pub mod scene;
pub mod since;
pub mod spent;
pub mod success;
pub mod taker;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod translation;
pub mod tried;
pub mod ways;

use netdiag_model as model;
