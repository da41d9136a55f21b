//! Packets of netdiag's own, sent from inside a pod's namespace when an operator asks for them:
//! a few small ones and a few of full size, one after the other, to one address.
mod datagram;
mod echo;
mod stream;

use std::{
    io,
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::gather::inside;
use crate::model::path::{Answer, Probe, ProbeKind};

/// Packets of each kind and size: enough to tell a loss from a pattern.
const EACH: u32 = 3;
/// Between two of them, so that nobody's rate limit is met: Linux answers a thousand echoes a second,
/// and sends one ICMP error in a second's tenth to one host (icmp(7), icmp_ratelimit).
const PAUSE: Duration = Duration::from_millis(200);
/// What an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of a small packet, from the IP header on: a little more than headers.
const SMALL: u32 = 84;

#[derive(Clone, Debug)]
pub struct Order {
    pub root: PathBuf,
    /// Inode of the namespace to send from.
    pub netns: u32,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub port: Option<u16>,
    /// Bytes of a packet that fills the pod's own MTU.
    pub full: u32,
    pub kinds: Vec<ProbeKind>,
}

/// Sends them all; takes seconds.
pub fn probe(order: &Order) -> Result<Vec<Probe>> {
    let own = order.clone();
    inside(&order.root, order.netns, move || {
        let each = own.kinds.iter().map(|kind| of_kind(&own, *kind));
        let all: Result<Vec<Vec<Probe>>> = each.collect();
        Ok(all?.concat())
    })
    .context("probing")
}

fn of_kind(order: &Order, kind: ProbeKind) -> Result<Vec<Probe>> {
    let port = || order.port.context("the probe needs DST's port");
    let one: Box<dyn Fn(u32) -> io::Result<()>> = match kind {
        ProbeKind::Icmp => Box::new(|bytes| echo::exchange(order, bytes)),
        ProbeKind::Connect | ProbeKind::Tcp => {
            let port = port()?;
            Box::new(move |bytes| stream::exchange(order, port, bytes))
        }
        ProbeKind::Udp => {
            let port = port()?;
            Box::new(move |bytes| datagram::exchange(order, port, bytes))
        }
    };
    let sizes: &[u32] = match kind {
        ProbeKind::Icmp | ProbeKind::Udp => &[SMALL, order.full],
        // 0: no data, the handshake alone.
        ProbeKind::Connect => &[0],
        ProbeKind::Tcp => &[0, order.full],
    };
    Ok(sizes
        .iter()
        .map(|bytes| several(kind, *bytes, &one))
        .collect())
}

/// What came of packets of one size.
fn several(kind: ProbeKind, bytes: u32, one: &dyn Fn(u32) -> io::Result<()>) -> Probe {
    let mut probe = Probe {
        kind,
        bytes: (bytes > 0).then_some(bytes),
        sent: 0,
        answered: 0,
        answer: Answer::Timeout,
        seconds: None,
    };
    for n in 0..EACH {
        if n > 0 {
            std::thread::sleep(PAUSE);
        }
        let begun = Instant::now();
        let came = one(bytes);
        probe.sent += 1;
        probe.answer = match came {
            Ok(()) => {
                probe.answered += 1;
                probe.seconds = Some(begun.elapsed().as_secs_f64());
                Answer::Answered
            }
            Err(e) => answer(&e),
        };
    }
    probe
}

fn answer(error: &io::Error) -> Answer {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => Answer::Refused,
        Some(libc::ECONNRESET) => Answer::Reset,
        Some(libc::EMSGSIZE) => Answer::TooBig,
        Some(libc::EHOSTUNREACH | libc::ENETUNREACH) => Answer::Unreachable,
        Some(libc::EACCES | libc::EPERM) => Answer::Prohibited,
        Some(libc::EAGAIN | libc::ETIMEDOUT | libc::EINPROGRESS) => Answer::Timeout,
        None if error.kind() == io::ErrorKind::TimedOut => Answer::Timeout,
        _ => Answer::Other(error.to_string()),
    }
}

/// Bytes of an IP header without options.
fn ip_header(address: IpAddr) -> u32 {
    if address.is_ipv4() { 20 } else { 40 }
}
