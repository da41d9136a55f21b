//! One bulk transfer, in superpackets where the devices take them.
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::cpu::Meter;
use super::threads::{Flooded, drive};
use crate::netns::Netns;

const PIECE: usize = 128 << 10;
/// A transfer that stands still this long will not go on.
const STALLED: Duration = Duration::from_secs(10);

/// Sends bytes from one namespace to `target` in the other for that time.
pub async fn transfer(
    meter: &Meter,
    (from, to): (&Netns, &Netns),
    target: SocketAddr,
    time: Duration,
) -> Result<Flooded> {
    let listener = to.run(|| TcpListener::bind(target).context("cannot listen"))?;
    let connect = || TcpStream::connect_timeout(&target, STALLED).context("cannot connect");
    let sender = from.run(connect)?;
    let (receiver, _) = listener.accept().context("cannot accept")?;
    sender.set_write_timeout(Some(STALLED))?;
    receiver.set_read_timeout(Some(STALLED))?;
    let send = move |stop: &AtomicBool| send(sender, stop);
    drive(meter, time, send, move |_| receive(receiver)).await
}

/// Closes the connection at its end, which ends the receiver.
fn send(mut stream: TcpStream, stop: &AtomicBool) -> Result<u64> {
    let piece = vec![0x5a; PIECE];
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        sent += stream.write(&piece).context("cannot send")? as u64;
    }
    Ok(sent)
}

fn receive(mut stream: TcpStream) -> Result<u64> {
    let mut piece = vec![0; PIECE];
    let mut received = 0;
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(received),
            Ok(bytes) => received += bytes as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
}
