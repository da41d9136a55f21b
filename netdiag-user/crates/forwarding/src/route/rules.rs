//! The rules, one after the other (net/core/fib_rules.c, net/ipv4/fib_rules.c): one that takes the
//! packet and whose table has a way decides; one that refuses decides too.
use std::net::IpAddr;

use netdiag_model::world::{
    device::Kind as DeviceKind,
    route::{Hop, Kind, Route},
    rule::{Action, Rule},
};

use super::table::SHARED;
use crate::{
    prepared::Space,
    way::{How, Subject, Unknown},
};

/// Index of loopback in every namespace: where a namespace's own packets are said to come from.
pub const LOOPBACK: u32 = 1;
/// RT_TABLE_DEFAULT
const DEFAULT: u32 = 253;

/// What is asked for a way (`struct flowi4`).
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub destination: IpAddr,
    pub source: IpAddr,
    pub tos: u8,
    pub mark: u32,
    pub iif: u32,
    /// 0 for any.
    pub oif: u32,
    pub uid: u32,
    /// 0 where nobody looked.
    pub protocol: u8,
    pub sport: u16,
    pub dport: u16,
    /// Ways by devices without a signal are as good as others.
    pub ignore_linkstate: bool,
    /// Ways by other devices than the one that is asked for are taken, after its own.
    pub loose: bool,
    /// A next hop by a device that was just given up, whatever the state says of it.
    pub failing: Option<(u32, IpAddr)>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Looked<'w> {
    Found(Found<'w>),
    /// A route or a rule says no.
    Refused(How, Subject<'w>),
    None,
}

#[derive(Clone, Debug)]
pub struct Found<'w> {
    pub route: &'w Route,
    /// Those that it can take, never none.
    pub hops: Vec<&'w Hop>,
}

impl<'w> Space<'w> {
    /// The way for a packet.
    pub fn lookup(&self, key: &Key) -> Result<Looked<'w>, Unknown> {
        self.lookup_by(key).map(|(looked, _)| looked)
    }

    /// The same, with the rule that decided, where there are any.
    pub fn lookup_by(&self, key: &Key) -> Result<(Looked<'w>, Option<&'w Rule>), Unknown> {
        let rules = self.rules(key.destination.is_ipv6())?;
        if !key.destination.is_ipv6() && self.settings()?.one_trie {
            return Ok((self.without_rules(key)?, None));
        }
        let mut at = 0;
        while let Some(rule) = rules.get(at) {
            at += 1;
            if !self.takes(rule, key)? {
                continue;
            }
            match rule.action {
                Action::Nop => {}
                // Forward alone; to a priority that no rule has, it does nothing.
                Action::Goto(to) => {
                    if let Some(target) = rules.iter().position(|rule| rule.priority == to) {
                        at = target;
                    }
                }
                Action::Blackhole => return Ok(refused(How::Blackhole, rule)),
                Action::Unreachable => return Ok(refused(How::UnreachableByRule, rule)),
                Action::Prohibit => return Ok(refused(How::Prohibited, rule)),
                // It asks the table of the VRF that it comes in or goes out by.
                Action::L3mdev if !self.is_in_vrf(key)? => {}
                Action::L3mdev => return Err(Unknown::NotModelled("VRF".into())),
                Action::Table(table) => match self.in_tables((table, None), key)? {
                    Looked::Found(found) if self.suppresses(rule, &found)? => {}
                    Looked::None => {}
                    decided => return Ok((decided, Some(rule))),
                },
            }
        }
        Ok((Looked::None, None))
    }

    /// Whether it comes in or goes out by a VRF or a device of one (`l3mdev_fib_rule_match`).
    fn is_in_vrf(&self, key: &Key) -> Result<bool, Unknown> {
        let somebodys = |index: &u32| ![0, LOOPBACK].contains(index);
        for index in [key.iif, key.oif].into_iter().filter(somebodys) {
            let device = self.device(index)?;
            let master = device.master.map(|index| self.device(index)).transpose()?;
            let mut both = std::iter::once(device).chain(master);
            if both.any(|device| matches!(device.kind, DeviceKind::Vrf { .. })) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn rules(&self, ipv6: bool) -> Result<&[&'w Rule], Unknown> {
        let rules = self.stack.rules.whole();
        rules.map_err(|why| Unknown::NotRead("policy rules", why.clone()))?;
        Ok(self.listed.rules(ipv6))
    }

    /// Until somebody makes a rule, `local` and `main` share one trie, and the longest prefix of both
    /// wins (`fib_lookup`, include/net/ip_fib.h); what `main` refuses, `default` may still know.
    fn without_rules(&self, key: &Key) -> Result<Looked<'w>, Unknown> {
        match self.in_tables(SHARED, key)? {
            found @ Looked::Found(_) => Ok(found),
            refused if !self.fib.has(false, DEFAULT) => Ok(refused),
            _ => self.in_tables((DEFAULT, None), key),
        }
    }

    fn takes(&self, rule: &Rule, key: &Key) -> Result<bool, Unknown> {
        if let Some(attribute) = rule.unknown {
            let name = format!("rule {} with attribute {attribute}", rule.priority);
            return Err(Unknown::NotModelled(name));
        }
        if key.sport == 0 && key.dport != 0 && rule.sports.is_some() {
            let what = "the source port of a tunnel's packets";
            return Err(Unknown::NotModelled(what.into()));
        }
        let device = |name: &Option<String>, index: u32| {
            let is = |name: &String| {
                let device = self.stack.device(index);
                device.is_some_and(|device| device.name == *name)
            };
            name.as_ref().is_none_or(is)
        };
        let inside = |prefix: Option<netdiag_model::address::Prefix>, address: IpAddr| {
            prefix.is_none_or(|prefix| prefix.contains(address))
        };
        let all = device(&rule.iif, key.iif)
            && device(&rule.oif, key.oif)
            && rule.mark.is_none_or(|mark| mark.takes(key.mark))
            // What came out of no tunnel has the key 0.
            && rule.tunnel_id.is_none_or(|id| id == 0)
            && rule.uids.is_none_or(|uids| uids.has(&key.uid))
            && inside(rule.from, key.source)
            && inside(rule.to, key.destination)
            && (rule.tos == 0 || rule.tos == key.tos)
            && rule.protocol.is_none_or(|protocol| protocol == key.protocol)
            && rule.sports.is_none_or(|ports| ports.has(&key.sport))
            && rule.dports.is_none_or(|ports| ports.has(&key.dport));
        Ok(all != rule.invert)
    }

    /// Whether a rule goes by the traffic class.
    pub fn looks_for_class(&self, ipv6: bool) -> Result<bool, Unknown> {
        Ok(self.rules(ipv6)?.iter().any(|rule| rule.tos != 0))
    }

    /// Whether any rule makes the kernel look for ports in packets that come in
    /// (`fib_rule_requires_fldissect`).
    pub fn looks_for_ports(&self, ipv6: bool) -> Result<bool, Unknown> {
        let asks = |rule: &&'w Rule| {
            let ports = rule.protocol.is_some() || rule.sports.is_some() || rule.dports.is_some();
            ports && rule.iif.as_deref() != Some("lo")
        };
        Ok(self.rules(ipv6)?.iter().any(asks))
    }

    /// Whether any rule of IPv6's takes less than its table has.
    pub fn suppresses_some6(&self) -> Result<bool, Unknown> {
        let less =
            |rule: &Rule| rule.suppress_prefix_length.is_some() || rule.suppress_group.is_some();
        Ok(self.rules(true)?.iter().any(|rule| less(rule)))
    }

    fn suppresses(&self, rule: &Rule, found: &Found<'w>) -> Result<bool, Unknown> {
        let short = rule.suppress_prefix_length;
        if short.is_some_and(|length| found.route.to.length <= length) {
            return Ok(true);
        }
        let Some(group) = rule.suppress_group else {
            return Ok(false);
        };
        let Some(first) = found.route.hops.first() else {
            return Ok(false);
        };
        Ok(self.device(first.device)?.group == group)
    }

    /// The first route of these tables that the packet can take, or that refuses it. A host of IPv6 prefers one
    /// whose next hop is not known to be gone, however short its network (`fib6_table_lookup`).
    fn in_tables(&self, tables: (u32, Option<u32>), key: &Key) -> Result<Looked<'w>, Unknown> {
        let routes = self.stack.routes.whole();
        routes.map_err(|why| Unknown::NotRead("routes", why.clone()))?;
        let alive = match key.destination.is_ipv6()
            && (key.failing.is_some() || self.has_given_up_some())
        {
            true => self.first(tables, key, true)?,
            false => Looked::None,
        };
        match alive {
            Looked::None => self.first(tables, key, false),
            alive => Ok(alive),
        }
    }

    /// Whether a host keeps off a next hop (`rt6_check_neigh`).
    fn keeps_off(&self, hop: &Hop, key: &Key) -> Result<bool, Unknown> {
        let Some(gateway) = hop.gateway else {
            return Ok(false);
        };
        let to = (hop.device, gateway);
        let gone = key.failing == Some(to) || self.has_given_up(to);
        let conf = self.conf6(self.device(hop.device)?)?;
        Ok(gone && conf.is_some_and(|conf| !conf.all.forwarding))
    }

    fn first(
        &self,
        tables: (u32, Option<u32>),
        key: &Key,
        alive: bool,
    ) -> Result<Looked<'w>, Unknown> {
        let mut routes = self.fib.to(tables, key.destination);
        // Where an object is of no use, no other route of that network is looked at (`fib_table_lookup`).
        let mut missed = None;
        while let Some(route) = routes.next() {
            if missed == Some(route.to.address) {
                continue;
            }
            if route.tos != 0 && route.tos != key.tos {
                continue;
            }
            // IPv6 has loopback as the device of what leads nowhere, and a bound socket asks for its own; an object that
            // leads nowhere has none (`__find_rr_leaf`).
            let asks =
                key.oif != 0 && key.oif != LOOPBACK && key.destination.is_ipv6() && !key.loose;
            let bound = asks || is_of_a_link(key.destination) && key.iif != LOOPBACK;
            let bound = bound && route.nexthop.is_none();
            match route.kind {
                Kind::Throw | Kind::Blackhole | Kind::Unreachable | Kind::Prohibit if bound => {
                    continue;
                }
                Kind::Throw => return Ok(Looked::None),
                Kind::Blackhole => return refused_by(How::Blackhole, route),
                Kind::Unreachable => return refused_by(How::Unreachable, route),
                Kind::Prohibit => return refused_by(How::Prohibited, route),
                _ => {}
            }
            let hops = self.usable(route, key, alive)?;
            if !hops.is_empty() {
                let found = Found { route, hops };
                let found = self.back_again(found, routes, (key, alive))?;
                return Ok(Looked::Found(found));
            }
            if route.nexthop.is_some() && route.to.address.is_ipv4() {
                missed = Some(route.to.address);
            }
        }
        Ok(Looked::None)
    }

    /// Of IPv6's routes to the same network with the same metric the one by which a packet came in, or is to
    /// leave, comes first (`ip6_pol_route` asks for that device, and takes others too).
    fn back_again(
        &self,
        found: Found<'w>,
        others: impl Iterator<Item = &'w Route>,
        (key, alive): (&Key, bool),
    ) -> Result<Found<'w>, Unknown> {
        let wanted = if key.loose { key.oif } else { key.iif };
        let leads = |hops: &[&Hop]| hops.iter().any(|hop| hop.device == wanted);
        let first = found.route;
        let prefers = first.to.address.is_ipv6() && wanted != LOOPBACK;
        if !prefers || leads(&found.hops) {
            return Ok(found);
        }
        let like = |other: &&Route| {
            (other.to, other.priority, other.kind) == (first.to, first.priority, first.kind)
        };
        for route in others.take_while(like) {
            let hops = self.usable(route, key, alive)?;
            if leads(&hops) {
                return Ok(Found { route, hops });
            }
        }
        Ok(found)
    }

    /// Next hops that are alive and lead by the device that is asked for (`fib_lookup_good_nhc`), those that are known
    /// to be gone left out if asked.
    fn usable(&self, route: &'w Route, key: &Key, alive: bool) -> Result<Vec<&'w Hop>, Unknown> {
        let mut usable = Vec::new();
        for hop in &route.hops {
            let device = self.device(hop.device)?;
            let ignored = match route.to.address {
                IpAddr::V4(_) => self
                    .conf4(device)?
                    .is_some_and(|conf| conf.ignore_routes_with_linkdown()),
                IpAddr::V6(_) => self
                    .conf6(device)?
                    .is_some_and(|conf| conf.ignore_routes_with_linkdown()),
            };
            let without_signal = hop.linkdown && ignored && !key.ignore_linkstate;
            let other = key.oif != 0 && key.oif != hop.device && !key.loose
                || is_of_a_link(key.destination) && ![hop.device, LOOPBACK].contains(&key.iif);
            let gone = alive && self.keeps_off(hop, key)?;
            if !hop.dead && !without_signal && !other && !gone {
                usable.push(hop);
            }
        }
        Ok(usable)
    }
}

/// Means something on the link alone that it came in by (`rt6_need_strict`).
pub fn is_of_a_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast() || v6.is_loopback(),
    }
}

fn refused<'w>(how: How, rule: &'w Rule) -> (Looked<'w>, Option<&'w Rule>) {
    (Looked::Refused(how, Subject::Rule(rule)), Some(rule))
}

fn refused_by<'w>(how: How, route: &'w Route) -> Result<Looked<'w>, Unknown> {
    Ok(Looked::Refused(how, Subject::Route(route)))
}
