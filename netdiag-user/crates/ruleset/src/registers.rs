//! The sixteen words of a chain's registers.
use netdiag_model::world::ruleset::{Arithmetic, Order, Reg};

/// A byte, as far as its bits are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Byte {
    value: u8,
    known: u8,
}

impl Byte {
    pub const UNKNOWN: Self = Self { value: 0, known: 0 };

    pub const fn known(value: u8) -> Self {
        Self { value, known: 0xff }
    }

    /// Those bits of it alone.
    pub const fn partly(value: u8, known: u8) -> Self {
        let value = value & known;
        Self { value, known }
    }

    pub fn get(self) -> Option<u8> {
        (self.known == 0xff).then_some(self.value)
    }

    /// These bits of it.
    pub(crate) fn bits(self, bits: u8) -> Option<u8> {
        (self.known & bits == bits).then_some(self.value & bits)
    }

    /// Whether one of these bits is known to be set.
    pub(crate) fn has(self, bits: u8) -> bool {
        self.value & self.known & bits != 0
    }

    /// Whether none of these bits is, and that is known.
    pub(crate) fn lacks(self, bits: u8) -> bool {
        self.known & bits == bits && self.value & bits == 0
    }

    /// Whether some bit of it is known to be another.
    pub(crate) fn differs(self, from: u8) -> bool {
        (self.value ^ from) & self.known != 0
    }

    fn with(self, other: Self, of: fn(u8, u8) -> u8) -> Self {
        Self::partly(of(self.value, other.value), self.known & other.known)
    }
}

const BYTES: usize = 64;
const WORD: usize = 4;

#[derive(Clone, Debug)]
pub(crate) struct Registers([Byte; BYTES]);

impl Default for Registers {
    fn default() -> Self {
        Self([Byte::UNKNOWN; BYTES])
    }
}

impl Registers {
    pub fn word(&mut self, to: Reg, word: u32) {
        self.put(to, &word.to_ne_bytes().map(Byte::known));
    }

    /// Words are written whole: what fills the last one up is zero.
    pub fn put(&mut self, to: Reg, bytes: &[Byte]) {
        let filled = bytes.len().next_multiple_of(WORD);
        let bytes = bytes
            .iter()
            .copied()
            .chain(std::iter::repeat(Byte::known(0)));
        let at = usize::from(to.0).min(BYTES);
        let room = self.0[at..].iter_mut().take(filled);
        room.zip(bytes).for_each(|(place, byte)| *place = byte);
    }

    /// Those behind the last are not known.
    pub fn get(&self, from: Reg, length: usize) -> Vec<Byte> {
        let at = usize::from(from.0).min(BYTES);
        let mut bytes: Vec<Byte> = self.0[at..].iter().copied().take(length).collect();
        bytes.resize(length, Byte::UNKNOWN);
        bytes
    }

    pub fn mask(&mut self, (from, to): (Reg, Reg), mask: &[u8], xor: &[u8]) {
        let bytes = self.get(from, mask.len());
        let xor = xor.iter().copied().chain(std::iter::repeat(0));
        let masked = bytes.into_iter().zip(mask).zip(xor);
        let masked: Vec<Byte> = masked
            // What is masked away need not be known.
            .map(|((byte, mask), xor)| Byte::partly(byte.value & mask ^ xor, byte.known | !mask))
            .collect();
        self.put(to, &masked);
    }

    pub fn calculate(&mut self, how: Arithmetic, (from, to): (Reg, Reg), length: usize) {
        let length = length.next_multiple_of(WORD);
        let own = self.get(from, length);
        let with = |other: Reg, of: fn(u8, u8) -> u8| -> Vec<Byte> {
            let other = self.get(other, length);
            let pairs = own.iter().zip(other);
            pairs.map(|(a, b)| a.with(b, of)).collect()
        };
        let bytes = match how {
            Arithmetic::And(other) => with(other, |a, b| a & b),
            Arithmetic::Or(other) => with(other, |a, b| a | b),
            Arithmetic::Xor(other) => with(other, |a, b| a ^ b),
            Arithmetic::Left(bits) => shifted(&own, |words| left(words, bits)),
            Arithmetic::Right(bits) => shifted(&own, |words| right(words, bits)),
        };
        self.put(to, &bytes);
    }

    pub fn order(&mut self, order: Order) {
        let bytes = self.get(order.from, usize::from(order.length));
        let size = usize::from(order.size).max(1);
        let turned = bytes.chunks(size).flat_map(|group| {
            let turns = cfg!(target_endian = "little") && group.len() == size;
            let mut group = group.to_vec();
            if turns {
                group.reverse();
            }
            group
        });
        let turned: Vec<Byte> = turned.collect();
        self.put(order.to, &turned);
    }
}

fn shifted(bytes: &[Byte], shift: impl FnOnce(&mut [u32])) -> Vec<Byte> {
    let known: Option<Vec<u8>> = bytes.iter().map(|byte| byte.get()).collect();
    let Some(known) = known else {
        return vec![Byte::UNKNOWN; bytes.len()];
    };
    let (words, _) = known.as_chunks::<WORD>();
    let mut words: Vec<u32> = words.iter().map(|word| u32::from_ne_bytes(*word)).collect();
    shift(&mut words);
    let bytes = words.iter().flat_map(|word| word.to_ne_bytes());
    bytes.map(Byte::known).collect()
}

/// What overflows goes into the word before (`nft_bitwise_eval_lshift`).
fn left(words: &mut [u32], bits: u32) {
    let mut carry = 0;
    for word in words.iter_mut().rev() {
        let own = *word;
        *word = own.checked_shl(bits).unwrap_or(0) | carry;
        carry = own.checked_shr(32 - bits.min(32)).unwrap_or(0);
    }
}

/// What overflows goes into the word behind (`nft_bitwise_eval_rshift`).
fn right(words: &mut [u32], bits: u32) {
    let mut carry = 0;
    for word in words.iter_mut() {
        let own = *word;
        *word = own.checked_shr(bits).unwrap_or(0) | carry;
        carry = own.checked_shl(32 - bits.min(32)).unwrap_or(0);
    }
}
