//! Counting, and the ring: reserve, fill, submit, count what is lost.
use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_NO_WAKEUP},
    maps::LruHashMap,
};
use netdiag_common::{
    config::counter,
    event::{CAPTURE, Event},
};

use crate::{
    maps,
    parse::{Bytes, CAPTURE as RECORD, copy_length},
};

/// Adds to a per-CPU counter.
#[inline(always)]
pub fn count(index: u32, n: u64) {
    if let Some(counter) = maps::COUNTERS.get_ptr_mut(index) {
        // SAFETY: a value of this CPU's own.
        unsafe { *counter += n };
    }
}

/// Adds to a map value that other CPUs may add to at the same time.
#[inline(always)]
pub fn add(to: *mut u64, n: u64) {
    // SAFETY: a field of a live map value, eight-byte aligned by its type. The BPF target has no
    // `AtomicU64::fetch_add`; this is the instruction that it would be.
    unsafe {
        core::arch::asm!("lock *(u64 *)({to} + 0) += {n}", to = in(reg) to, n = in(reg) n);
    }
}

/// The entry of `key`, put there as `empty` when it is new. Both outcomes of an insert are
/// counted, so that evictions can be told as added minus present.
#[inline(always)]
pub fn entry<K, V>(
    map: &LruHashMap<K, V>,
    key: &K,
    empty: &V,
    added: u32,
    refused: u32,
) -> Option<*mut V> {
    if let Some(value) = map.get_ptr_mut(key) {
        return Some(value);
    }
    if map.insert(key, empty, u64::from(BPF_NOEXIST)).is_ok() {
        count(added, 1);
    }
    // Another CPU may have been first: then the insert failed and the look-up finds its entry.
    let found = map.get_ptr_mut(key);
    if found.is_none() {
        count(refused, 1);
    }
    found
}

/// Sends a record with up to 128 bytes from offset `from` on. Never wakes the reader: it drains
/// by a timer, because the wake-up is what costs.
#[inline(always)]
pub fn emit(event: &SampleHeader, bytes: &impl Bytes, from: u32, available: u32) {
    count(counter::RECORDS, 1);
    let Some(mut slot) = maps::EVENTS.reserve::<Event>(0) else {
        count(counter::RING_FULL, 1);
        return;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: the reserved record is ours until it is submitted, and every byte of it is set.
    unsafe {
        (*record).time = event.time;
        (*record).location = event.location;
        (*record).flow = *event.flow;
        (*record).kind = event.kind;
        (*record).reason = event.reason;
        (*record).ifindex = event.ifindex;
        (*record).netns = event.netns;
        (*record).length = event.length;
        (*record).limit = event.limit;
        (*record).sequence = event.sequence;
        (*record).direction = event.direction;
        (*record).carried = event.carried;
        (*record).packet = [0; CAPTURE];
        (*record).captured = 0;
        if available > 0 {
            let wanted = copy_length::<RECORD>(available);
            if bytes.copy(from, (&raw mut (*record).packet).cast(), wanted) {
                (*record).captured = wanted as u16;
            }
        }
    }
    slot.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// A record without its packet bytes.
pub struct SampleHeader<'a> {
    pub time: u64,
    pub location: u64,
    pub flow: &'a netdiag_common::flow::FlowKey,
    pub kind: u32,
    pub reason: u32,
    pub ifindex: u32,
    pub netns: u32,
    pub length: u32,
    pub limit: u32,
    pub sequence: u32,
    pub direction: u8,
    pub carried: u8,
}
