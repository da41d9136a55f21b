//! Encapsulated packets on an uplink: the pair of outer addresses, and the inner flow.
use netdiag_common::{config::counter, hop::OuterKey};

use super::{
    account, dns,
    hop::{Seen, Skb},
};
use crate::{
    clock::touch,
    emit::{add, entry},
    filter, maps,
    parse::{Packet, tunnel::Carried, usual},
};

#[inline(always)]
pub fn account(bytes: &Skb, seen: &Seen, outer: &Packet, carried: &Carried) -> Option<()> {
    let scratch = maps::scratch()?;
    if carried.inner == 0 && filter::on() {
        return Some(());
    }
    if carried.inner == 0 {
        return outer_pair(seen, outer, carried, &outer.flow, &mut scratch.outer);
    }
    parse(bytes, carried.inner, &mut scratch.inner)?;
    if !filter::hop(&scratch.inner.flow, seen.ifindex, seen.segments) {
        return Some(());
    }
    outer_pair(
        seen,
        outer,
        carried,
        &scratch.inner.flow,
        &mut scratch.outer,
    )?;
    scratch
        .inner
        .set_place(seen.ifindex, seen.direction, carried.kind);
    let now = account::packet(bytes, seen, &scratch.inner, carried.kind, outer)?;
    dns::account(bytes, seen, &scratch.inner, carried.kind, now);
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

#[inline(always)]
fn outer_pair(
    seen: &Seen,
    outer: &Packet,
    carried: &Carried,
    inner: &netdiag_common::flow::FlowKey,
    key: &mut OuterKey,
) -> Option<()> {
    *key = OuterKey {
        source: outer.flow.source,
        destination: outer.flow.destination,
        ifindex: seen.ifindex,
        vni: carried.vni,
        port: carried.port,
        direction: seen.direction,
        carried: carried.kind,
        padding: [0; 4],
    };
    let Some(value) = entry(
        &maps::OUTERS,
        key,
        &maps::EMPTY_OUTER,
        counter::OUTERS_ADDED,
        counter::OUTERS_REFUSED,
    ) else {
        return Some(());
    };
    // SAFETY: a live map value; the inner flow is a sample, any CPU's will do.
    let pair = unsafe { &mut *value };
    add(&raw mut pair.packets, u64::from(seen.segments));
    add(
        &raw mut pair.bytes,
        u64::from(seen.length.saturating_sub(outer.l3)),
    );
    touch(&mut pair.first, &mut pair.last, seen.this_jiffy, false);
    pair.inner = *inner;
    Some(())
}
