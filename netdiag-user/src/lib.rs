//! netdiag names the cause of lost packets on a Kubernetes node.
pub mod causes;
pub mod cli;
#[cfg(feature = "cri")]
pub mod cri;
pub mod host;
pub mod kernel;
#[cfg(feature = "k8s")]
pub mod kubernetes;
pub mod lab;
pub mod model;
pub mod output;
pub mod pipeline;
pub mod pods;
pub mod recording;
pub mod sys;
#[cfg(test)]
mod testing;
