//! Headers as the hops' programs read them: the short way, which nearly all packets go, and the
//! long one say the same of every packet that both can read.
//!
//! A VLAN tag in the frame leads to the long way and changes nothing of the IP packet behind it.
use std::fmt::Write as _;

use netdiag::kernel::trial::{Frame, Trial};
use netdiag_common::hop::{FlowHop, FlowHopKey, Outer, OuterKey};
use netdiag_tests::require;

const VXLAN_PORT: u16 = 8472;
const LIMIT: u32 = 1450;
const ROUNDS: usize = 4000;

/// Numbers by xorshift: the same ones after the same seed.
struct Dice(u64);

impl Dice {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number() as u8).collect()
    }
}

fn udp(dice: &mut Dice, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = dice.bytes(2);
    header.extend(to.to_be_bytes());
    header.extend((payload.len() as u16 + 8).to_be_bytes());
    header.extend([0, 0]);
    header.extend(payload);
    header
}

fn tcp(dice: &mut Dice) -> Vec<u8> {
    let mut segment = dice.bytes(20);
    let options = dice.below(4) as usize * 4;
    segment[12] = ((20 + options) as u8 / 4) << 4;
    let payload = dice.below(200) as usize;
    segment.extend(dice.bytes(options + payload));
    segment
}

/// What lies behind the IP header, and its protocol.
fn transport(dice: &mut Dice) -> (u8, Vec<u8>) {
    let payload = dice.below(200) as usize;
    let payload = dice.bytes(payload);
    match dice.below(8) {
        0..=2 => (17, udp(dice, 9000, &payload)),
        3..=5 => (6, tcp(dice)),
        6 => (132, payload),
        _ => (1, [&[8, 0, 0, 0, 7, 7, 0, 1][..], &payload].concat()),
    }
}

fn v4(dice: &mut Dice, protocol: u8, behind: &[u8]) -> Vec<u8> {
    let options = if dice.one_in(8) { 4 } else { 0 };
    let fragment: u16 = match dice.below(16) {
        0 => 0x2000,
        1 => 0x2000 | dice.below(0x1fff) as u16,
        2 => 1,
        3..=9 => 0x4000,
        _ => 0,
    };
    let length = (20 + options + behind.len()) as u16;
    let mut packet = vec![0x40 | (5 + options as u8 / 4), 0];
    packet.extend(length.to_be_bytes());
    packet.extend(dice.bytes(2));
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(dice.bytes(8 + options));
    packet.extend(behind);
    packet
}

fn v6(dice: &mut Dice, protocol: u8, behind: &[u8]) -> Vec<u8> {
    let extension = dice.one_in(8);
    let length = behind.len() as u16 + if extension { 8 } else { 0 };
    let length = if dice.one_in(16) { 0 } else { length };
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([if extension { 0 } else { protocol }, 64]);
    packet.extend(dice.bytes(32));
    if extension {
        packet.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
    }
    packet.extend(behind);
    packet
}

/// An IP packet with its ethertype.
fn packet(dice: &mut Dice) -> (u16, Vec<u8>) {
    let (protocol, behind) = transport(dice);
    if dice.one_in(2) {
        (0x0800, v4(dice, protocol, &behind))
    } else {
        (0x86dd, v6(dice, protocol, &behind))
    }
}

fn ethernet(tags: &[u16], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

fn in_vxlan(dice: &mut Dice) -> (u16, Vec<u8>) {
    let (ethertype, inner) = packet(dice);
    let inner = ethernet(&[], ethertype, &inner);
    let vxlan = [&[8, 0, 0, 0, 0, 0, 1, 0][..], &inner].concat();
    let behind = udp(dice, VXLAN_PORT, &vxlan);
    if dice.one_in(2) {
        (0x0800, v4(dice, 17, &behind))
    } else {
        (0x86dd, v6(dice, 17, &behind))
    }
}

fn in_ipip(dice: &mut Dice) -> (u16, Vec<u8>) {
    let (ethertype, inner) = packet(dice);
    let protocol = if ethertype == 0x0800 { 4 } else { 41 };
    (0x0800, v4(dice, protocol, &inner))
}

type Counted = (Vec<(FlowHopKey, FlowHop)>, Vec<(OuterKey, Outer)>);

/// What is counted of one frame, its times but for whether there are any left out.
fn counted(trial: &mut Trial, program: &str, bytes: &[u8], gso: (u32, u32)) -> Counted {
    let frame = Frame {
        bytes,
        gso_size: gso.0,
        segments: gso.1,
    };
    trial.pass(program, &frame, 1).expect("run");
    let mut flows = trial.take_flows().expect("read");
    for (_, hop) in &mut flows {
        assert!(hop.first > 0 && hop.last >= hop.first, "{hop:?}");
        (hop.first, hop.last, hop.next_emit) = (0, 0, 0);
        hop.progress = hop.progress.min(1);
    }
    let mut outers = trial.take_outers().expect("read");
    for (_, outer) in &mut outers {
        assert!(outer.first > 0 && outer.last >= outer.first, "{outer:?}");
        (outer.first, outer.last) = (0, 0);
    }
    (flows, outers)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Compares both ways; how many frames were counted as flows, and how many as a pair of outer
/// addresses.
fn agree(program: &str, make: fn(&mut Dice) -> (u16, Vec<u8>)) -> (usize, usize) {
    let ports = [VXLAN_PORT, 0, 0, 0];
    let mut trial = Trial::load(LIMIT, ports).expect("the programs load");
    let (mut dice, mut flows, mut outers) = (Dice(0x6e65_7464_6961_6700), 0, 0);
    for round in 0..ROUNDS {
        let (ethertype, mut packet) = make(&mut dice);
        if dice.one_in(6) {
            // The kernel tries no packet without an IP header of its own (net/bpf/test_run.c).
            let header = if ethertype == 0x0800 { 20 } else { 40 };
            let rest = dice.below((packet.len() - header) as u64 + 1) as usize;
            packet.truncate(header + rest);
        }
        let gso = match dice.one_in(4) {
            true => (100 + dice.below(1300) as u32, 1 + dice.below(40) as u32),
            false => (0, 0),
        };
        let short = counted(&mut trial, program, &ethernet(&[], ethertype, &packet), gso);
        let tagged = ethernet(&[0x8100], ethertype, &packet);
        let long = counted(&mut trial, program, &tagged, gso);
        assert_eq!(short, long, "round {round}: {}", hex(&packet));
        flows += short.0.len();
        outers += short.1.len();
    }
    (flows, outers)
}

#[test]
fn both_ways_count_the_same_at_a_hop() {
    if require::missing(&[]) {
        return;
    }
    let (flows, outers) = agree("hop_ingress", packet);
    assert!(flows > ROUNDS * 3 / 4, "{flows} flows");
    assert_eq!(outers, 0);
}

#[test]
fn both_ways_count_the_same_inside_vxlan() {
    if require::missing(&[]) {
        return;
    }
    let (flows, outers) = agree("uplink_egress", in_vxlan);
    assert!(
        flows > ROUNDS / 2 && outers > ROUNDS / 2,
        "{flows}, {outers}"
    );
}

#[test]
fn both_ways_count_the_same_inside_ip() {
    if require::missing(&[]) {
        return;
    }
    let (flows, outers) = agree("uplink_ingress", in_ipip);
    assert!(
        flows > ROUNDS / 2 && outers > ROUNDS / 2,
        "{flows}, {outers}"
    );
}
