//! The kernel side, loaded: the only folder that names aya.
pub mod attach;
mod batch;
pub mod btf;
pub mod cost;
pub mod ledger;
pub mod load;
pub mod offsets;
pub mod read;
pub mod refusal;
mod rest;
pub mod rtnl;
mod settle;
pub mod sizes;
pub mod support;
pub mod sweep;
pub mod symbols;
pub mod tc;
pub mod trial;
mod version;
mod watch;
pub mod weigh;

use netdiag_host as host;
use netdiag_model as model;
use netdiag_pods as pods;
use netdiag_sys as sys;
