//! Sockets with the options that the lab's senders need.
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::{Pmtu, SLICE};
use netdiag_sys::socket::set_option;

/// IP_PMTUDISC_DO and IPV6_PMTUDISC_INTERFACE (include/uapi/linux/in.h, in6.h).
const DO: i32 = 2;
const INTERFACE: i32 = 4;

/// A TCP socket that treats path MTUs as it is told, before it connects or listens.
pub fn tcp(target: SocketAddr, pmtu: Pmtu) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    if pmtu == Pmtu::Ignores {
        let fd = socket.as_raw_fd();
        match target {
            // The namespace's min_pmtu does the ignoring; this keeps "don't fragment" on.
            SocketAddr::V4(_) => set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, DO)?,
            // IPv6 has no such sysctl, and its routers never fragment.
            SocketAddr::V6(_) => {
                set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, INTERFACE)?;
            }
        }
    }
    Ok(socket)
}

/// Connects, from `source` where one is given.
pub fn connect(
    socket: Socket,
    target: SocketAddr,
    source: Option<IpAddr>,
    limit: Duration,
    stop: &AtomicBool,
) -> io::Result<TcpStream> {
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    // A connect that runs into the send timeout goes on by itself; asking again waits again.
    socket.set_write_timeout(Some(SLICE))?;
    let deadline = Instant::now() + limit;
    loop {
        match socket.connect(&target.into()) {
            Ok(()) => return Ok(socket.into()),
            Err(error) if is_waiting(&error) => check(deadline, stop)?,
            Err(error) => return Err(error),
        }
    }
}

fn is_waiting(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [libc::EINPROGRESS, libc::EALREADY, libc::EAGAIN]
        .map(Some)
        .contains(&code)
}

/// A connection that gives up at its deadline and, at once, when it is told to stop.
pub struct Bounded<'a> {
    stream: TcpStream,
    deadline: Instant,
    stop: &'a AtomicBool,
}

impl<'a> Bounded<'a> {
    pub fn new(stream: TcpStream, limit: Duration, stop: &'a AtomicBool) -> io::Result<Self> {
        stream.set_read_timeout(Some(SLICE))?;
        stream.set_write_timeout(Some(SLICE))?;
        Ok(Self {
            stream,
            deadline: Instant::now() + limit,
            stop,
        })
    }

    /// Fills the buffer.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.stream.read(&mut buffer[done..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => done += bytes,
                Err(error) => self.again(error)?,
            }
        }
        Ok(())
    }

    /// Reads and forgets so many bytes.
    pub fn swallow(&mut self, mut bytes: usize) -> io::Result<()> {
        let mut buffer = [0; 16_384];
        while bytes > 0 {
            let part = bytes.min(buffer.len());
            self.read(&mut buffer[..part])?;
            bytes -= part;
        }
        Ok(())
    }

    /// Writes so many bytes.
    pub fn pour(&mut self, mut bytes: usize) -> io::Result<()> {
        let buffer = [0x5a; 16_384];
        while bytes > 0 {
            bytes -= self.write(&buffer[..bytes.min(buffer.len())])?;
        }
        Ok(())
    }

    pub fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(buffer) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => self.again(error)?,
            }
        }
    }

    fn again(&self, error: io::Error) -> io::Result<()> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                check(self.deadline, self.stop)
            }
            _ => Err(error),
        }
    }
}

impl Drop for Bounded<'_> {
    fn drop(&mut self) {
        // At the end of a lab nothing may linger: an unsent rest would hold the namespace.
        if self.stop.load(Ordering::Relaxed) {
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

fn check(deadline: Instant, stop: &AtomicBool) -> io::Result<()> {
    if stop.load(Ordering::Relaxed) {
        return Err(ErrorKind::Interrupted.into());
    }
    if Instant::now() > deadline {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(())
}

/// Before a transfer: makes the calling thread's namespace forget the path MTUs that it learned, where
/// that is wanted, and where a sender that is to ignore them cannot (the namespace has no sysctl for it).
pub fn forget_paths(pmtu: Pmtu) {
    let route = Path::new("/proc/sys/net/ipv4/route");
    let wanted = match pmtu {
        Pmtu::Obeys => false,
        Pmtu::Forgets => true,
        Pmtu::Ignores => !route.join("min_pmtu").exists(),
    };
    if !wanted {
        return;
    }
    if let Err(error) = fs::write(route.join("flush"), "1") {
        log::debug!("cannot flush the route cache: {error}");
    }
}
