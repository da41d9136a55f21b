//! TCP and UDP sockets of a namespace as ss(8) sees them, by sock_diag(7)
//! (include/uapi/linux/{sock_diag,inet_diag}.h, net/ipv4/inet_diag.c).
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
};

use anyhow::{Context, Result, ensure};
use netdiag_lang::mark;

use super::netlink::{DUMP, HEADER as NLMSG_HEADER, attribute, u32_at, until};

/// Most sockets of one listing: four times the ports of an address. Whoever may open more has
/// memory to spare for them, which is no reason to spend netdiag's.
pub const MOST: usize = 262_144;

const NETLINK_SOCK_DIAG: isize = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
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
    /// The device that it is bound to; 0 where it is to none.
    pub device: u32,
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
    let mut found = Vec::new();
    each(ask, MOST, |socket| found.push(socket))?;
    Ok(found)
}

/// The same one by one; an error where there are more than `most`.
pub fn each(ask: Ask, most: usize, mut take: impl FnMut(Socket)) -> Result<()> {
    let mut seen = family(libc::AF_INET as u8, ask, most, &mut take)?;
    if seen <= most {
        // There is none where IPv6 is not built in.
        seen += family(libc::AF_INET6 as u8, ask, most - seen, &mut take).unwrap_or(0);
    }
    ensure!(seen <= most, "there are more than {most} sockets");
    Ok(())
}

/// How many there are, at most one too many.
fn family(family: u8, ask: Ask, most: usize, take: &mut impl FnMut(Socket)) -> Result<usize> {
    let mut seen = 0;
    let each = |message: &[u8]| {
        seen += 1;
        if seen > most {
            return ControlFlow::Break(());
        }
        let socket = message.get(NLMSG_HEADER..).and_then(parse);
        socket.into_iter().for_each(&mut *take);
        ControlFlow::Continue(())
    };
    // Sockets come and go at any time, and the kernel does not say so (net/ipv4/inet_diag.c).
    until(NETLINK_SOCK_DIAG, &request(family, ask), each).context(mark!("asking for sockets"))?;
    Ok(seen)
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
        device: u32_at(message, 40)?,
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
    fn more_sockets_than_the_bound_are_an_error() {
        let _listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a listener"));
        let mut seen = 0;
        let why = each(LISTEN, 1, |_| seen += 1).expect_err("too many");
        assert_eq!(why.to_string(), "there are more than 1 sockets");
        assert_eq!(seen, 1);
    }

    #[test]
    fn broken_answers_are_refused() {
        assert_eq!(parse(&[2; 40]), None);
    }
}
