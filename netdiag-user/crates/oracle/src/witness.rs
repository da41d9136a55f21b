//! Who sees what: a packet socket in each namespace sees every device's frames, both ways, and a UDP
//! socket what arrives. It knows nothing of why a packet is not seen.
use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::SocketAddr,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use netdiag_sys::socket::tell_marks;
use nix::{
    cmsg_space,
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    names::SPACES,
    set::Set,
    wire::{self, Header, Token},
};

/// Where somebody listens in every namespace.
pub const PORTS: [u16; 2] = [9998, 9999];
/// ETH_P_ALL, in network order.
const ALL: i32 = (0x0003_u16).to_be() as i32;
/// ARPHRD_TUNNEL, ARPHRD_IPGRE, ARPHRD_NONE: their packets stand there as they are.
const WITHOUT_FRAMES: [u16; 3] = [768, 778, 0xfffe];
/// PACKET_OUTGOING
const OUTGOING: u8 = 4;

pub struct Witness {
    taps: Vec<Socket>,
    listeners: Vec<Vec<Socket>>,
    /// Where answers are waited for.
    asking: Vec<(usize, Socket)>,
}

/// A frame of ours at a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    pub space: usize,
    pub device: u32,
    pub outgoing: bool,
    pub header: Header,
    /// What its own namespace has written on it.
    pub mark: u32,
}

/// What was seen of all packets of a round.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub sightings: Vec<(Token, Sighting)>,
    pub delivered: Vec<(Token, usize)>,
}

impl Witness {
    pub fn new(set: &Set) -> Result<Self> {
        let (mut taps, mut listeners) = (Vec::new(), Vec::new());
        for at in 0..SPACES {
            set.enter(at)?;
            let tap = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ALL)));
            let tap = tap.context("opening a packet socket")?;
            tap.set_nonblocking(true)?;
            tap.set_recv_buffer_size(4 << 20)?;
            tell_marks(tap.as_raw_fd(), true)?;
            taps.push(tap);
            let both = PORTS
                .iter()
                .flat_map(|port| [listen(*port, false), listen(*port, true)]);
            listeners.push(both.collect::<Result<_>>()?);
        }
        Ok(Self {
            taps,
            listeners,
            asking: Vec::new(),
        })
    }

    /// Waits for what is sent to these ports, too, in every namespace, until others are named.
    pub fn ask(&mut self, set: &Set, ports: BTreeSet<(u16, bool)>) -> Result<()> {
        self.asking.clear();
        for space in (0..SPACES).filter(|_| !ports.is_empty()) {
            set.enter(space)?;
            for (port, ipv6) in &ports {
                self.asking.push((space, listen(*port, *ipv6)?));
            }
        }
        Ok(())
    }

    /// Waits until `enough` of what was seen, or for that long.
    pub fn watch(
        &self,
        seen: &mut Seen,
        most: Duration,
        enough: impl Fn(&Seen) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + most;
        loop {
            self.read(seen)?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || enough(seen) {
                return Ok(());
            }
            let asking = self.asking.iter().map(|(_, socket)| socket);
            let sockets = self.taps.iter().chain(self.listeners.iter().flatten());
            let sockets = sockets.chain(asking);
            let mut all: Vec<_> = sockets
                .map(|socket| PollFd::new(std::os::fd::AsFd::as_fd(socket), PollFlags::POLLIN))
                .collect();
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            match poll(&mut all, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("waiting for packets"),
            }
        }
    }

    fn read(&self, seen: &mut Seen) -> Result<()> {
        for (space, tap) in self.taps.iter().enumerate() {
            // An error about an error that a tunnel carries has ours deep inside.
            let mut frame = [0; 2048];
            loop {
                let mut told = cmsg_space!(u32);
                let mut parts = [std::io::IoSliceMut::new(&mut frame)];
                let flags = MsgFlags::empty();
                let got = recvmsg::<LinkAddr>(tap.as_raw_fd(), &mut parts, Some(&mut told), flags);
                let got = match got {
                    Err(Errno::EAGAIN) => break,
                    got => got.context("reading a packet socket")?,
                };
                let mark = got.cmsgs().ok().and_then(|mut all| all.find_map(mark_of));
                let (length, from) = (got.bytes, got.address);
                let Some(from) = from else { continue };
                let frame = &frame[..length.min(frame.len())];
                let read = match WITHOUT_FRAMES.contains(&from.hatype()) {
                    true => wire::read_packet(frame),
                    false => wire::read(frame),
                };
                let Some((token, header)) = read else {
                    continue;
                };
                let sighting = Sighting {
                    space,
                    device: u32::try_from(from.ifindex()).unwrap_or(0),
                    outgoing: from.pkttype() == OUTGOING,
                    header,
                    mark: mark.unwrap_or(0),
                };
                seen.sightings.push((token, sighting));
            }
        }
        let listeners = self.listeners.iter().enumerate();
        let listeners = listeners.flat_map(|(space, all)| all.iter().map(move |one| (space, one)));
        let asking = self.asking.iter().map(|(space, socket)| (*space, socket));
        for (space, socket) in listeners.chain(asking) {
            while let Some(token) = heard(socket)? {
                seen.delivered.push((token, space));
            }
        }
        Ok(())
    }
}

/// Hears on every address of this thread's namespace, and lets others speak from the same port.
fn listen(port: u16, ipv6: bool) -> Result<Socket> {
    let (domain, any) = match ipv6 {
        true => (Domain::IPV6, SocketAddr::from(([0_u16; 8], port))),
        false => (Domain::IPV4, SocketAddr::from(([0, 0, 0, 0], port))),
    };
    let socket = Socket::new(domain, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    if ipv6 {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&any.into())?;
    Ok(socket)
}

/// SO_MARK comes as a message of its own where it is asked for.
fn mark_of(message: ControlMessageOwned) -> Option<u32> {
    match message {
        ControlMessageOwned::Unknown(one) => {
            let mark = one.data_bytes.first_chunk()?;
            Some(u32::from_ne_bytes(*mark))
        }
        _ => None,
    }
}

fn heard(socket: &Socket) -> Result<Option<Token>> {
    let mut bytes = [0_u8; 2048];
    match nix::sys::socket::recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
        Ok(length) => Ok(Token::read(&bytes[..length])),
        Err(Errno::EAGAIN) => Ok(None),
        // A socket's pending error is that of a packet of long ago.
        Err(errno) if ErrorKind::ConnectionRefused == std::io::Error::from(errno).kind() => {
            Ok(None)
        }
        Err(errno) => Err(errno).context("reading a socket"),
    }
}
