//! The front cache in front of the tables of flows and outer pairs, see [`netdiag_common::front`].
//!
//! Whether a line is hit is one comparison: before Linux 6.12, the verifier walks all that follows
//! once for each way to get there.
use netdiag_common::{
    config::counter,
    front::{
        DROP_LINES, DropFront, DropWords, Front, LINES, Line, OUTER_LINES, OfDrop, OfFlow, OfOuter,
        Turn, Words, drop_slot, slot,
    },
    hop::{FlowHopKey, OuterKey},
    loss::{DropKey, Dropped},
};

use crate::{
    clock,
    emit::{add, entry},
    maps,
    parse::masked,
};

/// Not 0 where it is more than fits.
#[inline(always)]
fn over(wire_segment: u32, fits: u32) -> u64 {
    u64::from(fits).wrapping_sub(u64::from(wire_segment)) >> 63
}

/// What passed, of a flow.
#[derive(Clone, Copy)]
pub struct Passed {
    pub packets: u64,
    pub bytes: u64,
    pub segment: u32,
    pub wire_segment: u32,
    pub flags: u32,
}

#[inline(always)]
fn enter(turn: &mut Turn) -> bool {
    // SAFETY: a static of our own; volatile, because the loader sets it after compilation.
    let on = unsafe { core::ptr::read_volatile(&raw const maps::CACHE) } != 0;
    on && turn.enter()
}

#[inline(always)]
fn of_flow<'a>(front: &'a mut Front, key: &Words) -> &'a mut Line<OfFlow> {
    let at = masked(slot(key, LINES), LINES as u64 - 1);
    &mut front.flows[at as usize]
}

#[inline(always)]
fn of_outer<'a>(front: &'a mut Front, key: &Words) -> &'a mut Line<OfOuter> {
    let at = masked(slot(key, OUTER_LINES), OUTER_LINES as u64 - 1);
    &mut front.outers[at as usize]
}

/// Counts it where the flow has a line and the packet fits its route.
#[inline(always)]
pub fn flow_hit(front: &mut Front, key: &Words, passed: &Passed, this_jiffy: u64) -> bool {
    if !enter(&mut front.turn) {
        return false;
    }
    let line = of_flow(front, key);
    let hit = (line.differs(key) | over(passed.wire_segment, line.more.fits)) == 0;
    if hit {
        line.count(passed.packets, passed.bytes);
        if passed.segment > line.more.largest {
            line.more.largest = passed.segment;
        }
        line.more.flags |= passed.flags;
        clock::touch(&mut line.first, &mut line.last, this_jiffy, false);
    }
    front.turn.leave();
    hit
}

/// Whether it is known that a segment of this size fits the flow's route.
#[inline(always)]
pub fn flow_fits(front: &mut Front, key: &Words, wire_segment: u32) -> bool {
    if !enter(&mut front.turn) {
        return false;
    }
    let line = of_flow(front, key);
    let fits = (line.differs(key) | over(wire_segment, line.more.fits)) == 0;
    front.turn.leave();
    fits
}

/// Gives the flow a line, of which the table has counted this packet.
#[inline(always)]
pub fn remember_flow(front: &mut Front, key: &Words, fits: u32, now: u64) {
    if !enter(&mut front.turn) {
        return;
    }
    let line = of_flow(front, key);
    if line.is_of(key) {
        line.more.fits = fits;
    } else if line.yields() && (!line.has_news() || add_flow(line) == ADDED) {
        line.give(key, now);
        line.more = OfFlow {
            largest: 0,
            flags: 0,
            fits,
        };
    }
    front.turn.leave();
}

#[inline(always)]
pub fn outer_hit(front: &mut Front, key: &Words, packets: u64, bytes: u64, jiffy: u64) -> bool {
    if !enter(&mut front.turn) {
        return false;
    }
    let line = of_outer(front, key);
    let hit = line.is_of(key);
    if hit {
        line.count(packets, bytes);
        clock::touch(&mut line.first, &mut line.last, jiffy, false);
    }
    front.turn.leave();
    hit
}

#[inline(always)]
pub fn remember_outer(front: &mut Front, key: &Words, inner: &Words, now: u64) {
    if !enter(&mut front.turn) {
        return;
    }
    let line = of_outer(front, key);
    if line.yields() && (!line.has_news() || add_outer(line) == ADDED) {
        line.give(key, now);
        // SAFETY: a flow is the first words of its key, and aligned as they are.
        line.more.inner = unsafe { *inner.as_ptr().cast() };
    }
    front.turn.leave();
}

/// A packet that died.
#[derive(Clone, Copy)]
pub struct Died {
    pub packets: u64,
    pub bytes: u64,
    pub sequence: u32,
    pub length: u32,
    pub ethertype: u32,
    pub tcp_flags: u32,
}

impl Died {
    /// Adds it to a row of the table.
    #[inline(always)]
    pub fn add_to(&self, row: &mut Dropped) {
        add(&raw mut row.packets, self.packets);
        add(&raw mut row.bytes, self.bytes);
        row.ethertype = self.ethertype;
        row.sequence = self.sequence;
        row.tcp_flags |= self.tcp_flags;
        if self.length > row.largest {
            row.largest = self.length;
        }
    }
}

#[inline(always)]
fn of_drop<'a>(front: &'a mut DropFront, key: &DropWords) -> &'a mut Line<OfDrop, DropWords> {
    let at = masked(drop_slot(key), DROP_LINES as u64 - 1);
    &mut front.lines[at as usize]
}

/// Counts it where it has a line and no sample is due.
#[inline(always)]
pub fn drop_hit(front: &mut DropFront, key: &DropWords, died: &Died, this_jiffy: u64) -> bool {
    if !enter(&mut front.turn) {
        return false;
    }
    let line = of_drop(front, key);
    let due = line.more.next_emit.wrapping_sub(1).wrapping_sub(this_jiffy) >> 63;
    let hit = (line.differs(key) | due) == 0;
    if hit {
        line.count(died.packets, died.bytes);
        line.more.sequence = died.sequence;
        line.more.ethertype = died.ethertype;
        line.more.tcp_flags |= died.tcp_flags;
        if died.length > line.more.largest {
            line.more.largest = died.length;
        }
        clock::touch(&mut line.first, &mut line.last, this_jiffy, false);
    }
    front.turn.leave();
    hit
}

/// Gives it a line, of which the table has counted this packet.
#[inline(always)]
pub fn remember_drop(front: &mut DropFront, key: &DropWords, next_emit: u64, now: u64) {
    if !enter(&mut front.turn) {
        return;
    }
    let line = of_drop(front, key);
    if line.is_of(key) {
        line.more.next_emit = next_emit;
    } else if line.yields() && (!line.has_news() || add_drop(line) == ADDED) {
        line.give(key, now);
        line.more = OfDrop {
            next_emit,
            sequence: 0,
            largest: 0,
            ethertype: 0,
            tcp_flags: 0,
        };
    }
    front.turn.leave();
}

const ADDED: i32 = 0;
const REFUSED: i32 = -1;
const TAKEN: i32 = 1;

/// Adds what a line has counted to the table. One copy of the code.
#[inline(never)]
fn add_flow(line: &mut Line<OfFlow>) -> i32 {
    // SAFETY: as many bytes; the words were a key's.
    let key = unsafe { &*(&raw const line.key).cast::<FlowHopKey>() };
    let (added, refused) = (counter::FLOWS_ADDED, counter::FLOWS_REFUSED);
    let Some(value) = entry(&maps::FLOWS, key, &maps::EMPTY_FLOW, added, refused) else {
        return REFUSED;
    };
    // SAFETY: a live map value; races between CPUs lose at most a maximum or a flag.
    let hop = unsafe { &mut *value };
    add(&raw mut hop.packets, line.packets);
    add(&raw mut hop.bytes, line.bytes);
    if line.more.largest > hop.largest {
        hop.largest = line.more.largest;
    }
    let flags = hop.flags | line.more.flags;
    if flags != hop.flags {
        hop.flags = flags;
    }
    if line.last > hop.last {
        hop.last = line.last;
    }
    if hop.first == 0 {
        hop.first = line.since();
    }
    line.added();
    ADDED
}

#[inline(never)]
fn add_outer(line: &mut Line<OfOuter>) -> i32 {
    // SAFETY: as many bytes; the words were a key's.
    let key = unsafe { &*(&raw const line.key).cast::<OuterKey>() };
    let (added, refused) = (counter::OUTERS_ADDED, counter::OUTERS_REFUSED);
    let Some(value) = entry(&maps::OUTERS, key, &maps::EMPTY_OUTER, added, refused) else {
        return REFUSED;
    };
    // SAFETY: a live map value; the inner flow is a sample, any CPU's will do.
    let pair = unsafe { &mut *value };
    add(&raw mut pair.packets, line.packets);
    add(&raw mut pair.bytes, line.bytes);
    pair.inner = line.more.inner;
    if line.last > pair.last {
        pair.last = line.last;
    }
    if pair.first == 0 {
        pair.first = line.since();
    }
    line.added();
    ADDED
}

#[inline(never)]
fn add_drop(line: &mut Line<OfDrop, DropWords>) -> i32 {
    // SAFETY: as many bytes; the words were a key's.
    let key = unsafe { &*(&raw const line.key).cast::<DropKey>() };
    let (added, refused) = (counter::DROPS_ADDED, counter::DROPS_REFUSED);
    let Some(value) = entry(&maps::DROPS, key, &maps::EMPTY_DROPPED, added, refused) else {
        return REFUSED;
    };
    // SAFETY: a live map value; races between CPUs lose at most a maximum or a flag.
    let row = unsafe { &mut *value };
    let died = Died {
        packets: line.packets,
        bytes: line.bytes,
        sequence: line.more.sequence,
        length: line.more.largest,
        ethertype: line.more.ethertype,
        tcp_flags: line.more.tcp_flags,
    };
    died.add_to(row);
    if line.last > row.last {
        row.last = line.last;
    }
    if row.first == 0 {
        row.first = line.since();
    }
    line.added();
    ADDED
}

/// Adds all that this processor has counted, and lets go of its lines where what they know of
/// routes may be old.
#[inline(always)]
pub fn flush(forget: bool) -> i32 {
    let passed = flush_passed(forget);
    let dropped = flush_dropped();
    if passed == ADDED { dropped } else { passed }
}

#[inline(always)]
fn flush_passed(forget: bool) -> i32 {
    let Some(scratch) = maps::scratch() else {
        return REFUSED;
    };
    let turn = &mut scratch.room.front.turn;
    if !turn.enter() {
        return TAKEN;
    }
    let mut refused = ADDED;
    for at in 0..LINES as u64 {
        refused |= flush_flow(at, u64::from(forget));
    }
    for at in 0..OUTER_LINES as u64 {
        refused |= flush_outer(at);
    }
    turn.leave();
    refused
}

#[inline(always)]
fn flush_dropped() -> i32 {
    let Some(dropping) = maps::dropping() else {
        return REFUSED;
    };
    let turn = &mut dropping.front.turn;
    if !turn.enter() {
        return TAKEN;
    }
    let mut refused = ADDED;
    for at in 0..DROP_LINES as u64 {
        refused |= flush_drop(at);
    }
    turn.leave();
    refused
}

// The verifier walks a global function once for all its callers (Linux 5.6), where it would walk the
// others once for each of two hundred lines. It may be given numbers alone, and whose turn it is has
// been decided.

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flush_flow(at: u64, forget: u64) -> i32 {
    let Some(scratch) = maps::scratch() else {
        return REFUSED;
    };
    let line = &mut scratch.room.front.flows[masked(at, LINES as u64 - 1) as usize];
    let added = if line.has_news() {
        add_flow(line)
    } else {
        line.stays = 0;
        ADDED
    };
    if forget != 0 && !line.has_news() {
        line.forget();
    }
    added
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flush_outer(at: u64) -> i32 {
    let Some(scratch) = maps::scratch() else {
        return REFUSED;
    };
    let line = &mut scratch.room.front.outers[masked(at, OUTER_LINES as u64 - 1) as usize];
    if line.has_news() {
        return add_outer(line);
    }
    line.stays = 0;
    ADDED
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flush_drop(at: u64) -> i32 {
    let Some(dropping) = maps::dropping() else {
        return REFUSED;
    };
    let line = &mut dropping.front.lines[masked(at, DROP_LINES as u64 - 1) as usize];
    if line.has_news() {
        return add_drop(line);
    }
    line.stays = 0;
    ADDED
}
