//! Dumps by those netlink families that rtnetlink does not speak (RFC 3549,
//! include/uapi/linux/netlink.h).
use std::io;

use anyhow::{Context, Result, bail};
use rtnetlink::sys::{Socket, SocketAddr};

/// NLM_F_REQUEST | NLM_F_DUMP.
pub const DUMP: u16 = 0x301;
/// Bytes of `struct nlmsghdr`.
pub const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of an attribute's type.
const TYPE: u16 = 0x3fff;

/// Sends one request in this thread's namespace and hands each message's body to `each`.
pub fn dump(protocol: isize, request: &[u8], mut each: impl FnMut(&[u8])) -> Result<()> {
    let mut socket = Socket::new(protocol).context("opening netlink")?;
    socket.bind_auto().context("binding netlink")?;
    let kernel = SocketAddr::new(0, 0);
    socket.connect(&kernel).context("connecting to netlink")?;
    socket.send(request, 0).context("asking by netlink")?;
    loop {
        let (answer, _) = socket.recv_from_full().context("reading netlink")?;
        if answer.is_empty() || take(&answer, &mut each)? {
            return Ok(());
        }
    }
}

/// Takes the messages out of one datagram; true at the end of the dump.
fn take(datagram: &[u8], each: &mut impl FnMut(&[u8])) -> Result<bool> {
    let mut rest = datagram;
    while let (Some(length), Some(kind)) = (u32_at(rest, 0), u16_at(rest, 4)) {
        let length = length as usize;
        if length < HEADER || length > rest.len() {
            bail!("netlink gave a broken message");
        }
        let body = &rest[HEADER..length];
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let errno = u32_at(body, 0).map_or(0, |e| e.cast_signed());
                return Err(io::Error::from_raw_os_error(errno.saturating_neg()).into());
            }
            _ => each(body),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// An attribute's value.
pub fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        if kind & TYPE == wanted {
            return attributes.get(4..usize::from(length));
        }
        let step = usize::from(length.max(4)).next_multiple_of(4);
        attributes = attributes.get(step..)?;
    }
    None
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
        assert!(!take(&[], &mut each).expect("nothing"));
        assert_eq!(attribute(&[4, 0, 9, 0], 11), None);
        assert_eq!(attribute(&[2, 0, 11, 0], 11), None);
    }

    #[test]
    fn flags_are_no_part_of_a_type() {
        assert_eq!(attribute(&[5, 0, 1, 0x80, 7, 0, 0, 0], 1), Some(&[7][..]));
    }
}
