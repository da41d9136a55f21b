//! ipvlan in worlds, where the kernel has it: some on the pair between two namespaces at either side, each in a namespace
//! of its own or in that of the link below.
use fastrand::Rng;
use netdiag_model::world::{
    World,
    device::{Ipvlan, IpvlanMode, Kind},
};

use crate::{
    command::Command,
    links::{Is, Links},
    mistakes::{devices, mistake},
    names::{BRIDGE, IPVLAN, SPACES, device},
    plan::own,
};

pub const LINKS: Links = Links {
    name: "ipvlan",
    alone: false,
    file: None,
    probe: Some(("link add link e1 name ipv0 type ipvlan", "ipv0")),
    ipv6: true,
    superpackets: true,
    made,
    behind,
    is: Is::Device(|device| matches!(device.kind, Kind::Ipvlan(_))),
    mistakes: &[
        mistake("an ipvlan's mode taken for l2", |w| {
            ipvlans(w, |own| own.mode = IpvlanMode::L2);
        }),
        mistake("an ipvlan's mode taken for l3", |w| {
            ipvlans(w, |own| own.mode = IpvlanMode::L3);
        }),
        mistake("an ipvlan's mode taken for l3s", |w| {
            ipvlans(w, |own| own.mode = IpvlanMode::L3s);
        }),
        mistake("private ipvlans reach each other", |w| {
            ipvlans(w, |own| own.private = false);
        }),
        mistake("an ipvlan's vepa ignored", |w| {
            ipvlans(w, |own| own.vepa = false);
        }),
    ],
};

fn ipvlans(world: &mut World, of: impl Fn(&mut Ipvlan)) {
    devices(world, |device| {
        if let Kind::Ipvlan(own) = &mut device.kind {
            of(own);
        }
    });
}

fn behind(space: usize) -> String {
    format!("198.51.100.{}", 130 + space)
}

/// Of the link's own host, and of who is at its other end.
fn host(space: usize) -> String {
    format!("10.70.0.{}", space + 1)
}

fn member(space: usize) -> String {
    format!("10.70.0.{}", space + 11)
}

fn named(space: usize) -> String {
    format!("{IPVLAN}{space}")
}

struct Plan {
    hub: usize,
    far: usize,
    below: String,
    members: Vec<usize>,
    /// By frames; else as the hub routes.
    framed: bool,
}

fn made(rng: &mut Rng) -> Vec<Command> {
    let hub = rng.usize(0..SPACES);
    let far = (hub + rng.usize(1..SPACES)) % SPACES;
    let mode = ["l2", "l2", "l3", "l3", "l3s"][rng.usize(0..5)];
    let plan = Plan {
        hub,
        far,
        below: match rng.u8(0..8) {
            0 => BRIDGE.to_owned(),
            _ => device(far),
        },
        members: {
            // The link's own namespace would lead what such a one sends back into it.
            let framed = mode == "l2";
            let others = (0..SPACES).filter(|to| *to != far && (framed || *to != hub));
            others.filter(|_| rng.u8(0..4) > 0).collect()
        },
        framed: mode == "l2",
    };
    let flag = match rng.u8(0..8) {
        0 => " private",
        1 => " vepa",
        _ => "",
    };
    let mut lines = Vec::new();
    if plan.below != BRIDGE {
        lines.push(Command::ip(
            hub,
            format!("link set {} nomaster", plan.below),
        ));
    }
    for space in plan.members.iter().copied() {
        let (name, below) = (named(space), &plan.below);
        let place = match space == hub {
            true => String::new(),
            false => format!(" netns s{space}"),
        };
        let made =
            format!("link add link {below} name {name}{place} type ipvlan mode {mode}{flag}");
        lines.push(Command::ip(hub, made));
        for words in [
            format!("link set {name} up"),
            format!("addr add {}/24 dev {name}", member(space)),
            // Of another device it would not be the link's.
            format!("addr add {}/32 dev {name}", behind(space)),
        ] {
            lines.push(Command::ip(space, words));
        }
    }
    hosts(&plan, &mut lines);
    routes(&plan, &mut lines);
    changed(rng, &plan, &mut lines);
    lines
}

/// The addresses of the link's two ends.
fn hosts(plan: &Plan, lines: &mut Vec<Command>) {
    let Plan { hub, far, .. } = *plan;
    let mut all = vec![(far, device(hub))];
    let inside = plan.members.contains(&hub);
    if !(inside && plan.framed) {
        all.push((hub, plan.below.clone()));
    }
    for (space, by) in all {
        let words = format!("addr add {}/24 dev {by}", host(space));
        lines.push(Command::ip(space, words));
        if !plan.members.contains(&space) {
            let words = format!("addr add {}/32 dev lo", behind(space));
            lines.push(Command::ip(space, words));
        }
    }
}

fn routes(plan: &Plan, lines: &mut Vec<Command>) {
    let Plan { hub, far, .. } = *plan;
    let mut all = plan.members.clone();
    all.extend([hub, far].iter().filter(|it| !plan.members.contains(it)));
    for space in 0..SPACES {
        for to in all.iter().copied().filter(|to| *to != space) {
            let words = format!("route add {}/32 {}", behind(to), way(plan, space, to));
            lines.push(Command::ip(space, words));
        }
    }
    for to in plan.members.iter().filter(|_| !plan.framed) {
        // Nobody answers for them.
        let words = format!("route add {}/32 via {}", member(*to), host(hub));
        lines.push(Command::ip(far, words));
    }
}

/// By which one namespace reaches another.
fn way(plan: &Plan, space: usize, to: usize) -> String {
    let Plan { hub, far, .. } = *plan;
    let inside = plan.members.contains(&space);
    let next = match plan.members.contains(&to) {
        true => member(to),
        false => host(to),
    };
    if inside {
        return match plan.framed {
            true => format!("via {next} dev {}", named(space)),
            false => format!("dev {}", named(space)),
        };
    }
    match space {
        _ if space == far && plan.framed => format!("via {next}"),
        _ if space == far => format!("via {}", host(hub)),
        // What leaves by the link comes back to those on it by its other end alone.
        _ if space == hub => format!("via {} dev {}", host(far), plan.below),
        _ => format!("via {} dev {} onlink", own(hub), device(hub)),
    }
}

fn changed(rng: &mut Rng, plan: &Plan, lines: &mut Vec<Command>) {
    let (hub, below) = (plan.hub, &plan.below);
    let (to, via) = (behind(plan.far), host(plan.far));
    let Some(one) = rng.choice(plan.members.iter().copied()) else {
        return;
    };
    let (space, words) = match rng.u8(0..16) {
        0 => (one, format!("link set {} down", named(one))),
        1 => (hub, format!("link set {below} down")),
        2 => (hub, format!("link set {below} mtu 1400")),
        3 => (one, format!("addr flush dev {}", named(one))),
        4 | 5 => (
            hub,
            format!("route replace {to}/32 via {via} dev {below} mtu 1300"),
        ),
        6 => (one, format!("link set {} type ipvlan mode l3", named(one))),
        7 => (hub, format!("route replace prohibit {to}/32")),
        _ => return,
    };
    lines.push(Command::ip(space, words));
}
