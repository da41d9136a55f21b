//! What the kernel must do with a packet: its way from station to station, computed from the state
//! of the namespaces that it crosses and from nothing else. Pure: no I/O, no clock.
mod between;
mod chances;
pub mod connection;
mod hooked;
mod learned;
mod listed;
pub mod packet;
mod prepared;
mod questions;
mod route;
mod stations;
pub mod tables;
mod tally;
pub mod way;
mod wrong;

pub use prepared::{Prepared, Wrong};
pub use stations::{answers_for, keeps_silent, walk, walk_after};
pub use tally::Tally;
