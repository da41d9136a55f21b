//! Frames as bytes: how those that are made by hand are written, and what is read of those seen.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdiag_forwarding::packet::{GRE, ICMP, ICMP6, IN_IP};
use netdiag_model::world::device::Mac;

/// Eight bytes at the start of a payload by which a packet is known again.
const MAGIC: [u8; 4] = *b"ndOR";
const ETHERNET: usize = 14;
/// Of 802.1Q and of 802.1ad.
const TAGS: [u16; 2] = [0x8100, 0x88a8];
const UDP_HEADER: usize = 8;
const HEADER6: usize = 40;
pub const UDP: u8 = 17;
/// Of which types' packets quote others and are no redirects.
const ERRORS4: [u8; 3] = [3, 11, 12];
const ERRORS6: [u8; 4] = [1, 2, 3, 4];
/// Where tunnels listen.
pub const VXLAN: u16 = 8472;
const VXLAN_HEADER: usize = 8;

/// Which packet of which round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    pub round: u16,
    pub number: u16,
}

impl Token {
    pub fn bytes(self) -> [u8; 8] {
        let [a, b] = self.round.to_be_bytes();
        let [c, d] = self.number.to_be_bytes();
        let [m, n, o, p] = MAGIC;
        [m, n, o, p, a, b, c, d]
    }

    pub fn read(payload: &[u8]) -> Option<Self> {
        let bytes: [u8; 8] = payload.get(..8)?.try_into().ok()?;
        let [m, n, o, p, a, b, c, d] = bytes;
        ([m, n, o, p] == MAGIC).then_some(Self {
            round: u16::from_be_bytes([a, b]),
            number: u16::from_be_bytes([c, d]),
        })
    }
}

/// A UDP payload of so many bytes, and its token.
pub fn payload(token: Token, length: usize) -> Vec<u8> {
    let mut bytes = token.bytes().to_vec();
    bytes.resize(length.max(bytes.len()), 0);
    bytes
}

/// What a packet looks like where it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Header {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub sport: u16,
    pub dport: u16,
    pub tos: u8,
    pub ttl: u8,
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}:{} to {}:{} tos {:#x} ttl {}",
            self.source, self.sport, self.destination, self.dport, self.tos, self.ttl
        )
    }
}

/// One of ours in an Ethernet frame, if it is one.
pub fn read(frame: &[u8]) -> Option<(Token, Header)> {
    let kind = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let mut end = ETHERNET;
    // A tag that the kernel keeps beside a frame is not seen here; one in it is.
    while TAGS.contains(&kind(end - 2)?) {
        end += 4;
    }
    match kind(end - 2)? {
        0x0800 => read_v4(frame.get(end..)?),
        0x86dd => read_v6(frame.get(end..)?),
        _ => None,
    }
}

/// The same without a frame.
pub fn read_packet(packet: &[u8]) -> Option<(Token, Header)> {
    match packet.first()? >> 4 {
        4 => read_v4(packet),
        6 => read_v6(packet),
        _ => None,
    }
}

fn read_v4(packet: &[u8]) -> Option<(Token, Header)> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let protocol = *packet.get(9)?;
    if ![UDP, ICMP, IN_IP, GRE].contains(&protocol) {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes).into())
    };
    let udp = packet.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    let found = Header {
        source: address(12)?,
        destination: address(16)?,
        sport: port(0)?,
        dport: port(2)?,
        tos: *packet.get(1)?,
        ttl: *packet.get(8)?,
    };
    if [IN_IP, GRE].contains(&protocol) {
        // What it carries tells which it is; what stands there is no port.
        let load = if protocol == GRE { gre(udp)? } else { udp };
        let (token, _) = read_packet(load)?;
        let (sport, dport) = (0, 0);
        return Some((
            token,
            Header {
                sport,
                dport,
                ..found
            },
        ));
    }
    if protocol == ICMP {
        let quoted = read_v4(udp.get(UDP_HEADER..)?)?.0;
        return told(udp, found, quoted, &ERRORS4);
    }
    // A later fragment has no ports.
    let later = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff != 0;
    own(udp, found).filter(|_| !later)
}

/// What is behind GRE's header: four bytes, and four for each flag of those that have some (RFC 2890).
fn gre(bytes: &[u8]) -> Option<&[u8]> {
    let flags = *bytes.first()?;
    let more = [0x80, 0x20, 0x10].iter().filter(|flag| flags & **flag != 0);
    bytes.get(4 + 4 * more.count()..)
}

/// An error about one of ours: its type and code stand where others have a port. Redirects are none.
fn told(icmp: &[u8], header: Header, quoted: Token, errors: &[u8]) -> Option<(Token, Header)> {
    let (kind, code) = (*icmp.first()?, *icmp.get(1)?);
    let header = Header {
        sport: 0,
        dport: u16::from_be_bytes([kind, code]),
        ..header
    };
    errors.contains(&kind).then_some((quoted, header))
}

/// By its token, or that of the packet in the frame that it carries.
fn own(udp: &[u8], mut header: Header) -> Option<(Token, Header)> {
    let payload = udp.get(UDP_HEADER..)?;
    if let Some(token) = Token::read(payload) {
        return Some((token, header));
    }
    if header.dport != VXLAN {
        return None;
    }
    let (token, _) = read(payload.get(VXLAN_HEADER..)?)?;
    // By a hash that is different in each kernel that runs.
    header.sport = 0;
    Some((token, header))
}

fn read_v6(packet: &[u8]) -> Option<(Token, Header)> {
    let protocol = *packet.get(6)?;
    if ![UDP, ICMP6].contains(&protocol) {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(bytes).into())
    };
    let udp = packet.get(HEADER6..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    let found = Header {
        source: address(8)?,
        destination: address(24)?,
        sport: port(0)?,
        dport: port(2)?,
        tos: packet.first()? << 4 | packet.get(1)? >> 4,
        ttl: *packet.get(7)?,
    };
    if protocol == ICMP6 {
        let quoted = read_v6(udp.get(UDP_HEADER..)?)?.0;
        return told(udp, found, quoted, &ERRORS6);
    }
    own(udp, found)
}

/// An Ethernet frame with a packet that nobody's stack made.
pub fn frame(to: Mac, from: Mac, header: &Header, size: usize, token: Token) -> Option<Vec<u8>> {
    match (header.source, header.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame_v4([to, from], header, (source, destination), size, token)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame_v6([to, from], header, (source, destination), size, token)
        }
        _ => None,
    }
}

fn frame_v6(
    [to, from]: [Mac; 2],
    header: &Header,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    size: usize,
    token: Token,
) -> Option<Vec<u8>> {
    let length = size.checked_sub(HEADER6)?;
    let mut udp = header.sport.to_be_bytes().to_vec();
    udp.extend(header.dport.to_be_bytes());
    udp.extend(u16::try_from(length).ok()?.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload(token, length.checked_sub(UDP_HEADER)?));
    let ends = [source.octets(), destination.octets()].concat();
    let pseudo = [
        &ends[..],
        &u32::try_from(length).ok()?.to_be_bytes(),
        &[0, 0, 0, UDP],
        &udp,
    ]
    .concat();
    // IPv6 has no UDP without a checksum, and none that is zero.
    let sum = Some(checksum(&pseudo))
        .filter(|sum| *sum != 0)
        .unwrap_or(0xffff);
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut bytes = [to.0, from.0].concat();
    bytes.extend([0x86, 0xdd]);
    bytes.extend([0x60 | header.tos >> 4, header.tos << 4, 0, 0]);
    bytes.extend(u16::try_from(length).ok()?.to_be_bytes());
    bytes.extend([UDP, header.ttl]);
    bytes.extend(ends);
    bytes.extend(udp);
    Some(bytes)
}

fn frame_v4(
    [to, from]: [Mac; 2],
    header: &Header,
    (source, destination): (Ipv4Addr, Ipv4Addr),
    size: usize,
    token: Token,
) -> Option<Vec<u8>> {
    let udp = size.checked_sub(20)?;
    let mut ip = vec![0x45, header.tos];
    ip.extend(u16::try_from(size).ok()?.to_be_bytes());
    // No identification, not to be fragmented.
    ip.extend([0, 0, 0x40, 0, header.ttl, UDP, 0, 0]);
    ip.extend(source.octets());
    ip.extend(destination.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut bytes = [to.0, from.0].concat();
    bytes.extend([0x08, 0x00]);
    bytes.extend(ip);
    bytes.extend(header.sport.to_be_bytes());
    bytes.extend(header.dport.to_be_bytes());
    bytes.extend(u16::try_from(udp).ok()?.to_be_bytes());
    // UDP over IPv4 may go without a checksum.
    bytes.extend([0, 0]);
    bytes.extend(payload(token, udp.checked_sub(UDP_HEADER)?));
    Some(bytes)
}

fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2);
    let sum: u32 = words
        .map(|w| u32::from(u16::from_be_bytes([w[0], w.get(1).copied().unwrap_or(0)])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !(folded as u16)
}
