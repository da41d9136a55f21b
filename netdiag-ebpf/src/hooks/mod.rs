//! One file a hook: what it sees, the kernel prototype, what it costs.
pub mod empty;
pub mod flush;
pub mod hop;
pub mod kfree_skb;
pub mod mark_victim;
pub mod tcp_retransmit_skb;

mod account;
mod claim;
mod dns;
mod encap;
mod icmp_error;
