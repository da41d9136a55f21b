//! Pure data and the seams between the layers; nothing here does I/O.
pub mod address;
pub mod command;
pub mod control;
pub mod dns;
pub mod event;
pub mod filter;
pub mod flow;
pub mod gather;
pub mod limits;
pub mod node;
pub mod observation;
pub mod pod;
pub mod reason;
pub mod roles;
pub mod services;
pub mod verdict;
