//! From readings to facts: names for numbers, pods for addresses, journeys for flows, and the
//! verdict out of the causes' findings.
pub mod clock;
pub mod deltas;
pub mod facts;
pub mod journey;
pub mod judge;
pub mod names;
pub mod samples;
pub mod scene;
pub mod verdict;
