//! From readings to facts: names for numbers, pods for addresses, journeys for flows, and the
//! verdict out of the causes' findings.
pub mod asked;
pub mod attempts;
pub mod clock;
pub mod course;
pub mod deltas;
pub mod facts;
pub mod join;
pub mod journey;
pub mod judge;
pub mod legs;
pub mod names;
pub mod path;
mod patience;
pub mod samples;
pub mod scene;
pub mod since;
mod translation;
mod unseen;
pub mod verdict;
pub mod whose;
