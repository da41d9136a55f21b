//! DNS questions and their answers as a hop sees them (RFC 1035), UDP port 53 only.
use crate::wire;

pub const PORT: u16 = 53;

/// Bytes of a question's name that are kept; a longer name keeps its first ones.
pub const NAME: usize = 64;

/// One question of one client to one server at one link. Questions leave by one direction and
/// answers come by the other: both count here.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DnsKey {
    pub client: [u8; 16],
    pub server: [u8; 16],
    /// Labels as the wire has them, each after its length, in lower case; zeros behind the end.
    pub name: [u8; NAME],
    pub ifindex: u32,
    /// Type of the question, 0 where the name is too long to find it.
    pub kind: u16,
    /// 4 or 6: family of both addresses.
    pub family: u8,
    /// `hop::PLAIN`, or the tunnel that it travels in.
    pub carried: u8,
}
wire!(DnsKey, 104);

/// What became of a question at one link.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    pub queries: u64,
    pub answers: u64,
    /// Answers by their code. NOERROR includes those that hold no record.
    pub noerror: u64,
    pub nxdomain: u64,
    pub servfail: u64,
    pub refused: u64,
    pub other: u64,
    pub truncated: u64,
    /// Queries sent again, with the same id from the same port, before any answer.
    pub repeats: u64,
    pub first_query: u64,
    pub last_query: u64,
    pub last_answer: u64,
    /// First query since the last answer.
    pub silent_since: u64,
    /// Last answer that the name exists or does not.
    pub last_good: u64,
    /// First error since then: SERVFAIL, REFUSED and what is rarer.
    pub failing_since: u64,
    /// Errors since then.
    pub failed: u64,
    /// The longest time between a query and its repetition.
    pub repeat_gap: u64,
    /// Time from query to answer, of those that could be paired.
    pub latency_sum: u64,
    pub latency_max: u64,
    pub latency_count: u64,
    /// Queries since the last answer.
    pub unanswered: u32,
    pub last_id: u16,
    pub last_port: u16,
}
wire!(Dns, 168);

/// ASCII letters of eight bytes in lower case. A label's length, at most 63, is no letter.
pub const fn lower(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let low = word & (0x7f * ONES);
    let above_z = low + (0x7f - b'Z' as u64) * ONES;
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let upper = !word & (0x80 * ONES) & (from_a ^ above_z);
    word | upper >> 2
}

/// The first `keep` of eight bytes, zeros for the rest.
pub const fn first(word: u64, keep: u32) -> u64 {
    if keep >= 8 {
        word
    } else {
        // Bytes lie in the order of the packet.
        word & u64::from_le((1u64 << (keep * 8)) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_letters_are_lowered() {
        let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
        assert_eq!(
            lower(word(b"\x03AZ@[\xc1z\x3f")),
            word(b"\x03az@[\xc1z\x3f")
        );
        assert_eq!(lower(word(b"Svc-A.09")), word(b"svc-a.09"));
    }

    #[test]
    fn what_is_behind_the_end_is_zero() {
        let word = u64::from_ne_bytes(*b"abcdefgh");
        assert_eq!(first(word, 0), 0);
        assert_eq!(first(word, 3), u64::from_ne_bytes(*b"abc\0\0\0\0\0"));
        assert_eq!(first(word, 8), word);
        assert_eq!(first(word, 64), word);
    }
}
