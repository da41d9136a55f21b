//! Black-box tests of netdiag: what they share.
//!
//! The helpers panic with a sentence where the machine or netdiag does not do what the test
//! rests on; they are for tests only.
pub mod api;
pub mod chromium;
pub mod cni;
pub mod dropping;
pub mod impostor;
pub mod lab;
pub mod netdiag;
pub mod netns;
pub mod other_tc_user;
pub mod pcap;
pub mod process;
pub mod prometheus;
pub mod recordings;
pub mod require;
pub mod retransmits;
pub mod schema;
pub mod shell_node;
pub mod tcpdump;
pub mod terminal;
pub mod tmux;
pub mod topology;
pub mod traffic;
pub mod workdir;
