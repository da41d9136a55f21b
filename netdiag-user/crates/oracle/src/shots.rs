//! Packets that are sent through a world: by sockets and as frames, from everybody to anybody.
use std::net::{IpAddr, Ipv4Addr};

use fastrand::Rng;
use netdiag_model::world::World;

use crate::{
    names::{SPACES, mac},
    plan::behind,
    set::Set,
    six,
    traffic::{Shot, Wire},
    witness::PORTS,
};

/// Packets for a world as it was read.
pub fn shots(rng: &mut Rng, set: &Set, world: &World, (ipv6, count): (bool, usize)) -> Vec<Shot> {
    let family = |v4: Ipv4Addr| match ipv6 {
        true => six::address(v4).into(),
        false => IpAddr::V4(v4),
    };
    let own = |space: usize| -> Vec<IpAddr> {
        let stack = world.stacks.get(&set.inode(space));
        let all = stack
            .and_then(|stack| stack.addresses.some())
            .into_iter()
            .flatten();
        all.map(|a| a.own.address)
            .filter(|address| address.is_ipv6() == ipv6 && !is_link_local(address))
            .collect()
    };
    let every: Vec<IpAddr> = (0..SPACES).flat_map(own).collect();
    let destination = |rng: &mut Rng| -> IpAddr {
        match rng.u8(0..12) {
            0 => family(Ipv4Addr::new(203, 0, 113, rng.u8(1..4))),
            1 => family(Ipv4Addr::new(10, rng.u8(1..7), 0, rng.u8(99..104))),
            2..=3 => family(behind(rng.usize(0..SPACES))),
            _ => rng
                .choice(every.iter())
                .copied()
                .unwrap_or(family(Ipv4Addr::LOCALHOST)),
        }
    };
    let mut shots = Vec::new();
    for number in 0..count {
        let space = rng.usize(0..SPACES);
        let mut shot = Shot {
            space,
            source: None,
            destination: destination(rng),
            sport: 20_000 + number as u16,
            dport: PORTS[rng.usize(0..PORTS.len())],
            mark: if rng.u8(0..3) == 0 { rng.u32(1..4) } else { 0 },
            tos: [0, 0, 0, 0x10, 0x08][rng.usize(0..5)],
            ttl: [16, 16, 16, 16, 1, 2, 3][rng.usize(0..7)],
            size: [80, 200, 1290, 1340, 1390, 1450, 1500, 1500][rng.usize(0..8)],
            count: 1,
            cut: false,
            bound: None,
            wire: None,
            talks: rng.u8(0..3) == 0,
        };
        if shot.destination == family(behind(0)) || rng.u8(0..8) == 0 {
            // What is too large for a tunnel tells for the next one.
            (shot.size, shot.talks) = (1500, true);
        }
        let mine = own(space);
        if rng.u8(0..3) == 0 {
            shot.source = rng.choice(mine.iter()).copied();
        }
        let others: Vec<usize> = (0..SPACES).filter(|to| *to != space).collect();
        match rng.u8(0..8) {
            0 => shot.bound = rng.choice(others.iter()).copied(),
            // Somebody's source, or nobody's.
            1..=2 => {
                let by = rng.choice(others.iter().copied());
                shot.wire = by.map(|by| wire(rng, by));
                let known = match rng.u8(0..5) {
                    0 => Some(family(Ipv4Addr::new(203, 0, 113, rng.u8(1..4)))),
                    1 => None,
                    // In the name of who gets it.
                    2 => rng.choice(by.map(own).unwrap_or_default()),
                    _ => rng.choice(every.iter().copied()),
                };
                shot.source = Some(known.unwrap_or(family(Ipv4Addr::LOCALHOST)));
            }
            3 => shot.count = rng.u32(2..4),
            // Over IPv6 nobody but the sender cuts.
            4 if !ipv6 => {
                shot.cut = true;
                shot.size = [1450, 1500, 1600, 2400, 3000][rng.usize(0..5)];
            }
            _ => {}
        }
        shots.push(shot);
    }
    shots
}

/// Two of three that sockets send are for these addresses of namespaces.
pub fn aim(
    rng: &mut Rng,
    shots: &mut [Shot],
    superpackets: bool,
    to: impl Fn(usize) -> Option<IpAddr>,
) {
    for shot in shots.iter_mut().filter(|shot| shot.wire.is_none()) {
        if rng.u8(0..3) > 0
            && let Some(to) = to(rng.usize(0..SPACES))
        {
            (shot.destination, shot.bound) = (to, None);
            shot.count = if superpackets { shot.count } else { 1 };
        }
    }
}

/// A frame to the other end, or to somebody else, in its own name or another's.
fn wire(rng: &mut Rng, by: usize) -> Wire {
    let any = |rng: &mut Rng| {
        let other = rng.usize(0..SPACES);
        // Who leads to the same bridge, or nobody.
        let (of, to) = if rng.bool() { (other, by) } else { (by, other) };
        mac(of, if of == to { 0x99 } else { to }).parse().ok()
    };
    Wire {
        by,
        from: any(rng).filter(|_| rng.u8(0..6) == 0),
        to: any(rng).filter(|_| rng.u8(0..2) == 0),
    }
}

pub fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
