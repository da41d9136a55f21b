//! The counts of one flow at one hop.
use netdiag_common::{
    config::counter,
    event::{self, EMIT_INTERVAL_NS},
    front::{Front, Words},
    hop::{
        ACK, DF, FIN, FlowHop, FragmentKey, FragmentOf, GSO, Limit, OVERSIZE_DF, OVERSIZE_GSO, RST,
        SYN,
    },
    sequence::{self, Segment},
};

use super::{dns, hop::Seen};
use crate::{
    clock,
    emit::{SampleHeader, add, count, emit, entry},
    filter,
    front::{self, Passed},
    maps::{self, Room, Rows},
    parse::{Bytes, FIRST, Packet, WHOLE, ip, tcp},
};

const UDP_HEADER: u32 = 8;

/// Sizes of a packet, from its IP header on.
struct Sizes {
    /// Payload after them, of the whole superpacket.
    payload: u32,
    /// Largest segment of the flow's own packet.
    segment: u32,
    /// Largest segment as the wire carries it, tunnel headers included.
    wire_segment: u32,
    /// Bytes of all segments on the wire.
    wire_bytes: u64,
}

/// Counts `packet`, which travels inside `outer` (itself, where it is not encapsulated). Returns
/// the time to go by.
#[inline(always)]
pub fn packet(
    bytes: &impl Bytes,
    seen: &Seen,
    room: &mut Room,
    packet: &Packet,
    carried: u8,
    outer: &Packet,
) -> Option<u64> {
    let mut tcp = tcp::Tcp::NONE;
    if packet.flow.protocol == ip::TCP {
        tcp = tcp::parse(bytes, packet.l4)?;
    }
    let sizes = sizes(seen, packet, &tcp, outer);
    let passed = Passed {
        packets: u64::from(seen.segments),
        bytes: sizes.wire_bytes,
        segment: sizes.segment,
        wire_segment: sizes.wire_segment,
        flags: flags(seen, packet, &tcp),
    };
    let key = packet.key_words();
    let data = only_data(packet, outer, &tcp);
    if data && room.keeps.light() && passes(seen, &mut room.front, key, outer, &sizes) {
        return Some(seen.this_jiffy);
    }
    // What takes no part in a sequence that is followed here.
    let apart = sizes.payload == 0 || !tcp.is_some() || !room.keeps.sequences();
    room.keeps.set_counts(data && apart && !room.keeps.light());
    if room.keeps.counts() && front::flow_hit(&mut room.front, key, &passed, seen.this_jiffy) {
        return Some(seen.this_jiffy);
    }
    let Some(value) = flow(packet, seen.segments, &mut room.rows) else {
        return Some(clock::now());
    };
    // SAFETY: a live map value; races between CPUs lose at most a maximum or a flag.
    let hop = unsafe { &mut *value };
    let now = clock::touch(
        &mut hop.first,
        &mut hop.last,
        seen.this_jiffy,
        decides(packet, &tcp),
    );
    count_packet(hop, &passed);
    if outer.fragment == FIRST {
        add(&raw mut hop.fragments, 1);
        remember_fragment(seen, outer, packet, carried);
    }
    if tcp.is_some() {
        note_tcp(hop, &tcp);
        if room.keeps.sequences() && retransmitted(hop, &tcp, sizes.payload, seen, now) {
            sample(
                bytes,
                seen,
                packet,
                hop,
                event::WIRE_RETRANSMIT,
                carried,
                tcp.sequence,
                sizes.segment,
            );
        }
    }
    let (fits, limit) = fits(seen, outer, &sizes);
    if fits == 0 {
        note_oversize(hop, seen, outer, &sizes, &limit);
        sample(
            bytes,
            seen,
            packet,
            hop,
            event::OVERSIZE,
            carried,
            0,
            sizes.wire_segment,
        );
    } else if room.keeps.counts() {
        front::remember_flow(&mut room.front, key, fits, now);
    }
    Some(now)
}

/// Whether the packet neither begins nor ends anything: data and acknowledgements, whole.
#[inline(always)]
fn only_data(packet: &Packet, outer: &Packet, tcp: &tcp::Tcp) -> bool {
    if packet.fragment != WHOLE || outer.fragment != WHOLE {
        return false;
    }
    match packet.flow.protocol {
        ip::TCP => tcp.flags & (tcp::SYN | tcp::FIN | tcp::RST) == 0,
        ip::UDP => !dns::is(&packet.flow),
        _ => false,
    }
}

/// Whether data fits its route: then nothing is kept of it.
#[inline(always)]
fn passes(seen: &Seen, front: &mut Front, key: &Words, outer: &Packet, sizes: &Sizes) -> bool {
    if sizes.wire_segment <= seen.smallest_limit
        || seen.smallest_limit == 0
        || front::flow_fits(front, key, sizes.wire_segment)
    {
        return true;
    }
    let (fits, _) = fits(seen, outer, sizes);
    if fits != 0 {
        front::remember_flow(front, key, fits, seen.this_jiffy);
    }
    fits != 0
}

/// Whether somebody decides by when exactly it passed.
#[inline(always)]
fn decides(packet: &Packet, tcp: &tcp::Tcp) -> bool {
    match packet.flow.protocol {
        ip::TCP => tcp.flags & (tcp::SYN | tcp::FIN | tcp::RST) != 0,
        ip::UDP => dns::is(&packet.flow),
        _ => true,
    }
}

/// Follows the flow's sequence space and counts what is sent again.
#[inline(always)]
fn retransmitted(hop: &mut FlowHop, tcp: &tcp::Tcp, payload: u32, seen: &Seen, now: u64) -> bool {
    let segment = Segment {
        sequence: tcp.sequence,
        payload,
        syn: tcp.flags & tcp::SYN != 0,
        fin: tcp.flags & tcp::FIN != 0,
        rst: tcp.flags & tcp::RST != 0,
        now,
    };
    let again = sequence::track(hop, &segment, clock::now);
    if again {
        add(&raw mut hop.retransmits, u64::from(seen.segments));
    }
    again
}

#[inline(always)]
fn sizes(seen: &Seen, packet: &Packet, tcp: &tcp::Tcp, outer: &Packet) -> Sizes {
    let transport = if packet.flow.protocol == ip::UDP {
        UDP_HEADER
    } else {
        tcp.header
    };
    let headers = packet.l4 - packet.l3 + transport;
    let to_end = seen.length.saturating_sub(packet.l3);
    // What the frame holds may be more (padding) or, in a first fragment, less than the header says.
    let total = if seen.gso_size > 0 || packet.length == 0 {
        to_end
    } else {
        packet.length
    };
    let segment = if seen.gso_size > 0 {
        seen.gso_size + headers
    } else {
        total
    };
    let tunnel = packet.l3 - outer.l3;
    let outer_total = if seen.gso_size > 0 || outer.length == 0 {
        seen.length.saturating_sub(outer.l3)
    } else {
        outer.length
    };
    let repeated = u64::from(seen.segments - 1) * u64::from(headers + tunnel);
    Sizes {
        payload: total.saturating_sub(headers),
        segment,
        wire_segment: segment + tunnel,
        wire_bytes: u64::from(outer_total) + repeated,
    }
}

#[inline(always)]
fn flow(packet: &Packet, segments: u32, rows: &mut Rows) -> Option<*mut FlowHop> {
    let key = packet.key();
    if let Some(known) = maps::FLOWS.get_ptr_mut(key) {
        return Some(known);
    }
    if !rows.has_room(&maps::NEW_FLOWS) {
        count(counter::HOPS_UNKEPT, u64::from(segments));
        return None;
    }
    let added = counter::FLOWS_ADDED;
    entry(
        &maps::FLOWS,
        key,
        &maps::EMPTY_FLOW,
        added,
        counter::FLOWS_REFUSED,
    )
}

#[inline(always)]
fn count_packet(hop: &mut FlowHop, passed: &Passed) {
    add(&raw mut hop.packets, passed.packets);
    add(&raw mut hop.bytes, passed.bytes);
    if passed.segment > hop.largest {
        hop.largest = passed.segment;
    }
    let flags = hop.flags | passed.flags;
    if flags != hop.flags {
        hop.flags = flags;
    }
}

#[inline(always)]
fn flags(seen: &Seen, packet: &Packet, tcp: &tcp::Tcp) -> u32 {
    let mut flags = 0;
    if packet.df != 0 {
        flags |= DF;
    }
    if seen.gso_size > 0 {
        flags |= GSO;
    }
    if tcp.flags & tcp::ACK != 0 {
        flags |= ACK;
    }
    flags
}

#[inline(always)]
fn note_tcp(hop: &mut FlowHop, tcp: &tcp::Tcp) {
    let mut flags = hop.flags;
    if tcp.flags & tcp::SYN != 0 {
        flags |= SYN;
        if tcp.mss != 0 {
            hop.mss = tcp.mss;
        }
        if tcp.flags & tcp::ACK == 0 {
            hop.syns += 1;
        }
    }
    if tcp.flags & tcp::FIN != 0 {
        flags |= FIN;
    }
    if tcp.flags & tcp::RST != 0 {
        flags |= RST;
        hop.resets += 1;
    }
    if flags != hop.flags {
        hop.flags = flags;
    }
}

/// A size that is known to fit the packet's route, 0 where its segments do not; then the limit too.
#[inline(always)]
fn fits(seen: &Seen, outer: &Packet, sizes: &Sizes) -> (u32, Limit) {
    let none = Limit {
        bytes: 0,
        from: 0,
        padding: [0; 3],
    };
    let smallest = seen.smallest_limit;
    if smallest == 0 {
        return (NO_LIMIT, none);
    }
    if sizes.wire_segment <= smallest {
        return (smallest, none);
    }
    let key = aya_ebpf::maps::lpm_trie::Key::new(128, outer.flow.destination);
    match maps::LIMITS.get(key) {
        Some(limit) if limit.bytes == 0 || outer.fragment == FIRST => (NO_LIMIT, none),
        Some(limit) if sizes.wire_segment <= limit.bytes => (limit.bytes, none),
        Some(limit) => (0, *limit),
        None => (NO_LIMIT, none),
    }
}

const NO_LIMIT: u32 = u32::MAX;

#[inline(always)]
fn note_oversize(hop: &mut FlowHop, seen: &Seen, outer: &Packet, sizes: &Sizes, limit: &Limit) {
    add(&raw mut hop.oversize, full_segments(seen, sizes));
    hop.limit = limit.bytes;
    hop.limit_from = limit.from;
    if sizes.wire_segment > hop.oversize_largest {
        hop.oversize_largest = sizes.wire_segment;
    }
    let mut flags = hop.flags;
    if outer.df != 0 {
        flags |= OVERSIZE_DF;
    }
    if seen.gso_size > 0 {
        flags |= OVERSIZE_GSO;
    }
    hop.flags = flags;
}

/// Segments of a superpacket that have the full size: the last one may be shorter and fit.
#[inline(always)]
fn full_segments(seen: &Seen, sizes: &Sizes) -> u64 {
    if seen.gso_size == 0 {
        return 1;
    }
    let rest = sizes.payload % seen.gso_size;
    u64::from(if rest == 0 {
        seen.segments
    } else {
        seen.segments - 1
    })
}

/// Sends a record of this entry, at most one a second.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "each is a field of the record")]
fn sample(
    bytes: &impl Bytes,
    seen: &Seen,
    packet: &Packet,
    hop: &mut FlowHop,
    kind: u32,
    carried: u8,
    sequence: u32,
    length: u32,
) {
    if hop.last < hop.next_emit {
        return;
    }
    let now = clock::now();
    hop.next_emit = now + EMIT_INTERVAL_NS;
    let record = SampleHeader {
        time: now,
        location: 0,
        flow: &packet.flow,
        kind,
        reason: 0,
        ifindex: seen.ifindex,
        netns: 0,
        length,
        limit: hop.limit,
        sequence,
        direction: seen.direction,
        carried,
    };
    emit(&record, bytes, 0, seen.length);
}

#[inline(always)]
fn fragment_key(seen: &Seen, outer: &Packet) -> FragmentKey {
    FragmentKey {
        source: outer.flow.source,
        destination: outer.flow.destination,
        id: outer.id,
        protocol: outer.flow.protocol,
        direction: seen.direction,
        padding: [0; 2],
    }
}

#[inline(always)]
fn remember_fragment(seen: &Seen, outer: &Packet, packet: &Packet, carried: u8) {
    let Some(scratch) = maps::scratch() else {
        return;
    };
    scratch.fragment = fragment_key(seen, outer);
    scratch.fragment_of = FragmentOf {
        flow: packet.flow,
        carried,
        padding: [0; 7],
    };
    // A failure shows as a later fragment without a first one, which is counted.
    let _ = maps::FRAGMENTS.insert(&scratch.fragment, &scratch.fragment_of, 0);
}

/// A later fragment has no transport header: its flow is that of the first one.
#[inline(always)]
pub fn later_fragment(seen: &Seen, room: &mut Room, outer: &Packet) -> Option<()> {
    let scratch = maps::scratch()?;
    scratch.fragment = fragment_key(seen, outer);
    scratch.inner = *outer;
    let packet = &mut scratch.inner;
    let mut carried = netdiag_common::hop::PLAIN;
    match maps::FRAGMENTS.get_ptr(&scratch.fragment) {
        Some(of) => {
            // SAFETY: a live map value, replaced as a whole by its writer.
            let of = unsafe { &*of };
            packet.flow = of.flow;
            carried = of.carried;
        }
        // The first one may have been left out.
        None if filter::on() => {}
        None => count(counter::FRAGMENTS_UNMATCHED, 1),
    }
    if !filter::hop(&packet.flow, seen.ifindex, 1) {
        return Some(());
    }
    packet.set_place(seen.ifindex, seen.direction, carried);
    let Some(value) = flow(packet, 1, &mut room.rows) else {
        return Some(());
    };
    // SAFETY: a live map value.
    let hop = unsafe { &mut *value };
    add(&raw mut hop.packets, 1);
    add(&raw mut hop.bytes, u64::from(outer.length));
    add(&raw mut hop.fragments, 1);
    add(&raw mut hop.later_fragments, 1);
    clock::touch(&mut hop.first, &mut hop.last, seen.this_jiffy, false);
    Some(())
}
