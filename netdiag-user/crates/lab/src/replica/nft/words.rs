//! Attributes of nf_tables, whose numbers are in the network's order.
pub use super::super::netlink::{bytes, nested, text};

pub fn word(kind: u16, value: u32) -> Vec<u8> {
    bytes(kind, &value.to_be_bytes())
}
