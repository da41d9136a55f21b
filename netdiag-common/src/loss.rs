//! What is counted where packets die and where sockets send again.
use crate::{flow::FlowKey, wire};

/// `DropKey::netns` when the packet's namespace could not be told.
pub const NETNS_UNKNOWN: u32 = 0;

/// `DropKey::reason` where the kernel gives none (before 5.17). No kernel's enum has it.
pub const NO_REASON: u32 = u32::MAX;

/// Protocol of [`DropKey::flow`] in a row for all flows at that place that have none of their own;
/// its family is 0. No packet has it (IANA keeps 255 for none).
pub const REST: u8 = 255;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct DropKey {
    pub flow: FlowKey,
    /// Kernel address of the caller of `kfree_skb`.
    pub location: u64,
    /// Value of the running kernel's `enum skb_drop_reason`, or [`NO_REASON`].
    pub reason: u32,
    /// Inode of the network namespace.
    pub netns: u32,
    pub ifindex: u32,
    pub padding: u32,
}
wire!(DropKey, 64);

impl DropKey {
    /// The row for what died at the same place and has none of its own.
    pub const fn rest(&self) -> Self {
        Self {
            flow: FlowKey {
                protocol: REST,
                ..FlowKey::EMPTY
            },
            ..*self
        }
    }

    pub const fn is_rest(&self) -> bool {
        self.flow.family == 0 && self.flow.protocol == REST
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    pub packets: u64,
    pub bytes: u64,
    pub first: u64,
    pub last: u64,
    pub next_emit: u64,
    /// TCP sequence number of the last one.
    pub sequence: u32,
    /// Largest one, in wire bytes from the IP header on.
    pub largest: u32,
    /// Ethertype in host order.
    pub ethertype: u32,
    /// TCP flags byte of the last one.
    pub tcp_flags: u32,
}
wire!(Dropped, 56);

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct RetransmitKey {
    pub flow: FlowKey,
    pub netns: u32,
    pub padding: u32,
}
wire!(RetransmitKey, 48);

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retransmitted {
    pub packets: u64,
    pub first: u64,
    pub last: u64,
    pub next_emit: u64,
    pub sequence: u32,
    pub payload: u32,
}
wire!(Retransmitted, 40);
