//! DNS over UDP port 53 at a hop: each question with what became of it (RFC 1035), so that it can
//! be told which server keeps silent, towards whom, and where its questions were last seen.
//!
//! Costs other packets a comparison of ports; a DNS packet two loads, one copy of at most 64
//! bytes and one map update. Names go as wire labels: what they mean is the user side's.
use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, programs::TcContext};
use netdiag_common::{
    config::counter,
    dns::{self, Dns, DnsKey, NAME},
    flow::FlowKey,
};

use super::hop::{Seen, Skb};
use crate::{
    emit::{add, entry},
    maps,
    parse::{Bytes, Packet, be16, copy_length, ip, masked},
};

const UDP_HEADER: u32 = 8;
const HEADER: u32 = 12;
/// QR: this is an answer.
const ANSWER: u8 = 0x80;
const OPCODE: u8 = 0x78;
const TRUNCATED: u8 = 0x02;
const MOST: u32 = NAME as u32;
const WORDS: usize = NAME / 8;
/// Labels that fit: each has its length and a byte at least.
const LABELS: u32 = MOST / 2;

const NOERROR: u8 = 0;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
const REFUSED: u8 = 5;

/// Counts `packet` where it is a question or an answer.
#[inline(always)]
pub fn account(bytes: &Skb, seen: &Seen, packet: &Packet, carried: u8, now: u64) {
    if is(&packet.flow) {
        note(bytes.0.skb.skb, seen, packet, u32::from(carried), now);
    }
}

#[inline(always)]
pub fn is(flow: &FlowKey) -> bool {
    let port = flow.source_port == dns::PORT || flow.destination_port == dns::PORT;
    port && flow.protocol == ip::UDP
}

/// One copy of the code for packets and for those inside a tunnel's.
#[inline(never)]
fn note(skb: *mut __sk_buff, seen: &Seen, packet: &Packet, carried: u32, now: u64) -> i32 {
    let ctx = TcContext::new(skb);
    match try_note(&Skb(&ctx), seen, packet, carried, now) {
        Some(()) => 0,
        None => -1,
    }
}

#[inline(always)]
fn try_note(bytes: &Skb, seen: &Seen, packet: &Packet, carried: u32, now: u64) -> Option<()> {
    let at = packet.l4 + UDP_HEADER;
    let h: [u8; 12] = bytes.load(at)?;
    let answer = h[2] & ANSWER != 0;
    let (flow, key) = (&packet.flow, &mut maps::scratch()?.dns);
    let server_port = if answer {
        flow.source_port
    } else {
        flow.destination_port
    };
    if server_port != dns::PORT || h[2] & OPCODE != 0 || be16(h[4], h[5]) == 0 {
        return None;
    }
    let port = if answer {
        key.client = flow.destination;
        key.server = flow.source;
        flow.destination_port
    } else {
        key.client = flow.source;
        key.server = flow.destination;
        flow.source_port
    };
    key.ifindex = seen.ifindex;
    key.family = flow.family;
    key.carried = carried as u8;
    question(bytes, at + HEADER, seen.length, key)?;
    let value = entry(
        &maps::DNS,
        key,
        &maps::EMPTY_DNS,
        counter::DNS_ADDED,
        counter::DNS_REFUSED,
    )?;
    // SAFETY: a live map value; races between CPUs lose at most a time or a maximum.
    let value = unsafe { &mut *value };
    let id = be16(h[0], h[1]);
    let own = value.unanswered > 0 && value.last_id == id && value.last_port == port;
    if answer {
        answered(value, now, own, h[2] & TRUNCATED != 0, h[3] & 0xf);
    } else {
        asked(value, now, own);
        value.last_id = id;
        value.last_port = port;
    }
    Some(())
}

/// Fills in the name and the type of the question at `at`.
#[inline(always)]
fn question(bytes: &Skb, at: u32, end: u32, key: &mut DnsKey) -> Option<()> {
    let words = (&raw mut key.name).cast::<[u64; WORDS]>();
    // SAFETY: as many bytes, aligned as the key is.
    unsafe { words.write([0; WORDS]) };
    if end <= at {
        return None;
    }
    let length = copy_length::<MOST>(end - at);
    // SAFETY: the name has room for as many bytes as `length` can be.
    let copied = unsafe { bpf_skb_load_bytes(bytes.0.skb.skb.cast(), at, words.cast(), length) };
    if copied != 0 {
        return None;
    }
    let end = name_end(key)?;
    key.kind = 0;
    if end <= MOST {
        let kind: [u8; 2] = bytes.load(at + end)?;
        key.kind = be16(kind[0], kind[1]);
    }
    // SAFETY: as above; nothing else refers to the name any more.
    for (n, word) in unsafe { &mut *words }.iter_mut().enumerate() {
        *word = dns::lower(dns::first(*word, end.saturating_sub(n as u32 * 8)));
    }
    Some(())
}

/// Bytes of the name, its end included; more than fit where it was cut.
#[inline(always)]
fn name_end(key: &DnsKey) -> Option<u32> {
    let mut at = 0;
    for _ in 0..LABELS {
        if at >= MOST {
            break;
        }
        let label = key.name[masked(u64::from(at), NAME as u64 - 1) as usize];
        if label == 0 {
            return Some(at + 1);
        }
        // A question's own name has nothing to point back to.
        if u32::from(label) >= MOST {
            return None;
        }
        at += u32::from(label) + 1;
    }
    Some(MOST + 1)
}

#[inline(always)]
fn asked(value: &mut Dns, now: u64, again: bool) {
    add(&raw mut value.queries, 1);
    if again {
        add(&raw mut value.repeats, 1);
        let gap = now - value.last_query;
        if gap > value.repeat_gap {
            value.repeat_gap = gap;
        }
    }
    if value.first_query == 0 {
        value.first_query = now;
    }
    if value.unanswered == 0 {
        value.silent_since = now;
    }
    value.unanswered += 1;
    value.last_query = now;
}

#[inline(always)]
fn answered(value: &mut Dns, now: u64, own: bool, truncated: bool, code: u8) {
    add(&raw mut value.answers, 1);
    match code {
        NOERROR => add(&raw mut value.noerror, 1),
        NXDOMAIN => add(&raw mut value.nxdomain, 1),
        SERVFAIL => add(&raw mut value.servfail, 1),
        REFUSED => add(&raw mut value.refused, 1),
        _ => add(&raw mut value.other, 1),
    }
    if code == NOERROR || code == NXDOMAIN {
        value.failed = 0;
        value.last_good = now;
    } else {
        if value.failed == 0 {
            value.failing_since = now;
        }
        add(&raw mut value.failed, 1);
    }
    if truncated {
        add(&raw mut value.truncated, 1);
    }
    if own {
        let latency = now - value.last_query;
        add(&raw mut value.latency_sum, latency);
        add(&raw mut value.latency_count, 1);
        if latency > value.latency_max {
            value.latency_max = latency;
        }
    }
    value.unanswered = 0;
    value.last_answer = now;
}
