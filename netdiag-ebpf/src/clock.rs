//! Time, as cheap as it may be.
//!
//! Reading the clock waits for every load before it: a sixth of what a packet costs, a fifth of
//! what a drop does. A processor reads it for its first packet in a jiffy (1 to 10 ms), and entries
//! are given that time: their `first` is exact, their `last` at most a jiffy before the last packet.
//! It is exact where a processor's packets are farther apart than that, and where somebody decides
//! by it: a connection's beginning and end, DNS, ICMP, ARP.
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};

/// When a CPU was last asked for the time.
#[derive(Clone, Copy)]
pub struct Mark {
    jiffy: u64,
    time: u64,
}

/// Nanoseconds since boot without what was slept (`CLOCK_MONOTONIC`).
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments, no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// A time in this jiffy, no later than now: what was told the time since has it from this jiffy.
#[inline(always)]
pub fn this_jiffy(mark: &mut Mark) -> u64 {
    // SAFETY: no arguments, no preconditions.
    let jiffy = unsafe { bpf_jiffies64() };
    if jiffy != mark.jiffy || mark.time == 0 {
        mark.jiffy = jiffy;
        mark.time = now();
    }
    mark.time
}

/// Notes in an entry that something passed, and returns the time to go by.
#[inline(always)]
pub fn touch(first: &mut u64, last: &mut u64, this_jiffy: u64, decides: bool) -> u64 {
    let before = *last;
    if !decides && this_jiffy <= before {
        return before;
    }
    if !decides && *first != 0 {
        *last = this_jiffy;
        return this_jiffy;
    }
    let now = now();
    if *first == 0 {
        *first = now;
    }
    *last = now;
    now
}
