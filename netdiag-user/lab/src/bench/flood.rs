//! One sender that never waits, one receiver that counts.
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::netns::Netns;
use crate::sys::send_copies;
use netdiag_sys::socket::set_option;

/// Payload bytes of each packet.
const DATAGRAM: [u8; 64] = [0x5a; 64];
/// Packets a system call.
const BATCH: usize = 64;
/// However long it was asked for, no flood has more packets.
const MOST: u64 = 50_000_000;
/// Takes in what comes while the receiver is not running.
const RECEIVE_BUFFER: i32 = 64 << 20;
/// The receiver empties its socket and then rests: a sender that had to wake it for every packet
/// would measure the scheduler.
const REST: Duration = Duration::from_millis(1);
const SETTLE: Duration = Duration::from_millis(30);

/// What one flood came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Flooded {
    pub sent: u64,
    pub received: u64,
    pub seconds: f64,
    /// CPU time of the sender. The kernel carries a packet through both nodes on the sender's
    /// time, so packets a second of it is a rate that a busy machine does not lower.
    pub cpu_seconds: f64,
}

/// Sends from one namespace to `target` in the other for that time.
pub async fn flood(
    from: &Netns,
    to: &Netns,
    target: SocketAddr,
    time: Duration,
) -> Result<Flooded> {
    let receiver = to.run(|| receiver(target).context("cannot receive"))?;
    let sender = from.run(|| sender(target).context("cannot send"))?;
    let stop = Stop::default();
    let receiving = stop.spawn(move |stop| receive(&receiver, stop))?;
    let sender_stop = Stop::default();
    let sending = sender_stop.spawn(move |stop| send(&sender, stop))?;
    tokio::time::sleep(time).await;
    drop(sender_stop);
    let mut flooded = join(sending)??;
    tokio::time::sleep(SETTLE).await;
    drop(stop);
    flooded.received = join(receiving)?;
    Ok(flooded)
}

/// A flag that is set when this goes, whatever the reason.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let flag = self.0.clone();
        let thread = thread::Builder::new().name("flood".to_owned());
        thread
            .spawn(move || work(&flag))
            .context("cannot start a thread")
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn join<T>(thread: JoinHandle<T>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a flood panicked"))
}

fn receiver(at: SocketAddr) -> io::Result<UdpSocket> {
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

fn receive(socket: &UdpSocket, stop: &AtomicBool) -> u64 {
    let (mut buffer, mut received) = ([0; DATAGRAM.len()], 0);
    loop {
        // Looked at before the socket is emptied, so that nothing is left in it.
        let last = stop.load(Ordering::Relaxed);
        while socket.recv(&mut buffer).is_ok() {
            received += 1;
        }
        if last {
            return received;
        }
        thread::sleep(REST);
    }
}

fn send(socket: &UdpSocket, stop: &AtomicBool) -> Result<Flooded> {
    let (begun, cpu) = (Instant::now(), cpu_time()?);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) && sent < MOST {
        match send_copies(socket, &DATAGRAM, BATCH) {
            Ok(packets) => sent += packets as u64,
            // A full queue on the way: that is what fast as it can means.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS)) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot send"),
        }
    }
    Ok(Flooded {
        sent,
        received: 0,
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: (cpu_time()? - cpu).as_secs_f64(),
    })
}

/// CPU time of the calling thread.
fn cpu_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("cannot read the clock")?;
    Ok(time.into())
}
