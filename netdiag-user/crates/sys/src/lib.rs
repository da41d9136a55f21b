//! System calls for which neither std, nix nor aya has a safe form.
pub mod bpf;
pub mod capabilities;
pub mod cost;
pub mod exit;
pub mod file;
pub mod limits;
pub mod memory;
pub mod output_file;
pub mod program;
pub mod readable;
pub mod ready;
pub mod seccomp;
pub mod settings_file;
pub mod socket;
pub mod thrift;
pub mod tun;
mod way;

use netdiag_model as model;
