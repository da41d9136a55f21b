//! Echo requests over the kernel's ping sockets, which fill in identifier and checksum.
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

const ANSWER: Duration = Duration::from_millis(500);

pub fn exchange(target: IpAddr) -> io::Result<()> {
    let target = SocketAddr::new(target, 0);
    let (protocol, request) = match target {
        SocketAddr::V4(_) => (Protocol::ICMPV4, 8),
        SocketAddr::V6(_) => (Protocol::ICMPV6, 128),
    };
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, Some(protocol))?;
    let socket = UdpSocket::from(OwnedFd::from(socket));
    socket.connect(target)?;
    socket.set_read_timeout(Some(ANSWER))?;
    let mut packet = [0; 64];
    packet[0] = request;
    packet[7] = 1;
    socket.send(&packet)?;
    socket.recv(&mut packet).map(drop)
}
