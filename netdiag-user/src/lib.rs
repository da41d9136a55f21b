//! netdiag names the cause of lost packets on a Kubernetes node.
pub mod causes;
pub mod cli;
pub mod host;
pub mod kernel;
pub mod lab;
pub mod model;
pub mod output;
pub mod pipeline;
pub mod pods;
pub mod recording;
#[cfg(test)]
mod testing;
