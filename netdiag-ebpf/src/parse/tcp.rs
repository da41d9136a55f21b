//! TCP (RFC 9293): what retransmit tracking needs.
use super::{Bytes, be16};

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

const OPTION_MSS: u8 = 2;

#[derive(Clone, Copy)]
pub struct Tcp {
    pub sequence: u32,
    /// Header length, options included.
    pub header: u32,
    pub flags: u8,
    /// MSS option, 0 where there is none. Linux and most others put it first.
    pub mss: u16,
}

#[inline(always)]
pub fn parse(bytes: &impl Bytes, l4: u32) -> Option<Tcp> {
    let h: [u8; 14] = bytes.load(l4)?;
    let flags = h[13];
    let mut tcp = Tcp {
        sequence: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        header: u32::from(h[12] >> 4) * 4,
        flags,
        mss: 0,
    };
    if flags & SYN != 0 && tcp.header >= 24 {
        let option: [u8; 4] = bytes.load(l4 + 20)?;
        if option[0] == OPTION_MSS && option[1] == 4 {
            tcp.mss = be16(option[2], option[3]);
        }
    }
    Some(tcp)
}
