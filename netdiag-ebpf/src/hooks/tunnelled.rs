//! Encapsulated packets on an uplink: the pair of outer addresses, and the inner flow.
use netdiag_common::{config::counter, hop::OuterKey};

use super::{
    account, dns,
    hop::{Seen, Skb},
};
use crate::{
    emit::{add, entry},
    filter, maps,
    parse::{Packet, tunnel::Carried},
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
    bytes.parse(carried.inner, &mut scratch.inner)?;
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
    account::packet(bytes, seen, &scratch.inner, carried.kind, outer)?;
    dns::account(bytes, seen, &scratch.inner, carried.kind);
    Some(())
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
    if pair.first == 0 {
        pair.first = seen.now;
    }
    pair.last = seen.now;
    pair.inner = *inner;
    Some(())
}
