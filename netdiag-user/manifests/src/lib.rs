//! What a cluster is given so that netdiag runs on each of its nodes, as typed objects: no template
//! can leave a field of them misspelt.
mod pod;
mod profile;
mod yaml;

pub use pod::{CONTAINER, HOST_ROOT, pod_spec};
pub use profile::Profile;
pub use yaml::{Document, stream};

use netdiag_sys as sys;
