//! Neighbour discovery as the packets that it is (net/ipv6/ndisc.c): who asks with which source, which
//! devices hear it, and who answers.
use std::net::{IpAddr, Ipv6Addr};

use netdiag_model::{
    node::LOCAL,
    world::{
        End,
        address::Address,
        conf::Of6,
        device::{Device, Mac},
        ipsec::Direction,
        neighbour::{Proxied, State},
        route::Kind,
        ruleset::Hook,
    },
};

use super::{Walker, hook::Place};
use crate::{
    learned::Learned,
    packet::{ADVERTISEMENT, ICMP6, Packet, SOLICITATION},
    prepared::{Space, Wrong},
    route::{decision::Decision, v6::is_assigned},
    way::{Outcome, Unknown, Walk},
};

/// Bytes of a question, with its option.
const SIZE: u32 = 72;
/// Hooks that who sends one asks, and who gets it.
const OUT: [Hook; 2] = [Hook::Output, Hook::Postrouting];
const IN: [Hook; 2] = [Hook::Prerouting, Hook::Input];

/// So many choices of rules are gone both ways for one question.
const MOST_CHOICES: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Passes {
    Always,
    Never,
    Perhaps,
}

impl Passes {
    fn and(self, then: Self) -> Self {
        match (self, then) {
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::Always, Self::Always) => Self::Always,
            _ => Self::Perhaps,
        }
    }
}

impl<'w> Walker<'w> {
    /// What may be answered.
    pub(super) fn asks_nd(
        &self,
        learned: &Learned,
        (space, device): (&'w Space<'w>, &'w Device),
        target: Ipv6Addr,
        source: IpAddr,
    ) -> Result<Vec<Outcome>, Unknown> {
        let none = || Ok(vec![(None, learned.clone())]);
        // What is said of an address that is this device's own, still asked for or lost to another, is
        // not believed (`ndisc_recv_na`). A question is, its own that came back to it too (`ndisc_recv_ns`).
        let own = on(space, device)?;
        let is_own = own.iter().any(|a| a.own.address == IpAddr::V6(target));
        // Without an address of the link's own nobody is asked.
        let Some(sender) = asker(space, device, source)? else {
            return none();
        };
        let group = solicited(target);
        let asked = (
            space.end(device),
            Mac::of_group(group.into()),
            target.into(),
        );
        let own = device.mac;
        let (asks, answer) = (
            said(sender, group.into(), SOLICITATION),
            said(target.into(), sender, ADVERTISEMENT),
        );
        let leaves = self.passes_rules(learned, (space, device), OUT, &asks)?;
        // The answer is a packet for who asked, and has to be led to it there too.
        let taken = match is_taken(space, device, &question(target.into(), sender))? {
            true => self.passes_rules(learned, (space, device), IN, &answer)?,
            false => Passes::Never,
        };
        let mut outcomes = match leaves {
            Passes::Always => Vec::new(),
            Passes::Never => return none(),
            Passes::Perhaps => none()?,
        };
        outcomes.extend(self.answered(learned, asked, asks, |learned, end| {
            let silent = || vec![(None, learned.clone())];
            let Some((mac, own)) = self.answers_nd(end, sender, target)?.zip(own) else {
                return Ok(silent());
            };
            let there = self.prepared.space(end.netns)?;
            let at = (there, there.device(end.index)?);
            let mut all = match self.passes_rules(&learned, at, IN, &asks)? {
                Passes::Always => Vec::new(),
                Passes::Never => return Ok(silent()),
                Passes::Perhaps => silent(),
            };
            let mut learned = learned.clone();
            learned.learn(end, sender, own);
            // An answer is a packet to who asked: a permanent entry leads it to wherever it says, and any
            // other learns of the question itself.
            let to = self.fixed(end, sender)?.unwrap_or(Some(own));
            let answers = to.filter(|_| !is_own).map(|to| (mac, to));
            let passes = taken.and(self.passes_rules(&learned, at, OUT, &answer)?);
            if passes != Passes::Never {
                all.push((answers, learned.clone()));
            }
            if passes != Passes::Always {
                all.push((None, learned));
            }
            Ok(all)
        })?);
        Ok(outcomes)
    }

    /// Whether netfilter's rules let it come in, or go out. None of them is told of: who is refused so is told nothing.
    fn passes_rules(
        &self,
        learned: &Learned,
        at: (&'w Space<'w>, &'w Device),
        hooks: [Hook; 2],
        packet: &Packet,
    ) -> Result<Passes, Unknown> {
        if self.prepared.is(Wrong::QuestionsUnasked) {
            return Ok(Passes::Always);
        }
        let there = match hooks {
            OUT => Direction::Out,
            _ => Direction::In,
        };
        at.0.without_ipsec(packet, there)?;
        // What it chooses is none of the choices of what waits for it.
        let outer = self.chances.begin(Vec::new());
        let passes = self.passes_by(learned, at, hooks, packet, &[]);
        self.chances.go_back(outer);
        passes
    }

    /// The same where rules choose these ways first; where it makes no difference, no chance is in it.
    fn passes_by(
        &self,
        learned: &Learned,
        (space, device): (&'w Space<'w>, &'w Device),
        hooks: [Hook; 2],
        packet: &Packet,
        taken: &[usize],
    ) -> Result<Passes, Unknown> {
        let mut way = Walk {
            learned: learned.clone(),
            heard: Some(Vec::new()),
            ..Walk::default()
        };
        let mut packet = *packet;
        let asked = packet;
        self.chances.begin(taken.to_vec());
        for hook in hooks {
            let place = match hook {
                Hook::Prerouting | Hook::Input => Place::entering(hook, device),
                _ => Place::leaving(hook, device),
            };
            let shares = match self.at_hook(&mut way, space, &place, &mut packet) {
                Ok(None) => continue,
                Ok(Some(_)) => return Ok(Passes::Never),
                Err(Unknown::Chance(shares)) => shares,
                Err(why) => return Err(why),
            };
            if taken.len() >= MOST_CHOICES {
                return Ok(Passes::Perhaps);
            }
            let each = (0..shares.len()).map(|one| {
                let taken = [taken, &[one]].concat();
                self.passes_by(learned, (space, device), hooks, &asked, &taken)
            });
            let mut each = each.collect::<Result<Vec<Passes>, _>>()?.into_iter();
            let first = each.next().unwrap_or(Passes::Perhaps);
            let same = each.all(|other| other == first);
            return Ok(if same { first } else { Passes::Perhaps });
        }
        Ok(Passes::Always)
    }

    /// What its permanent entry says of that address, where there is one.
    fn fixed(&self, end: End, address: IpAddr) -> Result<Option<Option<Mac>>, Unknown> {
        let space = self.prepared.space(end.netns)?;
        let all = space.stack.neighbours.whole();
        let all = all.map_err(|why| Unknown::NotRead("neighbours", why.clone()))?;
        let mut fixed = all.iter().filter(|n| n.state == State::Permanent);
        let entry = fixed.find(|n| n.device == end.index && n.address == address);
        Ok(entry.map(|entry| entry.mac))
    }

    pub(super) fn answers_nd(
        &self,
        end: End,
        sender: IpAddr,
        target: Ipv6Addr,
    ) -> Result<Option<Mac>, Unknown> {
        let space = self.prepared.space(end.netns)?;
        let device = space.device(end.index)?;
        let Some(conf) = space.conf6(device)?.filter(|conf| !conf.disabled()) else {
            return Ok(None);
        };
        let asked = question(sender, solicited(target).into());
        if device.flags.no_arp || !is_taken(space, device, &asked)? {
            return Ok(None);
        }
        let here = on(space, device)?;
        let answers = match here.iter().find(|a| a.own.address == IpAddr::V6(target)) {
            Some(own) => is_assigned(own.flags),
            None => {
                let for_others =
                    is_anycast(space, device, target)? || proxies(space, device, conf, target)?;
                // In its own name, which it may have none of (`ndisc_send_na`).
                for_others && space.select_source6(Some(device), sender)?.is_some()
            }
        };
        Ok(device.mac.filter(|_| answers))
    }
}

/// Whether the rules lead it to this namespace itself.
fn is_taken<'w>(space: &Space<'w>, device: &'w Device, packet: &Packet) -> Result<bool, Unknown> {
    let comes = space.may_not_come6(packet, device)?.is_none();
    Ok(comes && matches!(space.route_in6(packet, device)?, Decision::Local(_)))
}

/// The packet's own source where it is the device's, else its link-local address (`ndisc_solicit`).
fn asker(space: &Space<'_>, device: &Device, source: IpAddr) -> Result<Option<IpAddr>, Unknown> {
    let all = on(space, device)?;
    let mut usable = all.iter().filter(|a| is_assigned(a.flags));
    if usable.clone().any(|a| a.own.address == source) {
        return Ok(Some(source));
    }
    let link_local = |a: &&&Address| match a.own.address {
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    };
    Ok(usable.find(link_local).map(|a| a.own.address))
}

fn on<'w>(space: &Space<'w>, device: &Device) -> Result<Vec<&'w Address>, Unknown> {
    let all = space.addresses()?.iter();
    Ok(all
        .filter(|a| a.device == device.index && a.own.address.is_ipv6())
        .collect())
}

/// The group that an address's owner hears (RFC 4291, 2.7.1).
fn solicited(target: Ipv6Addr) -> Ipv6Addr {
    let low = u128::from(target) & 0xff_ffff;
    Ipv6Addr::from(0xff02_u128 << 112 | 0x1_ff00_0000 | low)
}

/// As routes are asked for it.
fn question(source: IpAddr, destination: IpAddr) -> Packet {
    Packet {
        protocol: ICMP6,
        ttl: 255,
        size: SIZE,
        df: true,
        ..Packet::new(source, destination)
    }
}

/// As rules are.
fn said(source: IpAddr, destination: IpAddr, kind: u16) -> Packet {
    Packet {
        dport: kind << 8,
        ..question(source, destination)
    }
}

/// A router's, of its networks: the kernel has it as a local route of its own.
fn is_anycast(space: &Space<'_>, device: &Device, target: Ipv6Addr) -> Result<bool, Unknown> {
    let routes = space.stack.routes.whole();
    let routes = routes.map_err(|why| Unknown::NotRead("routes", why.clone()))?;
    Ok(routes.iter().any(|r| {
        let leads = r.hops.iter().any(|hop| hop.device == device.index);
        let own = r.kind == Kind::Anycast && r.table == LOCAL;
        own && leads && r.to.address == IpAddr::V6(target)
    }))
}

/// A router answers for others where it is told whom.
fn proxies(
    space: &Space<'_>,
    device: &Device,
    conf: Of6<'_>,
    target: Ipv6Addr,
) -> Result<bool, Unknown> {
    if !conf.device.forwarding || !conf.proxy_ndp() {
        return Ok(false);
    }
    let proxied = space.stack.proxied.whole();
    let proxied = proxied.map_err(|why| Unknown::NotRead("proxied neighbours", why.clone()))?;
    // One for every device joins no group, so that the question is not heard.
    let own = |one: &Proxied| one.address == IpAddr::V6(target) && one.device == Some(device.index);
    Ok(proxied.iter().any(own))
}
