//! Who says by ARP (RFC 826) or neighbour discovery (RFC 4861) that an address is theirs, and who asks for it.
use crate::wire;

/// An address at the link where it was claimed, or asked for.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct NeighbourAnnouncementKey {
    pub address: [u8; 16],
    pub ifindex: u32,
    pub family: u8,
    /// 1 where it was asked for.
    pub asked: u8,
    pub padding: [u8; 2],
}
wire!(NeighbourAnnouncementKey, 24);

/// The two link-layer addresses that claimed it, or asked for it, as numbers of 48 bits; of more than two those
/// that came last. 0 as long as there is only one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighbourAnnouncement {
    pub one: u64,
    pub other: u64,
    /// Answers and announcements of each, or questions.
    pub of_one: u64,
    pub of_other: u64,
    pub first: u64,
    pub last: u64,
    /// How often it was another one than the time before.
    pub changes: u32,
    /// 1 when `other` was the last.
    pub latest: u32,
}
wire!(NeighbourAnnouncement, 56);
