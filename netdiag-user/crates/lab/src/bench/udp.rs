//! One sender of small packets that never waits, one receiver that counts.
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use netdiag_sys::socket::set_option;

use super::cpu::Meter;
use super::threads::{Flooded, drive};
use crate::netns::Netns;
use crate::sys::send_copies;

/// Payload bytes of each packet.
pub const PAYLOAD: usize = 64;
const DATAGRAM: [u8; PAYLOAD] = [0x5a; PAYLOAD];
/// Packets a system call.
pub const BATCH: usize = 64;
/// However long it was asked for, no flood has more packets.
const MOST: u64 = 50_000_000;
/// Takes in what comes while the receiver is not running.
const RECEIVE_BUFFER: i32 = 64 << 20;
/// The receiver empties its socket and then rests: a sender that had to wake it for every packet
/// would measure the scheduler.
const REST: Duration = Duration::from_millis(1);

/// Sends from one namespace to `target` in the other for that time.
pub async fn flood(
    meter: &Meter,
    (from, to): (&Netns, &Netns),
    target: SocketAddr,
    time: Duration,
) -> Result<Flooded> {
    let receivers = vec![to.run(|| receiver(target).context("cannot receive"))?];
    let sender = from.run(|| sender(target).context("cannot send"))?;
    let send = move |stop: &AtomicBool| send(&sender, stop);
    drive(meter, time, send, move |stop| Ok(receive(&receivers, stop))).await
}

pub fn receiver(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    let fd = socket.as_raw_fd();
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
    Ok(socket)
}

fn sender(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(target)?;
    Ok(socket)
}

pub fn receive(sockets: &[UdpSocket], stop: &AtomicBool) -> u64 {
    let (mut buffer, mut received) = ([0; PAYLOAD], 0);
    loop {
        // Looked at before the sockets are emptied, so that nothing is left in them.
        let last = stop.load(Ordering::Relaxed);
        for socket in sockets {
            while socket.recv(&mut buffer).is_ok() {
                received += 1;
            }
        }
        if last {
            return received;
        }
        thread::sleep(REST);
    }
}

fn send(socket: &UdpSocket, stop: &AtomicBool) -> Result<u64> {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) && sent < MOST {
        sent += accepted(send_copies(socket, &DATAGRAM, BATCH))?;
    }
    Ok(sent)
}

/// How many the kernel took of a batch.
pub fn accepted(sent: io::Result<usize>) -> Result<u64> {
    match sent {
        Ok(packets) => Ok(packets as u64),
        // A full queue on the way: that is what fast as it can means.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS)) => Ok(0),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error).context("cannot send"),
    }
}
