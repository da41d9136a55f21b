//! Small requests and bulk transfers. The client's first eight bytes say how much it will send
//! and how much it wants back.
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::socket::{self, Bounded};
use super::{Client, Pmtu, SLICE, Server, Serving};

const CONNECT: Duration = Duration::from_millis(1500);
const TRANSFER: Duration = Duration::from_millis(2500);
/// The most that a server sends for one request.
const LARGEST: u32 = 4 << 20;

/// Connections that may wait, where nothing is said of it.
const BACKLOG: i32 = 64;

pub(super) fn listen(at: SocketAddr, server: Server) -> Result<TcpListener> {
    let backlog = match server.serving {
        Serving::Narrow(backlog) | Serving::Stuck(backlog) => backlog,
        Serving::Usual | Serving::Loopback | Serving::Everywhere => BACKLOG,
    };
    let bind = || -> io::Result<TcpListener> {
        let socket = socket::tcp(at, server.pmtu)?;
        socket.set_reuse_address(true)?;
        socket.bind(&at.into())?;
        socket.listen(backlog)?;
        // accept(2) heeds the receive timeout.
        socket.set_read_timeout(Some(SLICE))?;
        Ok(socket.into())
    };
    bind().with_context(|| format!("cannot listen on {at}"))
}

pub(super) fn serve(listener: &TcpListener, server: Server, stop: &AtomicBool) {
    let pmtu = server.pmtu;
    while matches!(server.serving, Serving::Stuck(_)) && !stop.load(Ordering::Relaxed) {
        thread::sleep(SLICE);
    }
    thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            if let Ok((stream, peer)) = listener.accept() {
                scope.spawn(move || {
                    if let Err(error) = answer(stream, pmtu, stop) {
                        log::trace!("serving {peer}: {error}");
                    }
                });
            }
        }
    });
}

fn answer(stream: TcpStream, pmtu: Pmtu, stop: &AtomicBool) -> io::Result<()> {
    socket::forget_paths(pmtu);
    let mut connection = Bounded::new(stream, TRANSFER, stop)?;
    let mut wanted = [0; 8];
    connection.read(&mut wanted)?;
    let [a, b, c, d, e, f, g, h] = wanted;
    let upload = u32::from_be_bytes([a, b, c, d]).min(LARGEST);
    let download = u32::from_be_bytes([e, f, g, h]).min(LARGEST);
    connection.swallow(upload as usize)?;
    connection.pour(download as usize)
}

/// One connection: `(upload, download)` bytes.
pub(super) fn exchange(client: &Client, bytes: (u32, u32), stop: &AtomicBool) -> io::Result<()> {
    let socket = socket::tcp(client.target, client.pmtu)?;
    let stream = socket::connect(socket, client.target, client.source, CONNECT, stop)?;
    let mut connection = Bounded::new(stream, TRANSFER, stop)?;
    let mut wanted = [0; 8];
    wanted[..4].copy_from_slice(&bytes.0.to_be_bytes());
    wanted[4..].copy_from_slice(&bytes.1.to_be_bytes());
    connection.write(&wanted)?;
    connection.pour(bytes.0 as usize)?;
    connection.swallow(bytes.1 as usize)
}

/// Connections that `hold` opens at once.
const AT_ONCE: u32 = 16;

/// Opens some more connections and keeps them. They end with a reset: nothing may linger.
pub(super) fn hold(
    client: &Client,
    most: u32,
    held: &mut Vec<TcpStream>,
    stop: &AtomicBool,
) -> io::Result<()> {
    for _ in 0..AT_ONCE.min(most.saturating_sub(held.len() as u32)) {
        let socket = socket::tcp(client.target, client.pmtu)?;
        socket.set_linger(Some(Duration::ZERO))?;
        held.push(socket::connect(
            socket,
            client.target,
            client.source,
            CONNECT,
            stop,
        )?);
    }
    Ok(())
}

/// Somebody accepts, and says something by himself.
pub(super) fn probe(client: &Client, stop: &AtomicBool) -> io::Result<()> {
    let socket = socket::tcp(client.target, client.pmtu)?;
    let stream = socket::connect(socket, client.target, client.source, CONNECT, stop)?;
    Bounded::new(stream, TRANSFER, stop)?.read(&mut [0])
}

/// Succeeds when nobody listens there.
pub(super) fn refused(client: &Client, stop: &AtomicBool) -> io::Result<()> {
    let socket = socket::tcp(client.target, client.pmtu)?;
    match socket::connect(socket, client.target, client.source, CONNECT, stop) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("somebody listens there")),
    }
}
