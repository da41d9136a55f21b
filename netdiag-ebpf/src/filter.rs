//! Whether a packet is one of those asked for. What is asked stands in maps; that nothing is, in
//! a constant, so that the verifier removes all of this from a trace without a filter.
use netdiag_common::{
    config::{NETNS_NODE, counter},
    filter::{EXPRESSION, SELECTION, place},
    flow::FlowKey,
};

use crate::{emit::count, maps};

/// Bits of [`netdiag_common::filter`], set before loading.
#[unsafe(no_mangle)]
pub static FILTER: u32 = 0;

/// Volatile for the same reason as the offsets.
#[inline(always)]
fn asked() -> u32 {
    // SAFETY: a static of our own.
    unsafe { core::ptr::read_volatile(&raw const FILTER) }
}

#[inline(always)]
pub fn on() -> bool {
    asked() != 0
}

/// A packet at a link of the node's, by the innermost flow. Counts those that are left out.
#[inline(always)]
pub fn hop(flow: &FlowKey, ifindex: u32, packets: u32) -> bool {
    if !on() || taken(HOP, flow, place::link(ifindex), 0) {
        return true;
    }
    count(counter::HOPS_LEFT, u64::from(packets));
    false
}

/// A flow that a packet at a link of the node's is about.
#[inline(always)]
pub fn about(flow: &FlowKey) -> bool {
    !on() || taken(HOP, flow, 0, 0)
}

/// A socket's flow.
#[inline(always)]
pub fn socket(flow: &FlowKey, netns: u32) -> bool {
    !on() || taken(SOCKET, flow, place::netns(netns), 0)
}

/// A dropped packet. Counts those that are left out.
#[inline(always)]
pub fn dropped(flow: &FlowKey, netns: u32, ifindex: u32, packets: u32) -> bool {
    if !on() {
        return true;
    }
    // In a pod's namespace, the same number is another link.
    let node = maps::NETNS.get_ptr(&netns);
    // SAFETY: a live map value.
    let node = node.is_some_and(|kind| unsafe { *kind } == NETNS_NODE);
    let link = if node { place::link(ifindex) } else { 0 };
    if taken(DROP, flow, place::netns(netns), link) {
        return true;
    }
    let left = if flow.family == 0 {
        counter::DROPS_UNJUDGED
    } else {
        counter::DROPS_LEFT
    };
    count(left, u64::from(packets));
    false
}

const TAKEN: i32 = 1;

/// Who asks: each has a slot of its own on each CPU, because a tracepoint can come in the middle
/// of a hop's program.
const HOP: u32 = 0;
const DROP: u32 = 1;
const SOCKET: u32 = 2;

#[inline(always)]
fn taken(slot: u32, flow: &FlowKey, place: u64, other: u64) -> bool {
    let Some(judged) = maps::JUDGED.get_ptr_mut(slot) else {
        return true;
    };
    // SAFETY: this CPU's own slot, see above.
    unsafe { *judged = *flow };
    judge(slot, place, other) == TAKEN
}

/// A place that is 0 is none. A global function, which the verifier walks once, whatever its
/// callers know: every step of the rules for every way to get here would be too much for it. It
/// takes numbers only, because before 5.12 such a function may take no pointer.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn judge(slot: u32, place: u64, other: u64) -> i32 {
    let Some(flow) = maps::JUDGED.get_ptr(slot) else {
        return TAKEN;
    };
    // SAFETY: as the caller left it.
    let flow = unsafe { &*flow };
    let asked = asked();
    let selected = asked & SELECTION == 0
        || maps::SELECTED.get_ptr(&flow.source).is_some()
        || maps::SELECTED.get_ptr(&flow.destination).is_some()
        || maps::SELECTED_PLACES.get_ptr(&place).is_some()
        || maps::SELECTED_PLACES.get_ptr(&other).is_some();
    let wanted = selected && (asked & EXPRESSION == 0 || rules(flow));
    i32::from(wanted)
}

#[inline(always)]
fn rules(flow: &FlowKey) -> bool {
    maps::RULES.get(0).is_some_and(|rules| rules.take(flow))
}
