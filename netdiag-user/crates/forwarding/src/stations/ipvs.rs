//! IPVS (net/netfilter/ipvs): what is for a virtual server is led on to one of the real ones, and what these answer comes
//! from the virtual one. It stands at netfilter's hooks, beside the chains.
use std::net::IpAddr;

use netdiag_model::world::{
    Known, Why,
    conf::Release,
    ipvs::{Forward, Ipvs, RealServer, VirtualServer, Wanted},
    route::Route,
    ruleset::Hook,
};

use super::{
    Walker,
    forward::too_big,
    hook::{Place, Turned},
};
use crate::{
    connection::{Ports, Tracked, Tracking},
    learned::{Lead, Leading},
    packet::{Packet, Sender, Served, TCP, UDP},
    prepared::{Space, Wrong},
    route::decision::{Decision, No, Way},
    way::{How, Rejected, Share, Station, Subject, Unknown, Walk},
};

/// SCTP's number, and TCP's flag that begins a connection.
const SCTP: u8 = 132;
const SYN: u8 = 1 << 1;

/// What is done at a hook.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What is for a virtual server is led on (`ip_vs_in_hook`).
    Leads,
    /// What a real one says gets the virtual one's address (`ip_vs_out_hook`).
    Answers,
}

/// At which places among the chains (`ip_vs_ops4`, `ip_vs_ops6`); at those that lead on, errors alone are looked at where
/// packets are for others.
pub(super) fn at(hook: Hook) -> &'static [(i32, Part)] {
    match hook {
        Hook::Input => &[(98, Part::Answers), (99, Part::Leads)],
        Hook::Output => &[(-99, Part::Answers), (-98, Part::Leads)],
        Hook::Forward => &[(99, Part::Leads), (100, Part::Answers)],
        _ => &[],
    }
}

/// What became of a packet.
pub(super) enum Led<'w> {
    /// It goes on where it is.
    On,
    /// It goes on as if this namespace had sent it, by that way.
    By(Turned<'w>),
    Ended,
}

/// Whom a packet is for.
enum Scheduled<'w> {
    Nobody,
    To(&'w VirtualServer, Lead),
    /// No real server is in use.
    Refused(&'w VirtualServer),
}

type Here<'w> = (&'w Space<'w>, &'w Ipvs);

impl<'w> Space<'w> {
    /// Where somebody has set up virtual servers. What earlier recordings do not tell was not there.
    pub(super) fn ipvs(&self) -> Result<Option<&'w Ipvs>, Unknown> {
        match &self.stack.ipvs {
            Known::Is(ipvs) => Ok((!ipvs.servers.is_empty()).then_some(ipvs)),
            Known::Not(Why::NotAsked) => Ok(None),
            Known::Partly(_, why) | Known::Not(why) => {
                Err(Unknown::NotRead("virtual servers of IPVS", why.clone()))
            }
        }
    }
}

impl<'w> Walker<'w> {
    /// (`ip_vs_in`)
    pub(super) fn leads(
        &self,
        walk: &mut Walk<'w>,
        here: Here<'w>,
        place: &Place<'w>,
        packet: &mut Packet,
    ) -> Result<Led<'w>, Unknown> {
        let (space, _) = here;
        if packet.served != Served::No {
            return Ok(Led::On);
        }
        if packet.is_icmp() {
            let about = packet.quotes.map(|quoted| quoted.reply());
            let lead = about.and_then(|it| walk.learned.lead(space.netns, &it, Leading::There));
            return match lead {
                Some(lead) => self.leads_to(walk, here, place, (None, lead), packet),
                None => Ok(Led::On),
            };
        }
        let served = [TCP, UDP, SCTP].contains(&packet.protocol);
        if place.hook == Hook::Forward || !served {
            return Ok(Led::On);
        }
        let tuple = packet.tuple();
        if let Some(lead) = walk.learned.lead(space.netns, &tuple, Leading::There) {
            return self.leads_to(walk, here, place, (None, lead), packet);
        }
        match self.schedules(space, packet)? {
            Scheduled::Nobody => Ok(Led::On),
            Scheduled::To(by, lead) => {
                if !by.one_packet {
                    walk.learned.learn_lead(space.netns, lead);
                }
                self.leads_to(walk, here, place, (Some(by), lead), packet)
            }
            Scheduled::Refused(by) => {
                let own = is_refused_here(space, place, packet)?;
                let code = if packet.is_ipv6() { 4 } else { 3 };
                let no = No {
                    station: Station::Hook,
                    how: How::Rejected(Rejected::Unreachable { code, own }),
                    by: Some(Subject::Service(by)),
                };
                self.refuses(walk, space, no, *packet)?;
                Ok(Led::Ended)
            }
        }
    }

    /// One of the real servers (`ip_vs_schedule`), each as often as it weighs.
    fn schedules(&self, space: &Space<'w>, packet: &Packet) -> Result<Scheduled<'w>, Unknown> {
        let Some(by) = wanted(space, packet) else {
            return Ok(Scheduled::Nobody);
        };
        // What belongs to no connection is left to whoever listens here.
        let begins = packet.tcp_flags.is_none_or(|flags| flags & SYN != 0);
        if packet.protocol == TCP && !begins {
            return Ok(Scheduled::Nobody);
        }
        let all = self.prepared.is(Wrong::WeightlessServers);
        let used: Vec<&RealServer> = by.real.iter().filter(|it| all || it.weight > 0).collect();
        let one = match used.as_slice() {
            [] => return Ok(Scheduled::Refused(by)),
            [one] => *one,
            several => match self.chances.next(several.len()) {
                Some(at) => several[at],
                None => {
                    self.undecided.set(None);
                    return Err(Unknown::Chance(shares(several)));
                }
            },
        };
        let tuple = packet.tuple();
        let port = match one.port {
            0 => packet.dport,
            port => port,
        };
        let lead = Lead {
            protocol: packet.protocol,
            client: (packet.source, tuple.sport),
            server: (packet.destination, packet.dport),
            real: (one.address, port),
            forward: one.forward,
        };
        Ok(Scheduled::To(by, lead))
    }

    /// (`ip_vs_nat_xmit`, `ip_vs_icmp_xmit`)
    fn leads_to(
        &self,
        walk: &mut Walk<'w>,
        (space, ipvs): Here<'w>,
        place: &Place<'w>,
        (by, lead): (Option<&'w VirtualServer>, Lead),
        packet: &mut Packet,
    ) -> Result<Led<'w>, Unknown> {
        let by = by.or_else(|| wanted(space, packet));
        let refused = |how| No {
            station: Station::Hook,
            how,
            by: by.map(Subject::Service),
        };
        let away = Packet {
            destination: lead.real.0,
            ..*packet
        };
        let (decision, _) = routes(space, &away)?;
        let (route, ways) = match decision {
            Decision::No(no) => {
                self.refuses(walk, space, refused(no.how), *packet)?;
                return Ok(Led::Ended);
            }
            Decision::Local(_) | Decision::Looped { .. } => {
                let outside = place.hook == Hook::Input
                    && place.input.is_some_and(|device| !device.flags.loopback);
                if outside && away.destination.is_loopback() {
                    self.refuse(walk, space, refused(How::MartianDestination), *packet)?;
                    return Ok(Led::Ended);
                }
                if lead.forward == Forward::Masquerade {
                    translate(packet, &lead);
                }
                packet.served = Served::Here;
                self.marks_led(walk, (space, ipvs), &lead, packet);
                return Ok(Led::On);
            }
            Decision::Onward { route, hops } => (route, hops),
        };
        if lead.forward != Forward::Masquerade {
            let what = format!("IPVS's way {:?} to a real server", lead.forward);
            return Err(Unknown::NotModelled(what));
        }
        let by_itself = !packet.is_ipv6() || place.input.is_none_or(|it| it.flags.loopback);
        let how = if by_itself && packet.source.is_loopback() {
            Some(How::MartianSource)
        } else if packet.ttl <= 1 {
            Some(How::TtlExceeded)
        } else {
            does_not_fit(walk, space, (route, &ways), &away)?
        };
        if let Some(how) = how {
            self.refuses(walk, space, refused(how), *packet)?;
            return Ok(Led::Ended);
        }
        translate(packet, &lead);
        if !self.prepared.is(Wrong::LedWithoutHop) {
            packet.ttl -= 1;
        }
        packet.gathered |= packet.is_cut();
        packet.served = Served::Led;
        // It goes on as nobody's (`ip_vs_nat_send_or_cont`).
        packet.bound = None;
        self.marks_led(walk, (space, ipvs), &lead, packet);
        let whole = |way: Way<'w>| Way {
            source: None,
            ..way
        };
        Ok(Led::By((route, ways.into_iter().map(whole).collect())))
    }

    /// (`ip_vs_notrack`, `ip_vs_update_conntrack`)
    fn marks_led(
        &self,
        walk: &Walk<'w>,
        (space, ipvs): Here<'w>,
        lead: &Lead,
        packet: &mut Packet,
    ) {
        let Tracked::Is {
            state,
            reply,
            mut of,
        } = packet.tracked
        else {
            return;
        };
        if !ipvs.conntrack {
            packet.tracked = Tracked::Untracked;
            return;
        }
        let known = walk.learned.connections(space.netns);
        let begins = state == Tracking::New && !reply;
        let confirmed = known.into_iter().any(|(it, _)| it.original == of.original);
        if !begins || confirmed || lead.forward != Forward::Masquerade {
            return;
        }
        of.answers.source = lead.real.0;
        of.answers.sport = Ports::one(lead.real.1);
        packet.tracked = Tracked::Is { state, reply, of };
    }

    /// (`ip_vs_out`, `handle_response`); whether it goes on.
    pub(super) fn answers_as_server(
        &self,
        walk: &mut Walk<'w>,
        (space, ipvs): Here<'w>,
        place: &Place<'w>,
        packet: &mut Packet,
        turned: &mut Option<Turned<'w>>,
    ) -> Result<bool, Unknown> {
        if packet.served != Served::No || self.prepared.is(Wrong::RealServersAnswer) {
            return Ok(true);
        }
        let of = |tuple| walk.learned.lead(space.netns, tuple, Leading::Back);
        match (packet.is_icmp(), packet.quotes) {
            (true, Some(mut quoted)) => {
                let Some(lead) = of(&quoted.reply()) else {
                    return Ok(true);
                };
                if packet.is_ipv6() && !is_summed(space, place, packet) && !counts_all(space)? {
                    let no = No::dropped(None);
                    self.refuse(walk, space, no, *packet)?;
                    return Ok(false);
                }
                packet.source = lead.server.0;
                quoted.destination = lead.server.0;
                quoted.dport = Ports::one(lead.server.1);
                packet.quotes = Some(quoted);
            }
            (true, None) => return Ok(true),
            (false, _) => {
                let Some(lead) = of(&packet.tuple()) else {
                    return Ok(true);
                };
                (packet.source, packet.sport) = lead.server;
            }
        }
        let now = place.turned(turned.as_ref());
        if ipvs.snat_reroute && place.hook != Hook::Input && !is_routed_here(&now) {
            *turned = self.reroutes(walk, space, &now, packet)?;
            if turned.is_none() {
                return Ok(false);
            }
        }
        packet.served = Served::Here;
        if !ipvs.conntrack && matches!(packet.tracked, Tracked::Is { .. }) {
            packet.tracked = Tracked::Untracked;
        }
        Ok(true)
    }
}

/// What is for a virtual server (`ip_vs_service_find`): by its mark first, by its port, by any of its ports.
fn wanted<'w>(space: &Space<'w>, packet: &Packet) -> Option<&'w VirtualServer> {
    let marked = Wanted::Mark {
        mark: packet.mark,
        ipv6: packet.is_ipv6(),
    };
    let at = |port| Wanted::At {
        address: packet.destination,
        protocol: packet.protocol,
        port,
    };
    let by = |wanted| space.servers.get(&wanted).copied();
    let marked = by(marked).filter(|_| packet.mark != 0);
    let named = marked.or_else(|| by(at(packet.dport)));
    named.or_else(|| by(at(0)))
}

/// Whether its sender is told in the name of whom it asked (RTCF_LOCAL).
fn is_refused_here(space: &Space<'_>, place: &Place<'_>, packet: &Packet) -> Result<bool, Unknown> {
    if place.hook == Hook::Input {
        return Ok(true);
    }
    let here = is_routed_here(place);
    match here == space.is_local(packet.destination)? {
        true => Ok(here),
        // It was led elsewhere on the way to here, or is led to loopback without being anybody's.
        false => Err(Unknown::NotModelled(
            "in whose name IPVS refuses what was led anew".into(),
        )),
    }
}

/// With its address alone: neither whose it is nor what it is counts (`do_output_route4`, `__ip_vs_route_output_v6`).
fn routes<'w>(space: &'w Space<'w>, away: &Packet) -> Result<(Decision<'w>, IpAddr), Unknown> {
    let asked = Packet {
        source: away.any(),
        protocol: 0,
        sport: 0,
        dport: 0,
        tos: 0,
        mark: 0,
        ..*away
    };
    let sender = Sender {
        netns: space.netns,
        device: None,
        uid: 0,
        any_source: true,
        failing: None,
    };
    match away.is_ipv6() {
        true => space.route_out6(&asked, &sender),
        false => space.route_out(&asked, &sender),
    }
}

/// (`ensure_mtu_is_adequate`)
fn does_not_fit<'w>(
    walk: &Walk<'w>,
    space: &'w Space<'w>,
    (route, ways): (Option<&'w Route>, &[Way<'w>]),
    away: &Packet,
) -> Result<Option<How>, Unknown> {
    let fits = |way: &Way<'w>| {
        let no = too_big(&walk.learned, space, (route, way), &mut away.clone(), false)?;
        Ok(no.map(|no| no.how))
    };
    let all: Vec<Option<How>> = ways.iter().map(fits).collect::<Result<_, Unknown>>()?;
    let first = all.first().copied().flatten();
    if first.is_some() && away.segment.is_some() {
        return Err(Unknown::NotModelled(
            "a superpacket that IPVS has cut".into(),
        ));
    }
    match all.iter().all(|one| *one == first) {
        true => Ok(first),
        false => Err(Unknown::NotModelled(
            "next hops of several sizes behind IPVS".into(),
        )),
    }
}

/// For the real server; of an error, what it quotes is from it.
fn translate(packet: &mut Packet, lead: &Lead) {
    let (address, port) = lead.real;
    packet.destination = address;
    match &mut packet.quotes {
        Some(quoted) => {
            quoted.source = address;
            quoted.sport = Ports::one(port);
        }
        None => packet.dport = port,
    }
}

/// Its way so far ends in this namespace (RTCF_LOCAL).
fn is_routed_here(place: &Place<'_>) -> bool {
    place.routed.is_some_and(|device| device.flags.loopback)
}

/// Up to this kernel IPVS forgets what of IPv6's header counts to an error's checksum (`handle_response_icmp`); between
/// the two somebody mended it.
const FORGETS: Release = Release(6, 12);
const MENDED: Release = Release(7, 2);

fn counts_all(space: &Space<'_>) -> Result<bool, Unknown> {
    match space.settings()?.release {
        release if release <= FORGETS => Ok(false),
        release if release >= MENDED => Ok(true),
        _ => Err(Unknown::NotModelled(
            "whether this kernel's IPVS takes an ICMPv6 error's checksum for right".into(),
        )),
    }
}

/// Whether somebody has found an error's checksum right already.
fn is_summed(space: &Space<'_>, place: &Place<'_>, packet: &Packet) -> bool {
    let tracked = space.tracks(true) && packet.tracked != Tracked::Untracked;
    place.hook != Hook::Output && tracked
}

/// Of the whole, as they weigh.
fn shares(servers: &[&RealServer]) -> Vec<Share> {
    let whole: u64 = servers.iter().map(|real| u64::from(real.weight)).sum();
    let share = |real: &&RealServer| {
        let part = (u64::from(real.weight) << 16) / whole.max(1);
        Share(u32::try_from(part).unwrap_or(1 << 16).max(1))
    };
    servers.iter().map(share).collect()
}
