//! A TCP connection, and on demand one segment of full size.
use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use socket2::{Domain, Socket, Type};

use super::{Order, PATIENCE, ip_header};

/// Bytes of a TCP header with timestamps, which Linux uses.
const HEADER: u32 = 32;

/// Connects; with `bytes` sends a segment of zeroes that makes a packet of that size, and waits until the
/// other end has it.
pub fn exchange(order: &Order, port: u16, bytes: u32) -> io::Result<()> {
    let to = SocketAddr::new(order.destination, port);
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(order.source, 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    if bytes == 0 {
        return Ok(());
    }
    let length = bytes.saturating_sub(ip_header(order.destination) + HEADER);
    // close(2) comes back when everything is acknowledged, or after that time (socket(7)).
    socket.set_linger(Some(PATIENCE))?;
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.write_all(&vec![0; length as usize])?;
    let begun = Instant::now();
    drop(stream);
    match begun.elapsed() < PATIENCE {
        true => Ok(()),
        false => Err(io::ErrorKind::TimedOut.into()),
    }
}
