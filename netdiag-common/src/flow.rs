//! The five-tuple.
use crate::wire;

/// One direction of a flow. ICMP echo carries its identifier in both ports, other ICMP
/// `type << 8 | code` in the destination port. Aligned so that the kernel side copies it by
/// whole words.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct FlowKey {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub source_port: u16,
    pub destination_port: u16,
    /// IP protocol number of the transport.
    pub protocol: u8,
    /// 4 or 6; 0 when the packet was not IP.
    pub family: u8,
    pub padding: [u8; 2],
}
wire!(FlowKey, 40);

impl FlowKey {
    /// What was no IP.
    pub const EMPTY: Self = Self {
        source: [0; 16],
        destination: [0; 16],
        source_port: 0,
        destination_port: 0,
        protocol: 0,
        family: 0,
        padding: [0; 2],
    };

    /// The same conversation seen from the other end.
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..*self
        }
    }
}

/// IPv4 as it stands in a 16-byte address.
pub const fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3],
    ]
}
