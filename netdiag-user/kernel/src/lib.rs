//! The kernel side, loaded: the only folder that names aya.
pub mod attach;
mod batch;
pub mod btf;
pub mod cost;
mod flush;
pub mod hooked;
pub mod ledger;
pub mod load;
pub mod offsets;
pub mod read;
mod rest;
pub mod rtnl;
mod settings;
pub mod sizes;
pub mod support;
pub mod sweep;
pub mod symbols;
pub mod tc;
pub mod trial;
mod watch;

use netdiag_host as host;
use netdiag_model as model;
use netdiag_pods as pods;
use netdiag_sys as sys;
