//! Sockets that send again: `trace_tcp_retransmit_skb(sk, skb[, err])`, in the pods'
//! namespaces as in the node's (include/trace/events/tcp.h; `err` since 6.17).
//!
//! Costs about ten reads and a map update per retransmit.
use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use netdiag_common::{
    config::counter,
    event::{EMIT_INTERVAL_NS, SOCKET_RETRANSMIT},
    loss::{RetransmitKey, Retransmitted},
};

use crate::{
    emit::{SampleHeader, add, count, emit, entry},
    filter,
    maps::{self, offset},
    read::{at, netns, skb, sock},
};

#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn tcp_retransmit_skb(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let skb: *const u8 = ctx.arg(1);
    let _ = record(sk as u64, skb as u64);
    0
}

#[inline(always)]
fn record(sk: u64, skb: u64) -> Option<()> {
    let netns = netns::of_sock(sk)?;
    if maps::NETNS.get_ptr(&netns).is_none() {
        count(counter::FOREIGN, 1);
        count(counter::RETRANSMITS_FOREIGN, 1);
        return None;
    }
    let key = RetransmitKey {
        flow: sock::flow(sk)?,
        netns,
        padding: 0,
    };
    if !filter::socket(&key.flow, netns) {
        return None;
    }
    // SAFETY: no arguments, no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let empty = Retransmitted {
        packets: 0,
        first: now,
        last: now,
        next_emit: 0,
        sequence: 0,
        payload: 0,
    };
    let added = counter::RETRANSMITS_ADDED;
    let refused = counter::RETRANSMITS_REFUSED;
    let value = entry(&maps::RETRANSMITS, &key, &empty, added, refused)?;
    let sequence: u32 = at(skb, offset!(skb_cb) + offset!(tcp_cb_seq))?;
    let end: u32 = at(skb, offset!(skb_cb) + offset!(tcp_cb_end_seq))?;
    let (_, segments) = skb::gso(skb);
    // SAFETY: a live map value.
    let retransmit = unsafe { &mut *value };
    add(&raw mut retransmit.packets, u64::from(segments));
    retransmit.last = now;
    retransmit.sequence = sequence;
    retransmit.payload = end.wrapping_sub(sequence);
    if now >= retransmit.next_emit {
        retransmit.next_emit = now + EMIT_INTERVAL_NS;
        sample(&key, sequence, retransmit.payload, now);
    }
    Some(())
}

/// A record without packet bytes: the retransmitted skb has no headers yet.
#[inline(always)]
fn sample(key: &RetransmitKey, sequence: u32, payload: u32, now: u64) {
    let record = SampleHeader {
        time: now,
        location: 0,
        flow: &key.flow,
        kind: SOCKET_RETRANSMIT,
        reason: 0,
        ifindex: 0,
        netns: key.netns,
        length: payload,
        limit: 0,
        sequence,
        direction: 0,
        carried: 0,
    };
    emit(&record, &super::kfree_skb::Nothing, 0, 0);
}
