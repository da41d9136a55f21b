//! Errors that are sent back (net/ipv4/icmp.c, net/ipv6/icmp.c): to the sender of what goes no further, by
//! the namespace where it ends, as a packet of its own that goes its own way.
use std::net::{IpAddr, Ipv4Addr};

use netdiag_model::world::{address::Scope, neighbour::State};

use super::{Going, Next, Walker};
use crate::{
    connection::{Tracked, Tracking, Tuple},
    packet::{Decided, ICMP, ICMP6, Packet, Sender},
    prepared::{Space, Wrong},
    route::{decision::No, rules::LOOPBACK},
    way::{Answer, Does, How, Rejected, Station, Step, Subject, Unknown, Walk},
};

/// Bytes of an error and of the headers before what it quotes.
const MOST4: u32 = 576;
const HEADERS4: u32 = 20 + 8;
const MOST6: u32 = 1280;
const HEADERS6: u32 = 40 + 8;
/// The error that is never limited over IPv6 (`net.ipv6.icmp.ratemask`).
const TOO_BIG6: u8 = 2;
/// What IPv4's errors take of a class, and what they add (IPTOS_TOS_MASK, IPTOS_PREC_INTERNETCONTROL).
const CLASS: u8 = 0x1e;
const CONTROL: u8 = 0xc0;

impl<'w> Walker<'w> {
    /// Refuses it, and tells its sender where that is done.
    pub(super) fn refuses(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        no: No<'w>,
        packet: Packet,
    ) -> Going<'w> {
        let answer = match walk.heard {
            // Whose question it was hears nothing more; of a tunnel's packet with the question in it who is told learns.
            Some(_) if packet.carries.is_none() => None,
            _ if *walk.telling.of(packet.is_ipv6()) => None,
            _ => answer(space, &no, &packet)?,
        };
        self.refuse(walk, space, no, packet)?;
        let Some(answer) = answer else {
            return Ok(Next::Ended);
        };
        let at = at(walk, &no, &packet);
        let failing = walk.failing.filter(|(end, _)| end.netns == space.netns);
        let failing = failing.map(|(end, address)| (end.index, address));
        let mut error = error(space, (&no, at, failing), answer, &packet)?;
        if self.prepared.is(Wrong::ErrorsFromAsked) {
            error.source = packet.destination;
        }
        if self.prepared.is(Wrong::ErrorsMarked) {
            error.mark = packet.mark;
        }
        let scoped = matches!(packet.source, IpAddr::V6(v6) if v6.is_unicast_link_local());
        // What a socket's packet was rejected by is at loopback, and leads by the device of its route (`icmp6_dev`).
        let leads = match no.station {
            Station::Hook if packet.iif.is_none() => packet.bound.or(at),
            _ => at,
        };
        let sender = Sender {
            netns: space.netns,
            device: leads.filter(|_| scoped),
            uid: 0,
            any_source: packet.is_ipv6(),
            failing,
        };
        let unlimited = answer.kind == TOO_BIG6 || at == Some(LOOPBACK);
        if packet.is_ipv6() && !unlimited && !space.limits_route6(&error, &sender)? {
            return Ok(Next::Ended);
        }
        let mut way = walk.branch();
        way.heard = None;
        *way.telling.of(packet.is_ipv6()) = true;
        let next = Next::Sent {
            sender,
            packet: error,
        };
        self.goes_on(&mut way, Ok(next))?;
        if walk.heard.is_some() {
            walk.learned = way.learned;
            return Ok(Next::Ended);
        }
        self.ends(
            walk,
            Step {
                netns: space.netns,
                station: no.station,
                by: no.by,
                does: Does::Answers(answer, way.into()),
                packet,
            },
        )
    }
}

/// The device that it is at (`icmp6_iif`): what waited for a neighbour is at the one that it would leave by, what
/// was sent to nowhere at loopback.
fn at(walk: &Walk<'_>, no: &No<'_>, packet: &Packet) -> Option<u32> {
    let waited = walk.failing.filter(|_| no.station == Station::Neighbour);
    let out = waited.map(|(end, _)| end.index);
    out.or(packet.iif).or_else(|| {
        [Station::Route, Station::Hook]
            .contains(&no.station)
            .then_some(LOOPBACK)
    })
}

/// What its sender is told, if anything.
fn answer(space: &Space<'_>, no: &No<'_>, packet: &Packet) -> Result<Option<Answer>, Unknown> {
    // Who sends as nobody is told by loopback (`ip_route_output_key_hash_rcu`).
    let nobody =
        packet.source.is_unspecified() && (no.station != Station::Hook || packet.is_ipv6());
    let error = packet.is_icmp() && !packet.is_echo();
    if error || nobody || packet.source.is_multicast() {
        return Ok(None);
    }
    let forwards = match packet.iif {
        Some(index) => {
            let device = space.device(index)?;
            space.conf4(device)?.is_some_and(|conf| conf.forwarding())
        }
        None => false,
    };
    // What a socket sends is refused to itself, and a tunnel's packets are nobody's.
    let others = matches!(
        packet.decided,
        Decided::Forwarded | Decided::Shared | Decided::Turned
    );
    let told = others || packet.carries.is_some();
    // A frame that somebody made has no way, which errors over IPv4 begin with.
    let chosen = packet.decided != Decided::No;
    let found = match (no.station, no.how, packet.is_ipv6()) {
        (Station::Ttl, _, false) => Some((11, 0)),
        (Station::Ttl, _, true) => Some((3, 0)),
        (Station::Encap, How::TooBig(_), false) => Some((3, 4)),
        (Station::Encap, How::TooBig(_), true) => Some((2, 0)),
        (Station::Encap, How::NoPeer | How::NoEndpoint, false) if chosen => Some((3, 1)),
        (Station::Encap, How::NoPeer | How::NoEndpoint, true) => Some((1, 3)),
        (Station::Size, How::TooBig(_), false) if told => Some((3, 4)),
        (Station::Size, How::TooBig(_), true) if told => Some((2, 0)),
        (Station::Hook, How::Rejected(Rejected::Unreachable { code, .. }), false) => {
            Some((3, code))
        }
        (Station::Hook, How::Rejected(Rejected::Unreachable { code, .. }), true) => Some((1, code)),
        (Station::Hook, how, ipv6) => of_ipvs(how, ipv6),
        // Beyond the scope of its source (`ip6_forward`).
        (Station::Forward, How::MartianSource, true) if !packet.source.is_unspecified() => {
            Some((1, 2))
        }
        (Station::Socket, _, false) => Some((3, 3)),
        (Station::Socket, _, true) => Some((1, 4)),
        (Station::Neighbour, _, false) => Some((3, 1)),
        (Station::Neighbour, _, true) => Some((1, 3)),
        (Station::Route, How::NoIp, true) if packet.iif.is_none() => Some((1, 0)),
        (Station::Route, how, true) if packet.iif.is_some() => match how {
            How::NoRoute | How::Unreachable | How::UnreachableByRule => Some((1, 0)),
            How::Prohibited => Some((1, 1)),
            _ => None,
        },
        (Station::Route, how, false) if forwards => match how {
            How::NoRoute | How::UnreachableByRule => Some((3, 0)),
            How::Unreachable => Some((3, 1)),
            How::Prohibited => Some((3, 13)),
            _ => None,
        },
        _ => None,
    };
    Ok(found.map(|(kind, code)| Answer {
        kind,
        code,
        seldom: match no.station {
            Station::Route => !packet.is_ipv6(),
            Station::Neighbour => waits_already(no),
            _ => false,
        },
    }))
}

/// What IPVS tells (`__ip_vs_get_out_rt`).
fn of_ipvs(how: How, ipv6: bool) -> Option<(u8, u8)> {
    match (how, ipv6) {
        (How::TtlExceeded, false) => Some((11, 0)),
        (How::TtlExceeded, true) => Some((3, 0)),
        (How::TooBig(_), false) => Some((3, 4)),
        (How::TooBig(_), true) => Some((2, 0)),
        (How::Dropped | How::MartianSource | How::MartianDestination, _) => None,
        (_, false) => Some((3, 1)),
        (_, true) => Some((1, 3)),
    }
}

/// Whether something waits for that neighbour before: an error about it that is led to the same one asks anew, and
/// takes with it what waits (`neigh_invalidate`).
fn waits_already(no: &No<'_>) -> bool {
    let Some(Subject::Neighbour(neighbour)) = no.by else {
        return false;
    };
    neighbour.state == State::Incomplete
}

/// Whether it is this namespace's own (RTCF_LOCAL).
fn is_own(space: &Space<'_>, no: &No<'_>, about: &Packet) -> Result<bool, Unknown> {
    let rejected = matches!(
        no.how,
        How::Rejected(Rejected::Unreachable { own: true, .. })
    );
    // What IPVS leads on was this namespace's until then, but for what a socket here sends elsewhere, with the mark
    // of a virtual server.
    let led = no.station == Station::Hook && matches!(no.by, Some(Subject::Service(_)));
    let led = led && !matches!(no.how, How::Rejected(_));
    let here = match led && about.iif.is_none() {
        true => space.is_local(about.destination)?,
        false => true,
    };
    Ok(no.station == Station::Socket || rejected || (led && here))
}

/// Whose packet it is: a driver tells him who sent it before its source was translated (`icmp_ndo_send`).
fn asker(no: &No<'_>, about: &Packet) -> IpAddr {
    match about.tracked {
        Tracked::Is { of, reply, .. } if no.station == Station::Encap && of.is_translated() => {
            of.towards(reply).source
        }
        _ => about.source,
    }
}

/// The packet that tells it.
fn error(
    space: &Space<'_>,
    (no, at, failing): (&No<'_>, Option<u32>, Option<(u32, IpAddr)>),
    answer: Answer,
    about: &Packet,
) -> Result<Packet, Unknown> {
    let settings = space.settings()?;
    let ipv6 = about.is_ipv6();
    // What a driver tells over IPv6 knows of no device (`icmpv6_ndo_send`), nor do a bridge's hooks.
    let by_driver = ipv6 && matches!(no.how, How::NoPeer | How::NoEndpoint);
    let input = about.turned.filter(|_| ipv6).or(about.iif);
    let input = match input.filter(|_| !by_driver && !about.met) {
        Some(index) => Some(space.device(index)?),
        None => None,
    };
    let (most, headers, protocol) = match ipv6 {
        true => (MOST6, HEADERS6, ICMP6),
        false => (MOST4, HEADERS4, ICMP),
    };
    let reflects = match ipv6 {
        true => settings.fwmark_reflect6,
        false => settings.fwmark_reflect4,
    };
    let to = match asker(no, about) {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        source => source,
    };
    let mut error = Packet {
        protocol,
        dport: u16::from_be_bytes([answer.kind, answer.code]),
        tos: match ipv6 {
            true => 0,
            false => about.tos & CLASS | CONTROL,
        },
        ttl: space.hop_limit(None, None, ipv6)?,
        size: (headers + about.size).min(most),
        mark: if reflects { about.mark } else { 0 },
        // It is of the connection of what it is about, the other way (`nf_ct_attach`); what no socket took has forgotten
        // that (`__udp4_lib_rcv`).
        tracked: match about.tracked {
            _ if no.station == Station::Socket => Tracked::No,
            Tracked::Is { reply, of, .. } => Tracked::Is {
                state: Tracking::Related,
                reply: !reply,
                of,
            },
            _ => Tracked::No,
        },
        quotes: Some(Tuple {
            source: asker(no, about),
            ..about.tuple()
        }),
        ..Packet::new(about.any(), to)
    };
    error.source = match input {
        _ if ipv6 => space.error_source6(&error, about.destination, (input, at), failing)?,
        _ if is_own(space, no, about)? => about.destination,
        Some(input) if settings.errors_use_inbound_address => {
            space.select_source(input, Some(about.source), Scope::LINK)?
        }
        _ => error.source,
    };
    Ok(error)
}
