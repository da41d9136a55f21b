//! tc ingress and egress of every hop: pod veths, bridges, tunnels, uplinks.
//!
//! Three pairs of entry points, so that nothing has to be looked up to know where a packet's
//! headers start: `hop_*` for Ethernet devices, `uplink_*` for those that carry the node's
//! tunnels, `l3_*` for devices without a link header (tunl0, WireGuard).
//!
//! Costs two to four header loads and one map update a packet; a packet larger than the
//! smallest limit costs a longest-prefix look-up more. Always lets the packet go on:
//! `TC_ACT_UNSPEC` and `TCX_NEXT` are both -1.
use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_UNSPEC},
    helpers::generated::bpf_skb_load_bytes,
    macros::classifier,
    programs::TcContext,
};
use aya_log_ebpf::debug;
use netdiag_common::{
    config::{FLOWS, FOLLOWED, FULL, LIGHT, counter, ran_slot},
    hop::{EGRESS, INGRESS, PLAIN},
};

use super::{account, claim, dns, encap, icmp_error};
use crate::{
    clock,
    emit::count,
    filter, maps,
    parse::{Bytes, Packet, ethernet, ip, tunnel, usual},
};

#[classifier]
pub fn hop_ingress(ctx: TcContext) -> i32 {
    pass(&ctx, try_hop(&ctx, INGRESS, true, false))
}

#[classifier]
pub fn hop_egress(ctx: TcContext) -> i32 {
    pass(&ctx, try_hop(&ctx, EGRESS, true, false))
}

#[classifier]
pub fn uplink_ingress(ctx: TcContext) -> i32 {
    pass(&ctx, try_hop(&ctx, INGRESS, true, true))
}

#[classifier]
pub fn uplink_egress(ctx: TcContext) -> i32 {
    pass(&ctx, try_hop(&ctx, EGRESS, true, true))
}

#[classifier]
pub fn l3_ingress(ctx: TcContext) -> i32 {
    pass(&ctx, try_hop(&ctx, INGRESS, false, false))
}

#[classifier]
pub fn l3_egress(ctx: TcContext) -> i32 {
    pass(&ctx, try_hop(&ctx, EGRESS, false, false))
}

#[inline(always)]
fn pass(ctx: &TcContext, seen: Option<()>) -> i32 {
    if seen.is_none() {
        count(counter::UNPARSED, 1);
        // Dead code to the verifier unless -vv set the level before loading.
        debug!(ctx, "headers cut short: {} bytes", ctx.len());
    }
    TC_ACT_UNSPEC
}

/// Bytes of a link header without VLAN tags.
const ETHERNET: usize = 14;

/// Headers farther into a packet than this are read by the helper: the verifier wants a bound.
const FARTHEST: u32 = 1023;

/// The bytes of a tc hook's packet, linear or not.
pub struct Skb<'a>(pub &'a TcContext);

impl Skb<'_> {
    /// `N` bytes that lie in the linear part, read without a helper's call.
    #[inline(always)]
    fn linear<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset > FARTHEST {
            return None;
        }
        let mut start = self.0.data();
        // SAFETY: an addition. Written down, because the compiler would move it into the
        // comparison, where the verifier does not know it for a bound.
        unsafe {
            core::arch::asm!(
                "{start} += {offset}",
                start = inout(reg) start,
                offset = in(reg) u64::from(offset),
                options(pure, nomem, nostack),
            );
        }
        if start + N > self.0.data_end() {
            return None;
        }
        // SAFETY: within the packet, as compared above; arrays of bytes need no alignment.
        Some(unsafe { (start as *const [u8; N]).read() })
    }

    /// Parses the IP packet at `l3`. One copy of the code for the packet, the one inside it and
    /// the one that an ICMP error quotes.
    #[inline(always)]
    pub fn parse(&self, l3: u32, packet: &mut Packet) -> Option<()> {
        (parse(self.0.skb.skb, l3, packet) == 0).then_some(())
    }
}

#[inline(never)]
fn parse(skb: *mut __sk_buff, l3: u32, packet: &mut Packet) -> i32 {
    let ctx = TcContext::new(skb);
    match ip::parse(&Skb(&ctx), l3, packet) {
        Some(()) => 0,
        None => -1,
    }
}

impl Bytes for Skb<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        match self.linear(offset) {
            Some(bytes) => Some(bytes),
            None => self.0.load(offset as usize).ok(),
        }
    }

    #[inline(always)]
    fn copy(&self, offset: u32, to: *mut u8, length: u32) -> bool {
        // SAFETY: `to` has room for 128 bytes (a ring record), and `length` is at most that.
        let done = unsafe { bpf_skb_load_bytes(self.0.skb.skb.cast(), offset, to.cast(), length) };
        done == 0
    }
}

/// What the hook says about a packet beside its headers.
#[derive(Clone, Copy)]
pub struct Seen {
    pub this_jiffy: u64,
    pub ifindex: u32,
    /// Bytes from the start of the hook's view (link header, where there is one) to the end.
    pub length: u32,
    /// Payload bytes of each segment of a superpacket, 0 for a packet of its own.
    pub gso_size: u32,
    /// Packets that this one is on the wire.
    pub segments: u32,
    pub direction: u8,
    /// The smallest limit of any route, 0 where there is none.
    pub smallest_limit: u32,
}

impl Seen {
    #[inline(always)]
    fn of(ctx: &TcContext, direction: u8, this_jiffy: u64) -> Self {
        let skb = ctx.skb.skb;
        // SAFETY: the context of a tc program is valid for the run; the kernel rewrites these
        // loads into loads of the skb's own fields.
        let (gso_size, segments, ifindex) =
            unsafe { ((*skb).gso_size, (*skb).gso_segs, (*skb).ifindex) };
        Self {
            this_jiffy,
            ifindex,
            length: ctx.len(),
            gso_size,
            segments: if segments > 1 { segments } else { 1 },
            direction,
            smallest_limit: 0,
        }
    }
}

/// Leaves a mark that this hook runs. Written only where it is not there yet: a store for each packet
/// would take the line from other processors.
#[inline(always)]
fn mark_run(ctx: &TcContext, direction: u8) {
    // SAFETY: the context of a tc program is valid for the run.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    if let Some(ran) = maps::RAN.get_ptr_mut(ran_slot(ifindex, direction)) {
        // SAFETY: a slot of the map; of several processors that write, each writes the same.
        unsafe {
            if ran.read_volatile() == 0 {
                ran.write_volatile(1);
            }
        }
    }
}

#[inline(always)]
fn try_hop(ctx: &TcContext, direction: u8, link_header: bool, uplink: bool) -> Option<()> {
    mark_run(ctx, direction);
    let bytes = Skb(ctx);
    let maps::Scratch {
        packet,
        mark,
        room,
        seen,
        ..
    } = maps::scratch()?;
    let usual = if link_header {
        usual::frame::<ETHERNET>(ctx.data(), ctx.data_end(), packet)
    } else {
        usual::packet::<0>(ctx.data(), ctx.data_end(), packet)
    };
    if !usual {
        let l3 = if link_header {
            match ethernet::ip_offset(&bytes, 0) {
                Some(offset) => offset,
                // ARP, LLDP and the like are nobody's flow.
                None => return claim::arp(&bytes, &Seen::of(ctx, direction, 0)),
            }
        } else {
            0
        };
        bytes.parse(l3, packet)?;
    }
    *seen = Seen::of(ctx, direction, clock::this_jiffy(mark));
    let settings = maps::HOP_SETTINGS.get(0)?;
    seen.smallest_limit = settings.smallest_limit;
    room.keeps.set(
        follows(settings.level, seen.ifindex, uplink),
        settings.level == LIGHT,
    );
    count(counter::HOP_PACKETS, u64::from(seen.segments));
    if packet.fragment == crate::parse::LATER {
        return account::later_fragment(seen, room, packet);
    }
    if uplink {
        let carried = tunnel::carried(&bytes, packet, settings);
        if carried.kind != PLAIN {
            return encap::account(&bytes, seen, packet, &carried);
        }
    }
    if filter::hop(&packet.flow, seen.ifindex, seen.segments) {
        packet.set_place(seen.ifindex, seen.direction, PLAIN);
        let now = account::packet(&bytes, seen, room, packet, PLAIN, packet)?;
        dns::account(&bytes, seen, packet, PLAIN, now);
    }
    icmp_error::account(&bytes, seen, packet)
}

/// Whether TCP's sequences are followed here.
#[inline(always)]
fn follows(level: u32, ifindex: u32, uplink: bool) -> bool {
    match level {
        FULL => true,
        FLOWS if uplink => true,
        FLOWS => maps::FOLLOWED.get(ifindex % FOLLOWED) == Some(&ifindex),
        _ => false,
    }
}
