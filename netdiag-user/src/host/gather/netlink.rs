//! Dumps by those netlink families that rtnetlink does not speak (RFC 3549,
//! include/uapi/linux/netlink.h).
use std::{io, ops::ControlFlow};

use anyhow::{Context, Result, bail};
use bytes::BufMut;
use rtnetlink::sys::{Socket, SocketAddr};

/// NLM_F_REQUEST | NLM_F_DUMP.
pub const DUMP: u16 = 0x301;
/// Bytes of `struct nlmsghdr`.
pub const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of an attribute's type.
const TYPE: u16 = 0x3fff;

/// Most bytes of one datagram: the kernel fills a dump's to 32 KiB (net/netlink/af_netlink.c).
const DATAGRAM: usize = 64 << 10;

/// Sends one request in this thread's namespace and hands each message, with its header, to `each`
/// for as long as that wants more: nobody reads, or keeps, what a stranger's namespace has beyond
/// that. Tells whether it was read to its end.
pub fn until(
    protocol: isize,
    request: &[u8],
    each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<bool> {
    ask(&open(protocol)?, request, each)
}

/// The same on a socket for several, as long as each was read to its end.
pub fn ask(
    socket: &Socket,
    request: &[u8],
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<bool> {
    socket.send(request, 0).context("asking by netlink")?;
    let mut datagram = Vec::with_capacity(DATAGRAM);
    loop {
        receive(socket, &mut datagram)?;
        if datagram.is_empty() {
            return Ok(true);
        }
        match take(&datagram, &mut each)? {
            Taken::All => {}
            Taken::End => return Ok(true),
            // The dump ends with its socket.
            Taken::Enough => return Ok(false),
        }
    }
}

/// Opens a socket in this thread's namespace, towards the kernel.
pub fn open(protocol: isize) -> Result<Socket> {
    let mut socket = Socket::new(protocol).context("opening netlink")?;
    socket.bind_auto().context("binding netlink")?;
    let kernel = SocketAddr::new(0, 0);
    socket.connect(&kernel).context("connecting to netlink")?;
    // What a request filters by counts only then (Linux 4.20); before, everything comes.
    let _ = socket.set_netlink_get_strict_chk(true);
    Ok(socket)
}

/// The next datagram, in place of the one before.
pub fn receive(socket: &Socket, datagram: &mut Vec<u8>) -> Result<()> {
    datagram.clear();
    datagram.reserve(DATAGRAM);
    let mut room = datagram.limit(DATAGRAM);
    let length = socket.recv(&mut room, libc::MSG_TRUNC);
    let length = length.context("reading netlink")?;
    anyhow::ensure!(length <= DATAGRAM, "netlink gave {length} bytes at once");
    Ok(())
}

/// What came of a datagram.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    All,
    /// The dump's last message was in it.
    End,
    Enough,
}

/// Takes the messages out of one datagram.
fn take(datagram: &[u8], each: &mut impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<Taken> {
    let mut rest = datagram;
    while let (Some(length), Some(kind)) = (u32_at(rest, 0), u16_at(rest, 4)) {
        let length = length as usize;
        if length < HEADER || length > rest.len() {
            bail!("netlink gave a broken message");
        }
        match kind {
            NLMSG_DONE | NLMSG_ERROR => match u32_at(rest, HEADER).map_or(0, u32::cast_signed) {
                errno if errno < 0 => {
                    return Err(io::Error::from_raw_os_error(errno.saturating_neg()).into());
                }
                _ => return Ok(Taken::End),
            },
            _ if each(&rest[..length]).is_break() => return Ok(Taken::Enough),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Taken::All)
}

/// An attribute's value.
pub fn attribute(of: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut all = attributes(of);
    all.find_map(|(kind, value)| (kind == wanted).then_some(value))
}

/// All of them, up to one that is broken.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (u16_at(rest, 0)?, u16_at(rest, 2)?);
        let value = rest.get(4..usize::from(length))?;
        let step = usize::from(length).next_multiple_of(4);
        rest = rest.get(step..).unwrap_or_default();
        Some((kind & TYPE, value))
    })
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_answers_are_refused() {
        let mut each = |_: &[u8]| panic!("there is no whole message");
        assert!(take(&[200, 0, 0, 0, 20, 0, 0, 0], &mut each).is_err());
        assert_eq!(take(&[], &mut each).expect("nothing"), Taken::All);
        assert_eq!(attribute(&[4, 0, 9, 0], 11), None);
        assert_eq!(attribute(&[2, 0, 11, 0], 11), None);
    }

    #[test]
    fn nothing_is_read_beyond_what_is_wanted() {
        let message = |kind: u16| {
            let mut bytes = vec![16, 0, 0, 0];
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(HEADER, 0);
            bytes
        };
        let three = [message(20), message(20), message(NLMSG_DONE)].concat();
        let mut seen = 0;
        let mut once = |_: &[u8]| {
            seen += 1;
            ControlFlow::Break(())
        };
        assert_eq!(take(&three, &mut once).expect("read"), Taken::Enough);
        let mut all = |_: &[u8]| ControlFlow::Continue(());
        assert_eq!(take(&three, &mut all).expect("read"), Taken::End);
        assert_eq!(seen, 1);
    }

    #[test]
    fn flags_are_no_part_of_a_type() {
        assert_eq!(attribute(&[5, 0, 1, 0x80, 7, 0, 0, 0], 1), Some(&[7][..]));
    }
}
