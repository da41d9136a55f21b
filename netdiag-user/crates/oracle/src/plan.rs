//! The network that a world begins with: who is in which network, and the first step from one to another.
use std::net::Ipv4Addr;

use fastrand::Rng;

use crate::names::{BRIDGE, SPACES, TUNNEL, device};

/// Which networks there are.
pub struct Plan {
    pub nets: Vec<Net>,
}

pub struct Net {
    pub members: Vec<usize>,
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Pair,
    /// In one member, with its pairs to the others as ports.
    Bridge(usize),
    /// Between their own addresses, by whatever way these are reached.
    Tunnel,
}

/// The address of a namespace in a network: 10.NET.0.SPACE+1.
pub fn address(net: usize, space: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, net as u8 + 1, 0, space as u8 + 1)
}

/// One that a namespace has beside those of its links.
pub fn own(space: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, space as u8 + 1)
}

/// One that others reach by the tunnel.
pub fn behind(space: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, space as u8 + 1)
}

impl Net {
    fn pair(a: usize, b: usize) -> Self {
        Self {
            members: vec![a, b],
            kind: Kind::Pair,
        }
    }

    pub fn others(&self, space: usize) -> impl Iterator<Item = usize> + '_ {
        let member = self.members.contains(&space);
        let all = self.members.iter().copied();
        all.filter(move |other| member && *other != space)
    }

    /// By which a member is in it.
    fn device(&self, space: usize) -> String {
        match self.kind {
            Kind::Bridge(hub) if hub == space => BRIDGE.to_owned(),
            Kind::Bridge(hub) => device(hub),
            Kind::Tunnel => TUNNEL.to_owned(),
            Kind::Pair => self.others(space).next().map_or_else(String::new, device),
        }
    }

    /// The bridge's ports, by the namespaces that they lead to.
    pub fn ports(&self) -> Option<(usize, Vec<usize>)> {
        match self.kind {
            Kind::Bridge(hub) => Some((hub, self.others(hub).collect())),
            _ => None,
        }
    }
}

impl Plan {
    pub fn new(rng: &mut Rng) -> Self {
        let all = (0..SPACES).flat_map(|a| ((a + 1)..SPACES).map(move |b| (a, b)));
        let mut pairs: Vec<_> = all.collect();
        rng.shuffle(&mut pairs);
        let mut nets = Vec::new();
        // One in half of the worlds: two could make a circle.
        if rng.bool() {
            let mut members: Vec<_> = (0..SPACES).collect();
            rng.shuffle(&mut members);
            members.truncate(rng.usize(3..=SPACES));
            let hub = members[0];
            pairs.retain(|(a, b)| {
                !(members.contains(a) && members.contains(b) && [*a, *b].contains(&hub))
            });
            let kind = Kind::Bridge(hub);
            nets.push(Net { members, kind });
        }
        // Enough for every namespace to be reached, and often more than one way.
        let some = rng.usize(SPACES - 1..=SPACES + 1) - nets.len() * 2;
        nets.extend(pairs.into_iter().take(some).map(|(a, b)| Net::pair(a, b)));
        if rng.bool() {
            let mut members: Vec<_> = (0..SPACES).collect();
            rng.shuffle(&mut members);
            members.truncate(rng.usize(2..=SPACES));
            let kind = Kind::Tunnel;
            nets.push(Net { members, kind });
        }
        Self { nets }
    }

    /// The tunnel's network, where there is one.
    pub fn tunnel(&self) -> Option<(usize, &Net)> {
        let mut nets = self.nets.iter().enumerate();
        nets.find(|(_, net)| net.kind == Kind::Tunnel)
    }

    /// Networks that are no tunnel's.
    pub fn wires(&self, space: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let all = self.neighbours(space);
        all.filter(|(net, _)| self.nets[*net].kind != Kind::Tunnel)
    }

    /// Whom it reaches at once: the network, and who is in it.
    pub fn neighbours(&self, space: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let nets = self.nets.iter().enumerate();
        nets.flat_map(move |(at, net)| net.others(space).map(move |other| (at, other)))
    }

    pub fn device(&self, net: usize, space: usize) -> String {
        self.nets[net].device(space)
    }

    /// The networks that it is in.
    pub fn of(&self, space: usize) -> impl Iterator<Item = usize> + '_ {
        let nets = self.nets.iter().enumerate();
        nets.filter(move |(_, net)| net.members.contains(&space))
            .map(|(at, _)| at)
    }

    /// The first step from one namespace to another, by no tunnel: the network, and who is in it.
    pub fn towards(&self, from: usize, to: usize) -> Option<(usize, usize)> {
        let mut seen = vec![from];
        let mut queue: std::collections::VecDeque<_> =
            self.wires(from).map(|step| (step, step)).collect();
        while let Some((first, (_, space))) = queue.pop_front() {
            if space == to {
                return Some(first);
            }
            if seen.contains(&space) {
                continue;
            }
            seen.push(space);
            queue.extend(self.wires(space).map(|next| (first, next)));
        }
        None
    }
}
