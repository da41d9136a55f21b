//! Reads what tcpdump wrote: classic pcap (pcap-savefile(5)) of Ethernet links, down to the TCP
//! header. Written without a look at netdiag's own parsers, which it is to check.
use std::{net::IpAddr, path::Path};

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const ETHERNET: u32 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// One IP packet, with its link header taken off.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Seconds since 1970.
    pub time: f64,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// Bytes by the IP header's own word.
    pub length: u32,
    pub fragment_offset: u16,
    pub more_fragments: bool,
    /// 0 for what has no ports, later fragments included.
    pub ports: (u16, u16),
    pub tcp: Option<Segment>,
    pub payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub sequence: u32,
    pub fin: bool,
    pub syn: bool,
    pub rst: bool,
    /// Payload bytes.
    pub length: u32,
}

impl Packet {
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset > 0
    }

    /// The IP packet inside a VXLAN packet (RFC 7348) of that port.
    pub fn inside_vxlan(&self, port: u16) -> Option<Self> {
        if self.protocol != UDP || self.ports.1 != port || self.fragment_offset > 0 {
            return None;
        }
        ethernet(self.time, self.payload.get(16..)?)
    }
}

/// The IP packets of a capture; ARP and the like are passed over.
pub fn read(file: &Path) -> Vec<Packet> {
    let bytes = std::fs::read(file).expect("tcpdump wrote its file");
    let word = |at: usize| {
        let four = bytes[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(four)
    };
    assert_eq!(word(0), MICROSECONDS, "a capture of this machine's own");
    assert_eq!(word(20), ETHERNET, "an Ethernet link");
    let (mut packets, mut at) = (Vec::new(), 24);
    while at < bytes.len() {
        let time = f64::from(word(at)) + f64::from(word(at + 4)) / 1e6;
        let (start, captured) = (at + 16, word(at + 8) as usize);
        packets.extend(ethernet(time, &bytes[start..start + captured]));
        at = start + captured;
    }
    packets
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([two[0], two[1]]))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let high = u32::from(be16(bytes, at)?) << 16;
    Some(high | u32::from(be16(bytes, at + 2)?))
}

fn ethernet(time: f64, frame: &[u8]) -> Option<Packet> {
    let ip = frame.get(14..)?;
    match be16(frame, 12)? {
        0x0800 => ipv4(time, ip),
        0x86dd => ipv6(time, ip),
        _ => None,
    }
}

fn ipv4(time: f64, ip: &[u8]) -> Option<Packet> {
    let header = usize::from(ip.first()? & 0xf) * 4;
    let address = |at: usize| -> Option<IpAddr> {
        let four: [u8; 4] = ip.get(at..at + 4)?.try_into().ok()?;
        Some(four.into())
    };
    let fragment = be16(ip, 6)?;
    let packet = Packet {
        time,
        source: address(12)?,
        destination: address(16)?,
        protocol: *ip.get(9)?,
        length: u32::from(be16(ip, 2)?),
        fragment_offset: (fragment & 0x1fff) * 8,
        more_fragments: fragment & 0x2000 != 0,
        ports: (0, 0),
        tcp: None,
        payload: Vec::new(),
    };
    Some(transport(packet, ip.get(header..)?, header as u32))
}

/// Without extension headers: what the tests send has none.
fn ipv6(time: f64, ip: &[u8]) -> Option<Packet> {
    let address = |at: usize| -> Option<IpAddr> {
        let sixteen: [u8; 16] = ip.get(at..at + 16)?.try_into().ok()?;
        Some(sixteen.into())
    };
    let packet = Packet {
        time,
        source: address(8)?,
        destination: address(24)?,
        protocol: *ip.get(6)?,
        length: u32::from(be16(ip, 4)?) + 40,
        fragment_offset: 0,
        more_fragments: false,
        ports: (0, 0),
        tcp: None,
        payload: Vec::new(),
    };
    Some(transport(packet, ip.get(40..)?, 40))
}

fn transport(mut packet: Packet, rest: &[u8], ip_header: u32) -> Packet {
    if packet.fragment_offset > 0 || ![TCP, UDP].contains(&packet.protocol) {
        return packet;
    }
    if let (Some(source), Some(destination)) = (be16(rest, 0), be16(rest, 2)) {
        packet.ports = (source, destination);
    }
    if packet.protocol == TCP {
        packet.tcp = segment(rest, packet.length - ip_header);
    } else {
        packet.payload = rest.to_vec();
    }
    packet
}

fn segment(tcp: &[u8], length: u32) -> Option<Segment> {
    let header = u32::from(tcp.get(12)? >> 4) * 4;
    let flags = *tcp.get(13)?;
    Some(Segment {
        sequence: be32(tcp, 4)?,
        fin: flags & 1 != 0,
        syn: flags & 2 != 0,
        rst: flags & 4 != 0,
        length: length.saturating_sub(header),
    })
}
