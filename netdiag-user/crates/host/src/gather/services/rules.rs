//! Services as rules have them: addresses and ports by which connections are led to others, or refused. kube-proxy's are
//! told by its chains' names, which lend Services theirs (pkg/proxy/{iptables,nftables}/proxier.go).
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Result, ensure};
use netdiag_ruleset::leads::{Beside, Does, Packets, Step, Way, leads};

use crate::model::{
    netfilter::Iptables,
    services::{Engine, Published, Service, Services},
    text,
    world::ruleset::{Chain, ChainKind, Hook, NatKind, Ruleset, Table},
};

/// kube-proxy's tables of nftables, and the beginning of its chains' names in iptables'.
const TABLE: &str = "kube-proxy";
const CHAINS: &str = "KUBE-";
/// The one that it always has.
const SERVICES: &str = "KUBE-SERVICES";
/// Refuses whom a load balancer's address is not for (loadBalancerSourceRanges): the Service has endpoints. Until 1.24 such
/// a chain ends by a mark for a drop, whomever it is for.
const SOURCES: &str = "KUBE-PROXY-FIREWALL";
const BALANCERS: &str = "KUBE-FW-";
/// By IPVS, behind a set of such addresses: in the table nat until 1.26 (pkg/proxy/ipvs/ipset.go), then of its own.
const BY_IPVS: [&str; 2] = ["KUBE-FIREWALL", "KUBE-SOURCE-RANGES-FIREWALL"];
/// Steps through rules: some ten for each that has to do with a Service, a second's work and more.
const MOST: usize = 1 << 24;
/// Characters of a Service's name.
const LONGEST: usize = 300;

/// Of whom: address, port and protocol.
type Key = (IpAddr, u16, u8);

#[derive(Default)]
struct Found {
    backends: BTreeSet<(IpAddr, u16)>,
    name: Option<String>,
    rejected: bool,
    local: bool,
    engine: Option<Engine>,
    table: Option<Box<str>>,
}

/// What rules do with packets that they have marked.
#[derive(Default)]
struct Reading {
    services: BTreeMap<Key, Found>,
    /// Marks of packets that are dropped, and who gets one.
    dropped: BTreeSet<u32>,
    marked: Vec<(u32, Key, Found)>,
}

pub fn read(rules: &Ruleset, found: &mut Services) -> Result<()> {
    let mut reading = Reading::default();
    let mut left = MOST;
    for table in rules.tables.iter().filter(|table| !table.dormant) {
        found.kube_proxy |= table.name == TABLE || table.chain(SERVICES).is_some();
        for (chain, kind) in table.chains.iter().filter_map(asked) {
            let mut each = |way: &Way<'_, '_>| match kind {
                ChainKind::Nat => reading.translated(table, way, found),
                _ => reading.refused(table, way),
            };
            let beside = Beside {
                ipsets: &rules.ipsets,
                // Those by which it leads to ports of the node's.
                own_addresses: table.name == TABLE,
            };
            let whole = leads(table, beside, chain, &mut left, &mut each);
            ensure!(
                whole,
                "it takes more than {MOST} steps to see where the rules lead"
            );
        }
    }
    reading.close(found);
    Ok(())
}

/// A chain that may lead packets to others, or refuse them.
fn asked(chain: &Chain) -> Option<(&Chain, ChainKind)> {
    let base = chain.base.as_ref()?;
    let asked = match base.kind {
        ChainKind::Nat => matches!(base.hook, Hook::Prerouting | Hook::Output),
        _ => base.hook != Hook::Postrouting,
    };
    asked.then_some((chain, base.kind))
}

impl Reading {
    fn translated(&mut self, table: &Table, way: &Way<'_, '_>, found: &mut Services) {
        let kube_proxy = is_kube_proxys(table, way.through);
        match &way.does {
            Does::Translates(to) if to.kind == NatKind::Destination => {
                if !kube_proxy {
                    published(&way.packets, found);
                }
                let Some((backend, key)) = to.address.zip(key(&way.packets, kube_proxy)) else {
                    return;
                };
                let service = self.services.entry(key).or_default();
                service.backends.insert((backend, to.port.unwrap_or(key.1)));
                service.meet(table, way.through, kube_proxy);
            }
            Does::Marks(bits) if kube_proxy && !is_for_others(way.through) => {
                if let Some(key) = key(&way.packets, true) {
                    let mut service = Found::default();
                    service.meet(table, way.through, true);
                    self.marked.push((*bits, key, service));
                }
            }
            // A map of kube-proxy's own says whom it refuses.
            Does::Drops | Does::Rejects => self.refused(table, way),
            _ => {}
        }
    }

    /// kube-proxy rejects what has no endpoints, and drops what has none on this node.
    fn refused(&mut self, table: &Table, way: &Way<'_, '_>) {
        let local = match way.does {
            Does::Drops => true,
            Does::Rejects => false,
            _ => return,
        };
        let packets = &way.packets;
        if local && packets.to_anywhere() && packets.ports.is_none() {
            self.dropped
                .extend(Some(packets.marked).filter(|mark| *mark != 0));
        }
        if packets.some_sources || is_for_others(way.through) || !is_kube_proxys(table, way.through)
        {
            return;
        }
        if let Some(key) = key(packets, true) {
            let service = self.services.entry(key).or_default();
            service.meet(table, way.through, true);
            service.rejected = true;
            service.local |= local;
        }
    }

    fn close(mut self, found: &mut Services) {
        for (bits, key, marked) in self.marked {
            if self.dropped.iter().any(|mark| mark & bits == *mark) {
                let service = self.services.entry(key).or_default();
                (service.rejected, service.local) = (true, true);
                service.name = service.name.take().or(marked.name);
                service.engine = service.engine.or(marked.engine);
                service.table = service.table.take().or(marked.table);
            }
        }
        for ((address, port, protocol), it) in self.services {
            let Some(engine) = it.engine else { continue };
            let service = Service {
                address,
                port,
                protocol,
                name: it.name,
                backends: it.backends.into_iter().collect(),
                rejected: it.rejected,
                local: it.local,
                engine,
                table: it.table.filter(|_| engine != Engine::IptablesLegacy),
            };
            match address.is_unspecified() {
                true => found.add_node_port(service),
                false => found.rules.push(service),
            }
        }
    }
}

impl Found {
    fn meet(&mut self, table: &Table, through: &[Step<'_>], kube_proxy: bool) {
        self.engine = self.engine.or(Some(engine(table, through)));
        self.table.get_or_insert_with(|| table.name.as_str().into());
        if self.name.is_none() && kube_proxy {
            self.name = through.iter().find_map(name);
        }
    }
}

fn is_kube_proxys(table: &Table, through: &[Step<'_>]) -> bool {
    let own = |it: &Step<'_>| it.chain.name.starts_with(CHAINS);
    table.name == TABLE || through.iter().any(own)
}

fn is_for_others(through: &[Step<'_>]) -> bool {
    let names = || through.iter().map(|it| it.chain.name.as_str());
    let refuses = |name: &str| name == SOURCES || BY_IPVS.contains(&name);
    names().any(|name| refuses(name) || name.starts_with(BALANCERS))
}

/// Of a rule for a port of one address; for one of any of the node's addresses theirs is unspecified.
fn key(packets: &Packets, kube_proxy: bool) -> Option<Key> {
    let any = || -> IpAddr {
        match packets.ipv6 {
            Some(true) => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        }
    };
    let node_port = kube_proxy && packets.to_anywhere();
    let address = packets.destination().or_else(|| node_port.then(any))?;
    Some((address, packets.port()?, packets.protocol?))
}

/// Ports of the node's own that somebody leads on: a hostPort, Docker's, an administrator's.
fn published(packets: &Packets, found: &mut Services) {
    let address = packets.destination();
    let (Some(protocol), Some(ports)) = (packets.protocol, packets.ports) else {
        return;
    };
    for ipv6 in [false, true] {
        if packets.of(ipv6).is_some() {
            found.publish(Published {
                address,
                ipv6,
                protocol,
                ports,
            });
        }
    }
}

fn engine(table: &Table, through: &[Step<'_>]) -> Engine {
    let program = table.program(through.iter().map(|it| it.rule));
    program.map_or(Engine::Nftables, Iptables::engine)
}

/// `default/web:http cluster IP`, `default/web:http has no endpoints`: the first word of a comment; else of a chain.
fn name(step: &Step<'_>) -> Option<String> {
    let comment = step.comment.or(step.rule.comment.as_deref());
    let first = comment.and_then(|comment| comment.split(' ').next());
    let told = first.filter(|first| first.contains('/'));
    let told = told.map(|told| text::line(told, LONGEST));
    told.or_else(|| of_chain(&step.chain.name))
}

/// `service-ULMVA6XW-ns1/svc1/tcp/p80`: namespace, name, protocol and port behind a hash.
fn of_chain(chain: &str) -> Option<String> {
    let mut parts = chain.splitn(3, '-').nth(2)?.split('/');
    let (namespace, name) = (parts.next()?, parts.next()?);
    let port = parts.nth(1).filter(|port| !port.is_empty());
    let told = match port {
        Some(port) => format!("{namespace}/{name}:{port}"),
        None => format!("{namespace}/{name}"),
    };
    Some(text::line(&told, LONGEST))
}
