//! A stand-in for a mesh's proxy: it opens its ports when it has resolved and reached its control
//! plane, and then passes on what the pod's rules lead to it.
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use socket2::SockRef;

use super::traffic::lookup;

/// By which the rules know the proxy's own connections.
pub const USER: u32 = 1337;
const PATIENCE: Duration = Duration::from_millis(1000);
const PAUSE: Duration = Duration::from_millis(400);

#[derive(Clone, Debug, clap::Args)]
pub struct Orders {
    #[arg(long)]
    pub resolver: SocketAddr,
    /// The control plane's name and port.
    #[arg(long)]
    pub name: String,
    #[arg(long)]
    pub port: u16,
    /// Where the rules lead connections.
    #[arg(long)]
    pub led: Vec<u16>,
    /// Where it tells of its health.
    #[arg(long)]
    pub health: u16,
}

impl Orders {
    pub fn follow(self) -> Result<()> {
        let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
        setgroups(&[]).context("leaving root's groups")?;
        setgid(group).context("becoming another group")?;
        setuid(user).context("becoming another user")?;
        // Becoming somebody else undid it.
        set_pdeathsig(Signal::SIGTERM).context("asking to end with the lab")?;
        while let Err(error) = self.control_plane() {
            log::info!("{error}");
            thread::sleep(PAUSE);
        }
        let any: IpAddr = match self.resolver {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let mut threads = Vec::new();
        for port in &self.led {
            let listener = TcpListener::bind((any, *port)).context("listening")?;
            threads.push(thread::spawn(move || serve(&listener, pass_on)));
        }
        let listener = TcpListener::bind((any, self.health)).context("listening")?;
        threads.push(thread::spawn(move || serve(&listener, healthy)));
        for thread in threads {
            let _ = thread.join();
        }
        Ok(())
    }

    fn control_plane(&self) -> io::Result<()> {
        let socket = UdpSocket::bind(match self.resolver {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        })?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let address = lookup(&socket, self.resolver, &self.name)?;
        TcpStream::connect_timeout(&(address, self.port).into(), PATIENCE).map(drop)
    }
}

fn serve(listener: &TcpListener, answer: fn(TcpStream) -> io::Result<()>) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || {
            if let Err(error) = answer(stream) {
                log::debug!("{error}");
            }
        });
    }
}

fn healthy(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
}

/// To whom it was meant before the rules led it here.
fn pass_on(stream: TcpStream) -> io::Result<()> {
    let socket = SockRef::from(&stream);
    let meant = match stream.local_addr()? {
        SocketAddr::V4(_) => socket.original_dst_v4()?,
        SocketAddr::V6(_) => socket.original_dst_v6()?,
    };
    let meant = meant.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let server = TcpStream::connect_timeout(&meant, PATIENCE)?;
    let (mut from, mut to) = (stream.try_clone()?, server.try_clone()?);
    let back = thread::spawn(move || {
        let _ = io::copy(&mut to, &mut from);
        from.shutdown(std::net::Shutdown::Write)
    });
    let (mut from, mut to) = (stream, server);
    io::copy(&mut from, &mut to)?;
    to.shutdown(std::net::Shutdown::Write)?;
    let _ = back.join();
    Ok(())
}
