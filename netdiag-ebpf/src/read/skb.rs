//! `struct sk_buff`: headers, lengths, device, socket.
use aya_ebpf::helpers::generated::bpf_probe_read_kernel as read_kernel;

use super::{at, field, pointer};
use crate::{
    maps::{Dropping, WINDOW, offset},
    parse::{Bytes, Packet, usual},
};

/// The linear part of a packet from its network header on.
pub struct Linear {
    start: u64,
    pub length: u32,
    /// The first bytes. Where the packet ends earlier, what follows it in memory.
    window: &'static [u8; WINDOW],
}

impl Bytes for Linear {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset > self.length || offset + N as u32 > self.length {
            return None;
        }
        if offset > (WINDOW - N) as u32 {
            return at(self.start, offset);
        }
        let piece = self.window.as_ptr().wrapping_add(offset as usize);
        // SAFETY: within the window, as compared above; arrays of bytes need no alignment.
        Some(unsafe { piece.cast::<[u8; N]>().read() })
    }

    #[inline(always)]
    fn copy(&self, offset: u32, to: *mut u8, length: u32) -> bool {
        let from = self.start + u64::from(offset);
        // SAFETY: `to` has room for 128 bytes, the helper checks the source itself.
        let done = unsafe { read_kernel(to.cast(), length, from as *const _) };
        done == 0
    }
}

impl Linear {
    /// Fills in `packet` where its headers are the usual ones.
    #[inline(always)]
    pub fn usual(&self, packet: &mut Packet) -> bool {
        usual::window(self.window, self.length, packet)
    }
}

/// The same where headers have no fixed place, as those inside a tunnel: each is read by the
/// helper, which asks the verifier for no bound.
pub struct Far<'a>(pub &'a Linear);

impl Bytes for Far<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset > self.0.length || offset + N as u32 > self.0.length {
            return None;
        }
        at(self.0.start, offset)
    }

    #[inline(always)]
    fn copy(&self, offset: u32, to: *mut u8, length: u32) -> bool {
        self.0.copy(offset, to, length)
    }
}

/// The bytes from the network header to the end of the linear part; nothing where the header's
/// place was never set.
#[inline(always)]
pub fn network(skb: u64, dropping: &'static mut Dropping) -> Option<Linear> {
    let head = pointer(skb, offset!(skb_head))?;
    let network: u16 = field(skb, offset!(skb_network_header));
    let tail: u32 = field(skb, offset!(skb_tail));
    let network = u32::from(network);
    if network == 0 || network >= tail || network == 0xffff {
        return None;
    }
    let start = head + u64::from(network);
    let window = &raw mut dropping.window;
    // SAFETY: the slot is as large. Never past the packet's allocation: skb_shared_info, which is
    // larger, follows the data.
    unsafe { read_kernel(window.cast(), WINDOW as u32, start as *const _) };
    Some(Linear {
        start,
        length: tail - network,
        // SAFETY: a live map value.
        window: unsafe { &*window },
    })
}

/// Payload bytes per segment and the number of segments; (0, 1) for a packet of its own.
#[inline(always)]
pub fn gso(skb: u64) -> (u32, u32) {
    let none = (0, 1);
    let Some(head) = pointer(skb, offset!(skb_head)) else {
        return none;
    };
    let shared = head + u64::from(field::<u32>(skb, offset!(skb_end)));
    let (size, segments): (u16, u16) = if offset!(shinfo_gso_segs) == offset!(shinfo_gso_size) + 2 {
        // Side by side in every kernel so far: one read for both.
        let both: [u16; 2] = at(shared, offset!(shinfo_gso_size)).unwrap_or([0, 1]);
        (both[0], both[1])
    } else {
        (
            at(shared, offset!(shinfo_gso_size)).unwrap_or(0),
            at(shared, offset!(shinfo_gso_segs)).unwrap_or(1),
        )
    };
    if size == 0 {
        return none;
    }
    if segments < 2 {
        return none;
    }
    (u32::from(size), u32::from(segments))
}

/// Length from `skb->data` on.
#[inline(always)]
pub fn length(skb: u64) -> u32 {
    field(skb, offset!(skb_len))
}

/// Ethertype in host order.
#[inline(always)]
pub fn protocol(skb: u64) -> u16 {
    u16::from_be(field(skb, offset!(skb_protocol)))
}
