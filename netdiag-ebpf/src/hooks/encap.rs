//! Encapsulated packets on an uplink: the pair of outer addresses, and the inner flow.
use core::mem::offset_of;

use netdiag_common::{
    config::counter,
    front::{Front, Words},
    hop::OuterKey,
};

use super::{
    account, dns,
    hop::{Seen, Skb},
};
use crate::{
    clock::touch,
    emit::{add, entry},
    filter, front, maps,
    parse::{Packet, tunnel::Carried, usual},
};

#[inline(always)]
pub fn account(bytes: &Skb, seen: &Seen, outer: &Packet, carried: &Carried) -> Option<()> {
    let maps::Scratch {
        inner,
        outer: pair,
        room,
        ..
    } = maps::scratch()?;
    if carried.inner == 0 && filter::on() {
        return Some(());
    }
    pair_key(pair, seen, outer, carried);
    if carried.inner == 0 {
        outer_pair(seen, outer, &mut room.front, pair, outer);
        return Some(());
    }
    parse(bytes, carried.inner, inner)?;
    if !filter::hop(&inner.flow, seen.ifindex, seen.segments) {
        return Some(());
    }
    outer_pair(seen, outer, &mut room.front, pair, inner);
    inner.set_place(seen.ifindex, seen.direction, carried.kind);
    let now = account::packet(bytes, seen, room, inner, carried.kind, outer)?;
    dns::account(bytes, seen, inner, carried.kind, now);
    Some(())
}

/// Where an inner IP header lies behind usual headers: Ethernet, then IPv4 or IPv6, UDP, VXLAN and
/// Ethernet again; or IPv4 alone.
const IN_VXLAN_V4: u32 = 14 + 20 + 8 + 8 + 14;
const IN_VXLAN_V6: u32 = 14 + 40 + 8 + 8 + 14;
const IN_IPV4: u32 = 14 + 20;

#[inline(always)]
fn parse(bytes: &Skb, l3: u32, packet: &mut Packet) -> Option<()> {
    let (start, end) = (bytes.0.data(), bytes.0.data_end());
    let usual = match l3 {
        IN_VXLAN_V4 => usual::frame::<{ IN_VXLAN_V4 as usize }>(start, end, packet),
        IN_VXLAN_V6 => usual::frame::<{ IN_VXLAN_V6 as usize }>(start, end, packet),
        IN_IPV4 => usual::packet::<{ IN_IPV4 as usize }>(start, end, packet),
        _ => false,
    };
    if usual {
        return Some(());
    }
    bytes.parse(l3, packet)
}

/// Fills in the key, by whole words.
#[inline(always)]
fn pair_key(key: &mut Words, seen: &Seen, outer: &Packet, carried: &Carried) {
    let flow = outer.key_words();
    let [a, b, c, d, link, rest] = key;
    (*a, *b, *c, *d) = (flow[0], flow[1], flow[2], flow[3]);
    *link = u64::from(seen.ifindex) | u64::from(carried.vni) << 32;
    *rest =
        u64::from(carried.port) | u64::from(seen.direction) << 16 | u64::from(carried.kind) << 24;
}

const _: () = assert!(
    cfg!(target_endian = "little")
        && offset_of!(OuterKey, destination) == 16
        && offset_of!(OuterKey, ifindex) == 32
        && offset_of!(OuterKey, vni) == 36
        && offset_of!(OuterKey, port) == 40
        && offset_of!(OuterKey, direction) == 42
        && offset_of!(OuterKey, carried) == 43
);

/// Counts the pair. One copy of the code, with a stack of its own. A packet whose pair finds no room is counted as that, its flow all the same.
#[inline(never)]
fn outer_pair(seen: &Seen, outer: &Packet, front: &mut Front, key: &Words, inner: &Packet) {
    let packets = u64::from(seen.segments);
    let bytes = u64::from(seen.length.saturating_sub(outer.l3));
    if front::outer_hit(front, key, packets, bytes, seen.this_jiffy) {
        return;
    }
    // SAFETY: as many bytes, laid out like this, see above.
    let pair_key = unsafe { &*key.as_ptr().cast::<OuterKey>() };
    let Some(value) = entry(
        &maps::OUTERS,
        pair_key,
        &maps::EMPTY_OUTER,
        counter::OUTERS_ADDED,
        counter::OUTERS_REFUSED,
    ) else {
        return;
    };
    // SAFETY: a live map value; the inner flow is a sample, any CPU's will do.
    let pair = unsafe { &mut *value };
    add(&raw mut pair.packets, packets);
    add(&raw mut pair.bytes, bytes);
    let now = touch(&mut pair.first, &mut pair.last, seen.this_jiffy, false);
    pair.inner = inner.flow;
    front::remember_outer(front, key, inner.key_words(), now);
}
