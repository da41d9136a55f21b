//! What is counted at one hop: flows, outer addresses, fragments, ICMP errors.
use crate::{flow::FlowKey, wire};

pub const INGRESS: u8 = 0;
pub const EGRESS: u8 = 1;

/// How a flow's packet was carried at a hop.
pub const PLAIN: u8 = 0;
pub const VXLAN: u8 = 1;
pub const IPIP: u8 = 2;

/// `FlowHop::flags`.
pub const DF: u32 = 1;
pub const GSO: u32 = 1 << 1;
pub const SYN: u32 = 1 << 2;
pub const FIN: u32 = 1 << 3;
pub const RST: u32 = 1 << 4;
/// `next_sequence` holds a value.
pub const TRACKED: u32 = 1 << 5;
/// An oversize packet had DF set.
pub const OVERSIZE_DF: u32 = 1 << 6;
/// An oversize packet was a segment of a superpacket.
pub const OVERSIZE_GSO: u32 = 1 << 7;
/// An ACK was seen.
pub const ACK: u32 = 1 << 8;

/// `Limit::from`.
pub const FROM_ROUTE: u8 = 1;
pub const FROM_DEVICE: u8 = 2;
pub const FROM_OVERHEAD: u8 = 3;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowHopKey {
    pub flow: FlowKey,
    pub ifindex: u32,
    pub direction: u8,
    /// [`PLAIN`], [`VXLAN`] or [`IPIP`]: the flow is the inner one where it is not plain.
    pub carried: u8,
    pub padding: [u8; 2],
}
wire!(FlowHopKey, 48);

/// One flow's counts at one hop, in packets of the wire: a superpacket counts as its segments.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowHop {
    pub packets: u64,
    /// Bytes from the IP header on (the outer one where carried).
    pub bytes: u64,
    pub first: u64,
    pub last: u64,
    /// Last time new TCP payload passed.
    pub progress: u64,
    /// When the hole `[hole_start, hole_end)` in the sequence space was left.
    pub hole_time: u64,
    /// TCP payload bytes that were new at this hop.
    pub payload: u64,
    pub retransmits: u64,
    pub oversize: u64,
    /// Fragments, first and later ones.
    pub fragments: u64,
    pub later_fragments: u64,
    /// Time of the next ring record that this entry may emit.
    pub next_emit: u64,
    /// Retransmits since `progress`.
    pub stalled: u32,
    /// Largest segment, IP header included (the inner one where carried).
    pub largest: u32,
    pub limit: u32,
    pub flags: u32,
    pub next_sequence: u32,
    pub hole_start: u32,
    pub hole_end: u32,
    /// Largest oversize segment.
    pub oversize_largest: u32,
    /// TCP segments that open a connection: SYN without ACK, each repetition counted.
    pub syns: u32,
    /// TCP segments with RST.
    pub resets: u32,
    /// MSS option of the last SYN, 0 when none was seen.
    pub mss: u16,
    pub limit_from: u8,
    pub padding: [u8; 5],
}
wire!(FlowHop, 144);

/// What a packet to a destination may measure; value of the longest-prefix maps.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Bytes from the IP header on; 0 for destinations that are not sent anywhere (local).
    pub bytes: u32,
    pub from: u8,
    pub padding: [u8; 3],
}
wire!(Limit, 8);

/// A pair of outer addresses on an uplink. Aligned so that the kernel side compares it by whole
/// words.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct OuterKey {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub ifindex: u32,
    pub vni: u32,
    /// UDP destination port, 0 for IPIP.
    pub port: u16,
    pub direction: u8,
    pub carried: u8,
    pub padding: [u8; 4],
}
wire!(OuterKey, 48);

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outer {
    pub packets: u64,
    pub bytes: u64,
    pub first: u64,
    pub last: u64,
    /// The latest inner flow.
    pub inner: FlowKey,
}
wire!(Outer, 72);

/// Joins later fragments, which carry no transport header, to their first one.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FragmentKey {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub id: u32,
    pub protocol: u8,
    pub direction: u8,
    pub padding: [u8; 2],
}
wire!(FragmentKey, 40);

/// The flow of a first fragment and how it was carried.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentOf {
    pub flow: FlowKey,
    pub carried: u8,
    pub padding: [u8; 7],
}
wire!(FragmentOf, 48);

/// An ICMP error that passed a hop, by the flow that it is about.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct IcmpErrorKey {
    pub about: FlowKey,
    pub sender: [u8; 16],
    pub ifindex: u32,
    pub direction: u8,
    pub kind: u8,
    pub code: u8,
    pub padding: u8,
}
wire!(IcmpErrorKey, 64);

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IcmpError {
    pub packets: u64,
    pub first: u64,
    pub last: u64,
    /// Next-hop MTU of frag-needed and packet-too-big.
    pub mtu: u32,
    pub padding: u32,
}
wire!(IcmpError, 32);
