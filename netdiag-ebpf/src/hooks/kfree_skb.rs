//! Every packet that the kernel throws away, with the reason and the place.
//!
//! `trace_kfree_skb(skb, location, reason)` since 5.17, before that without the reason, with a fourth
//! argument `rx_sk` since 6.11 (include/trace/events/skb.h). Consumed packets have another tracepoint or a reason that
//! the user side marks as none; NOT_SPECIFIED is kept, its location tells it.
//!
//! Costs nothing for ignored reasons but one array look-up; for the rest about fifteen reads,
//! one map update, and a record when the entry is new or a second old.
use core::mem::MaybeUninit;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use netdiag_common::{
    config::{CANARY_MARK, REASONS, counter},
    event::{DROP, EMIT_INTERVAL_NS},
    front::DropWords,
    loss::{DropKey, NETNS_UNKNOWN, NO_REASON, REST},
};

use crate::{
    clock,
    emit::{SampleHeader, count, emit, entry},
    filter,
    front::{self, Died},
    maps::{self, offset},
    parse::{LATER, Packet, ip, tcp, tunnel},
    read::{field, netns, pointer, skb, sock},
};

#[btf_tracepoint(function = "kfree_skb")]
pub fn kfree_skb(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    let location: *const u8 = ctx.arg(1);
    let reason: u32 = if offset!(has_reason) == 1 {
        ctx.arg(2)
    } else {
        NO_REASON
    };
    let rx_sk = if offset!(has_rx_sk) == 1 {
        let sk: *const u8 = ctx.arg(3);
        sk as u64
    } else {
        0
    };
    record(&ctx, skb as u64, location as u64, reason, rx_sk);
    0
}

#[inline(always)]
fn record(ctx: &BtfTracePointContext, skb: u64, location: u64, reason: u32, rx_sk: u64) {
    if reason < REASONS && maps::IGNORED_REASONS.get(reason).is_some_and(|v| *v == 1) {
        count(counter::DROPS_IGNORED, 1);
        return;
    }
    let sk = pointer(skb, offset!(skb_sk)).unwrap_or(rx_sk);
    let Some((netns, ifindex)) = place(skb, sk) else {
        return;
    };
    let mut slot = MaybeUninit::uninit();
    let key = zeroed(&mut slot);
    key.location = location;
    key.reason = reason;
    key.netns = netns;
    key.ifindex = ifindex;
    let Some(lost) = describe(skb, sk, key) else {
        return;
    };
    // Dead code to the verifier unless -vv set the level before loading.
    debug!(
        ctx,
        "drop: reason {} netns {} ifindex {}", reason, netns, ifindex
    );
    note(skb, key, &lost);
}

/// The key of all others at its place, for where new ones come so fast that the table would lose
/// what nobody has read: a flood of flows costs one row then, and every packet counts.
#[inline(always)]
fn rest(key: &mut DropKey) {
    key.flow.source = [0; 16];
    key.flow.destination = [0; 16];
    key.flow.source_port = 0;
    key.flow.destination_port = 0;
    key.flow.family = 0;
    key.flow.protocol = REST;
}

/// A key of zeros, word by word: the compiler would call a function that writes byte by byte.
#[inline(always)]
fn zeroed(slot: &mut MaybeUninit<DropKey>) -> &mut DropKey {
    const WORDS: usize = size_of::<DropKey>() / 8;
    let words = slot.as_mut_ptr().cast::<u64>();
    for word in 0..WORDS {
        // SAFETY: within the slot, which is aligned like its words.
        unsafe { words.add(word).write_volatile(0) };
    }
    // SAFETY: all of it is written, and zeros are a key.
    unsafe { slot.assume_init_mut() }
}

/// Namespace and ifindex where the packet died; nothing for namespaces of other owners, which
/// are only counted. The device comes first: a socket travels with its packet into namespaces
/// that are not its own.
#[inline(always)]
fn place(skb: u64, sk: u64) -> Option<(u32, u32)> {
    let dev: u64 = field(skb, offset!(skb_dev));
    let found = match netns::of_device(dev) {
        Some(found) => Some(found),
        None if sk != 0 => netns::of_sock(sk).map(|inode| (inode, 0)),
        None => None,
    };
    let Some((inode, ifindex)) = found else {
        count(counter::NETNS_UNKNOWN, 1);
        return Some((NETNS_UNKNOWN, 0));
    };
    if !is_ours(inode) {
        let mark: u32 = field(skb, offset!(skb_mark));
        let whose = match mark {
            CANARY_MARK => counter::CANARIES,
            _ => counter::FOREIGN,
        };
        count(whose, 1);
        return None;
    }
    Some((inode, ifindex))
}

/// Whether the namespace is this node's or a pod's. Drops come in bursts: the last one that was is
/// remembered until the next reading.
#[inline(always)]
fn is_ours(inode: u32) -> bool {
    let (Some(dropping), Some(reading)) = (maps::dropping(), maps::READINGS.get(0)) else {
        return maps::NETNS.get_ptr(&inode).is_some();
    };
    let known = &mut dropping.netns;
    if known.netns == inode && known.reading == *reading {
        return true;
    }
    let ours = maps::NETNS.get_ptr(&inode).is_some();
    if ours {
        known.netns = inode;
        known.reading = *reading;
    }
    ours
}

/// What was lost, beside its flow.
struct Lost {
    packets: u32,
    length: u32,
    sequence: u32,
    ethertype: u32,
    tcp_flags: u32,
    this_jiffy: u64,
}

/// Fills in the flow; nothing where it is not asked for.
#[inline(always)]
fn describe(skb: u64, sk: u64, key: &mut DropKey) -> Option<Lost> {
    let (netns, ifindex, flow) = (key.netns, key.ifindex, &mut key.flow);
    let dropping = maps::dropping()?;
    let (gso_size, packets) = skb::gso(skb);
    let mut lost = Lost {
        packets,
        length: skb::length(skb),
        sequence: 0,
        ethertype: u32::from(skb::protocol(skb)),
        tcp_flags: 0,
        this_jiffy: clock::this_jiffy(&mut dropping.mark),
    };
    let is_ip = lost.ethertype == 0x0800 || lost.ethertype == 0x86dd;
    match skb::network(skb, dropping) {
        Some(bytes) if is_ip => {
            let mut packet = Packet::EMPTY;
            if bytes.usual(&mut packet) || ip::parse(&bytes, 0, &mut packet).is_some() {
                *flow = packet.flow;
                measure(&bytes, &packet, gso_size, &mut lost);
                innermost(&bytes, &mut packet);
                let taken = filter::dropped(&packet.flow, netns, ifindex, packets);
                return taken.then_some(lost);
            }
        }
        _ => {
            if sk != 0
                && let Some(known) = sock::flow(sk)
            {
                *flow = known;
            }
        }
    }
    filter::dropped(flow, netns, ifindex, packets).then_some(lost)
}

/// Filters speak of what a tunnel carries.
#[inline(always)]
fn innermost(bytes: &skb::Linear, packet: &mut Packet) {
    if !filter::on() || packet.fragment == LATER {
        return;
    }
    let Some(settings) = maps::HOP_SETTINGS.get(0) else {
        return;
    };
    let bytes = &skb::Far(bytes);
    let inner = tunnel::carried(bytes, packet, settings).inner;
    if inner != 0 {
        // What is cut short there is judged by what could be read.
        let _ = ip::parse(bytes, inner, packet);
    }
}

#[inline(always)]
fn measure(bytes: &skb::Linear, packet: &Packet, gso_size: u32, lost: &mut Lost) {
    let mut headers = packet.l4;
    if packet.flow.protocol == ip::TCP
        && packet.fragment != LATER
        && let Some(tcp) = tcp::parse(bytes, packet.l4)
    {
        lost.sequence = tcp.sequence;
        lost.tcp_flags = u32::from(tcp.flags);
        headers += tcp.header;
    }
    if gso_size > 0 {
        lost.length = gso_size + headers;
    } else if packet.length != 0 {
        lost.length = packet.length;
    }
}

#[inline(always)]
fn note(skb: u64, key: &mut DropKey, lost: &Lost) {
    count(counter::DROPS, u64::from(lost.packets));
    let Some(dropping) = maps::dropping() else {
        return;
    };
    let died = Died {
        packets: u64::from(lost.packets),
        bytes: u64::from(lost.length) * u64::from(lost.packets),
        sequence: lost.sequence,
        length: lost.length,
        ethertype: lost.ethertype,
        tcp_flags: lost.tcp_flags,
    };
    let front = &mut dropping.front;
    if front::drop_hit(front, words(key), &died, lost.this_jiffy) {
        return;
    }
    let mut known = maps::DROPS.get_ptr_mut(&*key);
    if known.is_none() && !dropping.rows.has_room(&maps::NEW_DROPS) {
        rest(key);
        if front::drop_hit(front, words(key), &died, lost.this_jiffy) {
            return;
        }
        known = maps::DROPS.get_ptr_mut(&*key);
    }
    let (added, refused) = (counter::DROPS_ADDED, counter::DROPS_REFUSED);
    let known = known.or_else(|| entry(&maps::DROPS, key, &maps::EMPTY_DROPPED, added, refused));
    let Some(value) = known else {
        count(counter::DROPS_UNSTORED, u64::from(lost.packets));
        return;
    };
    // SAFETY: a live map value.
    let drop = unsafe { &mut *value };
    let now = clock::touch(&mut drop.first, &mut drop.last, lost.this_jiffy, false);
    died.add_to(drop);
    if now >= drop.next_emit {
        drop.next_emit = now + EMIT_INTERVAL_NS;
        sample(skb, key, lost, now);
    }
    front::remember_drop(front, words(key), drop.next_emit, now);
}

#[inline(always)]
const fn words(key: &DropKey) -> &DropWords {
    // SAFETY: as many bytes, all of them set, and aligned to words.
    unsafe { &*(&raw const *key).cast() }
}

const _: () = assert!(align_of::<DropKey>() == align_of::<DropWords>());

#[inline(always)]
fn sample(skb: u64, key: &DropKey, lost: &Lost, now: u64) {
    let record = SampleHeader {
        time: now,
        location: key.location,
        flow: &key.flow,
        kind: DROP,
        reason: key.reason,
        ifindex: key.ifindex,
        netns: key.netns,
        length: lost.length,
        limit: 0,
        sequence: lost.sequence,
        direction: 0,
        carried: 0,
    };
    let bytes = match maps::dropping() {
        Some(dropping) => skb::network(skb, dropping),
        None => None,
    };
    if let Some(bytes) = bytes {
        let available = bytes.length;
        emit(&record, &bytes, 0, available);
    } else {
        emit(&record, &Nothing, 0, 0);
    }
}

/// A packet without readable headers.
pub struct Nothing;

impl crate::parse::Bytes for Nothing {
    #[inline(always)]
    fn load<const N: usize>(&self, _offset: u32) -> Option<[u8; N]> {
        None
    }

    #[inline(always)]
    fn copy(&self, _offset: u32, _to: *mut u8, _length: u32) -> bool {
        false
    }
}
