//! Bonds in worlds, where the kernel has them: of the two pairs that lead from one namespace to two others, which are
//! switches on the way to the fourth, or routers each.
use fastrand::Rng;
use netdiag_model::world::{
    Known, Stack,
    device::{Bond, BondMode, Kind},
};

use crate::{
    command::Command,
    links::{Is, Links},
    mistakes::{devices, mistake, stacks},
    names::{BOND, BRIDGE, SPACES, VLAN, device},
    plan::own,
};

pub const LINKS: Links = Links {
    name: "bond",
    alone: false,
    file: None,
    probe: Some(("link add bo0 type bond", BOND)),
    ipv6: true,
    superpackets: true,
    made,
    behind,
    is: Is::Device(|device| matches!(device.kind, Kind::Bond(_))),
    mistakes: &[
        mistake("a bond's backup ports as good as the active", |w| {
            devices(w, |device| {
                bond(&mut device.kind, |own| own.all_active = true)
            });
        }),
        mistake("all_slaves_active ignored", |w| {
            devices(w, |device| {
                bond(&mut device.kind, |own| own.all_active = false)
            });
        }),
        mistake("a bond's first port the active one", |w| stacks(w, first)),
        mistake("a bond's copies by one port", |w| {
            devices(w, |device| {
                bond(&mut device.kind, |own| {
                    if own.mode == BondMode::Broadcast {
                        own.mode = BondMode::BalanceXor;
                    }
                });
            });
        }),
        mistake("a bond that shares by one port alone", |w| {
            stacks(w, |stack| {
                first(stack);
                alone(stack);
            });
        }),
    ],
};

fn bond(kind: &mut Kind, of: impl Fn(&mut Bond)) {
    if let Kind::Bond(own) = kind {
        of(own);
    }
}

/// Has the first port of each be the one that is used.
fn first(stack: &mut Stack) {
    let Known::Is(devices) = &mut stack.devices else {
        return;
    };
    let all = devices.values().filter_map(|device| {
        let master = device.master.filter(|_| device.bond_port.is_some())?;
        Some((master, device.index))
    });
    let mut ports: Vec<(u32, u32)> = all.collect();
    ports.dedup_by_key(|(master, _)| *master);
    for (master, port) in ports {
        if let Some(device) = devices.get_mut(&master) {
            bond(&mut device.kind, |own| own.active = Some(port));
        }
    }
}

fn alone(stack: &mut Stack) {
    if let Known::Is(devices) = &mut stack.devices {
        let all = devices.values_mut();
        all.for_each(|device| bond(&mut device.kind, |own| own.mode = BondMode::ActiveBackup));
    }
}

fn behind(space: usize) -> String {
    format!("198.51.100.{}", 110 + space)
}

fn address(space: usize) -> String {
    format!("10.60.0.{}", space + 1)
}

/// Who bonds, and its two pairs.
struct Ends {
    hub: usize,
    ports: [usize; 2],
    far: usize,
}

fn made(rng: &mut Rng) -> Vec<Command> {
    let mut all: Vec<usize> = (0..SPACES).collect();
    rng.shuffle(&mut all);
    let ends = Ends {
        hub: all[0],
        ports: [all[1], all[2]],
        far: all[3],
    };
    let mode = [
        "active-backup",
        "active-backup",
        "active-backup",
        "balance-rr",
        "balance-xor",
        "broadcast",
        "802.3ad",
    ][rng.usize(0..7)];
    let mut lines = Vec::new();
    bonded(rng, ends.hub, ends.ports, mode, &mut lines);
    match rng.u8(0..3) {
        0 => routers(rng, &ends, &mut lines),
        // Nobody speaks LACP there: each port is alone, and one of them is used.
        _ if mode == "802.3ad" => routers(rng, &ends, &mut lines),
        _ => switches(rng, &ends, mode, &mut lines),
    }
    changed(rng, &ends, &mut lines);
    lines
}

fn bonded(rng: &mut Rng, at: usize, ports: [usize; 2], mode: &str, lines: &mut Vec<Command>) {
    let mut options = match rng.u8(0..6) {
        0 => String::new(),
        _ => " miimon 10".to_owned(),
    };
    if rng.u8(0..5) == 0 {
        options += " all_slaves_active 1";
    }
    if mode == "active-backup" && rng.u8(0..6) == 0 {
        options += " fail_over_mac active";
    }
    let mut ip = |words: String| lines.push(Command::ip(at, words));
    ip(format!("link add {BOND} type bond mode {mode}{options}"));
    for port in ports.map(device) {
        // One that is up is refused.
        ip(format!("link set {port} down"));
        ip(format!("link set {port} master {BOND}"));
    }
    ip(format!("link set {BOND} up"));
    if mode == "active-backup" && rng.bool() {
        let port = device(ports[1]);
        ip(format!("link set {BOND} type bond active_slave {port}"));
    }
}

/// Nothing else is a port of its bridge, so that nothing goes round.
fn switch(at: usize, ports: &[String], lines: &mut Vec<Command>) {
    for to in (0..SPACES).filter(|to| *to != at).map(device) {
        if !ports.contains(&to) {
            lines.push(Command::ip(at, format!("link set {to} nomaster")));
        }
    }
    for port in ports {
        lines.push(Command::ip(at, format!("link set {port} master {BRIDGE}")));
    }
    lines.push(Command::ip(at, format!("link set {BRIDGE} up")));
}

/// Those between are bridges to the fourth, which bonds as well or is one more bridge.
fn switches(rng: &mut Rng, ends: &Ends, mode: &str, lines: &mut Vec<Command>) {
    let Ends { hub, ports, far } = *ends;
    let joined = mode == "active-backup" && rng.u8(0..4) > 0;
    let bonds = joined || rng.bool();
    for (at, other) in [(ports[0], ports[1]), (ports[1], ports[0])] {
        let mut all = vec![device(hub), device(far)];
        if joined {
            all.push(device(other));
        }
        switch(at, &all, lines);
        member(at, BRIDGE, lines);
    }
    let near = match rng.u8(0..4) {
        0 => {
            switch(hub, &[BOND.to_owned()], lines);
            BRIDGE
        }
        _ => BOND,
    };
    member(hub, near, lines);
    if bonds {
        let other = match rng.u8(0..6) {
            0 => "balance-xor",
            _ => mode,
        };
        bonded(rng, far, ports, other, lines);
        member(far, BOND, lines);
    } else {
        switch(far, &ports.map(device), lines);
        member(far, BRIDGE, lines);
    }
    for space in 0..SPACES {
        for to in (0..SPACES).filter(|to| *to != space) {
            routed(space, to, lines);
        }
    }
}

/// Those between have their addresses on the pairs, so that one of them is reached by each.
fn routers(rng: &mut Rng, ends: &Ends, lines: &mut Vec<Command>) {
    let Ends { hub, ports, far } = *ends;
    let tagged = rng.u8(0..3) == 0;
    for at in [hub, ports[0], ports[1]] {
        let below = match at == hub {
            true => BOND.to_owned(),
            false => device(hub),
        };
        if at != hub {
            lines.push(Command::ip(at, format!("link set {below} nomaster")));
        }
        if tagged {
            for words in [
                format!("link add link {below} name {VLAN} type vlan id 5"),
                format!("link set {VLAN} up"),
            ] {
                lines.push(Command::ip(at, words));
            }
        }
        member(at, if tagged { VLAN } else { &below }, lines);
        for to in [hub, ports[0], ports[1]].iter().filter(|to| **to != at) {
            routed(at, *to, lines);
        }
    }
    for to in [hub, ports[0], ports[1]] {
        let by = format!("via {} dev {} onlink", own(hub), device(hub));
        let words = format!("route add {}/32 {by}", behind(to));
        lines.push(Command::ip(far, words));
    }
}

fn member(at: usize, by: &str, lines: &mut Vec<Command>) {
    for words in [
        format!("addr add {}/24 dev {by}", address(at)),
        format!("addr add {}/32 dev lo", behind(at)),
    ] {
        lines.push(Command::ip(at, words));
    }
}

fn routed(from: usize, to: usize, lines: &mut Vec<Command>) {
    let words = format!("route add {}/32 via {}", behind(to), address(to));
    lines.push(Command::ip(from, words));
}

fn changed(rng: &mut Rng, ends: &Ends, lines: &mut Vec<Command>) {
    let Ends { hub, ports, .. } = *ends;
    let [one, other] = ports;
    let (space, words) = match rng.u8(0..16) {
        0 => (hub, format!("link set {} down", device(one))),
        1 => (hub, format!("link set {BOND} down")),
        2 => (one, format!("link set {} down", device(hub))),
        3 => (hub, format!("link set {BOND} mtu 1400")),
        4 => (hub, format!("link set {} nomaster", device(other))),
        5 => (one, format!("link set {} mtu 1400", device(hub))),
        6 => (hub, format!("link set {} down", device(other))),
        7 => (one, format!("link set {BRIDGE} down")),
        _ => return,
    };
    lines.push(Command::ip(space, words));
}
