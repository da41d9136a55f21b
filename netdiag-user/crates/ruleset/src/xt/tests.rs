use fastrand::Rng;
use netdiag_model::world::ruleset::{Base, Load, Meta, Reject, Store};

use super::{Aims, Info, aims, holds};
use crate::{Byte, Loaded, Packet, Stored, Three};

/// A datagram to a port, with a mark, that belongs to no connection.
struct Datagram {
    port: u16,
    mark: u32,
}

impl Packet for Datagram {
    fn load(&self, what: &Load) -> Loaded {
        match what {
            Load::Meta(Meta::Mark) => Loaded::word(self.mark),
            Load::Payload {
                base: Base::Transport,
                offset,
                ..
            } => Loaded::known(&(if *offset == 2 { self.port } else { 40_000 }).to_be_bytes()),
            Load::Ct { .. } => Loaded::None,
            _ => Loaded::Unknown,
        }
    }

    fn store(&mut self, what: &Store, bytes: &[Byte]) -> Stored {
        if let Store::Meta(Meta::Mark) = what {
            let bytes: Option<Vec<u8>> = bytes.iter().take(4).map(|byte| byte.get()).collect();
            let bytes = bytes.expect("known bytes");
            self.mark = u32::from_ne_bytes(*bytes.first_chunk().expect("a word"));
        }
        Stored::Done
    }

    fn untrack(&mut self) -> Stored {
        Stored::Done
    }

    fn choice(&mut self, _: usize) -> Option<usize> {
        None
    }
}

/// `-m multiport --dports 53,1000:2000`
fn two_ports(invert: bool) -> Vec<u8> {
    let mut info = vec![1, 3];
    for port in [53_u16, 1000, 2000] {
        info.extend(port.to_ne_bytes());
    }
    info.resize(32, 0);
    info.extend([0, 1]);
    info.resize(47, 0);
    info.push(u8::from(invert));
    info
}

#[test]
fn several_ports_and_a_range_of_them() {
    for (port, within) in [
        (53, true),
        (54, false),
        (1000, true),
        (2000, true),
        (2001, false),
    ] {
        let packet = Datagram { port, mark: 0 };
        for invert in [false, true] {
            let info = two_ports(invert);
            let said = holds("multiport", 1, Info(&info), &packet);
            assert_eq!(said, Three::of(within != invert), "{port}");
        }
    }
}

/// A packet of IPv6 as its sender's socket, if any, and its first bytes have it.
struct Sent {
    uid: Loaded,
    header: Vec<Byte>,
}

impl Packet for Sent {
    fn load(&self, what: &Load) -> Loaded {
        match what {
            Load::Meta(Meta::Uid) => self.uid.clone(),
            Load::Meta(Meta::Gid) if self.uid == Loaded::None => Loaded::None,
            Load::Payload {
                base: Base::Network,
                offset,
                length,
            } => {
                let all = self.header.iter().skip(*offset as usize);
                Loaded::Is(all.take(usize::from(*length)).copied().collect())
            }
            // A kind of ICMP and its code; of TCP that it opens a connection.
            Load::Payload {
                base: Base::Transport,
                offset: 13,
                ..
            } => Loaded::known(&[2]),
            Load::Payload {
                base: Base::Transport,
                ..
            } => Loaded::known(&[135, 0]),
            _ => Loaded::Unknown,
        }
    }

    fn store(&mut self, _: &Store, _: &[Byte]) -> Stored {
        Stored::Unknown
    }

    fn untrack(&mut self) -> Stored {
        Stored::Unknown
    }

    fn choice(&mut self, _: usize) -> Option<usize> {
        None
    }
}

fn sent(uid: Loaded) -> Sent {
    let mut header = vec![Byte::known(0x6b), Byte::partly(0x80, 0xf0)];
    header.resize(40, Byte::known(1));
    Sent { uid, header }
}

/// `xt_owner_match_info` of users 1000 to 1999, or of others.
fn of_users(asks: u8, inverts: u8) -> Vec<u8> {
    let mut info = [1000_u32, 1999, 0, 0].map(u32::to_ne_bytes).concat();
    info.extend([asks, inverts]);
    info
}

#[test]
fn what_has_no_socket_is_nobodys() {
    let (is, not) = (of_users(1, 0), of_users(1, 1));
    for (uid, said) in [
        (Loaded::word(1500), [Three::Yes, Three::No]),
        (Loaded::word(0), [Three::No, Three::Yes]),
        (Loaded::Unknown, [Three::Maybe; 2]),
        (Loaded::None, [Three::No, Three::Yes]),
    ] {
        let packet = sent(uid);
        let both = [&is, &not].map(|info| holds("owner", 1, Info(info), &packet));
        assert_eq!(both, said);
    }
    let group = of_users(2, 0);
    let packet = sent(Loaded::word(1500));
    assert_eq!(holds("owner", 1, Info(&group), &packet), Three::Maybe);
}

#[test]
fn a_class_is_in_two_bytes_whose_rest_is_a_label() {
    let packet = sent(Loaded::None);
    let said = |name, revision, info: &[u8]| holds(name, revision, Info(info), &packet);
    assert_eq!(said("dscp", 0, &[0xb8 >> 2, 0]), Three::Yes);
    assert_eq!(said("tos", 1, &[0xf0, 0xb0, 0]), Three::Yes);
    assert_eq!(said("tos", 1, &[0xff, 0xb0, 0]), Three::No);
}

/// `xt_tcp` of any ports, with a mask, what is to be set, and what is to be other.
fn of_flags(mask: u8, set: u8, inverts: u8) -> Vec<u8> {
    let ports = [0_u16, u16::MAX, 0, u16::MAX].map(u16::to_ne_bytes);
    let mut info = ports.concat();
    info.extend([0, mask, set, inverts]);
    info
}

#[test]
fn what_opens_a_connection_says_so_alone() {
    let packet = sent(Loaded::None);
    // `--syn`, `! --syn`, `--tcp-flags ALL NONE`
    for (info, said) in [
        (of_flags(0x17, 2, 0), Three::Yes),
        (of_flags(0x17, 2, 4), Three::No),
        (of_flags(0x3f, 0, 0), Three::No),
        (of_flags(0, 0, 0), Three::Yes),
    ] {
        assert_eq!(holds("tcp", 0, Info(&info), &packet), said, "{info:?}");
    }
}

#[test]
fn a_neighbours_question_is_of_its_kind() {
    let packet = sent(Loaded::None);
    let said = |name, info: &[u8]| holds(name, 0, Info(info), &packet);
    assert_eq!(said("icmp6", &[135, 0, 255, 0]), Three::Yes);
    assert_eq!(said("icmp6", &[135, 0, 255, 1]), Three::No);
    assert_eq!(said("icmp6", &[136, 0, 255, 0]), Three::No);
    assert_eq!(said("icmp6", &[0xff, 0, 255, 0]), Three::No, "IPv4's any");
    assert_eq!(said("icmp", &[0xff, 0, 255, 0]), Three::Yes);
}

#[test]
fn a_mark_is_changed_within_its_mask() {
    let mut packet = Datagram {
        port: 0,
        mark: 0x14,
    };
    let info = [0x4000_u32, 0x4004].map(u32::to_ne_bytes).concat();
    let came = aims(("MARK", 2), Info(&info), false, &mut packet);
    assert!(matches!(came, Aims::Continues));
    assert_eq!(packet.mark, 0x4010);
}

#[test]
fn a_refusal_has_its_familys_code() {
    let mut packet = Datagram { port: 0, mark: 0 };
    for (with, ipv6, code) in [
        (6_u32, false, 10),
        (3, false, 3),
        (1, true, 1),
        (7, true, 5),
    ] {
        let info = with.to_ne_bytes();
        let came = aims(("REJECT", 0), Info(&info), ipv6, &mut packet);
        let expected = Reject::Unreachable(code);
        assert!(matches!(came, Aims::Rejects(reject) if reject == expected));
    }
}

/// Nothing is believed of what another version, or a recording that lies, has in its place.
#[test]
fn any_bytes_are_read() {
    const NAMES: [&str; 24] = [
        "mark",
        "connmark",
        "multiport",
        "udp",
        "tcp",
        "addrtype",
        "conntrack",
        "dscp",
        "hl",
        "icmp",
        "icmp6",
        "iprange",
        "length",
        "owner",
        "rpfilter",
        "tos",
        "ttl",
        "MARK",
        "CONNMARK",
        "CT",
        "REJECT",
        "DNAT",
        "SNAT",
        "MASQUERADE",
    ];
    let mut rng = Rng::with_seed(1);
    let mut packet = Datagram { port: 53, mark: 1 };
    for _ in 0..20_000 {
        let info: Vec<u8> = (0..rng.usize(0..200)).map(|_| rng.u8(..)).collect();
        let (name, revision) = (NAMES[rng.usize(0..NAMES.len())], rng.u32(0..4));
        holds(name, revision, Info(&info), &packet);
        aims((name, revision), Info(&info), rng.bool(), &mut packet);
        assert_eq!(holds(name, 9, Info(&info), &packet), Three::Maybe);
    }
}
