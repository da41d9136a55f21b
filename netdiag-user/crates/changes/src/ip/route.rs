//! ip-route(8), and what the kernel fills in where it says nothing (net/ipv4/fib_frontend.c, net/ipv6/route.c).
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdiag_model::{
    address::Prefix,
    node::{LOCAL, MAIN},
    world::{
        Stack,
        address::Scope,
        device::Device,
        route::{Hop, Kind, Metrics, Preference, Route},
    },
};

use super::Verb;
use crate::{
    Done, Refused, Words,
    device::{by_index, index, named, whole},
    words::{number, prefix, unknown},
};

/// `RTPROT_KERNEL`
const KERNEL: u8 = 2;
/// `RTPROT_BOOT`: what iproute2 says where nobody says anything.
const BOOT: u8 = 3;
/// `IP6_RT_PRIO_USER`
const METRIC6: u32 = 1024;

/// As it was asked for.
struct Asked {
    kind: Kind,
    to: Prefix,
    gateway: Option<IpAddr>,
    device: Option<u32>,
    onlink: bool,
    metric: Option<u32>,
    table: Option<u32>,
    scope: Option<Scope>,
    source: Option<IpAddr>,
    protocol: Option<u8>,
    metrics: Metrics,
}

pub fn change(stack: &mut Stack, (verb, ipv6): (Verb, Option<bool>), words: Words<'_>) -> Done {
    let asked = asked(stack, ipv6, words)?;
    if verb == Verb::Delete {
        let routes = whole(&mut stack.routes)?;
        let at = routes.iter().position(|route| asked.is(route));
        routes.remove(at.ok_or(Refused::Nothing)?);
        return Ok(());
    }
    let route = asked.made(stack)?;
    let routes = whole(&mut stack.routes)?;
    let same = |other: &Route| key(other) == key(&route);
    let at = routes.iter().position(same);
    match (verb, at) {
        (Verb::Change, None) => return Err(Refused::Nothing),
        (Verb::Add, Some(_)) => return Err(Refused::Exists),
        (Verb::Change | Verb::Replace, Some(at)) => routes[at] = route,
        (Verb::Add | Verb::Append, _) | (Verb::Replace, None) => routes.push(route),
        (Verb::Delete | Verb::Flush | Verb::Set, _) => return Err(Refused::NotModelled),
    }
    Ok(())
}

/// What no two routes have.
fn key(route: &Route) -> (u32, Prefix, Option<Prefix>, u8, u32) {
    let Route {
        table,
        to,
        from,
        tos,
        priority,
        ..
    } = route;
    (*table, *to, *from, *tos, *priority)
}

fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "unicast" => Kind::Unicast,
        "local" => Kind::Local,
        "blackhole" => Kind::Blackhole,
        "unreachable" => Kind::Unreachable,
        "prohibit" => Kind::Prohibit,
        "throw" => Kind::Throw,
        _ => return None,
    })
}

pub fn table(word: &str) -> Result<u32, Refused> {
    match word {
        "main" => Ok(MAIN),
        "local" => Ok(LOCAL),
        "default" => Ok(253),
        other => number(other),
    }
}

fn scope(word: &str) -> Result<Scope, Refused> {
    Ok(match word {
        "global" | "universe" => Scope::UNIVERSE,
        "site" => Scope::SITE,
        "link" => Scope::LINK,
        "host" => Scope::HOST,
        "nowhere" => Scope::NOWHERE,
        other => return Err(unknown(other)),
    })
}

fn asked(stack: &Stack, ipv6: Option<bool>, mut words: Words<'_>) -> Result<Asked, Refused> {
    let first = words.next()?;
    let (kind, to) = match kind(first) {
        Some(kind) => (kind, words.next()?),
        None => (Kind::Unicast, first),
    };
    let mut made = Asked {
        kind,
        // Of which family everything is, the next hop may tell alone.
        to: Prefix::host(Ipv4Addr::UNSPECIFIED.into()),
        gateway: None,
        device: None,
        onlink: false,
        metric: None,
        table: None,
        scope: None,
        source: None,
        protocol: None,
        metrics: Metrics::default(),
    };
    while let Some(word) = words.more() {
        match word {
            "via" => made.gateway = Some(words.address()?),
            "dev" => made.device = Some(index(stack, words.next()?)?),
            "onlink" => made.onlink = true,
            "metric" | "priority" | "preference" => made.metric = Some(words.number()?),
            "table" => made.table = Some(table(words.next()?)?),
            "scope" => made.scope = Some(scope(words.next()?)?),
            "src" => made.source = Some(words.address()?),
            "proto" | "protocol" => made.protocol = Some(protocol(words.next()?)?),
            "mtu" => {
                made.metrics.mtu_locked = words.take("lock");
                made.metrics.mtu = Some(words.number()?);
            }
            other => return Err(unknown(other)),
        }
    }
    let ipv6 = ipv6.or_else(|| made.gateway.map(|gateway| gateway.is_ipv6()));
    made.to = match (to, ipv6) {
        ("default", Some(true)) => everything(Ipv6Addr::UNSPECIFIED.into()),
        ("default", _) => everything(Ipv4Addr::UNSPECIFIED.into()),
        (to, _) => prefix(to)?,
    };
    Ok(made)
}

fn everything(address: IpAddr) -> Prefix {
    Prefix { address, length: 0 }
}

fn protocol(word: &str) -> Result<u8, Refused> {
    match word {
        "kernel" => Ok(KERNEL),
        "boot" => Ok(BOOT),
        "static" => Ok(4),
        other => other.parse().map_err(|_| unknown(other)),
    }
}

impl Asked {
    fn ipv6(&self) -> bool {
        self.to.address.is_ipv6()
    }

    fn table(&self) -> u32 {
        let usual = if self.kind == Kind::Local {
            LOCAL
        } else {
            MAIN
        };
        self.table.unwrap_or(usual)
    }

    /// Whether a route is the one to be deleted: what is not said may be anything.
    fn is(&self, route: &Route) -> bool {
        let hop = |hop: &Hop| {
            self.device.is_none_or(|device| hop.device == device) && { self.gateway }
                .is_none_or(|gateway| hop.gateway == Some(gateway))
        };
        let hops = self.device.is_none() && self.gateway.is_none() || route.hops.iter().any(hop);
        let kind = self.kind == Kind::Unicast && self.table.is_none() || self.kind == route.kind;
        (route.to, route.table) == (self.to, self.table())
            && kind
            && hops
            && self.metric.is_none_or(|metric| route.priority == metric)
            && self.scope.is_none_or(|scope| route.scope == scope)
            && { self.protocol }.is_none_or(|protocol| route.protocol == protocol)
    }

    fn made(&self, stack: &mut Stack) -> Result<Route, Refused> {
        let leads = matches!(self.kind, Kind::Unicast | Kind::Local);
        let hops = match leads {
            true => vec![self.hop(stack)?],
            false => Vec::new(),
        };
        let usual = match (self.ipv6(), self.kind, self.gateway) {
            (false, Kind::Local, _) => Scope::HOST,
            (false, Kind::Unicast, None) => Scope::LINK,
            _ => Scope::UNIVERSE,
        };
        let metric = match (self.ipv6(), self.metric) {
            (true, None | Some(0)) => METRIC6,
            (_, metric) => metric.unwrap_or(0),
        };
        Ok(Route {
            kind: self.kind,
            table: self.table(),
            to: self.to,
            from: None,
            tos: 0,
            priority: metric,
            scope: self.scope.unwrap_or(usual),
            protocol: self.protocol.unwrap_or(BOOT),
            prefsrc: self.source,
            metrics: self.metrics,
            hops,
            nexthop: None,
            ipv6_preference: Preference::default(),
        })
    }

    fn hop(&self, stack: &mut Stack) -> Result<Hop, Refused> {
        let device = match (self.device, self.gateway) {
            (Some(device), None) => device,
            (Some(device), Some(_)) if self.onlink => device,
            (asked, Some(gateway)) => {
                let leads = on_link(stack, asked, gateway)?;
                leads.ok_or(Refused::NoWay)?
            }
            // The kernel takes loopback.
            (None, None) => named(stack, "lo")?.index,
        };
        let link = by_index(stack, device)?;
        if !link.flags.up {
            return Err(Refused::NoWay);
        }
        Ok(Hop {
            gateway: self.gateway,
            onlink: self.onlink,
            ..by(link)
        })
    }
}

/// By a device alone.
fn by(device: &Device) -> Hop {
    Hop {
        device: device.index,
        gateway: None,
        weight: 1,
        dead: false,
        linkdown: !device.running,
        onlink: false,
        encap: false,
    }
}

/// One that the kernel makes by itself, of a device and its addresses.
pub(super) fn of_kernel(kind: Kind, table: u32, to: Prefix, device: &Device) -> Route {
    /// `IP6_RT_PRIO_ADDRCONF`
    const METRIC6: u32 = 256;
    let ipv4 = to.address.is_ipv4();
    Route {
        kind,
        table,
        to,
        from: None,
        tos: 0,
        priority: match (ipv4, kind) {
            (false, Kind::Unicast | Kind::Multicast) => METRIC6,
            _ => 0,
        },
        scope: match (ipv4, kind) {
            (false, _) => Scope::UNIVERSE,
            (true, Kind::Local) => Scope::HOST,
            (true, _) => Scope::LINK,
        },
        protocol: KERNEL,
        prefsrc: None,
        metrics: Metrics::default(),
        hops: vec![by(device)],
        nexthop: None,
        ipv6_preference: Preference::default(),
    }
}

/// Whether that made it.
pub(super) fn is_of_kernel(route: &Route) -> bool {
    route.protocol == KERNEL
}

/// The device by which a next hop is on the link; of a link-local address, the one that was said.
fn on_link(stack: &Stack, asked: Option<u32>, gateway: IpAddr) -> Result<Option<u32>, Refused> {
    if let (Some(device), IpAddr::V6(v6)) = (asked, gateway)
        && v6.is_unicast_link_local()
    {
        return Ok(Some(device));
    }
    let routes = stack.routes.whole().map_err(|_| Refused::NotRead)?;
    let leads = |route: &&Route| {
        route.kind == Kind::Unicast && route.table == MAIN && route.to.contains(gateway)
    };
    let mut all: Vec<&Route> = routes.iter().filter(leads).collect();
    all.sort_by_key(|route| (std::cmp::Reverse(route.to.length), route.priority));
    let hops = all.iter().flat_map(|route| &route.hops);
    let mut direct = hops.filter(|hop| hop.gateway.is_none());
    let found = direct.find(|hop| asked.is_none_or(|device| hop.device == device));
    Ok(found.map(|hop| hop.device))
}
