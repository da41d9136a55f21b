//! Which packets are asked for: tests on a flow, joined by jumps, as `--filter` compiles to.
//!
//! The programs in the kernel and the replay of a recording run this same code. Jumps lead
//! forwards only, so a flow takes at most as many steps as there are tests, and what the verifier
//! has to walk grows with the number of tests, not with how they are joined.
use crate::{flow::FlowKey, wire};

/// Tests that one filter can have.
pub const TESTS: usize = 64;

/// Where a jump ends: the packet is taken, or left.
pub const TAKE: u8 = 254;
pub const LEAVE: u8 = 255;

/// `Test::kind`: what of a flow is looked at.
pub const SOURCE: u8 = 0;
pub const DESTINATION: u8 = 1;
pub const SOURCE_PORT: u8 = 2;
pub const DESTINATION_PORT: u8 = 3;
pub const PROTOCOL: u8 = 4;
pub const FAMILY: u8 = 5;

/// What is asked for, beside which nothing is counted: bits of the programs' setting. Both must
/// hold where both are set.
pub const EXPRESSION: u32 = 1;
/// Some pods' addresses, links and namespaces.
pub const SELECTION: u32 = 1 << 1;

/// One test, and where to go on.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Test {
    /// Compared with an address under `mask`, IPv4 mapped.
    pub address: [u8; 16],
    pub mask: [u8; 16],
    /// First and last port or protocol number.
    pub low: u16,
    pub high: u16,
    pub kind: u8,
    /// 4 or 6: the family that an address must have.
    pub family: u8,
    /// Index of the next test, [`TAKE`] or [`LEAVE`].
    pub yes: u8,
    pub no: u8,
}
wire!(Test, 40);

impl Test {
    /// One that leaves every packet.
    pub const NONE: Self = Self {
        address: [0; 16],
        mask: [0; 16],
        low: 0,
        high: 0,
        kind: FAMILY,
        family: 0,
        yes: LEAVE,
        no: LEAVE,
    };

    /// Whether it holds for `flow`.
    #[inline(always)]
    fn holds(&self, flow: &FlowKey) -> bool {
        match self.kind {
            SOURCE => self.covers(&flow.source, flow.family),
            DESTINATION => self.covers(&flow.destination, flow.family),
            SOURCE_PORT => has_ports(flow) && self.spans(flow.source_port),
            DESTINATION_PORT => has_ports(flow) && self.spans(flow.destination_port),
            PROTOCOL => self.spans(flow.protocol as u16),
            _ => flow.family == self.family,
        }
    }

    #[inline(always)]
    fn covers(&self, address: &[u8; 16], family: u8) -> bool {
        let [high, low] = words(address);
        let [mask_high, mask_low] = words(&self.mask);
        let [want_high, want_low] = words(&self.address);
        let differs = ((high ^ want_high) & mask_high) | ((low ^ want_low) & mask_low);
        differs == 0 && family == self.family
    }

    #[inline(always)]
    fn spans(&self, number: u16) -> bool {
        number >= self.low && number <= self.high
    }
}

/// Where the transport's header was cut off, or a fragment's first one never seen, no port is
/// known and both are 0.
#[inline(always)]
fn has_ports(flow: &FlowKey) -> bool {
    let transport = matches!(flow.protocol, 6 | 17 | 132);
    transport && (flow.source_port != 0 || flow.destination_port != 0)
}

/// By whole words: an address lies at a multiple of eight in a flow as in a test.
#[inline(always)]
fn words(address: &[u8; 16]) -> [u64; 2] {
    let a = address;
    [
        u64::from_ne_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]),
        u64::from_ne_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]),
    ]
}

/// A whole filter; it begins with the first test.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    pub tests: [Test; TESTS],
}
wire!(Rules, 2560);

impl Rules {
    /// Leaves every packet.
    pub const NONE: Self = Self {
        tests: [Test::NONE; TESTS],
    };

    /// Whether packets of `flow` are asked for. What has no flow is not: nobody can tell.
    #[inline(always)]
    pub fn take(&self, flow: &FlowKey) -> bool {
        let mut at = 0;
        for _ in 0..TESTS {
            // The mask is for the verifier: no jump leads farther.
            let test = &self.tests[at & (TESTS - 1)];
            let next = if test.holds(flow) { test.yes } else { test.no };
            if next >= TAKE {
                return next == TAKE && flow.family != 0;
            }
            at = next as usize;
        }
        false
    }
}

/// Addresses that a selection of pods can have: every pod of a large cluster.
pub const SELECTED: u32 = 65_536;

/// Where a packet is, beside its addresses: keys of the map of selected places.
pub mod place {
    const NETNS: u64 = 1 << 32;

    /// A link of the node's own namespace.
    #[inline(always)]
    pub const fn link(ifindex: u32) -> u64 {
        ifindex as u64
    }

    /// A network namespace by its inode.
    #[inline(always)]
    pub const fn netns(inode: u32) -> u64 {
        NETNS | inode as u64
    }
}
