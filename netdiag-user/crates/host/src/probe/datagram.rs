//! A UDP datagram, DF set.
use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};

use super::{Order, PATIENCE, ip_header};
use crate::sys::socket::{Fragments, set_fragments};

/// Bytes of a UDP header.
const HEADER: u32 = 8;

/// Sends one of that size and waits for whatever comes back.
pub fn exchange(order: &Order, port: u16, bytes: u32) -> io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(order.source, 0))?;
    socket.connect(SocketAddr::new(order.destination, port))?;
    set_fragments(
        socket.as_raw_fd(),
        order.destination.is_ipv4(),
        Fragments::Never,
    )?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let length = bytes.saturating_sub(ip_header(order.destination) + HEADER);
    socket.send(&vec![0; length as usize])?;
    let mut answer = [0; 1];
    socket.recv(&mut answer).map(drop)
}
