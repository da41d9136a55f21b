//! TCP and UDP sockets of a namespace as ss(8) sees them, by sock_diag(7)
//! (include/uapi/linux/{sock_diag,inet_diag}.h, net/ipv4/inet_diag.c).
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result, bail};
use rtnetlink::sys::{Socket as Netlink, SocketAddr};

const NETLINK_SOCK_DIAG: isize = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// NLM_F_REQUEST | NLM_F_DUMP.
const DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_HEADER: usize = 16;
/// `struct inet_diag_req_v2` and `struct inet_diag_msg`.
const REQUEST: usize = 56;
const MESSAGE: usize = 72;
const INET_DIAG_SKV6ONLY: u16 = 11;

/// A request asks for an attribute by the bit of its number less one.
const INET_DIAG_SKMEMINFO: u16 = 7;

/// Which sockets are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    protocol: i32,
    /// Bits of the states (include/net/tcp_states.h).
    states: u32,
    extensions: u8,
}

/// Those that listen for TCP connections.
pub const LISTEN: Ask = Ask {
    protocol: libc::IPPROTO_TCP,
    states: 1 << 10,
    extensions: 0,
};
/// Every UDP socket, with its memory.
pub const RECEIVE: Ask = Ask {
    protocol: libc::IPPROTO_UDP,
    states: u32::MAX,
    extensions: 1 << (INET_DIAG_SKMEMINFO - 1),
};

/// Connections that hold a local port, and those that are over and still do.
pub const CONNECTED: Ask = Ask {
    protocol: libc::IPPROTO_TCP,
    states: 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11,
    extensions: 0,
};
pub const TIME_WAIT: Ask = Ask {
    protocol: libc::IPPROTO_TCP,
    states: 1 << 6,
    extensions: 0,
};

/// A socket as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    pub local: (IpAddr, u16),
    pub remote: (IpAddr, u16),
    /// Of a listener: connections that wait to be accepted, and how many may.
    pub queued: u32,
    pub limit: u32,
    /// Names the socket in /proc/PID/fd.
    pub inode: u32,
    pub ipv6_only: bool,
    pub memory: Memory,
}

/// Bytes as the kernel counts them, zero where they were not asked for (SK_MEMINFO_RMEM_ALLOC,
/// _RCVBUF, _DROPS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of what waits to be read, and how much may.
    pub waiting: u32,
    pub limit: u32,
    /// Datagrams dropped.
    pub drops: u32,
}

/// Sockets of this thread's namespace.
pub fn sockets(ask: Ask) -> Result<Vec<Socket>> {
    let mut found = family(libc::AF_INET as u8, ask)?;
    // There is none where IPv6 is not built in.
    found.extend(family(libc::AF_INET6 as u8, ask).unwrap_or_default());
    Ok(found)
}

fn family(family: u8, ask: Ask) -> Result<Vec<Socket>> {
    let mut socket = Netlink::new(NETLINK_SOCK_DIAG).context("opening sock_diag")?;
    socket.bind_auto().context("binding sock_diag")?;
    socket
        .connect(&SocketAddr::new(0, 0))
        .context("connecting to sock_diag")?;
    socket
        .send(&request(family, ask), 0)
        .context("asking for sockets")?;
    let mut found = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full().context("reading sockets")?;
        if answer.is_empty() || take(&answer, &mut found)? {
            return Ok(found);
        }
    }
}

fn request(family: u8, ask: Ask) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(NLMSG_HEADER + REQUEST);
    bytes.extend(((NLMSG_HEADER + REQUEST) as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    // Sequence and port: one question is open at a time.
    bytes.extend([0; 8]);
    bytes.extend([family, ask.protocol as u8, ask.extensions, 0]);
    bytes.extend(ask.states.to_ne_bytes());
    bytes.resize(NLMSG_HEADER + REQUEST, 0);
    bytes
}

/// Takes the sockets out of one datagram; true at the end of the dump.
fn take(datagram: &[u8], found: &mut Vec<Socket>) -> Result<bool> {
    let mut rest = datagram;
    while let (Some(length), Some(kind)) = (u32_at(rest, 0), u16_at(rest, 4)) {
        let length = length as usize;
        if length < NLMSG_HEADER || length > rest.len() {
            bail!("sock_diag gave a broken message");
        }
        let body = &rest[NLMSG_HEADER..length];
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let errno = u32_at(body, 0).map_or(0, |e| e.cast_signed());
                return Err(io::Error::from_raw_os_error(-errno)).context("asking for sockets");
            }
            _ => found.extend(parse(body)),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn parse(message: &[u8]) -> Option<Socket> {
    let family = *message.first()?;
    let port = |at: usize| {
        Some(u16::from_be_bytes(
            message.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    let local = address(family, message.get(8..24)?)?;
    let remote = address(family, message.get(24..40)?)?;
    let attributes = message.get(MESSAGE..)?;
    Some(Socket {
        local: (local, port(4)?),
        remote: (remote, port(6)?),
        queued: u32_at(message, 56)?,
        limit: u32_at(message, 60)?,
        inode: u32_at(message, 68)?,
        ipv6_only: attribute(attributes, INET_DIAG_SKV6ONLY).is_some_and(|v| v.starts_with(&[1])),
        memory: attribute(attributes, INET_DIAG_SKMEMINFO).map_or_else(Memory::default, memory),
    })
}

fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    if i32::from(family) == libc::AF_INET {
        let bytes: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
        return Some(Ipv4Addr::from(bytes).into());
    }
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    let address = Ipv6Addr::from(bytes);
    Some(address.to_ipv4_mapped().map_or(address.into(), Into::into))
}

/// Words 0, 1 and 8 of the attribute.
fn memory(words: &[u8]) -> Memory {
    let word = |n: usize| u32_at(words, n * 4).unwrap_or(0);
    Memory {
        waiting: word(0),
        limit: word(1),
        drops: word(8),
    }
}

/// An attribute's value.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        if kind == wanted {
            return attributes.get(4..usize::from(length));
        }
        let step = usize::from(length.max(4)).next_multiple_of(4);
        attributes = attributes.get(step..)?;
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found_with_its_backlog() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let local = listener.local_addr().expect("an address");
        let found = sockets(LISTEN).expect("sockets");
        let own = found.iter().find(|s| s.local == (local.ip(), local.port()));
        assert_eq!(own.map(|s| (s.queued, s.limit > 0)), Some((0, true)));
    }

    #[test]
    fn broken_answers_are_refused() {
        let mut found = Vec::new();
        assert!(take(&[200, 0, 0, 0, 20, 0, 0, 0], &mut found).is_err());
        assert!(!take(&[], &mut found).expect("nothing"));
        assert_eq!(parse(&[2; 40]), None);
        assert_eq!(attribute(&[4, 0, 9, 0], INET_DIAG_SKV6ONLY), None);
        assert_eq!(attribute(&[2, 0, 11, 0], INET_DIAG_SKV6ONLY), None);
    }
}
