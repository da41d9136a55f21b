//! A sampled packet's headers, without what they carry: addresses mapped, options and checksums
//! zero, everything behind the transport header gone.
use super::address::Addresses;

const ETHERNET: usize = 14;
/// 802.1Q and 802.1ad.
const VLAN: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: [u8; 2] = [1, 58];

/// The headers of what was captured: an Ethernet frame, or a packet from its IP header on. Nothing
/// where they are not understood.
pub fn headers(captured: &[u8], frame: bool, addresses: &Addresses) -> Vec<u8> {
    let before = if frame { link(captured) } else { Some(0) };
    let Some((link, ip)) = before.and_then(|before| captured.split_at_checked(before)) else {
        return Vec::new();
    };
    let packet = match ip.first().map(|byte| byte >> 4) {
        Some(4) => v4(ip, addresses),
        Some(6) => v6(ip, addresses),
        _ => None,
    };
    let mut link = link.to_vec();
    if let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = &mut link[..] {
        [*d0, *d1, *d2, *d3, *d4, *d5] = addresses.mac([*d0, *d1, *d2, *d3, *d4, *d5]);
        [*s0, *s1, *s2, *s3, *s4, *s5] = addresses.mac([*s0, *s1, *s2, *s3, *s4, *s5]);
    }
    packet.map_or_else(Vec::new, |packet| [link, packet].concat())
}

/// Bytes of the link-layer header with its tags.
fn link(frame: &[u8]) -> Option<usize> {
    let mut at = ETHERNET;
    while VLAN.iter().any(|tag| frame.get(at - 2..at) == Some(tag)) {
        at += 4;
    }
    (at <= frame.len()).then_some(at)
}

/// RFC 791 3.1
fn v4(packet: &[u8], addresses: &Addresses) -> Option<Vec<u8>> {
    let length = usize::from(packet.first()? & 15) * 4;
    let mut header = packet.get(..length).filter(|it| it.len() >= 20)?.to_vec();
    header[10..12].fill(0);
    for at in [12, 16] {
        let old = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        if let std::net::IpAddr::V4(new) = addresses.address(old.into()) {
            header[at..at + 4].copy_from_slice(&new.octets());
        }
    }
    header[20..].fill(0);
    let later = (header[6] & 0x1f, header[7]) != (0, 0);
    let protocol = if later { 0 } else { header[9] };
    header.extend(transport(protocol, &packet[length..]));
    Some(header)
}

/// RFC 8200 3; extension headers are left out with what follows them.
fn v6(packet: &[u8], addresses: &Addresses) -> Option<Vec<u8>> {
    const HEADER: usize = 40;
    let mut header = packet.get(..HEADER)?.to_vec();
    for at in [8, 24] {
        let old: [u8; 16] = header[at..at + 16].try_into().ok()?;
        header[at..at + 16].copy_from_slice(&addresses.wire(old));
    }
    header.extend(transport(header[6], &packet[HEADER..]));
    Some(header)
}

/// The fixed part of a transport header, as far as it was captured.
fn transport(protocol: u8, rest: &[u8]) -> Vec<u8> {
    let (length, checksum) = match protocol {
        TCP => (20, 16),
        UDP => (8, 6),
        it if ICMP.contains(&it) => (8, 2),
        _ => (0, 0),
    };
    let mut header = rest[..length.min(rest.len())].to_vec();
    // A redirect names a gateway there (RFC 792); the kinds that netdiag knows hold numbers.
    const NUMBERS: [u8; 8] = [0, 3, 8, 11, 12, 2, 128, 129];
    if ICMP.contains(&protocol) && !header.first().is_some_and(|kind| NUMBERS.contains(kind)) {
        header.iter_mut().skip(4).for_each(|byte| *byte = 0);
    }
    if let Some(bytes) = header
        .get_mut(checksum..checksum + 2)
        .filter(|_| length > 0)
    {
        bytes.fill(0);
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_headers_are_left() {
        let map = Addresses::default();
        let mut packet = vec![
            0x45, 0, 0, 60, 1, 2, 0, 0, 64, UDP, 9, 9, 10, 1, 2, 3, 10, 1, 2, 4,
        ];
        packet.extend([0x30, 0x39, 0, 53, 0, 40, 7, 7]);
        packet.extend(b"secret");
        let new = headers(&packet, false, &map);
        assert_eq!(new.len(), 28);
        assert_eq!(new[..10], packet[..10]);
        assert_eq!((&new[10..12], &new[26..]), (&[0, 0][..], &[0, 0][..]));
        assert_ne!(new[12..16], packet[12..16]);
        assert_eq!(new[12..15], new[16..19], "one network");
        assert_eq!(new[20..24], packet[20..24], "ports");
        let frame = [&[2; 12][..], &[8, 0], &packet].concat();
        let new = headers(&frame, true, &map);
        assert!(new.len() == 42 && new[1..6] != [2; 5], "{new:?}");
        for cut in 0..frame.len() {
            assert!(headers(&frame[..cut], true, &map).len() <= cut);
            headers(&packet[..cut.min(packet.len())], false, &map);
        }
        assert!(headers(&[1; 60], false, &map).is_empty());
    }

    #[test]
    fn later_fragments_are_payload_alone() {
        let mut packet = [0; 60];
        (packet[0], packet[7], packet[9]) = (0x45, 9, TCP);
        assert_eq!(headers(&packet, false, &Addresses::default()).len(), 20);
        packet[0] = 0x60;
        packet[6] = TCP;
        assert_eq!(headers(&packet, false, &Addresses::default()).len(), 60);
    }
}
