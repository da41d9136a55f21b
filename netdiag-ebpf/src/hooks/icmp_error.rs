//! ICMP errors that pass a hop (RFC 792, RFC 4443), kept by the flow that they are about.
use netdiag_common::{
    config::counter,
    hop::{IcmpError, IcmpErrorKey},
};

use super::{
    claim,
    hop::{Seen, Skb},
};
use crate::{
    clock,
    emit::{add, entry},
    filter, maps,
    parse::{Bytes, Packet, ip},
};

const UNREACHABLE: u8 = 3;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;
/// ICMPv6 errors are the types below 128; the first four are in use.
const V6_ERRORS: u8 = 4;

#[inline(always)]
pub fn account(bytes: &Skb, seen: &Seen, packet: &Packet) -> Option<()> {
    let v6 = match packet.flow.protocol {
        ip::ICMP => false,
        ip::ICMPV6 => true,
        _ => return Some(()),
    };
    let h: [u8; 8] = bytes.load(packet.l4)?;
    let error = if v6 {
        h[0] >= 1 && h[0] <= V6_ERRORS
    } else {
        matches!(h[0], UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM)
    };
    if !error {
        return if v6 {
            claim::discovery(bytes, seen, packet, h[0])
        } else {
            Some(())
        };
    }
    let scratch = maps::scratch()?;
    bytes.parse(packet.l4 + 8, &mut scratch.about)?;
    if !filter::about(&scratch.about.flow) {
        return Some(());
    }
    scratch.icmp = IcmpErrorKey {
        about: scratch.about.flow,
        sender: packet.flow.source,
        ifindex: seen.ifindex,
        direction: seen.direction,
        kind: h[0],
        code: h[1],
        padding: 0,
    };
    let mtu = if v6 {
        u32::from_be_bytes([h[4], h[5], h[6], h[7]])
    } else {
        u32::from_be_bytes([0, 0, h[6], h[7]])
    };
    note(&scratch.icmp, clock::now(), mtu);
    Some(())
}

#[inline(always)]
fn note(key: &IcmpErrorKey, now: u64, mtu: u32) {
    let empty = IcmpError {
        packets: 0,
        first: now,
        last: now,
        mtu,
        padding: 0,
    };
    let added = counter::ICMP_ADDED;
    let Some(value) = entry(
        &maps::ICMP_ERRORS,
        key,
        &empty,
        added,
        counter::ICMP_REFUSED,
    ) else {
        return;
    };
    // SAFETY: a live map value.
    let error = unsafe { &mut *value };
    add(&raw mut error.packets, 1);
    error.last = now;
    error.mtu = mtu;
}
