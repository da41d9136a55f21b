//! Where a packet's headers end and its sender's own words begin: Ethernet, IP with its options and
//! extensions, what carries another packet, and the transport's header with its options; of an ICMP
//! error the headers of the packet that it quotes. All bytes are a stranger's: what does not add up
//! ends there.

/// Packets within packets that are followed; tunnels in the field have two.
const DEEPEST: usize = 4;
/// Extension headers of IPv6 that are followed (RFC 8200).
const EXTENSIONS: usize = 8;
/// Of Ethernet.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const BRIDGED: u16 = 0x6558;
const VLAN: [u16; 2] = [0x8100, 0x88a8];
/// VXLAN's port by IANA, and Linux's own; Geneve's (RFC 7348, RFC 8926).
const VXLAN: [u16; 2] = [4789, 8472];
const GENEVE: u16 = 6081;

/// How many bytes of a frame are headers; `vxlan` are this node's own ports besides the usual ones.
pub fn of_frame(frame: &[u8], vxlan: &[u16]) -> usize {
    let reader = Reader {
        bytes: frame,
        vxlan,
    };
    reader.ethernet(0, DEEPEST).min(frame.len())
}

/// The same of what begins with its IP header.
pub fn of_packet(packet: &[u8], vxlan: &[u16]) -> usize {
    let reader = Reader {
        bytes: packet,
        vxlan,
    };
    reader.ip(0, DEEPEST).min(packet.len())
}

/// Every function takes where its header begins, and returns where the last header ends, which may
/// be behind what was captured.
struct Reader<'a> {
    bytes: &'a [u8],
    vxlan: &'a [u16],
}

impl Reader<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn half(&self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte(at)?, self.byte(at + 1)?]))
    }

    fn ethernet(&self, at: usize, deep: usize) -> usize {
        let mut end = at + 14;
        // One or two tags may stand before the type (IEEE 802.1Q).
        for _ in 0..2 {
            if self.half(end - 2).is_some_and(|kind| VLAN.contains(&kind)) {
                end += 4;
            }
        }
        match self.half(end - 2) {
            Some(IPV4 | IPV6) => self.ip(end, deep),
            _ => end,
        }
    }

    fn ip(&self, at: usize, deep: usize) -> usize {
        if deep == 0 {
            return at;
        }
        match self.byte(at).map(|first| first >> 4) {
            Some(4) => self.ipv4(at, deep),
            Some(6) => self.ipv6(at, deep),
            _ => at,
        }
    }

    fn ipv4(&self, at: usize, deep: usize) -> usize {
        let words = usize::from(self.byte(at).unwrap_or(0) & 0xf);
        if words < 5 {
            return at + 20;
        }
        let end = at + words * 4;
        match (self.half(at + 6), self.byte(at + 9)) {
            // A later fragment has no transport header: all of it is the sender's.
            (Some(fragment), Some(protocol)) if fragment & 0x1fff == 0 => {
                self.transport(protocol, end, deep)
            }
            _ => end,
        }
    }

    fn ipv6(&self, at: usize, deep: usize) -> usize {
        let mut end = at + 40;
        let Some(mut next) = self.byte(at + 6) else {
            return end;
        };
        for _ in 0..EXTENSIONS {
            let (Some(following), Some(length)) = (self.byte(end), self.byte(end + 1)) else {
                return end;
            };
            let length = usize::from(length);
            match next {
                0 | 43 | 60 => end += (length + 1) * 8,
                51 => end += (length + 2) * 4,
                44 => {
                    let later = self.half(end + 2).is_none_or(|f| f & 0xfff8 != 0);
                    end += 8;
                    if later {
                        return end;
                    }
                }
                protocol => return self.transport(protocol, end, deep),
            }
            next = following;
        }
        end
    }

    fn transport(&self, protocol: u8, at: usize, deep: usize) -> usize {
        match protocol {
            6 => {
                at + self
                    .byte(at + 12)
                    .map_or(20, |b| usize::from(b >> 4).max(5) * 4)
            }
            17 => self.udp(at, deep),
            132 => at + 12,
            1 => match self.byte(at) {
                Some(3 | 4 | 5 | 11 | 12) => self.ip(at + 8, deep - 1),
                _ => at + 8,
            },
            58 => match self.byte(at) {
                Some(1..=4) => self.ip(at + 8, deep - 1),
                // Neighbour discovery has a target, and a link's address (RFC 4861).
                Some(135 | 136) => at + 32,
                _ => at + 8,
            },
            4 | 41 => self.ip(at, deep - 1),
            47 => self.gre(at, deep),
            // ESP's number and sequence.
            50 => at + 8,
            _ => at,
        }
    }

    fn udp(&self, at: usize, deep: usize) -> usize {
        let end = at + 8;
        let Some(port) = self.half(at + 2) else {
            return end;
        };
        if VXLAN.contains(&port) || self.vxlan.contains(&port) {
            // The one flag that says there is a VNI; all else is zero (RFC 7348, 5).
            let vxlan = self.byte(end) == Some(8) && self.byte(end + 7) == Some(0);
            return match vxlan {
                true => self.inner(BRIDGED, end + 8, deep),
                false => end,
            };
        }
        match (port, self.byte(end), self.half(end + 2)) {
            (GENEVE, Some(first), Some(kind)) if first >> 6 == 0 => {
                let options = usize::from(first & 0x3f) * 4;
                self.inner(kind, end + 8 + options, deep)
            }
            _ => end,
        }
    }

    fn gre(&self, at: usize, deep: usize) -> usize {
        let (Some(flags), Some(kind)) = (self.half(at), self.half(at + 2)) else {
            return at + 4;
        };
        // Checksum, key and sequence have a word each (RFC 2784, RFC 2890).
        let words = [0x8000, 0x2000, 0x1000].map(|bit| usize::from(flags & bit != 0));
        let end = at + 4 + words.iter().sum::<usize>() * 4;
        match flags & 7 {
            0 => self.inner(kind, end, deep),
            _ => end,
        }
    }

    fn inner(&self, kind: u16, at: usize, deep: usize) -> usize {
        match kind {
            BRIDGED if deep > 1 => self.ethernet(at, deep - 1),
            IPV4 | IPV6 => self.ip(at, deep - 1),
            _ => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &[u8] = b"GET /secret";

    fn ipv4(protocol: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[9] = protocol;
        [&packet, rest].concat()
    }

    fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[6] = next;
        [&packet, rest].concat()
    }

    fn ethernet(kind: u16, rest: &[u8]) -> Vec<u8> {
        [&[0; 12], &kind.to_be_bytes()[..], rest].concat()
    }

    fn tcp(options: usize) -> Vec<u8> {
        let mut header = vec![0; 20 + options];
        header[12] = (((20 + options) / 4) << 4) as u8;
        header
    }

    fn udp(port: u16) -> Vec<u8> {
        [&[0, 1], &port.to_be_bytes()[..], &[0; 4]].concat()
    }

    fn with_secret(headers: &[u8]) -> Vec<u8> {
        [headers, SECRET].concat()
    }

    /// The whole of the headers is kept, and nothing of what follows.
    fn all_but_the_secret(headers: &[u8]) {
        let packet = with_secret(headers);
        assert_eq!(of_packet(&packet, &[]), headers.len(), "{headers:x?}");
        let kind = if headers[0] >> 4 == 4 { IPV4 } else { IPV6 };
        let frame = ethernet(kind, &packet);
        assert_eq!(of_frame(&frame, &[]), headers.len() + 14);
        let tagged = ethernet(
            0x8100,
            &[&[0, 7], &kind.to_be_bytes()[..], &packet].concat(),
        );
        assert_eq!(of_frame(&tagged, &[]), headers.len() + 18);
        // What was cut has no more than it has.
        for length in 0..packet.len() {
            assert!(of_packet(&packet[..length], &[]) <= length);
        }
    }

    #[test]
    fn payload_is_no_header() {
        all_but_the_secret(&ipv4(6, &tcp(0)));
        all_but_the_secret(&ipv4(6, &tcp(12)));
        all_but_the_secret(&ipv4(17, &udp(53)));
        all_but_the_secret(&ipv4(132, &[0; 12]));
        all_but_the_secret(&ipv4(1, &[8, 0, 0, 0, 0, 0, 0, 0]));
        all_but_the_secret(&ipv6(6, &tcp(20)));
        all_but_the_secret(&ipv6(58, &[128, 0, 0, 0, 0, 0, 0, 0]));
        let hops = [&[6, 1], &[0; 14][..], &tcp(0)].concat();
        all_but_the_secret(&ipv6(0, &hops));
        let mut later = ipv4(17, &[]);
        later[7] = 1;
        all_but_the_secret(&later);
        all_but_the_secret(&ipv6(44, &[17, 0, 0, 8, 0, 0, 0, 0]));
        // Unknown to us: not even its header.
        all_but_the_secret(&ipv4(200, &[]));
    }

    #[test]
    fn what_is_quoted_or_carried_has_headers_too() {
        let quoted = ipv4(17, &udp(53));
        let error = [&[3, 4, 0, 0, 0, 0, 5, 0], &quoted[..]].concat();
        all_but_the_secret(&ipv4(1, &error));
        let too_big = [&[2, 0, 0, 0, 0, 0, 5, 0], &ipv6(6, &tcp(0))[..]].concat();
        all_but_the_secret(&ipv6(58, &too_big));
        all_but_the_secret(&ipv4(4, &ipv4(6, &tcp(12))));
        all_but_the_secret(&ipv4(41, &ipv6(17, &udp(9))));
        let inner = ethernet(IPV4, &ipv4(6, &tcp(0)));
        let vxlan = |port| [&udp(port), &[8, 0, 0, 0, 0, 0, 7, 0][..], &inner].concat();
        all_but_the_secret(&ipv4(17, &vxlan(4789)));
        all_but_the_secret(&ipv4(17, &vxlan(8472)));
        let own = with_secret(&ipv4(17, &vxlan(7777)));
        assert_eq!(of_packet(&own, &[7777]), own.len() - SECRET.len());
        assert_eq!(of_packet(&own, &[]), 28);
        let geneve = [
            &udp(6081),
            &[1, 0, 0x65, 0x58, 0, 0, 7, 0][..],
            &[0; 4],
            &inner,
        ];
        all_but_the_secret(&ipv4(17, &geneve.concat()));
        let gre = [&[0x20, 0, 8, 0, 0, 0, 0, 7][..], &ipv4(6, &tcp(0))].concat();
        all_but_the_secret(&ipv4(47, &gre));
    }

    #[test]
    fn what_only_calls_itself_a_tunnel_is_none() {
        let packet = with_secret(&ipv4(17, &udp(4789)));
        assert_eq!(of_packet(&packet, &[]), 28);
        // Packets in packets in packets end somewhere.
        let mut deep = ipv4(6, &tcp(0));
        for _ in 0..9 {
            deep = ipv4(4, &deep);
        }
        assert_eq!(of_packet(&deep, &[]), DEEPEST * 20);
        assert_eq!(of_packet(b"GET /", &[]), 5);
        assert_eq!(of_packet(b"\xffET /", &[]), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_end_within_them(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(of_frame(&bytes, &[]) <= bytes.len());
            prop_assert!(of_packet(&bytes, &[]) <= bytes.len());
        }
    }
}
