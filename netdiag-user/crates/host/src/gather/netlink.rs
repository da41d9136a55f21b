//! Dumps by those netlink families that rtnetlink does not speak (RFC 3549,
//! include/uapi/linux/netlink.h).
use std::{io, net::IpAddr, ops::ControlFlow};

use anyhow::{Context, Result, bail};
use bytes::BufMut;
use netdiag_lang::mark;
use rtnetlink::sys::{Socket, SocketAddr};

/// NLM_F_REQUEST | NLM_F_DUMP.
pub const DUMP: u16 = 0x301;
/// Bytes of `struct nlmsghdr`.
pub const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// What is listed changed while it was (include/uapi/linux/netlink.h): since the datagram before
/// this message something came or went, and is told twice or not at all.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of an attribute's type.
const TYPE: u16 = 0x3fff;

/// Most bytes of one datagram: the kernel fills a dump's to 32 KiB (net/netlink/af_netlink.c).
const DATAGRAM: usize = 64 << 10;

/// Sends one request in this thread's namespace and hands each message, with its header, to `each`
/// for as long as that wants more: nobody reads, or keeps, what a stranger's namespace has beyond
/// that.
pub fn until(
    protocol: isize,
    request: &[u8],
    each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<End> {
    ask(&open(protocol)?, request, each)
}

/// How a listing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was read to its end.
    Whole,
    /// The same, and it changed meanwhile.
    Changed,
    /// No more was wanted.
    Enough,
}

/// Lists once more what changed while it was listed. Who changes it all the time, as the owner of a
/// namespace may, costs no more than that: the second listing is the last, however it ends.
pub fn twice<T>(mut list: impl FnMut() -> Result<(T, End)>) -> Result<(T, End)> {
    match list()? {
        (_, End::Changed) => list(),
        listed => Ok(listed),
    }
}

/// The same as [`until`] on a socket for several, as long as each was read to its end.
pub fn ask(
    socket: &Socket,
    request: &[u8],
    each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<End> {
    socket
        .send(request, 0)
        .context(mark!("asking by netlink"))?;
    read(|datagram| receive(socket, datagram), each)
}

/// What the kernel sent, which is forgotten with it: WireGuard's has private keys.
struct Datagram(Vec<u8>);

impl Drop for Datagram {
    fn drop(&mut self) {
        self.0.resize(self.0.capacity(), 0);
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

/// Reads a listing, a datagram at a time.
fn read(
    mut next: impl FnMut(&mut Vec<u8>) -> Result<()>,
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<End> {
    let mut datagram = Datagram(Vec::with_capacity(DATAGRAM));
    let mut changed = false;
    loop {
        next(&mut datagram.0)?;
        let taken = match datagram.0.is_empty() {
            true => Taken::End,
            false => take(&datagram.0, &mut changed, &mut each)?,
        };
        match taken {
            Taken::All => {}
            Taken::End if changed => return Ok(End::Changed),
            Taken::End => return Ok(End::Whole),
            // The dump ends with its socket.
            Taken::Enough => return Ok(End::Enough),
        }
    }
}

/// Opens a socket in this thread's namespace, towards the kernel.
pub fn open(protocol: isize) -> Result<Socket> {
    let mut socket = Socket::new(protocol).context(mark!("opening netlink"))?;
    socket.bind_auto().context(mark!("binding netlink"))?;
    let kernel = SocketAddr::new(0, 0);
    socket
        .connect(&kernel)
        .context(mark!("connecting to netlink"))?;
    // What a request filters by counts only then (Linux 4.20); before, everything comes.
    let _ = socket.set_netlink_get_strict_chk(true);
    Ok(socket)
}

/// The next datagram, in place of the one before.
pub fn receive(socket: &Socket, datagram: &mut Vec<u8>) -> Result<()> {
    datagram.clear();
    datagram.reserve(DATAGRAM);
    let mut room = datagram.limit(DATAGRAM);
    let length = socket.recv(&mut room, libc::MSG_TRUNC);
    let length = length.context(mark!("reading netlink"))?;
    anyhow::ensure!(length <= DATAGRAM, "netlink gave {length} bytes at once");
    Ok(())
}

/// What came of a datagram.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    All,
    /// The dump's last message was in it.
    End,
    Enough,
}

/// Takes the messages out of one datagram; the last one, too, says whether the list `changed`
/// (net/netlink/af_netlink.c, netlink_dump_done).
fn take(
    datagram: &[u8],
    changed: &mut bool,
    each: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<Taken> {
    let mut rest = datagram;
    while let (Some(length), Some(kind), Some(flags)) =
        (u32_at(rest, 0), u16_at(rest, 4), u16_at(rest, 6))
    {
        let length = length as usize;
        if length < HEADER || length > rest.len() {
            bail!("netlink gave a broken message");
        }
        *changed |= flags & NLM_F_DUMP_INTR != 0;
        match kind {
            NLMSG_DONE | NLMSG_ERROR => match u32_at(rest, HEADER).map_or(0, u32::cast_signed) {
                errno if errno < 0 => {
                    return Err(io::Error::from_raw_os_error(errno.saturating_neg()).into());
                }
                _ => return Ok(Taken::End),
            },
            _ if each(&rest[..length]).is_break() => return Ok(Taken::Enough),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Taken::All)
}

/// An attribute's value.
pub fn attribute(of: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut all = attributes(of);
    all.find_map(|(kind, value)| (kind == wanted).then_some(value))
}

/// All of them, up to one that is broken.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (u16_at(rest, 0)?, u16_at(rest, 2)?);
        let value = rest.get(4..usize::from(length))?;
        let step = usize::from(length).next_multiple_of(4);
        rest = rest.get(step..).unwrap_or_default();
        Some((kind & TYPE, value))
    })
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    match bytes.get(at..at.saturating_add(2)) {
        Some(&[a, b]) => Some(u16::from_ne_bytes([a, b])),
        _ => None,
    }
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    match bytes.get(at..at.saturating_add(4)) {
        Some(&[a, b, c, d]) => Some(u32::from_ne_bytes([a, b, c, d])),
        _ => None,
    }
}

/// An address of either family, by its length.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// An attribute as the kernel writes and reads it.
pub fn nla(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, io::Write as _};

    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::sys::program::Program;

    #[test]
    fn broken_answers_are_refused() {
        let mut each = |_: &[u8]| panic!("there is no whole message");
        let mut take = |bytes: &[u8]| take(bytes, &mut false, &mut each);
        assert!(take(&[200, 0, 0, 0, 20, 0, 0, 0]).is_err());
        assert_eq!(take(&[]).expect("nothing"), Taken::All);
        assert_eq!(attribute(&[4, 0, 9, 0], 11), None);
        assert_eq!(attribute(&[2, 0, 11, 0], 11), None);
    }

    fn flagged(kind: u16, flags: u16) -> Vec<u8> {
        let mut bytes = vec![16, 0, 0, 0];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes
    }

    fn message(kind: u16) -> Vec<u8> {
        flagged(kind, 0)
    }

    /// What comes of these datagrams, and how many messages they have.
    fn listed(datagrams: &[Vec<u8>]) -> (usize, End) {
        let mut left = datagrams.iter();
        let next = |datagram: &mut Vec<u8>| {
            datagram.clone_from(left.next().context("it ended before")?);
            Ok(())
        };
        let mut seen = 0;
        let count = |_: &[u8]| {
            seen += 1;
            ControlFlow::Continue(())
        };
        let end = read(next, count).expect("a listing");
        (seen, end)
    }

    #[test]
    fn a_list_that_changed_meanwhile_is_not_whole() {
        let done = || message(NLMSG_DONE);
        assert_eq!(listed(&[message(20), done()]), (1, End::Whole));
        let later = flagged(20, NLM_F_DUMP_INTR | 2);
        let all = [message(20), later, message(20), done()];
        assert_eq!(listed(&all), (3, End::Changed));
        let last = flagged(NLMSG_DONE, NLM_F_DUMP_INTR);
        assert_eq!(listed(&[message(20), last]), (1, End::Changed));
    }

    /// Addresses of loopback in a new namespace, one of which comes while they are listed.
    fn changing() -> End {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        let ip = |words: &[&str]| Program::new("ip").text(words).expect("done");
        let mut lines = String::new();
        for n in 0..4000 {
            let _ = writeln!(lines, "addr add 10.9.{}.{}/32 dev lo", n / 250, n % 250 + 1);
        }
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(lines.as_bytes()).expect("written");
        ip(&["-batch", &file.path().display().to_string()]);
        let socket = open(0).expect("a socket");
        // RTM_GETADDR of any family.
        let mut request = vec![24, 0, 0, 0, 22, 0];
        request.extend(DUMP.to_ne_bytes());
        request.resize(24, 0);
        socket.send(&request, 0).expect("asked");
        let mut first = true;
        let next = |datagram: &mut Vec<u8>| {
            receive(&socket, datagram)?;
            if std::mem::take(&mut first) {
                ip(&["addr", "add", "10.8.0.1/32", "dev", "lo"]);
            }
            Ok(())
        };
        read(next, |_| ControlFlow::Continue(())).expect("listed")
    }

    #[test]
    fn the_kernel_says_that_a_list_changed() {
        if netdiag_tests::require::missing(&["ip"]) {
            return;
        }
        let ended = std::thread::spawn(changing).join();
        assert_eq!(ended.expect("no panic"), End::Changed);
    }

    #[test]
    fn what_changed_is_listed_once_more_and_not_for_ever() {
        let of = |ends: &[End]| {
            let mut asked = 0;
            let list = || {
                asked += 1;
                Ok((asked, ends[asked - 1]))
            };
            twice(list).expect("a listing")
        };
        assert_eq!(of(&[End::Whole]), (1, End::Whole));
        assert_eq!(of(&[End::Enough]), (1, End::Enough));
        assert_eq!(of(&[End::Changed, End::Whole]), (2, End::Whole));
        assert_eq!(of(&[End::Changed; 2]), (2, End::Changed));
    }

    #[test]
    fn nothing_is_read_beyond_what_is_wanted() {
        let three = [message(20), message(20), message(NLMSG_DONE)].concat();
        let mut seen = 0;
        let mut once = |_: &[u8]| {
            seen += 1;
            ControlFlow::Break(())
        };
        let taken = take(&three, &mut false, &mut once);
        assert_eq!(taken.expect("read"), Taken::Enough);
        let mut all = |_: &[u8]| ControlFlow::Continue(());
        let taken = take(&three, &mut false, &mut all);
        assert_eq!(taken.expect("read"), Taken::End);
        assert_eq!(seen, 1);
    }

    #[test]
    fn flags_are_no_part_of_a_type() {
        assert_eq!(attribute(&[5, 0, 1, 0x80, 7, 0, 0, 0], 1), Some(&[7][..]));
    }
}
