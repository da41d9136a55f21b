//! The front cache: what a processor counts of the flows that it sees most, before it is added to
//! the table that all share.
//!
//! A line is its processor's own: a hit is a comparison and plain additions, where the table wants
//! a look-up and locked ones. What a line counts is added to the table when another flow takes its
//! place and when the reader asks for it, on the line's own processor. So the table never has more
//! than passed, never goes back, and has all of it once every processor was asked and traffic
//! stands still. A run that comes in the middle of another one (or of the adding) finds the cache
//! [taken](Turn::enter) and counts in the table itself.
//!
//! It lives here and not in the kernel crate so that it can be tested on any machine.
use core::sync::atomic::{Ordering, compiler_fence};

use crate::flow::FlowKey;

/// Flows that a processor has lines for. A power of two.
pub const LINES: usize = 128;
/// Pairs of outer addresses that it has lines for. A power of two.
pub const OUTER_LINES: usize = 16;
/// Flows that die at a place that it has lines for. A power of two.
pub const DROP_LINES: usize = 64;

/// Packets of other flows that a line stays for, after the last one of its own. Where far more flows
/// take turns than there are lines, each would else take a line and none find its own again: then
/// a packet costs two rows of the table instead of one.
pub const PATIENCE: u32 = 16;

/// A key in words: those of flows and of outer addresses have the same size.
pub const WORDS: usize = 6;
pub type Words = [u64; WORDS];

/// The key of a drop in words.
pub const DROP_WORDS: usize = 8;
pub type DropWords = [u64; DROP_WORDS];

/// What one processor counted of one key since it was last added to the table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line<M, K = Words> {
    pub key: K,
    pub packets: u64,
    pub bytes: u64,
    /// When the first of these came, 0 where no clock was read for it: then it is `last`.
    pub first: u64,
    pub last: u64,
    /// How many packets of others it stays for.
    pub stays: u32,
    pub more: M,
}

/// Of a flow at a hop.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfFlow {
    /// Largest segment, as [`FlowHop::largest`](crate::hop::FlowHop::largest).
    pub largest: u32,
    /// Bits of [`FlowHop::flags`](crate::hop::FlowHop::flags).
    pub flags: u32,
    /// What is known to fit the route; a larger segment goes the long way.
    pub fits: u32,
}

/// Of a pair of outer addresses: a flow that they carried.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfOuter {
    pub inner: FlowKey,
}

/// Of drops at a place.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfDrop {
    /// From then on a sample is due, which goes the long way.
    pub next_emit: u64,
    /// As [`Dropped`](crate::loss::Dropped) has them.
    pub sequence: u32,
    pub largest: u32,
    pub ethertype: u32,
    pub tcp_flags: u32,
}

/// Whose turn it is on a processor: one run's, until it leaves.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn(u64);

/// What passes hops.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Front {
    pub turn: Turn,
    pub flows: [Line<OfFlow>; LINES],
    pub outers: [Line<OfOuter>; OUTER_LINES],
}

/// What is dropped.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DropFront {
    pub turn: Turn,
    pub lines: [Line<OfDrop, DropWords>; DROP_LINES],
}

impl<M> Line<M> {
    /// Is nobody's from here on, after its counts were added.
    #[inline(always)]
    pub fn forget(&mut self) {
        // No key's last words are zero: links are numbered from 1.
        self.key[5] = 0;
        self.key[4] = 0;
        self.stays = 0;
    }
}

impl<M, const N: usize> Line<M, [u64; N]> {
    /// 0 where the line is of that key: one number, for one comparison.
    #[inline(always)]
    pub fn differs(&self, key: &[u64; N]) -> u64 {
        let words = self.key.iter().zip(key);
        words.fold(0, |bits, (mine, word)| bits | (mine ^ word))
    }

    #[inline(always)]
    pub fn is_of(&self, key: &[u64; N]) -> bool {
        self.differs(key) == 0
    }

    /// Counts what passed; the caller has seen that the line is of its key.
    #[inline(always)]
    pub fn count(&mut self, packets: u64, bytes: u64) {
        self.packets += packets;
        self.bytes += bytes;
        self.stays = PATIENCE;
    }

    /// Whether another flow, of which a packet came, may have the line.
    #[inline(always)]
    pub fn yields(&mut self) -> bool {
        if self.stays == 0 {
            return true;
        }
        self.stays -= 1;
        false
    }

    /// Whether there is something to add to the table.
    #[inline(always)]
    pub fn has_news(&self) -> bool {
        self.packets != 0
    }

    /// Begins at nothing, after its counts were added; it stays its key's.
    #[inline(always)]
    pub fn added(&mut self) {
        self.packets = 0;
        self.bytes = 0;
        self.first = 0;
    }

    /// When the first of what it counts came.
    #[inline(always)]
    pub fn since(&self) -> u64 {
        if self.first == 0 {
            self.last
        } else {
            self.first
        }
    }

    /// Gives the line to another key, after its counts were added.
    #[inline(always)]
    pub fn give(&mut self, key: &[u64; N], now: u64) {
        for (mine, word) in self.key.iter_mut().zip(key) {
            *mine = *word;
        }
        self.packets = 0;
        self.bytes = 0;
        self.first = 0;
        self.last = now;
        self.stays = PATIENCE;
    }
}

impl Turn {
    /// Whether the cache is this run's alone until it [leaves](Self::leave). Only runs on the same
    /// processor ask, one inside the other: no more than plain loads and stores in their order.
    #[inline(always)]
    #[expect(unsafe_code, reason = "what the compiler must neither keep nor move")]
    pub fn enter(&mut self) -> bool {
        // SAFETY: a field of our own; volatile, because a run may come between any two
        // instructions of another one.
        if unsafe { core::ptr::read_volatile(&raw const self.0) } != 0 {
            return false;
        }
        self.set_taken(1);
        true
    }

    #[inline(always)]
    pub fn leave(&mut self) {
        self.set_taken(0);
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "what the compiler must neither keep nor move")]
    fn set_taken(&mut self, taken: u64) {
        compiler_fence(Ordering::SeqCst);
        // SAFETY: see above.
        unsafe { core::ptr::write_volatile(&raw mut self.0, taken) };
        compiler_fence(Ordering::SeqCst);
    }
}

/// The same for a drop.
#[inline(always)]
pub fn drop_slot(key: &DropWords) -> u64 {
    let place = key[5] ^ key[6].wrapping_add(key[7] << 40);
    slot(&[key[0], key[1], key[2], key[3], key[4], place], DROP_LINES)
}

/// Where in a cache of `lines` lines a key belongs. Whoever chooses addresses can make flows meet
/// there: they cost what they would without a cache.
#[inline(always)]
pub fn slot(key: &Words, lines: usize) -> u64 {
    let addresses = (key[0]
        .wrapping_add(key[1])
        .wrapping_mul(0xff51_afd7_ed55_8ccd))
        ^ (key[2]
            .wrapping_add(key[3])
            .wrapping_mul(0xc2b2_ae3d_27d4_eb4f));
    let place = key[4] ^ (key[5] << 16);
    let mixed = (addresses ^ (addresses >> 29) ^ place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> (64 - lines.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    extern crate std;

    const CPUS: usize = 3;

    /// What the kernel side does with it, and what is true.
    struct World {
        fronts: Vec<Front>,
        table: HashMap<Words, u64>,
        truth: HashMap<Words, u64>,
        read: HashMap<Words, u64>,
        /// The table takes no new keys.
        full: bool,
    }

    const NOBODY: Words = [0; WORDS];

    fn key(n: u64) -> Words {
        [n, 7, n.wrapping_mul(31), 9, n << 7, 1 | n << 32]
    }

    impl World {
        fn new() -> Self {
            let of_flow = Line {
                key: NOBODY,
                ..Line::<OfFlow>::default()
            };
            let front = Front {
                turn: Turn::default(),
                flows: [of_flow; LINES],
                outers: [Line::default(); OUTER_LINES],
            };
            Self {
                fronts: std::vec![front; CPUS],
                table: HashMap::new(),
                truth: HashMap::new(),
                read: HashMap::new(),
                full: false,
            }
        }

        fn add(table: &mut HashMap<Words, u64>, full: bool, line: &mut Line<OfFlow>) -> bool {
            if full && !table.contains_key(&line.key) {
                return false;
            }
            *table.entry(line.key).or_default() += line.packets;
            line.added();
            true
        }

        /// A packet; `inside` is a run that comes in the middle of it.
        fn packet(&mut self, cpu: usize, n: u64, inside: Option<Inside>) {
            let key = key(n);
            *self.truth.entry(key).or_default() += 1;
            let slot = slot(&key, LINES) as usize;
            if !self.fronts[cpu].turn.enter() {
                *self.table.entry(key).or_default() += 1;
                return;
            }
            match inside {
                Some(Inside::Packet(n)) => self.packet(cpu, n, None),
                Some(Inside::Flush) => assert!(!self.flush(cpu), "it must be asked again"),
                None => {}
            }
            let line = &mut self.fronts[cpu].flows[slot];
            if line.is_of(&key) {
                line.count(1, 64);
            } else {
                *self.table.entry(key).or_default() += 1;
                let free = line.yields();
                if free && (!line.has_news() || Self::add(&mut self.table, self.full, line)) {
                    line.give(&key, 1);
                }
            }
            self.fronts[cpu].turn.leave();
        }

        /// Whether it was not interrupted in the middle of a run.
        fn flush(&mut self, cpu: usize) -> bool {
            if !self.fronts[cpu].turn.enter() {
                return false;
            }
            for line in &mut self.fronts[cpu].flows {
                if line.has_news() {
                    Self::add(&mut self.table, self.full, line);
                } else {
                    line.stays = 0;
                }
            }
            self.fronts[cpu].turn.leave();
            true
        }

        fn evict(&mut self, n: u64) {
            // What was read of it is the reader's; it counts anew.
            let key = key(n);
            if let Some(gone) = self.table.remove(&key) {
                *self.truth.entry(key).or_default() -= gone;
                self.read.remove(&key);
            }
        }

        fn look(&mut self) {
            for (key, now) in &self.table {
                assert!(*now <= self.truth[key], "more than passed");
                let before = self.read.insert(*key, *now).unwrap_or(0);
                assert!(before <= *now, "it went back");
            }
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Inside {
        Packet(u64),
        Flush,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Packet(usize, u64, Option<Inside>),
        Flush(usize),
        Look,
        Evict(u64),
        Fill(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        // More flows than lines, few of them often: lines are hit and taken away.
        let flow = prop_oneof![4 => 0..8u64, 1 => 0..4 * LINES as u64];
        let inside = prop_oneof![
            8 => Just(None),
            1 => flow.clone().prop_map(|n| Some(Inside::Packet(n))),
            1 => Just(Some(Inside::Flush)),
        ];
        prop_oneof![
            30 => (0..CPUS, flow.clone(), inside).prop_map(|(cpu, n, i)| Step::Packet(cpu, n, i)),
            3 => (0..CPUS).prop_map(Step::Flush),
            2 => Just(Step::Look),
            1 => flow.prop_map(Step::Evict),
            1 => any::<bool>().prop_map(Step::Fill),
        ]
    }

    proptest! {
        /// Whatever comes in whatever order, also in the middle of one another: the table never has
        /// more than passed and never goes back, and has all once everybody was asked.
        #[test]
        fn counts_are_exact(steps in prop::collection::vec(step(), 1..500)) {
            let mut world = World::new();
            for step in steps {
                match step {
                    Step::Packet(cpu, n, inside) => world.packet(cpu, n, inside),
                    Step::Flush(cpu) => prop_assert!(world.flush(cpu)),
                    Step::Look => world.look(),
                    Step::Evict(n) => world.evict(n),
                    Step::Fill(full) => world.full = full,
                }
            }
            world.full = false;
            for cpu in 0..CPUS {
                prop_assert!(world.flush(cpu));
            }
            world.look();
            let truth = world.truth.iter().filter(|(_, n)| **n > 0);
            let truth: HashMap<Words, u64> = truth.map(|(key, n)| (*key, *n)).collect();
            prop_assert_eq!(truth, world.table);
        }
    }

    /// Far more flows than lines, in turn: most packets leave the line to the flow that has it.
    #[test]
    fn flows_in_turn_do_not_take_each_others_lines() {
        let mut line = Line::<OfFlow>::default();
        let mut given = 0;
        for n in 0..10 * u64::from(PATIENCE) {
            if line.yields() {
                line.give(&key(n), 1);
                given += 1;
            }
        }
        assert_eq!(given, 10);
        for n in 0..10 * u64::from(PATIENCE) {
            assert!(!line.yields(), "a flow that goes on keeps its line");
            if n % 2 == 0 {
                line.count(1, 64);
            }
        }
    }

    #[test]
    fn keys_spread_over_the_lines() {
        // Connections of one pod to one server, which differ by a port.
        let mut used = [0u32; LINES];
        for port in 0..LINES as u64 {
            let place = (40_000 + port) | (80 << 16) | (6 << 32) | (4 << 40);
            let key = [0, 0x0200_0a0a_ffff_0000, 0, 0x0101_600a_ffff_0000, place, 7];
            used[slot(&key, LINES) as usize] += 1;
        }
        assert!(used.iter().all(|n| *n <= 8), "{used:?}");
        assert!(used.iter().filter(|n| **n > 0).count() > LINES / 2);
    }

    #[test]
    fn a_line_knows_its_key_and_since_when() {
        let mut line = Line::<OfFlow>::default();
        line.give(&key(3), 5);
        assert!(line.is_of(&key(3)) && !line.has_news());
        assert_eq!(line.since(), 5);
        line.count(2, 100);
        line.first = 9;
        assert_eq!((line.packets, line.bytes, line.since()), (2, 100, 9));
        line.forget();
        assert!(!line.is_of(&key(3)));
        for n in 0..WORDS {
            let mut other = key(3);
            other[n] ^= 1;
            line.give(&key(3), 5);
            assert!(!line.is_of(&other), "word {n}");
        }
    }
}
