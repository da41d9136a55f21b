//! The contract between the kernel side and the user side.
//!
//! Everything here crosses the boundary as bytes: integers and arrays only, explicit padding,
//! sizes asserted. Addresses are 16 bytes in network order, IPv4 mapped into `::ffff:0:0/96`;
//! ports, lengths and sequence numbers are in host order; times are `CLOCK_MONOTONIC` ns.
//!
//! Recordings hold these values. Their fields have names there, but flags, kinds and the numbers
//! of counters are what they are: add to them, never give one another meaning.
#![no_std]

pub mod claim;
pub mod config;
pub mod dns;
pub mod event;
pub mod filter;
pub mod flow;
pub mod front;
pub mod hop;
pub mod loss;
pub mod oom;
pub mod sequence;

/// Marks `$t` as a map's key or value and pins its size.
macro_rules! wire {
    ($t:ty, $size:literal) => {
        const _: () = assert!(core::mem::size_of::<$t>() == $size);
        #[cfg(feature = "user")]
        // SAFETY: repr(C), integers and arrays of integers only, no implicit padding (the size
        // assert above is the sum of the fields), so every bit pattern is a value.
        #[expect(unsafe_code, reason = "aya::Pod is an unsafe marker trait")]
        unsafe impl aya::Pod for $t {}
    };
}
pub(crate) use wire;
