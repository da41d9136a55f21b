//! Packets whose hops (TTL, hop limit) are used up on their way.
use netdiag_common::hop::{INGRESS, IcmpErrorKey};

use crate::model::icmp;

/// So many hops no way out of a cluster is made of.
pub const FEW: u8 = 4;

/// Somebody beyond says that they are used up there.
pub fn is_expired(key: &IcmpErrorKey) -> bool {
    key.direction == INGRESS && icmp::expired(key.about.family, key.kind, key.code)
}
