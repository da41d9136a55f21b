//! From readings to facts: names for numbers, pods for addresses, journeys for flows.
pub mod asked;
pub mod attempts;
pub mod clock;
pub mod course;
pub mod excerpt;
pub mod facts;
mod forged;
pub mod join;
pub mod journey;
pub mod legs;
pub mod names;
pub mod picture;
pub mod samples;
pub mod scene;
pub mod since;
pub mod success;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod translation;
pub mod unseen;
pub mod whose;

use netdiag_model as model;
