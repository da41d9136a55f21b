//! Small packets of very many flows, at full speed or at a pace: a raw socket writes each packet's
//! ports itself, so that a flow costs the sender nothing.
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::cpu::Meter;
use super::threads::{Flooded, drive};
use super::udp::{BATCH, PAYLOAD, accepted, receive, receiver};
use crate::netns::Netns;
use crate::sys::send_each;

/// Source ports that flows to one target have.
pub const PORTS: u32 = 60_000;
const FIRST_PORT: u16 = 2000;
const UDP_HEADER: usize = 8;
const PACKET: usize = UDP_HEADER + PAYLOAD;
/// How often a paced sender sends: what is due since is one batch, or several.
const PACE: Duration = Duration::from_millis(1);

/// Which packets, in what order, how fast.
#[derive(Clone, Debug)]
pub struct Spread {
    /// Different flows, one packet of each in turn.
    pub flows: u32,
    /// Enough of them for that many flows.
    pub targets: Vec<SocketAddrV4>,
    /// Packets a second; without it as fast as it can.
    pub pace: Option<u32>,
    /// It ends after so many packets, or after its time.
    pub most: u64,
}

/// Targets that so many flows need.
pub fn targets(flows: u32) -> u32 {
    flows.div_ceil(PORTS).max(1)
}

impl Spread {
    /// The packet of the flow of that number.
    fn packet(&self, flow: u32) -> (SocketAddrV4, [u8; PACKET]) {
        let of = (flow / PORTS) as usize % self.targets.len();
        let to = self.targets[of];
        let from = FIRST_PORT + (flow % PORTS) as u16;
        let mut packet = [0x5a; PACKET];
        // Without a checksum, which UDP over IPv4 allows.
        let header = [from, to.port(), PACKET as u16, 0].map(u16::to_be_bytes);
        packet[..UDP_HEADER].copy_from_slice(header.as_flattened());
        (to, packet)
    }

    /// How many are to be sent at this moment, of all that may still be.
    fn due(&self, sent: u64, elapsed: Duration) -> u64 {
        let left = self.most.saturating_sub(sent);
        let due = match self.pace {
            Some(pace) => {
                let until_now = (f64::from(pace) * elapsed.as_secs_f64()) as u64;
                until_now.saturating_sub(sent)
            }
            None => BATCH as u64,
        };
        due.min(left).min(BATCH as u64)
    }
}

/// Sends them from the one namespace; where somebody receives, in the other.
pub async fn flood(
    meter: &Meter,
    from: &Netns,
    to: Option<&Netns>,
    spread: Spread,
    time: Duration,
) -> Result<Flooded> {
    let mut receivers = Vec::new();
    if let Some(to) = to {
        for target in &spread.targets {
            let target = (*target).into();
            receivers.push(to.run(|| receiver(target).context("cannot receive"))?);
        }
    }
    let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP));
    let sender = from.run(|| raw().context("cannot open a raw socket"))?;
    let send = move |stop: &AtomicBool| send(&sender, &spread, stop);
    drive(meter, time, send, move |stop| Ok(receive(&receivers, stop))).await
}

fn send(socket: &Socket, spread: &Spread, stop: &AtomicBool) -> Result<u64> {
    let begun = Instant::now();
    let (mut sent, mut flow) = (0, 0);
    let mut packets = Vec::with_capacity(BATCH);
    while !stop.load(Ordering::Relaxed) && sent < spread.most {
        let due = spread.due(sent, begun.elapsed());
        if due == 0 {
            thread::sleep(PACE);
            continue;
        }
        packets.clear();
        packets.extend((0..due as u32).map(|next| spread.packet((flow + next) % spread.flows)));
        let went = accepted(send_each(socket, &packets))?;
        flow = (flow + went as u32) % spread.flows;
        sent += went;
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use super::*;

    fn spread(flows: u32) -> Spread {
        let target = |host| SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, host), 9999);
        Spread {
            flows,
            targets: (0..targets(flows)).map(|at| target(at as u8)).collect(),
            pace: Some(10_000),
            most: 100,
        }
    }

    #[test]
    fn every_flow_is_another() {
        let spread = spread(2 * PORTS + 3);
        let flows = (0..spread.flows).map(|flow| {
            let (to, packet) = spread.packet(flow);
            (to, packet[..2].to_vec())
        });
        assert_eq!(flows.collect::<BTreeSet<_>>().len(), spread.flows as usize);
        assert_eq!(spread.targets.len(), 3);
    }

    #[test]
    fn a_pace_is_kept() {
        let spread = spread(1);
        assert_eq!(spread.due(0, Duration::ZERO), 0);
        assert_eq!(spread.due(3, Duration::from_millis(1)), 7);
        assert_eq!(spread.due(0, Duration::from_secs(9)), BATCH as u64);
        assert_eq!(spread.due(98, Duration::from_secs(9)), 2);
    }
}
