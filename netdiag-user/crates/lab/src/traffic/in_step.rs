//! Resolvers in several pods that ask at the same moment from the same port, each on a CPU of its
//! own: what happens to busy pods by chance happens here many times a second. Like any resolver,
//! they ask again after 5 s.
use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::{Client, Count, dns};

/// They all ask when the clock shows a multiple of this: nobody need tell the others.
const EVERY: Duration = Duration::from_millis(25);
/// From here on a sender watches the clock: sleeping longer would be too late.
const AWAKE: Duration = Duration::from_millis(1);
/// resolv.conf(5).
const AGAIN: Duration = Duration::from_secs(5);
/// A port comes again after more minutes than any connection is remembered.
const PORTS: (u64, u64) = (20_000, 12_000);
/// Names, so that a question is asked again before the next one of its name.
const NAMES: u64 = 256;

/// A question that was not answered yet.
struct Open {
    socket: UdpSocket,
    query: Vec<u8>,
    asked: Duration,
    times: u32,
}

pub(super) fn run(client: &Client, cpu: usize, count: &Count, stop: &AtomicBool) {
    pin(cpu);
    let mut open: Vec<Open> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let turn = now().as_nanos() as u64 / EVERY.as_nanos() as u64 + 1;
        match ask(client, turn) {
            Ok(asked) => open.push(asked),
            Err(error) => log::trace!("asking {}: {error}", client.target),
        }
        open.retain_mut(|it| it.goes_on(count));
    }
}

/// To the `cpu`th that this thread may use.
fn pin(cpu: usize) {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own).unwrap_or_default();
    let mut usable = (0..CpuSet::count()).filter(|n| allowed.is_set(*n).unwrap_or(false));
    let mut one = CpuSet::new();
    if let Some(chosen) = usable.nth(cpu)
        && one.set(chosen).is_ok()
    {
        // Anywhere else it is only less likely to meet the others.
        let _ = sched_setaffinity(own, &one);
    }
}

fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// Everything is ready before the turn comes, so that all send at once.
fn ask(client: &Client, turn: u64) -> io::Result<Open> {
    let source = client.source.unwrap_or(client.target.ip());
    let (first, ports) = PORTS;
    let socket = UdpSocket::bind((source, (first + turn % ports) as u16))?;
    socket.connect(client.target)?;
    socket.set_nonblocking(true)?;
    let query = dns::query(client.target, &format!("h{}.example.net", turn % NAMES));
    let at = EVERY * turn as u32;
    thread::sleep(at.saturating_sub(now() + AWAKE));
    while now() < at {
        std::hint::spin_loop();
    }
    socket.send(&query)?;
    Ok(Open {
        socket,
        query,
        asked: at,
        times: 1,
    })
}

impl Open {
    /// False when it is over, one way or the other.
    fn goes_on(&mut self, count: &Count) -> bool {
        if self.socket.recv(&mut [0; 512]).is_ok() {
            count.done.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if now() < self.asked + AGAIN {
            return true;
        }
        if self.times > 1 {
            count.failed.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.asked = now();
        self.times += 1;
        self.socket.send(&self.query).is_ok()
    }
}
