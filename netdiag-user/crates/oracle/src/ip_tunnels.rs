//! IP in IP and GRE in worlds, where the kernel has them: between two namespaces, or with the next hop as the other end.
use fastrand::Rng;
use netdiag_model::world::device::Kind;

use crate::{
    command::Command,
    links::{Is, Links, addresses, at_once},
    mistakes::{ip_tunnels, mistake},
    names::{IP_TUNNEL, OF_ITSELF, SPACES},
    plan::own,
};

pub const LINKS: Links = Links {
    name: "ipip",
    alone: false,
    file: None,
    probe: Some((
        "link add ipt0 type ipip local 192.0.2.1 remote 192.0.2.2",
        "ipt0",
    )),
    ipv6: false,
    superpackets: true,
    made,
    behind,
    is: Is::Device(|device| matches!(device.kind, Kind::IpTunnel(_))),
    mistakes: &[
        mistake("the other end of IP in IP ignored", |w| {
            ip_tunnels(w, |t| t.remote = None);
        }),
        mistake("the own end of IP in IP ignored", |w| {
            ip_tunnels(w, |t| t.local = None);
        }),
        mistake("the hops of IP in IP ignored", |w| {
            ip_tunnels(w, |t| t.ttl = 0);
        }),
        mistake("GRE's header taken for none", |w| {
            ip_tunnels(w, |t| t.gre = None);
        }),
    ],
};

fn behind(space: usize) -> String {
    format!("198.51.100.{}", 50 + space)
}

fn made(rng: &mut Rng) -> Vec<Command> {
    let mut lines = addresses(behind);
    let one = rng.usize(0..SPACES);
    let other = (one + rng.usize(1..SPACES)) % SPACES;
    match rng.u8(0..3) {
        0 => of_itself(rng, &mut lines),
        kind => pair(rng, kind == 1, (one, other), &mut lines),
    }
    for space in (0..SPACES).filter(|space| ![one, other].contains(space)) {
        lines.push(Command::ip(space, at_once(&behind(other), one)));
    }
    if rng.u8(0..3) == 0 {
        lines.push(changed(rng, one));
    }
    lines
}

fn mtu(rng: &mut Rng) -> u32 {
    [1480, 1476, 1500, 1400][rng.usize(0..4)]
}

/// A device in each, with the other as its end.
fn pair(rng: &mut Rng, gre: bool, (one, other): (usize, usize), lines: &mut Vec<Command>) {
    let kind = if gre { "gre" } else { "ipip" };
    let key = if gre && rng.bool() { " key 7" } else { "" };
    for (space, far) in [(one, other), (other, one)] {
        let how = [
            "",
            "",
            " ttl 9",
            " ttl 2",
            " tos inherit",
            " tos 0x10",
            " nopmtudisc",
        ];
        let how = how[rng.usize(0..how.len())];
        // Now and then it is somebody else's, or another's key.
        let far_end = if rng.u8(0..10) == 0 { space } else { far };
        let key = if rng.u8(0..8) == 0 { "" } else { key };
        let (local, remote) = (own(space), own(far_end));
        let local = match rng.u8(0..5) {
            0 => String::new(),
            _ => format!(" local {local}"),
        };
        for words in [
            format!("link add {IP_TUNNEL} type {kind}{local} remote {remote}{key}{how}"),
            format!("link set {IP_TUNNEL} up mtu {}", mtu(rng)),
            format!("addr add 10.30.0.{}/24 dev {IP_TUNNEL}", space + 1),
            format!("route add {}/32 dev {IP_TUNNEL}", behind(far)),
        ] {
            lines.push(Command::ip(space, words));
        }
    }
}

/// By the device that every namespace has of itself, as Calico does.
fn of_itself(rng: &mut Rng, lines: &mut Vec<Command>) {
    for space in 0..SPACES {
        let up = format!("link set {OF_ITSELF} up mtu {}", mtu(rng));
        lines.push(Command::ip(space, up));
        let words = format!("addr add 10.30.0.{}/32 dev {OF_ITSELF}", space + 1);
        lines.push(Command::ip(space, words));
        for other in (0..SPACES).filter(|other| *other != space) {
            let words = format!(
                "route add {}/32 via {} dev {OF_ITSELF} onlink",
                behind(other),
                own(other)
            );
            lines.push(Command::ip(space, words));
        }
    }
}

fn changed(rng: &mut Rng, space: usize) -> Command {
    let device = if rng.bool() { IP_TUNNEL } else { OF_ITSELF };
    match rng.u8(0..4) {
        0 => Command::ip(space, format!("link set {device} down")),
        1 => Command::ip(space, format!("route del {}", own(rng.usize(0..SPACES)))),
        2 => Command::ip(
            space,
            format!("route add 10.30.0.0/16 dev {device} mtu 1300"),
        ),
        _ => Command::ip(space, format!("addr del {}/32 dev lo", own(space))),
    }
}
