//! Netfilter's hooks (include/linux/netfilter.h, `nf_hook_slow`): each base chain in its turn, as long as the one before
//! accepts.
use std::net::IpAddr;

use netdiag_model::world::{
    Known,
    device::Device,
    route::Route,
    ruleset::{BaseChain, ChainKind, Hook, Reject, Rule},
};
use netdiag_ruleset::{Said, Translates, run};

use super::{
    Next, Walker,
    track::{self, ends_at},
};
use crate::{
    connection::Tracked,
    hooked::Hooked,
    packet::{Decided, Packet, Sender},
    prepared::{Asked, Space, Wrong},
    route::{
        decision::{Decision, No, Way},
        rules::{LOOPBACK, is_of_a_link},
    },
    way::{Does, Filter, How, Rejected, Share, Station, Step, Subject, Unknown, Walk},
};

/// Where a packet is asked about: the hook, by which devices it came and goes, and through whom.
#[derive(Clone, Copy)]
pub(super) struct Place<'w> {
    pub hook: Hook,
    pub input: Option<&'w Device>,
    pub output: Option<&'w Device>,
    pub gateway: Option<IpAddr>,
    /// By which device its route leads by now, which chains are not told.
    pub routed: Option<&'w Device>,
}

impl<'w> Place<'w> {
    pub fn entering(hook: Hook, input: &'w Device) -> Self {
        Self {
            hook,
            input: Some(input),
            output: None,
            gateway: None,
            routed: None,
        }
    }

    pub fn leaving(hook: Hook, output: &'w Device) -> Self {
        Self {
            hook,
            input: None,
            output: Some(output),
            gateway: None,
            routed: Some(output),
        }
    }

    /// Behind what has led it another way.
    pub fn turned(&self, turned: Option<&Turned<'w>>) -> Self {
        let first = turned.and_then(|(_, ways)| ways.first());
        Self {
            routed: first.map(|way| way.device).or(self.routed),
            ..*self
        }
    }

    pub fn leaves_not_by(&self, index: u32) -> bool {
        self.output.is_none_or(|device| device.index != index)
    }
}

/// What a hook comes to.
pub(super) enum Passed<'w> {
    On,
    /// By another way than before (`ip_route_me_harder`).
    Turned(Turned<'w>),
    /// IPVS leads it on, as if this namespace had sent it.
    Led(Turned<'w>),
    Ended,
}

/// A route, where there is one, and its next hops.
pub(super) type Turned<'w> = (Option<&'w Route>, Vec<Way<'w>>);

/// What a chain says.
pub(super) enum Word<'w> {
    /// Whether a rule did, and not the policy.
    Accepts(bool),
    /// A rule ended it with that, for what it is worth.
    Nat(Translates, Subject<'w>),
    Ended,
}

impl<'w> Walker<'w> {
    /// What the chains say where nothing is routed anew: where it ends, or nothing where it goes on, as they have
    /// changed it.
    pub(super) fn at_hook(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        place: &Place<'w>,
        packet: &mut Packet,
    ) -> Result<Option<Next<'w>>, Unknown> {
        match self.passes(walk, space, place, packet)? {
            Passed::On => Ok(None),
            Passed::Ended => Ok(Some(Next::Ended)),
            Passed::Turned(_) | Passed::Led(_) => {
                let what = "what is led elsewhere behind its route";
                Err(Unknown::NotModelled(what.into()))
            }
        }
    }

    /// Each chain in its turn, and what is done between them.
    pub(super) fn passes(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        place: &Place<'w>,
        packet: &mut Packet,
    ) -> Result<Passed<'w>, Unknown> {
        let (hook, ipv6) = (place.hook, packet.is_ipv6());
        match &space.stack.ruleset {
            Known::Not(why) | Known::Partly(_, why) => {
                return Err(Unknown::NotRead("netfilter's rules", why.clone()));
            }
            Known::Is(_) => {}
        }
        let chains = self.in_order(space, hook, ipv6)?;
        let tracks = space.tracks(ipv6);
        let mut duties = self.duties(space, hook, ipv6)?;
        if chains.is_empty() && !tracks && duties.is_empty() {
            return Ok(Passed::On);
        }
        if hook == Hook::Prerouting {
            packet.gathered = tracks && packet.is_cut() && gathers(packet);
        }
        // Whoever it is for here gets it whole, and who sends it here has not cut it yet.
        let sent = packet.iif.is_none() && hook != Hook::Prerouting;
        let whole = packet.gathered || hook == Hook::Input || sent;
        if packet.is_cut() && !whole {
            return Err(Unknown::NotModelled("what a hook sees of that".into()));
        }
        let before = *packet;
        self.translated.set(None);
        let mut turned: Option<Turned<'w>> = None;
        for asked in chains
            .iter()
            .filter(|(.., base)| base.kind != ChainKind::Nat)
        {
            let (.., base) = asked;
            while let Some((_, duty)) = duties.pop_if(|(at, _)| *at < base.priority) {
                let ended =
                    self.does(walk, space, (place, duty), (&before, packet), &mut turned)?;
                if let Some(ended) = ended {
                    return Ok(ended);
                }
            }
            if duties.last().is_some_and(|(at, _)| *at == base.priority) {
                let what = "which of two at one priority is the first";
                return Err(Unknown::NotModelled(what.into()));
            }
            let then = (packet.mark, packet.tos);
            let now = place.turned(turned.as_ref());
            match self.by_chain(walk, space, &now, (&before, packet), *asked)? {
                Word::Accepts(by_rule) => {
                    if by_rule && self.prepared.is(Wrong::AcceptEndsTheHook) {
                        break;
                    }
                }
                Word::Nat(..) => {
                    return Err(Unknown::NotModelled("translation by such a chain".into()));
                }
                Word::Ended => return Ok(Passed::Ended),
            }
            if is_rerouted(base, packet, then) {
                turned = self.reroutes(walk, space, &now, packet)?;
                if turned.is_none() {
                    return Ok(Passed::Ended);
                }
            }
        }
        while let Some((_, duty)) = duties.pop() {
            let ended = self.does(walk, space, (place, duty), (&before, packet), &mut turned)?;
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
        if tracks && ends_at(hook) {
            self.confirms(walk, space, packet)?;
        }
        self.leaves_hook(walk, space, &before, packet)?;
        Ok(turned.map_or(Passed::On, Passed::Turned))
    }

    /// What was written on it, and on its connection.
    pub(super) fn leaves_hook(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        before: &Packet,
        packet: &Packet,
    ) -> Result<(), Unknown> {
        if space.tracks(packet.is_ipv6()) {
            self.marks(walk, space, packet);
        }
        if packet.mark == before.mark && packet.tuple() == before.tuple() {
            return Ok(());
        }
        let step = Step {
            netns: space.netns,
            station: Station::Hook,
            by: self.translated.take(),
            does: Does::Passes,
            packet: *packet,
        };
        self.push(walk, step)
    }

    /// The chains that are asked at a hook, in the order in which they are; in either where nobody can tell.
    pub(super) fn in_order(
        &self,
        space: &'w Space<'w>,
        hook: Hook,
        ipv6: bool,
    ) -> Result<&'w [Asked<'w>], Unknown> {
        let Some(others) = space.chains_otherwise(hook, ipv6) else {
            return Ok(space.chains(hook, ipv6));
        };
        match self.chances.next(2) {
            Some(0) => Ok(space.chains(hook, ipv6)),
            Some(_) => Ok(others),
            None => {
                self.undecided.set(None);
                Err(Unknown::Chance(vec![Share::UNKNOWN; 2]))
            }
        }
    }

    /// One chain's word.
    pub(super) fn by_chain(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        place: &Place<'w>,
        (before, packet): (&Packet, &mut Packet),
        (table, chain, base): Asked<'w>,
    ) -> Result<Word<'w>, Unknown> {
        let raw = base.priority < track::PRIORITY && place.hook == Hook::Prerouting;
        let mut hooked = Hooked {
            packet,
            walks: self.prepared,
            space,
            input: place.input,
            output: place.output,
            fragment: raw && before.is_cut() && self.prepared.is(Wrong::GatheredLate),
            chances: &self.chances,
        };
        let index = space.index(table).ok_or(Unknown::TooLong)?;
        let wrong = self.prepared.wrong_rules();
        let ran = run(index, &chain.name, &mut hooked, wrong);
        let of = |rule| Filter { table, chain, rule };
        let counter = |rule: &&'w Rule| (space.netns, of(Some(*rule)));
        walk.counted.extend(ran.counted.iter().map(counter));
        walk.perhaps.extend(ran.perhaps.iter().map(counter));
        if base.kind == ChainKind::Nat && ran.said == Said::Accepts {
            let all = ran.left.iter().chain(&ran.by);
            walk.spared.extend(all.map(counter));
        }
        let own = || match place.hook {
            Hook::Input => Ok(Some(true)),
            Hook::Prerouting => match loops(place, before) {
                Some(own) => Ok(Some(own)),
                None => is_from_here(space, before),
            },
            _ => Ok(Some(
                place.routed.is_some_and(|device| device.flags.loopback),
            )),
        };
        // Nor is it always known what a translation comes to.
        if matches!(ran.said, Said::Either | Said::Maybe | Said::Nat(_)) {
            self.undecided.set(Some(of(ran.by)));
        }
        let refuses = matches!(ran.said, Said::Drops | Said::Rejects(_));
        if refuses && self.prepared.lets_pass(space.netns, &of(ran.by), packet) {
            return Ok(Word::Accepts(true));
        }
        let mut told = true;
        let how = match ran.said {
            Said::Accepts => return Ok(Word::Accepts(ran.by.is_some())),
            Said::Nat(nat) => return Ok(Word::Nat(nat, Subject::Filter(of(ran.by)))),
            Said::Drops => How::Dropped,
            Said::Rejects(reject) => {
                let own = own()?;
                told = own.is_some();
                How::Rejected(rejected(reject, packet.is_ipv6(), own == Some(true)))
            }
            Said::Queues => return Err(Unknown::NotModelled("a queue to a program".into())),
            Said::Chooses(shares) => {
                let shares = shares.into_iter().map(Share);
                return Err(Unknown::Chance(shares.collect()));
            }
            Said::Either => return Err(Unknown::Chance(vec![Share::UNKNOWN; 2])),
            Said::Maybe => return Err(Unknown::Undecided),
            Said::TooLong => return Err(Unknown::TooLong),
        };
        let no = No {
            station: Station::Hook,
            how,
            by: Some(Subject::Filter(of(ran.by))),
        };
        match how {
            How::Rejected(_) if told => self.refuses(walk, space, no, *packet)?,
            _ => self.refuse(walk, space, no, *packet)?,
        };
        Ok(Word::Ended)
    }

    /// Its way anew, as it is now; where there is none, it ends (`ip_route_me_harder`, `ip6_route_me_harder`).
    pub(super) fn reroutes(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        place: &Place<'w>,
        packet: &Packet,
    ) -> Result<Option<Turned<'w>>, Unknown> {
        // What is of a link alone stays at the device that it leaves by now, whoever has chosen that.
        let narrow = packet.is_ipv6()
            && !packet.destination.is_loopback()
            && is_of_a_link(packet.destination);
        let by = place.routed.filter(|_| narrow).map(|device| device.index);
        let sender = Sender {
            netns: space.netns,
            device: packet.bound.or(by),
            uid: 0,
            any_source: true,
            failing: None,
        };
        // Before Linux 6.10 IPv6 was asked without it, and nothing read says which kernel this is.
        if packet.is_ipv6() && packet.routed_tos() != 0 && space.looks_for_class(true)? {
            let what = "a traffic class where it is routed anew";
            return Err(Unknown::NotModelled(what.into()));
        }
        // Only where rules of those that come in by some device go by them are ports looked for.
        let asked = match space.looks_for_ports(packet.is_ipv6())? {
            true => *packet,
            false => Packet {
                protocol: 0,
                sport: 0,
                dport: 0,
                ..*packet
            },
        };
        let (decision, _) = match packet.is_ipv6() {
            true => space.route_out6(&asked, &sender)?,
            false => space.route_out(&asked, &sender)?,
        };
        let route = match decision {
            // It is thrown away behind the other chains, and its sender told, as in `sent`: that nothing larger than that
            // leads there, sockets alone ask.
            Decision::No(no)
                if packet.is_ipv6() && matches!(no.how, How::NoIp | How::TooBig(_)) =>
            {
                let what = "what is led anew to where nothing leads on";
                return Err(Unknown::NotModelled(what.into()));
            }
            Decision::No(no) => {
                // Of this way a device that shares the link tells nobody.
                let turned = Packet {
                    decided: Decided::Turned,
                    ..*packet
                };
                self.refuse(walk, space, no, turned)?;
                return Ok(None);
            }
            Decision::Onward { route, hops } => return Ok(Some((route, hops))),
            Decision::Local(route) => route,
            Decision::Looped { route, .. } => Some(route),
        };
        let way = Way {
            device: space.device(LOOPBACK)?,
            gateway: None,
            hop: None,
            source: None,
            martian: false,
        };
        Ok(Some((route, vec![way])))
    }
}

/// Whether its fragments are put together before it is tracked: of what this namespace has seen already (by loopback, by
/// a tunnel that leads here at once) they are not where a rule left it untracked, of IPv6 never (`ipv4_conntrack_defrag`,
/// `ipv6_defrag`).
fn gathers(packet: &Packet) -> bool {
    match packet.tracked {
        Tracked::No => true,
        Tracked::Untracked => false,
        Tracked::Is { .. } => !packet.is_ipv6(),
    }
}

/// Whether what comes in with the way that it was sent by is this namespace's own: by loopback it is, by a tunnel that
/// leads here at once (`vxlan_encap_bypass`) that way leads elsewhere. What else comes in has none yet.
fn loops(place: &Place<'_>, packet: &Packet) -> Option<bool> {
    let loopback = place.input?.flags.loopback;
    match packet.decided {
        Decided::Sent | Decided::Turned => Some(loopback),
        Decided::Forwarded => Some(false),
        Decided::No | Decided::Shared => None,
    }
}

/// Whether its way back ends here, if there is one: where it goes itself is not asked for yet (`nf_reject_fill_skb_dst`,
/// `nf_reject6_fill_skb_dst`).
fn is_from_here(space: &Space<'_>, packet: &Packet) -> Result<Option<bool>, Unknown> {
    let back = Packet {
        source: packet.any(),
        destination: packet.source,
        protocol: 0,
        sport: 0,
        dport: 0,
        tos: 0,
        mark: 0,
        ..*packet
    };
    let sender = Sender {
        netns: space.netns,
        device: None,
        uid: 0,
        any_source: false,
        failing: None,
    };
    let (decision, _) = match packet.is_ipv6() {
        true => space.route_out6(&back, &sender)?,
        false => space.route_out(&back, &sender)?,
    };
    Ok(match decision {
        Decision::No(_) => None,
        Decision::Local(_) => Some(!packet.is_ipv6()),
        // Whatever leads to loopback is (`__mkroute_output`).
        Decision::Onward { hops, .. } if !packet.is_ipv6() => {
            Some(hops.iter().all(|way| way.device.flags.loopback))
        }
        _ => Some(false),
    })
}

/// What a chain of that kind changes at the output is routed once more (`nf_route_table_hook4`).
fn is_rerouted(base: &BaseChain, now: &Packet, (mark, tos): (u32, u8)) -> bool {
    let routes = base.kind == ChainKind::Route && base.hook == Hook::Output;
    routes && (now.mark != mark || now.tos != tos)
}

/// What its sender is told (`nft_reject_icmp_code`, `nft_reject_icmpv6_code`).
fn rejected(reject: Reject, ipv6: bool, own: bool) -> Rejected {
    /// NFT_REJECT_ICMPX_…: no route, the port, the host, prohibited.
    const OF_EITHER: [(u8, u8); 4] = [(0, 0), (3, 4), (1, 3), (13, 1)];
    match reject {
        Reject::Reset => Rejected::Reset,
        Reject::Unreachable(code) => Rejected::Unreachable { code, own },
        Reject::UnreachableOfEither(code) => {
            let codes = OF_EITHER.get(usize::from(code)).copied();
            let (four, six) = codes.unwrap_or((0, 0));
            let code = if ipv6 { six } else { four };
            Rejected::Unreachable { code, own }
        }
    }
}
