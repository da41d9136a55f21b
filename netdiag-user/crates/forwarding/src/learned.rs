//! What the packets of a walk teach those who see them.
use std::net::IpAddr;

use netdiag_model::world::{End, Netns, device::Mac, ipvs::Forward};

use crate::{
    connection::{Connection, Ports, Tuple},
    way::Walk,
};

/// Link-layer addresses of neighbours by the device behind which they are, the ports behind which
/// bridges saw them, and the remotes behind which tunnels did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Learned {
    neighbours: Vec<(End, IpAddr, Mac)>,
    /// With the VLAN, 0 where a bridge tells none apart.
    ports: Vec<(End, Mac, u16, u32)>,
    remotes: Vec<(End, Mac, IpAddr)>,
    /// What fits to a destination by a device, where a tunnel behind it told: of IPv4 it is noted at a route of one table.
    sizes: Vec<(End, IpAddr, Option<u32>, u32)>,
    /// Where peers were heard last, and with whom there are keys.
    endpoints: Vec<(PeerAt, Endpoint)>,
    sessions: Vec<PeerAt>,
    /// Connections that were seen to the end of a namespace's hooks.
    tracked: Vec<(Netns, Connection, Seen)>,
    /// Connections that IPVS leads on.
    leads: Vec<(Netns, Lead)>,
}

/// A connection to a virtual server (`ip_vs_conn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    pub protocol: u8,
    pub client: (IpAddr, Ports),
    pub server: (IpAddr, u16),
    pub real: (IpAddr, u16),
    pub forward: Forward,
}

/// Of which of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leading {
    /// To the virtual server.
    There,
    /// From the real one.
    Back,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Packets of its first direction.
    OneWay,
    BothWays,
    /// It was given up.
    Gone,
}

/// One of a WireGuard device's peers.
pub(crate) type PeerAt = (End, usize);

/// Where a peer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
    /// By which device, where its address is the link's alone.
    pub device: Option<u32>,
    /// Whom it spoke to, and by which device it came.
    pub source: Option<IpAddr>,
    pub iif: Option<u32>,
}

/// What neighbours, bridges and tunnels learned of the packets of a walk, for those that follow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory(pub(crate) Learned);

impl Memory {
    /// With what a walk taught that began with this one, or one of its ways.
    pub fn with(self, walk: &Walk<'_>) -> Self {
        Self(self.0.with(&walk.learned))
    }
}

/// How much of each there was.
#[derive(Clone, Copy)]
pub(crate) struct Then([usize; 8]);

impl Learned {
    pub(crate) fn then(&self) -> Then {
        Then([
            self.neighbours.len(),
            self.ports.len(),
            self.remotes.len(),
            self.sizes.len(),
            self.endpoints.len(),
            self.sessions.len(),
            self.tracked.len(),
            self.leads.len(),
        ])
    }

    /// Nothing that is known is ever forgotten, or another in its place.
    pub(crate) fn forget_since(&mut self, Then(then): Then) {
        let [
            neighbours,
            ports,
            remotes,
            sizes,
            endpoints,
            sessions,
            tracked,
            leads,
        ] = then;
        self.neighbours.truncate(neighbours);
        self.ports.truncate(ports);
        self.remotes.truncate(remotes);
        self.sizes.truncate(sizes);
        self.endpoints.truncate(endpoints);
        self.sessions.truncate(sessions);
        self.tracked.truncate(tracked);
        self.leads.truncate(leads);
    }

    /// What a branch learned as well, which began with what was known where it set out.
    pub(crate) fn with(mut self, branch: &Self) -> Self {
        fn add<T: Clone + PartialEq>(all: &mut Vec<T>, branch: &[T]) {
            let same = all.iter().zip(branch).take_while(|(a, b)| a == b).count();
            all.extend_from_slice(&branch[same..]);
        }
        add(&mut self.neighbours, &branch.neighbours);
        add(&mut self.ports, &branch.ports);
        add(&mut self.remotes, &branch.remotes);
        add(&mut self.sizes, &branch.sizes);
        add(&mut self.endpoints, &branch.endpoints);
        add(&mut self.sessions, &branch.sessions);
        add(&mut self.tracked, &branch.tracked);
        add(&mut self.leads, &branch.leads);
        self
    }

    pub(crate) fn learn(&mut self, at: End, address: IpAddr, mac: Mac) {
        self.neighbours.push((at, address, mac));
    }

    pub(crate) fn of(&self, at: End, address: IpAddr) -> Option<Mac> {
        let mut latest = self.neighbours.iter().rev();
        latest
            .find(|(end, of, _)| (*end, *of) == (at, address))
            .map(|(.., mac)| *mac)
    }

    pub(crate) fn learn_size(&mut self, by: End, to: IpAddr, table: Option<u32>, mtu: u32) {
        self.sizes.push((by, to, table, mtu));
    }

    /// By a route of that table.
    pub(crate) fn size(&self, by: End, to: IpAddr, table: Option<u32>) -> Option<u32> {
        let mut latest = self.sizes.iter().rev();
        latest
            .find(|(end, of, at, _)| (*end, *of) == (by, to) && (at.is_none() || *at == table))
            .map(|(.., mtu)| *mtu)
    }

    pub(crate) fn learn_endpoint(&mut self, peer: PeerAt, at: Endpoint) {
        self.endpoints.push((peer, at));
    }

    pub(crate) fn endpoint(&self, peer: PeerAt) -> Option<Endpoint> {
        let mut latest = self.endpoints.iter().rev();
        latest.find(|(of, _)| *of == peer).map(|(_, at)| *at)
    }

    pub(crate) fn learn_session(&mut self, with: PeerAt) {
        self.sessions.push(with);
    }

    pub(crate) fn has_session(&self, with: PeerAt) -> bool {
        self.sessions.contains(&with)
    }

    pub(crate) fn learn_tracked(&mut self, at: Netns, of: Connection, seen: Seen) {
        self.tracked.push((at, of, seen));
    }

    /// Connections that another copy began, of which no answer was seen.
    pub(crate) fn learn_begun(&mut self, copy: &Self) {
        let known = self.tracked.len().min(copy.tracked.len());
        let new = copy.tracked[known..].iter();
        let begun = new.filter(|one| one.2 == Seen::OneWay && !self.tracked.contains(one));
        let begun: Vec<_> = begun.copied().collect();
        self.tracked.extend(begun);
    }

    /// The connection that a packet is of, and whether it is one that answers.
    pub(crate) fn tracked(&self, at: Netns, tuple: &Tuple) -> Option<(Connection, Seen, bool)> {
        let same = |of: &Connection| of.original == *tuple || of.answers == *tuple;
        let alike = |of: &Connection| of.original.holds(tuple) || of.answers.holds(tuple);
        let exact = self.connections(at).find(|(of, _)| same(of));
        let found = exact.or_else(|| self.connections(at).find(|(of, _)| alike(of)));
        let (of, seen) = found?;
        Some((of, seen, !of.original.holds(tuple)))
    }

    pub(crate) fn learn_lead(&mut self, at: Netns, lead: Lead) {
        self.leads.push((at, lead));
    }

    /// The connection of IPVS's that a packet is of.
    pub(crate) fn lead(&self, at: Netns, packet: &Tuple, which: Leading) -> Option<Lead> {
        let of = |lead: &Lead| {
            let (client, server) = (lead.client, lead.server);
            let there = Tuple {
                source: client.0,
                destination: server.0,
                protocol: lead.protocol,
                sport: client.1,
                dport: Ports::one(server.1),
            };
            let back = Tuple {
                source: lead.real.0,
                destination: client.0,
                sport: Ports::one(lead.real.1),
                dport: client.1,
                ..there
            };
            match which {
                Leading::There => there.holds(packet),
                Leading::Back => lead.forward == Forward::Masquerade && back.holds(packet),
            }
        };
        let mut latest = self.leads.iter().rev();
        let found = latest.find(|(netns, lead)| *netns == at && of(lead));
        found.map(|(_, lead)| *lead)
    }

    /// The number of the next choice of the kernel's.
    pub(crate) fn choice(&self) -> usize {
        self.tracked.len() + 1
    }

    /// Those of a namespace as they are now.
    pub(crate) fn connections(&self, at: Netns) -> impl Iterator<Item = (Connection, Seen)> {
        let latest = move |(place, (netns, of, seen)): (usize, &(Netns, Connection, Seen))| {
            let known = |(other, then, _): &(Netns, Connection, Seen)| {
                *other == at && then.original == of.original
            };
            let is = *netns == at && *seen != Seen::Gone;
            (is && !self.tracked[place + 1..].iter().any(known)).then_some((*of, *seen))
        };
        self.tracked.iter().enumerate().rev().filter_map(latest)
    }

    pub(crate) fn learn_port(&mut self, bridge: End, (mac, vlan): (Mac, u16), port: u32) {
        self.ports.push((bridge, mac, vlan, port));
    }

    /// How many times a bridge saw somebody.
    pub(crate) fn ports(&self) -> usize {
        self.ports.len()
    }

    /// The ports, each with its VLAN, behind which a bridge saw one since then.
    pub(crate) fn ports_since(&self, then: usize, (bridge, mac): (End, Mac)) -> Vec<(u16, u32)> {
        let mut all = Vec::new();
        for (end, of, vlan, port) in self.ports.iter().skip(then) {
            if (*end, *of) == (bridge, mac) && !all.contains(&(*vlan, *port)) {
                all.push((*vlan, *port));
            }
        }
        all
    }

    pub(crate) fn learn_remote(&mut self, tunnel: End, mac: Mac, remote: IpAddr) {
        self.remotes.push((tunnel, mac, remote));
    }

    pub(crate) fn remote(&self, tunnel: End, mac: Mac) -> Option<IpAddr> {
        let mut latest = self.remotes.iter().rev();
        latest
            .find(|(end, of, _)| (*end, *of) == (tunnel, mac))
            .map(|(.., remote)| *remote)
    }

    pub(crate) fn port(&self, bridge: End, (mac, vlan): (Mac, u16)) -> Option<u32> {
        let mut latest = self.ports.iter().rev();
        latest
            .find(|(end, of, id, _)| (*end, *of, *id) == (bridge, mac, vlan))
            .map(|(.., port)| *port)
    }
}
