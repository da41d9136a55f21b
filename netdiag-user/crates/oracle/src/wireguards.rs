//! WireGuard in worlds, where the kernel has it: between two namespaces, with what people get wrong of it.
use std::net::SocketAddrV4;

use anyhow::{Context, Result};
use fastrand::Rng;
use netdiag_model::{
    address::Prefix,
    world::{
        Known, World,
        device::Kind,
        wireguard::{Peer, WireGuard},
    },
};

use crate::{
    batch,
    command::{Command, Line},
    links::{Is, Links, addresses, at_once},
    mistakes::{devices, mistake},
    names::{SPACES, WIREGUARD},
    plan::own,
    six,
};

pub const LINKS: Links = Links {
    name: "wireguard",
    alone: false,
    file: None,
    probe: Some(("link add wgt0 type wireguard", WIREGUARD)),
    ipv6: true,
    superpackets: true,
    made,
    behind,
    is: Is::Device(|device| matches!(device.kind, Kind::WireGuard(_))),
    mistakes: &[
        mistake("a peer's networks ignored", |w| {
            let all = ["0.0.0.0/0", "::/0"].map(|text| text.parse::<Prefix>().ok());
            peers(w, |peer| peer.allowed.extend(all.iter().flatten()));
        }),
        mistake("a peer's endpoint ignored", |w| {
            peers(w, |peer| peer.endpoint = None);
        }),
        mistake("WireGuard's mark ignored", |w| {
            wireguards(w, |own| own.mark = 0);
        }),
        mistake("a handshake taken for granted", |w| {
            peers(w, |peer| peer.handshake = Some(0));
        }),
    ],
};

/// Private keys and their public ones: nobody's else.
const KEYS: [(&str, &str); SPACES] = [
    (
        "OChirpI9QcFws2qugCLpsWDGMoBXDhcB5R+5SzkRY3s=",
        "UHLeNvJVIuCoV0QiAXV483QfqGK3DProw1tdXwGlA0Q=",
    ),
    (
        "QBpCCGnYfZHZfpf0PxmFZ7crbVIXsuYfr2OVCcw5d0w=",
        "Pxl2n0UqG1O92JEE/D87W1XWrVBbgU5PElGkl5utS1k=",
    ),
    (
        "+AMgNeLvDJAkgsbvt1EHdfcEN5fgmIuuqFI1rCG+kFo=",
        "R5AA4vTpeFBwD7HnTMKo5pGDGWbmdcwfXdnIu8STNDg=",
    ),
    (
        "KOrxE50pcUb/EuNGl6C9rGaOYvgQpkcXT26zO4VAUH8=",
        "J5Tlo0Ga70lRAy2mi8ml5kjJnVJc0DYP/c6/IJMvNDw=",
    ),
];

const PORT: u16 = 51820;

fn wireguards(world: &mut World, of: impl Fn(&mut WireGuard)) {
    devices(world, |device| {
        if let Kind::WireGuard(Known::Is(own)) = &mut device.kind {
            of(own);
        }
    });
}

fn peers(world: &mut World, of: impl Fn(&mut Peer)) {
    wireguards(world, |own| own.peers.iter_mut().for_each(&of));
}

fn behind(space: usize) -> String {
    format!("198.51.100.{}", 150 + space)
}

fn inside(space: usize) -> String {
    format!("10.70.0.{}", space + 1)
}

fn made(rng: &mut Rng) -> Vec<Command> {
    let mut lines = addresses(behind);
    let one = rng.usize(0..SPACES);
    let other = (one + rng.usize(1..SPACES)) % SPACES;
    for (space, far) in [(one, other), (other, one)] {
        end(rng, space, far, &mut lines);
    }
    for space in (0..SPACES).filter(|space| ![one, other].contains(space)) {
        for (to, by) in [(one, other), (other, one)] {
            lines.push(Command::ip(space, at_once(&behind(to), by)));
        }
    }
    if rng.u8(0..4) == 0 {
        lines.push(changed(rng, one, other));
    }
    lines
}

/// One end, and who is reached by it.
fn end(rng: &mut Rng, space: usize, far: usize, lines: &mut Vec<Command>) {
    let mtu = [1420, 1420, 1500, 1380, 1300][rng.usize(0..5)];
    for words in [
        format!("link add {WIREGUARD} type wireguard"),
        format!("link set {WIREGUARD} up mtu {mtu}"),
        format!("addr add {}/24 dev {WIREGUARD}", inside(space)),
    ] {
        lines.push(Command::ip(space, words));
    }
    for to in (0..SPACES).filter(|to| *to != space) {
        let words = match to == far || rng.bool() {
            true => format!("route add {}/32 dev {WIREGUARD}", behind(to)),
            false => at_once(&behind(to), to),
        };
        lines.push(Command::ip(space, words));
    }
    if rng.bool() {
        lines.push(Command::ip(space, at_once(&own(far).to_string(), far)));
    }
    let mark = rng.u8(1..4);
    let marked = rng.u8(0..4) == 0;
    if marked && rng.bool() {
        let words = format!("rule add pref 60 fwmark 0x{mark} unreachable");
        lines.push(Command::ip(space, words));
    }
    lines.push(settings(rng, (space, far), marked.then_some(mark)));
}

/// As people give them, and as they give them wrong.
fn settings(rng: &mut Rng, (space, far): (usize, usize), mark: Option<u8>) -> Command {
    let mut words = vec![format!("set {WIREGUARD} private-key {KEY_FILE}")];
    words.push(format!("listen-port {PORT}"));
    words.extend(mark.map(|mark| format!("fwmark {mark}")));
    // Now and then it is nobody's here.
    let nobody = (0..SPACES).find(|at| ![space, far].contains(at));
    let nobody = KEYS[nobody.unwrap_or(far)].1;
    let key = if rng.u8(0..12) == 0 {
        nobody
    } else {
        KEYS[far].1
    };
    words.push(format!("peer {key}"));
    if rng.u8(0..6) != 0 {
        let at = if rng.u8(0..10) == 0 { space } else { far };
        let port = if rng.u8(0..12) == 0 { PORT + 1 } else { PORT };
        words.push(format!("endpoint {}:{port}", own(at)));
    }
    let (inside, behind) = (inside(far), behind(far));
    words.push(match rng.u8(0..6) {
        0 => format!("allowed-ips {inside}/32,{behind}/32"),
        1 => format!("allowed-ips {inside}/32"),
        2 => "allowed-ips 10.0.0.0/8,198.51.0.0/16".to_owned(),
        _ => "allowed-ips 0.0.0.0/0".to_owned(),
    });
    if key != nobody && rng.u8(0..4) == 0 {
        words.push(format!(
            "peer {nobody} endpoint {}:{PORT} allowed-ips 10.70.0.0/24",
            own(far)
        ));
    }
    Command {
        space,
        line: Line::Wg {
            key: KEYS[space].0.to_owned(),
            words: words.join(" "),
        },
    }
}

fn changed(rng: &mut Rng, one: usize, other: usize) -> Command {
    let space = if rng.bool() { one } else { other };
    match rng.u8(0..5) {
        0 => Command::ip(space, format!("link set {WIREGUARD} down")),
        1 => Command::ip(space, format!("route del {}", own(rng.usize(0..SPACES)))),
        // All of it, its own packets as well.
        2 => Command::ip(
            space,
            format!("route add {}/32 dev {WIREGUARD}", own(one + other - space)),
        ),
        3 => Command::ip(
            space,
            format!("route add 10.70.0.0/16 dev {WIREGUARD} mtu 1290"),
        ),
        _ => Command::ip(space, format!("addr del {}/32 dev lo", own(space))),
    }
}

/// Where wg(8) reads a private key from.
pub const KEY_FILE: &str = "/proc/self/fd/0";

/// Runs wg(8) in this thread's namespace; the kernel may refuse what it says.
pub fn set(key: &str, words: &str) -> Result<()> {
    let arguments: Vec<&str> = words.split(' ').collect();
    batch::fed("wg", &arguments, key).map(drop)
}

/// The same over IPv6.
pub fn over_ipv6(words: &str) -> String {
    let word = |word: &str| match word.parse::<SocketAddrV4>() {
        Ok(at) => format!("[{}]:{}", six::address(*at.ip()), at.port()),
        Err(_) => {
            let all: Vec<String> = word.split(',').map(six::word).collect();
            all.join(",")
        }
    };
    words.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// As it is shown.
pub fn parse(line: &str) -> Result<Command> {
    let parts = line.strip_prefix("echo ").and_then(|rest| {
        let (key, rest) = rest.split_once(" | ip netns exec s")?;
        let (space, words) = rest.split_once(" wg ")?;
        Some((key, space.parse().ok()?, words))
    });
    let (key, space, words) = parts.context("no line for wg(8)")?;
    Ok(Command {
        space,
        line: Line::Wg {
            key: key.to_owned(),
            words: words.to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_shown() {
        let mut rng = Rng::with_seed(7);
        for _ in 0..50 {
            let line = settings(&mut rng, (1, 3), Some(2));
            let again = parse(&line.to_string()).expect("a line");
            assert_eq!(again, line);
        }
    }

    #[test]
    fn lines_keep_their_meaning_over_ipv6() {
        let words = "set wgt0 peer K= endpoint 192.0.2.1:7 allowed-ips 0.0.0.0/0,10.2.0.1/32";
        let wanted =
            "set wgt0 peer K= endpoint [2001:db8:c0:2::1]:7 allowed-ips ::/0,fd10:2::1/128";
        assert_eq!(over_ipv6(words), wanted);
    }
}
