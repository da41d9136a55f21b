//! Requests to the kernel over netlink (include/uapi/linux/netlink.h), one after the other, each with its word on it.
use std::{io, net::IpAddr};

use nix::sys::{
    socket::{
        setsockopt,
        sockopt::{RcvBufForce, ReceiveTimeout, SndBufForce},
    },
    time::{TimeVal, TimeValLike},
};
use rtnetlink::sys::{Socket, SocketAddr};

pub const ROUTE: isize = 0;
pub const NETFILTER: isize = 12;

/// NLM_F_…
const REQUEST: u16 = 0x1;
pub const ACK: u16 = 0x4;
pub const EXCLUSIVE: u16 = 0x200;
pub const CREATE: u16 = 0x400;
pub const APPEND: u16 = 0x800;

const NLMSG_ERROR: u16 = 2;
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
/// Seconds for a word of the kernel's.
const PATIENCE: i64 = 10;

/// A socket of the namespace in which it was opened.
pub struct Channel {
    socket: Socket,
    sequence: u32,
}

impl Channel {
    pub fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    pub fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let sequence = self.next();
        let bytes = message(kind, flags | ACK, sequence, body);
        self.send(&bytes, sequence)
    }

    pub fn next(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    /// Room for what has tens of thousands of parts.
    pub fn large(&self) -> io::Result<()> {
        const BYTES: usize = 32 << 20;
        setsockopt(&self.socket, SndBufForce, &BYTES)?;
        setsockopt(&self.socket, RcvBufForce, &BYTES)?;
        Ok(())
    }

    /// The flags of a device (IFF_…).
    pub fn flags(&mut self, index: u32) -> io::Result<u32> {
        /// RTM_GETLINK, and where its answer has them: behind the header and the first half of `ifinfomsg`.
        const GET: u16 = 18;
        const AT: usize = HEADER + 8;
        let sequence = self.next();
        let body = [[0; 4], index.to_ne_bytes(), [0; 4], [0; 4]].concat();
        self.socket.send(&message(GET, 0, sequence, &body), 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let flags = answer.get(AT..).and_then(|it| it.first_chunk());
        Ok(flags.map_or(0, |flags| u32::from_ne_bytes(*flags)))
    }

    fn send(&mut self, bytes: &[u8], sequence: u32) -> io::Result<()> {
        match self.batch(bytes, sequence)?.first() {
            Some((_, errno)) => Err(io::Error::from_raw_os_error(*errno)),
            None => Ok(()),
        }
    }

    /// Sends them at once, and tells which of them the kernel refuses, until it has said its word on the last.
    pub fn batch(&mut self, bytes: &[u8], last: u32) -> io::Result<Vec<(u32, i32)>> {
        self.socket.send(bytes, 0)?;
        let mut refused = Vec::new();
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let words = words(&answer);
            refused.extend(words.iter().filter(|(_, errno)| *errno != 0));
            if words.iter().any(|(sequence, _)| *sequence == last) {
                return Ok(refused);
            }
        }
    }
}

/// With its header (`nlmsghdr`).
pub fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = HEADER + body.len();
    let mut bytes = Vec::with_capacity(length.next_multiple_of(4));
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | REQUEST).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

/// The number of each message that the kernel answers, and the error; 0 means done.
fn words(mut answer: &[u8]) -> Vec<(u32, i32)> {
    let mut all = Vec::new();
    while let Some((header, _)) = answer.split_first_chunk::<HEADER>() {
        let at = |from: usize| header.get(from..from + 4).and_then(|it| it.first_chunk());
        let length = at(0).map_or(0, |it| u32::from_ne_bytes(*it)) as usize;
        let sequence = at(8).map_or(0, |it| u32::from_ne_bytes(*it));
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let code = answer
            .get(HEADER..HEADER + 4)
            .and_then(|it| it.first_chunk());
        if let (NLMSG_ERROR, Some(code)) = (kind, code) {
            all.push((sequence, i32::from_ne_bytes(*code).saturating_abs()));
        }
        let next = length.next_multiple_of(4).max(HEADER);
        answer = answer.get(next..).unwrap_or_default();
    }
    all
}

/// An attribute (`nlattr`).
pub fn bytes(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut attribute = Vec::with_capacity(length.next_multiple_of(4));
    attribute.extend((length as u16).to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(length.next_multiple_of(4), 0);
    attribute
}

pub fn text(kind: u16, value: &str) -> Vec<u8> {
    bytes(kind, &[value.as_bytes(), &[0]].concat())
}

pub fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    bytes(kind | NESTED, value)
}

/// A number in this machine's order, as rtnetlink has them.
pub fn number(kind: u16, value: u32) -> Vec<u8> {
    bytes(kind, &value.to_ne_bytes())
}

pub fn byte(kind: u16, value: u8) -> Vec<u8> {
    bytes(kind, &[value])
}

pub fn address(kind: u16, address: IpAddr) -> Vec<u8> {
    bytes(kind, &octets(address))
}

pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// AF_INET, AF_INET6.
pub fn family(ipv6: bool) -> u8 {
    match ipv6 {
        false => 2,
        true => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_to_four_bytes() {
        assert_eq!(text(7, "ab"), [7, 0, 7, 0, b'a', b'b', 0, 0]);
    }

    #[test]
    fn an_answer_cut_short_is_no_error() {
        assert!(words(&[0; 15]).is_empty());
        assert!(words(&[16, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_empty());
    }
}
