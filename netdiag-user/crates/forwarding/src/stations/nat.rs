//! Translation (net/netfilter/nf_nat_core.c): a connection's first packet alone is asked about, all rules' translations
//! have one place, and no two connections' answers are alike.
mod range;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdiag_model::world::{
    address::Scope,
    device::Device,
    ruleset::{ChainKind, Hook, NatKind},
};

use range::{Range, addresses, alone, bits, of_bits, ranged};

use super::{
    Walker,
    hook::{Place, Word},
    track::is_taken,
};
use crate::{
    connection::{Connection, Ports, Side, Tracked, Tracking, Translation, Tuple},
    learned::Seen,
    packet::{Packet, TCP, UDP},
    prepared::{Space, Wrong},
    route::{decision::No, v6::is_assigned},
    way::{Share, Unknown, Walk},
};

/// Of so many addresses each is a way of its own.
const MOST_ADDRESSES: usize = 16;

/// Which side is translated there, and at which place among the chains (NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC): whatever
/// priority chains of this kind have, they have it among themselves.
pub(super) fn at(hook: Hook) -> Option<(Side, i32)> {
    match hook {
        Hook::Prerouting | Hook::Output => Some((Side::Destination, -100)),
        Hook::Postrouting | Hook::Input => Some((Side::Source, 100)),
        _ => None,
    }
}

impl<'w> Walker<'w> {
    /// Whether it goes on (`nf_nat_inet_fn`).
    pub(super) fn translates(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (place, side): (&Place<'w>, Side),
        before: &Packet,
        packet: &mut Packet,
    ) -> Result<bool, Unknown> {
        let Tracked::Is {
            state,
            reply,
            mut of,
        } = packet.tracked
        else {
            return Ok(true);
        };
        if state == Tracking::Related {
            if !self.prepared.is(Wrong::ErrorsUntranslated) {
                told(packet, &of, side, reply)?;
            }
            return Ok(true);
        }
        let later = self.prepared.is(Wrong::EachPacketAsked) && !reply;
        let asked = *of.side(side) == Translation::Undecided;
        if (state == Tracking::New && asked) || later {
            match self.asks(walk, space, (place, side), (before, of), packet)? {
                Some(decided) => of = decided,
                None => return Ok(false),
            }
            packet.tracked = Tracked::Is { state, reply, of };
        } else if place.hook == Hook::Postrouting
            && !reply
            && of.masquerades.is_some_and(|by| place.leaves_not_by(by))
        {
            // It would leave with another link's address (`nf_nat_oif_changed`).
            walk.learned.learn_tracked(space.netns, of, Seen::Gone);
            let no = No::dropped(None);
            self.refuse(walk, space, no, *packet)?;
            return Ok(false);
        }
        if !(reply && self.prepared.is(Wrong::AnswersUntranslated)) {
            changed(packet, &of, side, reply)?;
        }
        Ok(true)
    }

    /// What the chains make of its first packet, unless it ends there.
    fn asks(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (place, side): (&Place<'w>, Side),
        (before, of): (&Packet, Connection),
        packet: &mut Packet,
    ) -> Result<Option<Connection>, Unknown> {
        let chains = self.in_order(space, place.hook, packet.is_ipv6())?;
        for asked in chains
            .iter()
            .filter(|(.., base)| base.kind == ChainKind::Nat)
        {
            let (range, by) = match self.by_chain(walk, space, place, (before, packet), *asked)? {
                Word::Accepts(_) => continue,
                Word::Ended => return Ok(None),
                Word::Nat(nat, by) => (nat, by),
            };
            let (mut of, packet) = (of, *packet);
            // Rules before may have written on it.
            if let Tracked::Is { of: now, .. } = packet.tracked {
                of = now;
            }
            let own = match range.kind {
                NatKind::Source => addresses(&range, packet.source)?,
                NatKind::Destination => addresses(&range, packet.destination)?,
                NatKind::Masquerade => {
                    if of.original.source.is_unspecified() {
                        continue;
                    }
                    let own = masqueraded(space, place, &packet)?;
                    of.masquerades = own.and(place.output).map(|device| device.index);
                    own.map(alone)
                }
                NatKind::Redirect => redirected(space, place, &packet)?.map(alone),
            };
            let by_itself = !matches!(range.kind, NatKind::Source | NatKind::Destination);
            if by_itself && own.is_none() {
                let no = No::dropped(Some(by));
                self.refuse(walk, space, no, packet)?;
                return Ok(None);
            }
            self.translated.set(Some(by));
            let range = ranged(&range, own)?;
            return self.decided(walk, space, (of, side), range).map(Some);
        }
        let of = match packet.tracked {
            Tracked::Is { of, .. } => of,
            _ => of,
        };
        // Nobody wants anything: it stays as it is, if it can.
        let current = of.answers.reply();
        let range = Range {
            addresses: Some(alone(match side {
                Side::Source => current.source,
                Side::Destination => current.destination,
            })),
            ..Range::default()
        };
        self.decided(walk, space, (of, side), range).map(Some)
    }

    /// (`nf_nat_setup_info`)
    fn decided(
        &self,
        walk: &Walk<'w>,
        space: &Space<'w>,
        (mut of, side): (Connection, Side),
        range: Range,
    ) -> Result<Connection, Unknown> {
        let mut known = walk.learned.connections(space.netns);
        if known.any(|(other, _)| other.original == of.original)
            && !self.prepared.is(Wrong::EachPacketAsked)
        {
            return Ok(of);
        }
        let current = of.answers.reply();
        let new = self.unique(walk, space, (&of, side), range)?;
        *of.side(side) = match new == current {
            true => Translation::None,
            false => Translation::Done,
        };
        of.answers = new.reply();
        Ok(of)
    }

    /// By a hash that nobody can compute (`find_best_ips_proto`).
    fn one_of(&self, (least, most): (IpAddr, IpAddr)) -> Result<IpAddr, Unknown> {
        let last = bits(most).saturating_sub(bits(least));
        if last == 0 {
            return Ok(least);
        }
        let count = usize::try_from(last).ok().map(|last| last + 1);
        let Some(count) = count.filter(|count| *count <= MOST_ADDRESSES) else {
            return Err(Unknown::NotModelled("one of many addresses".into()));
        };
        match self.chances.next(count) {
            Some(at) => of_bits(bits(least) + at as u128, least).ok_or(Unknown::Undecided),
            None => {
                self.undecided.set(None);
                Err(Unknown::Chance(vec![Share::of(count); count]))
            }
        }
    }

    /// What nobody else's is (`get_unique_tuple`).
    fn unique(
        &self,
        walk: &Walk<'w>,
        space: &Space<'w>,
        (of, side): (&Connection, Side),
        range: Range,
    ) -> Result<Tuple, Unknown> {
        let current = of.answers.reply();
        let is_free = |tuple: &Tuple| -> Result<bool, Unknown> {
            let answers = tuple.reply();
            let ignored = self.prepared.is(Wrong::TakenPorts);
            Ok(ignored || !is_taken(walk, space, &Connection { answers, ..*of })?)
        };
        let fits = |tuple: &Tuple| {
            let has = |(least, most): (IpAddr, IpAddr)| (least..=most).contains(&tuple.source);
            let by_address = range.addresses.is_none_or(has);
            by_address && range.ports.is_none_or(|ports| within(ports, tuple.sport))
        };
        if side == Side::Source && !range.random {
            if fits(&current) {
                if is_free(&current)? {
                    return Ok(current);
                }
            } else if let Some(same) = by_source(walk, space, current)
                && fits(&same)
                && is_free(&same)?
            {
                return Ok(same);
            }
        }
        let mut tuple = current;
        if let Some(ends) = range.addresses {
            let address = self.one_of(ends)?;
            match side {
                Side::Source => tuple.source = address,
                Side::Destination => tuple.destination = address,
            }
        }
        let has_ports = [TCP, UDP].contains(&tuple.protocol);
        if !range.random {
            let own = if side == Side::Source {
                tuple.sport
            } else {
                tuple.dport
            };
            let done = match range.ports {
                Some(ports) => within(ports, own) && (ports.only().is_some() || is_free(&tuple)?),
                None => is_free(&tuple)?,
            };
            if done || !has_ports {
                return Ok(tuple);
            }
        }
        match (side, range.ports) {
            (Side::Destination, None) => {}
            (Side::Destination, Some(ports)) if range.random && ports.only().is_none() => {
                let what = "a destination's port by chance";
                return Err(Unknown::NotModelled(what.into()));
            }
            (Side::Destination, Some(ports)) => {
                // In their order, the last where none is free.
                for port in ports.least..=ports.most {
                    tuple.dport = Ports::one(port);
                    if is_free(&tuple)? {
                        break;
                    }
                }
            }
            (Side::Source, ports) => {
                let choice = match ports.and_then(Ports::only) {
                    Some(_) => 0,
                    None => walk.learned.choice(),
                };
                let ports = ports.unwrap_or_else(|| alike(tuple.sport));
                if choice > 0 && is_used_up(walk, space, &tuple, ports) {
                    let what = "a range of ports that may be used up";
                    return Err(Unknown::NotModelled(what.into()));
                }
                tuple.sport = Ports { choice, ..ports };
            }
        }
        Ok(tuple)
    }
}

/// Whether as many connections to the same have a port of that range as it has.
fn is_used_up(walk: &Walk<'_>, space: &Space<'_>, tuple: &Tuple, ports: Ports) -> bool {
    let ends = |it: &Tuple| (it.source, it.destination, it.protocol, it.dport);
    let all = walk.learned.connections(space.netns);
    let given = all.map(|(of, _)| of.answers.reply());
    let alike = given.filter(|it| ends(it) == ends(tuple) && within(ports, it.sport));
    alike.count() > usize::from(ports.most - ports.least)
}

/// Ports that are as good as that one (`nf_nat_l4proto_unique_tuple`).
fn alike(port: Ports) -> Ports {
    let (least, most) = match port.least {
        0..512 => (1, 511),
        512..1024 => (600, 1023),
        _ => (1024, u16::MAX),
    };
    Ports {
        least,
        most,
        choice: 0,
    }
}

fn within(ports: Ports, own: Ports) -> bool {
    ports.least <= own.least && own.most <= ports.most
}

/// The source that another connection of the same was given (`find_appropriate_src`).
fn by_source(walk: &Walk<'_>, space: &Space<'_>, current: Tuple) -> Option<Tuple> {
    let source = |tuple: &Tuple| (tuple.source, tuple.sport, tuple.protocol);
    let mut all = walk.learned.connections(space.netns);
    let (of, _) = all.find(|(of, _)| source(&of.original) == source(&current))?;
    let given = of.answers.reply();
    Some(Tuple {
        source: given.source,
        sport: given.sport,
        ..current
    })
}

/// Changes the header as the connection says (`nf_nat_manip_pkt`).
fn changed(packet: &mut Packet, of: &Connection, side: Side, reply: bool) -> Result<(), Unknown> {
    if !of.translates(side, reply) {
        return Ok(());
    }
    let target = of.towards(!reply).reply();
    packet.sum = packet.sum.translated();
    match side {
        Side::Source => {
            packet.source = target.source;
            (packet.sport, packet.chosen) = match target.sport.only() {
                Some(port) => (port, None),
                None => (0, Some(target.sport)),
            };
        }
        Side::Destination => {
            packet.destination = target.destination;
            packet.dport = target.dport.only().ok_or_else(|| {
                Unknown::NotModelled("an answer to a port that the kernel chose before".into())
            })?;
        }
    }
    Ok(())
}

/// The same of an error, and of what it quotes (`nf_nat_icmp_reply_translation`).
fn told(packet: &mut Packet, of: &Connection, side: Side, reply: bool) -> Result<(), Unknown> {
    if !of.translates(side, reply) {
        return Ok(());
    }
    let inside = of.towards(!reply);
    let target = inside.reply();
    match side {
        Side::Source => packet.source = target.source,
        Side::Destination => packet.destination = target.destination,
    }
    if let Some(quoted) = &mut packet.quotes {
        match side.other() {
            Side::Source => (quoted.source, quoted.sport) = (inside.source, inside.sport),
            Side::Destination => {
                (quoted.destination, quoted.dport) = (inside.destination, inside.dport);
            }
        }
    }
    Ok(())
}

/// The address of the device that it leaves by (`nf_nat_masquerade_ipv4`, `nf_nat_masquerade_ipv6`).
fn masqueraded<'w>(
    space: &'w Space<'w>,
    place: &Place<'w>,
    packet: &Packet,
) -> Result<Option<IpAddr>, Unknown> {
    let Some(output) = place.output else {
        return Ok(None);
    };
    if packet.is_ipv6() {
        return space.select_source6(Some(output), packet.destination);
    }
    let towards = place.gateway.filter(IpAddr::is_ipv4);
    let towards = towards.unwrap_or(packet.destination);
    let own = space.select_source(output, Some(towards), Scope::UNIVERSE)?;
    Ok((!own.is_unspecified()).then_some(own))
}

/// The address of this namespace that it is for now (`nf_nat_redirect_ipv4`, `nf_nat_redirect_ipv6`).
fn redirected<'w>(
    space: &'w Space<'w>,
    place: &Place<'w>,
    packet: &Packet,
) -> Result<Option<IpAddr>, Unknown> {
    let ipv6 = packet.is_ipv6();
    if place.hook == Hook::Output {
        return Ok(Some(match ipv6 {
            true => Ipv6Addr::LOCALHOST.into(),
            false => Ipv4Addr::LOCALHOST.into(),
        }));
    }
    let Some(input) = place.input else {
        return Ok(None);
    };
    first(space, input, packet)
}

fn first<'w>(
    space: &'w Space<'w>,
    input: &Device,
    packet: &Packet,
) -> Result<Option<IpAddr>, Unknown> {
    let asked = scope(packet.destination);
    let mut own = space.addresses()?.iter().filter(|address| {
        let serves = !packet.is_ipv6()
            || (is_assigned(address.flags) && (asked == 0 || scope(address.own.address) == asked));
        address.device == input.index && address.own.address.is_ipv6() == packet.is_ipv6() && serves
    });
    Ok(own.next().map(|address| address.own.address))
}

/// (`ipv6_addr_scope`)
fn scope(address: IpAddr) -> u8 {
    match address {
        IpAddr::V6(v6) if v6.is_loopback() => 1,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => 2,
        _ => 0,
    }
}
