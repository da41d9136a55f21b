//! Conversations that were recorded, tried where the node stands again: servers listen where they did, or wherever
//! nobody knows who listened.
use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind, Read, Write},
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    model::flow::{TCP, UDP},
    netns::Netns,
    state::Record,
};

/// How long an answer may take, twice.
const PATIENCE: Duration = Duration::from_millis(1_500);
const TIMES: usize = 2;
const POLL: Duration = Duration::from_millis(2);
/// Of an echo.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const FILE: &str = "talk.json";
const DNS: u16 = 53;
/// Whether there is an A of netdiag.invalid (RFC 1035, RFC 6761), and that there is none.
const LOOKUP: &[u8] = b"\x6e\x64\x01\x00\0\x01\0\0\0\0\0\0\x07netdiag\x07invalid\0\0\x01\0\x01";
const NO_SUCH_NAME: &[u8] =
    b"\x6e\x64\x81\x83\0\x01\0\0\0\0\0\0\x07netdiag\x07invalid\0\0\x01\0\x01";
const BYTES: &[u8] = b"netdiag lab";

/// Of one protocol, and the addresses of its two ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The namespace that has its first address.
    pub client: Option<String>,
    pub protocol: u8,
    pub from: SocketAddr,
    pub to: SocketAddr,
}

/// Who talks in a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Talk {
    pub servers: Vec<Servers>,
    pub conversations: Vec<Conversation>,
}

/// Who listens in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Servers {
    pub netns: String,
    /// By protocol and address; an unspecified one is every address.
    pub at: BTreeSet<(u8, SocketAddr)>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    Answered,
    /// In the kernel's words.
    Died(String),
    /// Nobody here sends it: by why.
    NotTried(String),
}

impl Talk {
    /// Kept with the lab, for `netdiag lab traffic`.
    pub fn keep(&self, lab: &Record) -> Result<()> {
        let path = lab.dir().join(FILE);
        let text = serde_json::to_vec(self).context("cannot describe who talks")?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    pub fn of(lab: &Record) -> Result<Self> {
        let path = lab.dir().join(FILE);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("cannot understand {}", path.display()))
    }

    /// All at once, once.
    pub fn all(&self) -> Result<Vec<Became>> {
        let over = AtomicBool::new(false);
        let ready = self.servers.iter().map(|it| Netns::open(&it.netns));
        let ready: Vec<Netns> = ready.collect::<Result<_>>()?;
        let (listens, all_listen) = mpsc::channel::<()>();
        thread::scope(|scope| {
            for (of, netns) in self.servers.iter().zip(&ready) {
                let (over, listens) = (&over, listens.clone());
                scope.spawn(move || {
                    let _ = netns.run(|| {
                        serve(&of.at, over, listens);
                        Ok(())
                    });
                });
            }
            // It ends once each of them has let go of its end: it listens, or cannot.
            drop(listens);
            let _ = all_listen.recv();
            let each = self.conversations.iter();
            let each: Vec<_> = each.map(|one| scope.spawn(|| became(one))).collect();
            let died = |_| Became::NotTried("a thread died".into());
            let all = each.into_iter().map(|it| it.join().unwrap_or_else(died));
            let all = all.collect();
            over.store(true, Ordering::Relaxed);
            Ok(all)
        })
    }
}

fn became(one: &Conversation) -> Became {
    let Some(client) = &one.client else {
        return Became::NotTried("no namespace has its first address".to_owned());
    };
    let tried = Netns::open(client).and_then(|netns| {
        netns.run(|| {
            let mut last = Ok(());
            for _ in 0..TIMES {
                last = tried(one);
                if last.is_ok() {
                    break;
                }
            }
            Ok(last)
        })
    });
    match tried {
        Ok(Ok(())) => Became::Answered,
        Ok(Err(error)) if error.kind() == ErrorKind::AddrNotAvailable => {
            Became::NotTried(error.to_string())
        }
        Ok(Err(error)) => Became::Died(error.to_string()),
        Err(error) => Became::NotTried(format!("{error:#}")),
    }
}

fn tried(one: &Conversation) -> io::Result<()> {
    match one.protocol {
        TCP => connects(one),
        UDP => is_answered(one),
        ICMP | ICMPV6 => echoes(one),
        _ => Err(io::Error::new(
            ErrorKind::AddrNotAvailable,
            "of this protocol nothing is sent",
        )),
    }
}

fn socket(kind: Type, protocol: Protocol, one: &Conversation) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(one.from), kind, Some(protocol))?;
    // Of a port of its own: the recorded one may be taken here by now.
    socket.bind(&SocketAddr::new(one.from.ip(), 0).into())?;
    Ok(socket)
}

fn connects(one: &Conversation) -> io::Result<()> {
    socket(Type::STREAM, Protocol::TCP, one)?.connect_timeout(&one.to.into(), PATIENCE)
}

fn is_answered(one: &Conversation) -> io::Result<()> {
    let mut socket = socket(Type::DGRAM, Protocol::UDP, one)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(&one.to.into())?;
    let question = if one.to.port() == DNS { LOOKUP } else { BYTES };
    socket.send(question)?;
    heard(&mut socket)
}

/// A ping (RFC 792, RFC 4443): its kind and code, a checksum, which of many it is.
fn echoes(one: &Conversation) -> io::Result<()> {
    let (protocol, kind, answer) = match one.from.is_ipv4() {
        true => (Protocol::ICMPV4, 8, 0),
        false => (Protocol::ICMPV6, 128, 129),
    };
    let socket = socket(Type::RAW, protocol, one)?;
    let number = one.from.port().max(1).to_be_bytes();
    let mut packet = vec![kind, 0, 0, 0, number[0], number[1], 0, 1];
    packet.extend(BYTES);
    // Of IPv6 the kernel computes it.
    if one.from.is_ipv4() {
        let sum = checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&sum);
    }
    socket.send_to(&packet, &SocketAddr::new(one.to.ip(), 0).into())?;
    let began = Instant::now();
    while let Some(left) = PATIENCE
        .checked_sub(began.elapsed())
        .filter(|it| !it.is_zero())
    {
        socket.set_read_timeout(Some(left))?;
        let mut bytes = [0; 256];
        let length = (&socket).read(&mut bytes).map_err(in_time)?;
        let header = if one.from.is_ipv4() { 20 } else { 0 };
        let told = bytes.get(header..length).unwrap_or_default();
        if told.first() == Some(&answer) && told.get(4..6) == Some(&number) {
            return Ok(());
        }
    }
    Err(ErrorKind::TimedOut.into())
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

fn heard(socket: &mut Socket) -> io::Result<()> {
    let mut bytes = [0; 256];
    socket.read(&mut bytes).map(|_| ()).map_err(in_time)
}

/// A socket that waits so long says that it would wait on.
fn in_time(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// Takes connections and sends datagrams back, until it is over; where something cannot listen, nobody does.
fn serve(at: &BTreeSet<(u8, SocketAddr)>, over: &AtomicBool, listens: mpsc::Sender<()>) {
    let of = |wanted: u8| {
        at.iter()
            .filter(move |(protocol, _)| *protocol == wanted)
            .map(|(_, at)| *at)
    };
    let streams: Vec<Socket> = of(TCP)
        .filter_map(|at| listening(Type::STREAM, Protocol::TCP, at).ok())
        .collect();
    let datagrams: Vec<Socket> = of(UDP)
        .filter_map(|at| listening(Type::DGRAM, Protocol::UDP, at).ok())
        .collect();
    drop(listens);
    let mut taken = Vec::new();
    while !over.load(Ordering::Relaxed) {
        for socket in &streams {
            taken.extend(socket.accept().ok());
        }
        for socket in &datagrams {
            let mut bytes = [MaybeUninit::uninit(); 64];
            if let Ok((_, from)) = socket.recv_from(&mut bytes) {
                let own = socket.local_addr().ok().and_then(|it| it.as_socket());
                let lookup = own.is_some_and(|own| own.port() == DNS);
                let _ = socket.send_to(if lookup { NO_SUCH_NAME } else { BYTES }, &from);
            }
        }
        thread::sleep(POLL);
    }
    for (mut socket, _) in taken {
        let _ = socket.flush();
    }
}

fn listening(kind: Type, protocol: Protocol, at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol))?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    if kind == Type::STREAM {
        socket.listen(64)?;
    }
    Ok(socket)
}

/// Every address of both families.
pub fn everywhere(port: u16) -> [SocketAddr; 2] {
    [
        (Ipv4Addr::UNSPECIFIED.into(), port),
        (Ipv6Addr::UNSPECIFIED.into(), port),
    ]
    .map(|(address, port): (IpAddr, u16)| SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_the_rfc() {
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        assert_eq!(checksum(&[0xff]), 0x00ff);
    }
}
