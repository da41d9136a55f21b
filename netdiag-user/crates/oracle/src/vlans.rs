//! VLANs in worlds, where the kernel has them: on the pair between two namespaces.
use fastrand::Rng;
use netdiag_model::world::device::Kind;

use crate::{
    command::Command,
    links::{Is, Links},
    mistakes::{devices, mistake},
    names::{SPACES, VLAN, device},
    plan::own,
};

pub const LINKS: Links = Links {
    name: "vlan",
    alone: false,
    file: None,
    probe: Some(("link add link e1 name vl0 type vlan id 5", "vl0")),
    ipv6: true,
    superpackets: true,
    made,
    behind,
    is: Is::Device(|device| matches!(device.kind, Kind::Vlan(_))),
    mistakes: &[mistake("a VLAN's tag ignored", |w| {
        devices(w, |device| {
            if let Kind::Vlan(own) = &mut device.kind {
                own.id = 5;
            }
        });
    })],
};

fn behind(space: usize) -> String {
    format!("198.51.100.{}", 70 + space)
}

fn made(rng: &mut Rng) -> Vec<Command> {
    let one = rng.usize(0..SPACES);
    let other = (one + rng.usize(1..SPACES)) % SPACES;
    let mut lines = Vec::new();
    for (space, far) in [(one, other), (other, one)] {
        // Now and then the tags are two.
        let id = if rng.u8(0..8) == 0 { 6 } else { 5 };
        let protocol = match rng.u8(0..8) {
            0 => " protocol 802.1ad",
            _ => "",
        };
        let (below, mtu) = (device(far), [1500, 1500, 1496, 1400][rng.usize(0..4)]);
        let address = match rng.u8(0..4) {
            0 => format!(" address 02:00:00:00:{space:02x}:80"),
            _ => String::new(),
        };
        for words in [
            format!("link add link {below} name {VLAN}{address} type vlan id {id}{protocol}"),
            format!("link set {VLAN} up mtu {mtu}"),
            format!("addr add 10.40.0.{}/24 dev {VLAN}", space + 1),
            format!("addr add {}/32 dev lo", behind(space)),
            format!("route add {}/32 via 10.40.0.{}", behind(far), far + 1),
        ] {
            lines.push(Command::ip(space, words));
        }
    }
    for space in (0..SPACES).filter(|space| ![one, other].contains(space)) {
        let words = format!(
            "route add {}/32 via {} dev {} onlink",
            behind(other),
            own(one),
            device(one)
        );
        lines.push(Command::ip(space, words));
    }
    match rng.u8(0..8) {
        0 => lines.push(Command::ip(one, format!("link set {VLAN} down"))),
        1 => lines.push(Command::ip(other, format!("link del {VLAN}"))),
        2 => lines.push(Command::ip(one, format!("link set {} down", device(other)))),
        _ => {}
    }
    lines
}
