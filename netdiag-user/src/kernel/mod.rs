//! The kernel side, loaded: the only folder that names aya.
pub mod attach;
mod batch;
pub mod btf;
pub mod cost;
pub mod ledger;
pub mod load;
pub mod offsets;
pub mod read;
pub(crate) mod rtnl;
pub mod support;
pub mod sweep;
pub mod symbols;
pub(crate) mod tc;
mod watch;
