//! macvlan in worlds: some on the pair between two namespaces at either side, each in a namespace of its own or in that
//! of the link below.
use fastrand::Rng;
use netdiag_model::world::device::{Kind, MacvlanMode};

use crate::{
    command::Command,
    links::{Is, Links},
    mistakes::{macvlans, mistake},
    names::{BRIDGE, MACVLAN, SPACES, device},
    plan::own,
};

pub const LINKS: Links = Links {
    name: "macvlan",
    alone: false,
    file: None,
    probe: Some(("link add link e1 name mv0 type macvlan", "mv0")),
    ipv6: true,
    superpackets: true,
    made,
    behind,
    is: Is::Device(|device| matches!(device.kind, Kind::Macvlan(_))),
    mistakes: &[
        mistake("macvlans of one link not joined", |w| {
            macvlans(w, |mode| *mode = MacvlanMode::Vepa);
        }),
        mistake("a macvlan's mode taken for bridge", |w| {
            macvlans(w, |mode| *mode = MacvlanMode::Bridge);
        }),
    ],
};

fn behind(space: usize) -> String {
    format!("198.51.100.{}", 90 + space)
}

/// All on a link of one namespace, some at the other end of it.
fn made(rng: &mut Rng) -> Vec<Command> {
    let hub = rng.usize(0..SPACES);
    let far = (hub + rng.usize(1..SPACES)) % SPACES;
    let below = match rng.u8(0..6) {
        0 => BRIDGE.to_owned(),
        _ => device(far),
    };
    let same = ["bridge", "bridge", "bridge", "private", "vepa"][rng.usize(0..5)];
    let mut lines = Vec::new();
    // Where its own is missing, the link's host has an address of that network itself.
    let others = (0..SPACES).filter(|to| *to != far);
    let members: Vec<usize> = others.filter(|_| rng.u8(0..4) > 0).collect();
    let alone = members.len() == 1 && rng.bool();
    for space in members.iter().copied() {
        let mode = match rng.u8(0..8) {
            0 => ["private", "vepa", "bridge"][rng.usize(0..3)],
            _ if alone => "passthru",
            _ => same,
        };
        let name = named(space);
        let address = match mode {
            "passthru" => String::new(),
            _ => format!(" address 02:00:00:00:{space:02x}:90"),
        };
        let place = match space == hub {
            true => String::new(),
            false => format!(" netns s{space}"),
        };
        lines.push(Command::ip(
            hub,
            format!("link add link {below} name {name}{address}{place} type macvlan mode {mode}"),
        ));
        let mtu = if rng.u8(0..4) == 0 { 1400 } else { 1500 };
        lines.push(Command::ip(space, format!("link set {name} up mtu {mtu}")));
        reached(&mut lines, space, &name);
    }
    reached(&mut lines, far, &device(hub));
    if !members.contains(&hub) {
        reached(&mut lines, hub, &below);
    }
    let all: Vec<usize> = members.iter().copied().chain([hub, far]).collect();
    for space in 0..SPACES {
        let near = members.contains(&space) || [hub, far].contains(&space);
        for to in all.iter().copied().filter(|to| *to != space) {
            let words = match near {
                true => format!("route add {}/32 via {}", behind(to), address(to)),
                false => format!(
                    "route add {}/32 via {} dev {} onlink",
                    behind(to),
                    own(hub),
                    device(hub)
                ),
            };
            lines.push(Command::ip(space, words));
        }
    }
    changed(rng, &members, (hub, &below), &mut lines);
    lines
}

fn named(space: usize) -> String {
    format!("{MACVLAN}{space}")
}

fn address(space: usize) -> String {
    format!("10.50.0.{}", space + 1)
}

fn reached(lines: &mut Vec<Command>, space: usize, by: &str) {
    for words in [
        format!("addr add {}/24 dev {by}", address(space)),
        format!("addr add {}/32 dev lo", behind(space)),
    ] {
        lines.push(Command::ip(space, words));
    }
}

fn changed(
    rng: &mut Rng,
    members: &[usize],
    (hub, below): (usize, &str),
    lines: &mut Vec<Command>,
) {
    let Some(one) = rng.choice(members.iter().copied()) else {
        return;
    };
    let (space, words) = match rng.u8(0..12) {
        0 => (one, format!("link set {} down", named(one))),
        1 => (hub, format!("link set {below} down")),
        2 => (hub, format!("link set {below} mtu 1400")),
        3 => (one, format!("addr flush dev {}", named(one))),
        _ => return,
    };
    lines.push(Command::ip(space, words));
}
