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

/// Between two datagrams of a reader that does not keep up.
const REST: Duration = Duration::from_millis(50);

/// Takes datagrams and answers none.
pub fn sink(socket: &UdpSocket, slow: bool, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let taken = socket.recv_from(&mut buffer);
        if slow && taken.is_ok() {
            std::thread::sleep(REST);
        }
    }
}

/// Sends so many datagrams at once.
pub fn pour(target: SocketAddr, count: usize) -> io::Result<()> {
    let socket = connected(target)?;
    for _ in 0..count {
        socket.send(&[0x5a; 400])?;
    }
    Ok(())
}

/// Sends a datagram and waits for the answer.
pub fn exchange(target: SocketAddr, datagram: &[u8]) -> io::Result<Vec<u8>> {
    let socket = connected(target)?;
    socket.set_read_timeout(Some(ANSWER))?;
    socket.send(datagram)?;
    let mut buffer = [0; 2048];
    let bytes = socket.recv(&mut buffer)?;
    Ok(buffer[..bytes].to_vec())
}

/// Succeeds unless somebody answers; the kernel need not say each time that nobody is there.
pub fn refused(target: SocketAddr) -> io::Result<()> {
    match exchange(target, &[0x5a; 120]) {
        Ok(_) => Err(io::Error::other("somebody answers there")),
        Err(_) => Ok(()),
    }
}

fn connected(target: SocketAddr) -> io::Result<UdpSocket> {
    let any = match target {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    Ok(socket)
}
