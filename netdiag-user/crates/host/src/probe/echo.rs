//! ICMP and ICMPv6 echo (RFC 792, RFC 4443), DF set.
use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    time::Instant,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Order, PATIENCE, ip_header};
use crate::sys::socket::{Fragments, set_fragments};

/// Type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;

/// Sends one of that size and waits for its answer.
pub fn exchange(order: &Order, bytes: u32) -> io::Result<()> {
    let to = SocketAddr::new(order.destination, 0);
    let protocol = match order.destination {
        IpAddr::V4(_) => Protocol::ICMPV4,
        IpAddr::V6(_) => Protocol::ICMPV6,
    };
    let mut socket = Socket::new(Domain::for_address(to), Type::RAW, Some(protocol))?;
    socket.bind(&SocketAddr::new(order.source, 0).into())?;
    socket.connect(&to.into())?;
    set_fragments(socket.as_raw_fd(), to.is_ipv4(), Fragments::Never)?;
    let length = bytes.saturating_sub(ip_header(order.destination)) as usize;
    let request = request(to.is_ipv4(), length.max(HEADER));
    let begun = Instant::now();
    socket.write_all(&request)?;
    let mut answer = vec![0; 1 << 16];
    loop {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.read(&mut answer)?;
        if answers(&request, &answer[..length], to.is_ipv4()) {
            return Ok(());
        }
    }
}

fn request(ipv4: bool, length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    packet[0] = if ipv4 { 8 } else { 128 };
    packet[4..6].copy_from_slice(&(std::process::id() as u16).to_be_bytes());
    // Kept apart from an earlier one's late answer by the clock.
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    packet[6..8].copy_from_slice(&(now.as_millis() as u16).to_be_bytes());
    if ipv4 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// RFC 1071; the kernel fills in ICMPv6's.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// IPv4's raw sockets give the IP header too.
fn answers(request: &[u8], packet: &[u8], ipv4: bool) -> bool {
    let header = match (ipv4, packet.first()) {
        (true, Some(first)) => usize::from(first & 0xf) * 4,
        _ => 0,
    };
    let kind = if ipv4 { 0 } else { 129 };
    let echo = packet.get(header..).unwrap_or_default();
    echo.first() == Some(&kind) && echo.get(4..HEADER) == Some(&request[4..HEADER])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_known_by_its_identifier_and_number() {
        let request = request(true, 64);
        assert_eq!(checksum(&request), 0, "the checksum is right");
        let mut answer = [vec![0x45; 20], request.clone()].concat();
        answer[20] = 0;
        assert!(answers(&request, &answer, true));
        answer[27] ^= 1;
        assert!(!answers(&request, &answer, true));
        assert!(!answers(&request, &[], true));
        assert!(!answers(&request, &[0x4f], true));
    }
}
