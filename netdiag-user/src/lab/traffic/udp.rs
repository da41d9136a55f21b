//! Datagrams that come back.
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::SLICE;

const ANSWER: Duration = Duration::from_millis(500);

pub fn bind(at: SocketAddr) -> Result<UdpSocket> {
    let bind = || -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(at)?;
        socket.set_read_timeout(Some(SLICE))?;
        Ok(socket)
    };
    bind().with_context(|| format!("cannot receive on {at}"))
}

pub fn serve(socket: &UdpSocket, stop: &AtomicBool) {
    answer(socket, stop, |question| Some(question.to_vec()));
}

/// Answers every datagram with what the closure makes of it.
pub fn answer(socket: &UdpSocket, stop: &AtomicBool, make: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((bytes, peer)) = socket.recv_from(&mut buffer)
            && let Some(answer) = make(&buffer[..bytes])
        {
            // A lost answer is the client's to notice.
            let _ = socket.send_to(&answer, peer);
        }
    }
}

/// Sends a datagram and waits for the answer.
pub fn exchange(target: SocketAddr, datagram: &[u8]) -> io::Result<Vec<u8>> {
    let any = match target {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(ANSWER))?;
    socket.send(datagram)?;
    let mut buffer = [0; 2048];
    let bytes = socket.recv(&mut buffer)?;
    Ok(buffer[..bytes].to_vec())
}
