//! Echo requests over the kernel's ping sockets, which fill in identifier and checksum.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

const ANSWER: Duration = Duration::from_millis(500);

pub fn exchange(target: IpAddr) -> io::Result<()> {
    let socket = open(target)?;
    socket.connect(SocketAddr::new(target, 0))?;
    let mut packet = request(target);
    socket.send(&packet)?;
    socket.recv(&mut packet).map(drop)
}

/// Between two requests of a sweep: no burst.
const STEP: Duration = Duration::from_millis(2);

/// Asks each of so many addresses in turn; fails where not all of them answer.
pub fn sweep(first: IpAddr, count: u16, stop: &AtomicBool) -> io::Result<()> {
    let socket = open(first)?;
    let mut missing = 0;
    for n in 0..count {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let sent = socket.send_to(&request(first), SocketAddr::new(after(first, n), 0));
        missing += i32::from(sent.is_ok());
        thread::sleep(STEP);
    }
    let mut packet = [0; 64];
    while missing > 0 {
        socket.recv(&mut packet)?;
        missing -= 1;
    }
    Ok(())
}

/// The address so many after that one.
fn after(first: IpAddr, n: u16) -> IpAddr {
    match first {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().wrapping_add(n.into())).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_add(n.into())).into(),
    }
}

fn open(target: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    let socket = UdpSocket::from(OwnedFd::from(socket));
    socket.set_read_timeout(Some(ANSWER))?;
    Ok(socket)
}

fn request(target: IpAddr) -> [u8; 64] {
    let mut packet = [0; 64];
    packet[0] = if target.is_ipv4() { 8 } else { 128 };
    packet[7] = 1;
    packet
}
