//! netdiag names the cause of lost packets on a Kubernetes node.
pub mod cli;
pub mod lab;
pub mod model;
