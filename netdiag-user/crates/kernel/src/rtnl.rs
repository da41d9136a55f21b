//! Requests by route netlink whose answer is whole or an error (RFC 3549,
//! include/uapi/linux/netlink.h). What is deleted for good is decided by these lists: one that ends
//! early, that changed while the kernel told it or that was lost on the way must not look short.
use std::io;

use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// The table changed while it was told.
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;

/// The kernel tells a dump in pieces of 32 KiB at most (net/netlink/af_netlink.c, netlink_dump).
const PIECE: usize = 256 << 10;
/// Messages of one dump; a link has a handful of filters.
const MOST: usize = 1 << 20;
/// How often a list is asked for that did not come whole.
const TRIES: usize = 3;
/// rtnl may be held by others for a while; the kernel answers in the end.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Where requests go: the kernel, but for tests.
pub trait Wire: Send {
    /// By which number the kernel knows this socket.
    fn port(&self) -> u32;
    fn send(&mut self, request: &[u8]) -> io::Result<()>;
    /// One datagram of the kernel's.
    fn receive(&mut self) -> io::Result<Vec<u8>>;
}

pub type Open = Box<dyn Fn() -> io::Result<Box<dyn Wire>> + Send>;

/// What a message says: its type, and what stands behind its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: u16,
    pub port: u32,
    pub body: Vec<u8>,
}

#[derive(Debug)]
pub enum Failure {
    /// The kernel said no.
    Refused(io::Error),
    /// It is not known what the kernel says.
    Unknown(String),
}

impl Failure {
    /// Whether the kernel said no for one of these reasons.
    pub fn is(&self, reasons: &[i32]) -> bool {
        let Self::Refused(error) = self else {
            return false;
        };
        error.raw_os_error().is_some_and(|e| reasons.contains(&e))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "the kernel refused it: {error}"),
            Self::Unknown(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Unknown(match error.raw_os_error() {
            Some(libc::ENOBUFS) => "a part of the kernel's answer was lost".into(),
            _ => format!("asking the kernel failed: {error}"),
        })
    }
}

pub struct Rtnl {
    open: Open,
    wire: Option<Box<dyn Wire>>,
    sequence: u32,
    /// Sockets that it has had.
    pub ports: Vec<u32>,
}

impl Default for Rtnl {
    fn default() -> Self {
        Self::new()
    }
}

impl Rtnl {
    /// In the namespace of the thread that asks first.
    pub fn new() -> Self {
        Self::over(Box::new(|| Ok(Box::new(Kernel::open()?))))
    }

    pub fn over(open: Open) -> Self {
        Self {
            open,
            wire: None,
            sequence: 0,
            ports: Vec::new(),
        }
    }

    /// The whole list, asked for again where it did not come whole.
    pub fn dump(&mut self, request: &Request) -> Result<Vec<Message>, Failure> {
        let mut failure = None;
        for _ in 0..TRIES {
            match self.exchange(request, NLM_F_REQUEST | NLM_F_DUMP, whole) {
                Err(Failure::Unknown(why)) => failure = Some(Failure::Unknown(why)),
                done => return done,
            }
        }
        Err(failure.unwrap_or_else(|| Failure::Unknown("the kernel was not asked".into())))
    }

    /// What the kernel says of one thing.
    pub fn get(&mut self, request: &Request) -> Result<Vec<Message>, Failure> {
        self.exchange(request, NLM_F_REQUEST | NLM_F_ACK, acknowledged)
    }

    /// Changes something.
    pub fn act(&mut self, request: &Request) -> Result<(), Failure> {
        let done = self.exchange(request, NLM_F_REQUEST | NLM_F_ACK, acknowledged);
        done.map(drop)
    }

    /// Makes something that must not be there yet.
    pub fn make(&mut self, request: &Request) -> Result<(), Failure> {
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.exchange(request, flags, acknowledged).map(drop)
    }

    fn exchange(
        &mut self,
        request: &Request,
        flags: u16,
        end: fn(&Header, &[u8]) -> Result<bool, Failure>,
    ) -> Result<Vec<Message>, Failure> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let bytes = request.bytes(flags, self.sequence);
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => {
                let wire = (self.open)()?;
                self.ports.push(wire.port());
                wire
            }
        };
        let answer = conversation(wire.as_mut(), &bytes, self.sequence, end);
        // After a broken answer its rest may still come: the next question has a new socket.
        if !matches!(answer, Err(Failure::Unknown(_))) {
            self.wire = Some(wire);
        }
        answer
    }
}

fn conversation(
    wire: &mut dyn Wire,
    request: &[u8],
    sequence: u32,
    end: fn(&Header, &[u8]) -> Result<bool, Failure>,
) -> Result<Vec<Message>, Failure> {
    wire.send(request)?;
    let mut found = Vec::new();
    loop {
        let datagram = wire.receive()?;
        if datagram.is_empty() {
            return Err(Failure::Unknown("the kernel's answer has no end".into()));
        }
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let (header, body) = split(&mut rest)?;
            if header.sequence != sequence {
                continue;
            }
            if end(&header, body)? {
                return Ok(found);
            }
            if found.len() == MOST {
                let why = format!("the kernel's answer has more than {MOST} parts");
                return Err(Failure::Unknown(why));
            }
            found.push(Message {
                kind: header.kind,
                port: header.port,
                body: body.to_vec(),
            });
        }
    }
}

/// Whether this is the end of a dump.
fn whole(header: &Header, body: &[u8]) -> Result<bool, Failure> {
    if header.flags & NLM_F_DUMP_INTR != 0 {
        let why = "the list changed while the kernel told it";
        return Err(Failure::Unknown(why.into()));
    }
    match header.kind {
        // A dump that failed midway has its error at its end (netlink_dump_done).
        NLMSG_DONE => match word(body, 0).map_or(0, u32::cast_signed) {
            0.. => Ok(true),
            error => Err(Failure::Refused(errno(error))),
        },
        NLMSG_ERROR => Err(Failure::Refused(errno(
            word(body, 0).map_or(0, u32::cast_signed),
        ))),
        NLMSG_OVERRUN => Err(Failure::Unknown(
            "a part of the kernel's answer was lost".into(),
        )),
        _ => Ok(false),
    }
}

/// Whether this says how a single request ended.
fn acknowledged(header: &Header, body: &[u8]) -> Result<bool, Failure> {
    match (header.kind, word(body, 0)) {
        (NLMSG_ERROR, Some(0)) => Ok(true),
        _ => whole(header, body),
    }
}

fn errno(negative: i32) -> io::Error {
    io::Error::from_raw_os_error(negative.saturating_neg())
}

struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// Takes the first message off.
fn split<'a>(rest: &mut &'a [u8]) -> Result<(Header, &'a [u8]), Failure> {
    let broken = || Failure::Unknown("the kernel's answer is cut".into());
    let length = word(rest, 0).ok_or_else(broken)? as usize;
    let message = rest.get(..length).filter(|m| m.len() >= HEADER);
    let message = message.ok_or_else(broken)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    let header = Header {
        kind: half(message, 4).ok_or_else(broken)?,
        flags: half(message, 6).ok_or_else(broken)?,
        sequence: word(message, 8).ok_or_else(broken)?,
        port: word(message, 12).ok_or_else(broken)?,
    };
    Ok((header, &message[HEADER..]))
}

/// Every message of a datagram that was not asked for.
pub fn told(mut datagram: &[u8]) -> Result<Vec<Message>, Failure> {
    let mut all = Vec::new();
    while !datagram.is_empty() {
        let (header, body) = split(&mut datagram)?;
        all.push(Message {
            kind: header.kind,
            port: header.port,
            body: body.to_vec(),
        });
    }
    Ok(all)
}

/// A message to the kernel, less what says how it is to be answered.
#[derive(Clone, Debug)]
pub struct Request {
    kind: u16,
    body: Vec<u8>,
}

impl Request {
    pub fn new(kind: u16, body: Vec<u8>) -> Self {
        Self { kind, body }
    }

    /// What stands behind its header.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.body.extend(length.to_ne_bytes());
        self.body.extend(kind.to_ne_bytes());
        self.body.extend(value);
        self.body.resize(self.body.len().next_multiple_of(4), 0);
        self
    }

    fn bytes(&self, flags: u16, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.body);
        bytes
    }
}

/// An attribute's value.
pub fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let (Some(length), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        // Whether it is nested or in the net's order is no part of its type.
        if kind & 0x3fff == wanted {
            return attributes.get(4..usize::from(length));
        }
        let step = usize::from(length.max(4)).next_multiple_of(4);
        attributes = attributes.get(step..)?;
    }
    None
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The kernel's own end.
pub struct Kernel {
    socket: Socket,
    port: u32,
    flags: i32,
    /// What is received, of which only the pages that were ever written take memory.
    buffer: Vec<u8>,
}

impl Kernel {
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        socket2::SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            port,
            flags: 0,
            buffer: Vec::with_capacity(PIECE),
        })
    }

    /// Hears what the kernel tells a group of listeners, and never waits for it. `room` is how many
    /// bytes may wait to be heard.
    pub fn listen(group: u32, room: i32) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let mut kernel = Self::open()?;
        let force = crate::sys::socket::set_option(
            kernel.socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            room,
        );
        if let Err(error) = force {
            log::debug!("a larger netlink buffer: {error}");
        }
        kernel.socket.add_membership(group)?;
        kernel.flags = libc::MSG_DONTWAIT;
        Ok(kernel)
    }
}

impl Wire for Kernel {
    fn port(&self) -> u32 {
        self.port
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        let kernel = SocketAddr::new(0, 0);
        self.socket.send_to(request, &kernel, 0).map(drop)
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        loop {
            self.buffer.clear();
            let flags = libc::MSG_TRUNC | self.flags;
            match self.socket.recv_from(&mut self.buffer, flags) {
                Ok((length, _)) if length > self.buffer.len() => {
                    return Err(io::Error::other("the kernel's answer is too long"));
                }
                // Who has the right may send to this socket too.
                Ok((_, from)) if from.port_number() != 0 => {}
                Ok(_) => return Ok(self.buffer.clone()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes
    }

    struct Script(Vec<io::Result<Vec<u8>>>);

    impl Wire for Script {
        fn port(&self) -> u32 {
            7
        }

        fn send(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn receive(&mut self) -> io::Result<Vec<u8>> {
            match self.0.is_empty() {
                true => Ok(Vec::new()),
                false => self.0.remove(0),
            }
        }
    }

    fn told_by(script: Vec<io::Result<Vec<u8>>>) -> Result<Vec<Message>, Failure> {
        conversation(&mut Script(script), &[], 1, whole)
    }

    #[test]
    fn only_a_whole_list_is_one() {
        let (one, done) = (message(44, 2, 1, &[1; 20]), message(3, 2, 1, &[0; 4]));
        let list = told_by(vec![Ok([one.clone(), done.clone()].concat())]);
        assert_eq!(list.expect("whole").len(), 1);
        // What an earlier question left behind is no part of it.
        let early = message(3, 2, 9, &[0; 4]);
        let list = told_by(vec![Ok([early, one.clone()].concat()), Ok(done.clone())]);
        assert_eq!(list.expect("whole").len(), 1);
        let broken = |script| told_by(script).expect_err("not whole").to_string();
        assert!(broken(vec![Ok(one.clone())]).contains("no end"));
        let changed = message(44, NLM_F_DUMP_INTR, 1, &[1; 20]);
        assert!(broken(vec![Ok(changed), Ok(done.clone())]).contains("changed"));
        let changed = message(3, NLM_F_DUMP_INTR, 1, &[0; 4]);
        assert!(broken(vec![Ok(one.clone()), Ok(changed)]).contains("changed"));
        let lost = || io::Error::from_raw_os_error(libc::ENOBUFS);
        assert!(broken(vec![Ok(one.clone()), Err(lost())]).contains("lost"));
        assert!(broken(vec![Ok(message(4, 0, 1, &[]))]).contains("lost"));
        assert!(broken(vec![Ok(one[..30].to_vec())]).contains("cut"));
        let failed = (-libc::ENOMEM).to_ne_bytes();
        for kind in [NLMSG_DONE, NLMSG_ERROR] {
            let why = told_by(vec![Ok(message(kind, 0, 1, &failed))]).expect_err("refused");
            assert!(why.is(&[libc::ENOMEM]), "{why}");
        }
        // Even an error of 0 is no end of a dump.
        assert!(told_by(vec![Ok(message(NLMSG_ERROR, 0, 1, &[0; 20]))]).is_err());
    }

    #[test]
    fn a_broken_answer_is_asked_for_again_on_another_socket() {
        let good = |sequence| message(3, 2, sequence, &[0; 4]);
        let opened = std::sync::atomic::AtomicU32::new(0);
        let mut rtnl = Rtnl::over(Box::new(move || {
            let n = opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            let script = match n {
                1 => vec![Err(io::Error::from_raw_os_error(libc::ENOBUFS))],
                _ => vec![Ok(good(n))],
            };
            Ok(Box::new(Script(script)))
        }));
        let list = rtnl.dump(&Request::new(46, Vec::new()));
        assert_eq!(list.expect("the second time"), []);
        assert_eq!(rtnl.ports.len(), 2);
    }

    #[test]
    fn the_kernel_answers() {
        let mut rtnl = Rtnl::new();
        // RTM_GETLINK: the loopback link is in every namespace.
        let links = rtnl.dump(&Request::new(18, vec![0; 16])).expect("links");
        assert!(links.iter().any(|l| word(&l.body, 4) == Some(1)));
    }
}
