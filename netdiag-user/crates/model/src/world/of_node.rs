//! The state of a node's own namespace from what its snapshot tells: what is kept of a node in every reading,
//! and in recordings of before anybody asked for a namespace whole. Routes stand in the snapshot's order.
use std::collections::BTreeMap;

use super::{
    Known, Stack,
    address::{Address, Flags as AddressFlags, Scope},
    conf::{Conf4, Conf6, Settings},
    device::{Device, Flags, Kind, Mac},
    neighbour::{Neighbour, State},
    route::{Hop, Kind as RouteKind, Metrics, Preference, Route},
    rule::{Action, Masked, Range, Rule},
};
use crate::{
    node::{self, LOCAL, Link, LinkKind, MAIN, Node},
    policy::{self, PolicyRule},
};

/// RT_TABLE_DEFAULT, the kernel's third own table.
const DEFAULT: u32 = 253;
/// Priorities of its three rules (net/ipv4/fib_rules.c).
const OWN: [(u32, u32); 3] = [(0, LOCAL), (32_766, MAIN), (32_767, DEFAULT)];

/// Of a family in which nobody said what the rules are, the kernel's own, and after them each other table, of which
/// nobody knows who asks it.
pub fn stack(node: &Node) -> Stack {
    let devices = devices(node);
    Stack {
        nodes_id: None,
        at_links: Known::default(),
        ipvs: Known::default(),
        ipsec: Known::default(),
        addresses: Known::Is(addresses(node)),
        rules: Known::Is(rules(node)),
        routes: Known::Is(node.routes.iter().map(route).collect()),
        nexthops: Known::Is(BTreeMap::new()),
        exceptions: Known::default(),
        neighbours: Known::Is(neighbours(node)),
        proxied: Known::default(),
        fdb: Known::default(),
        settings: Known::Is(Settings {
            default_ttl: 64,
            all4: conf4(node, "all"),
            all6: conf6(node, "all"),
            ..Settings::default()
        }),
        ruleset: Known::default(),
        devices: Known::Is(devices),
        moment: 0,
        generation: 0,
    }
}

fn devices(node: &Node) -> BTreeMap<u32, Device> {
    let known = node
        .links
        .iter()
        .map(|link| (link.index, device(node, link)));
    let mut all: BTreeMap<u32, Device> = known.collect();
    // A list of links may end at a bound.
    for index in node.routes.iter().filter_map(|route| route.oif) {
        let other = || Device {
            index,
            name: String::new(),
            kind: Kind::Other(String::new()),
            mtu: u32::from(u16::MAX),
            flags: Flags {
                up: true,
                ..Flags::default()
            },
            running: true,
            lower_up: true,
            ethernet: false,
            mac: None,
            master: None,
            lower: None,
            lower_netnsid: None,
            group: 0,
            port: None,
            bond_port: None,
            vlans: None,
            conf4: Some(Conf4::default()),
            conf6: Some(Conf6::default()),
        };
        all.entry(index).or_insert_with(other);
    }
    all
}

fn device(node: &Node, link: &Link) -> Device {
    let mac = link.lladdr.as_deref().and_then(mac);
    let loopback = link.kind == LinkKind::Loopback;
    Device {
        index: link.index,
        name: link.name.clone(),
        kind: match &link.kind {
            LinkKind::Loopback => Kind::Loopback,
            LinkKind::Physical => Kind::Physical,
            LinkKind::Veth => Kind::Veth,
            LinkKind::Netkit => Kind::Netkit,
            // What else there is to know of a bridge or a tunnel, a snapshot does not.
            other => Kind::Other(format!("{other:?}")),
        },
        mtu: link.mtu,
        flags: Flags {
            up: link.up,
            loopback,
            promiscuous: link.promiscuous,
            ..Flags::default()
        },
        running: link.up && link.carrier,
        lower_up: link.carrier,
        ethernet: link.ethernet,
        mac,
        master: link.master,
        lower: link.link,
        lower_netnsid: None,
        group: 0,
        port: None,
        bond_port: None,
        vlans: None,
        conf4: Some(conf4(node, &link.name)),
        conf6: Some(conf6(node, &link.name)),
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

fn number(node: &Node, name: &str) -> u8 {
    let value = node
        .sysctl(name)
        .and_then(|value| value.trim().parse().ok());
    value.unwrap_or(0)
}

/// The first of these switches that was read; what nobody read refuses nothing.
fn forwards(node: &Node, names: &[&str]) -> bool {
    let mut values = names.iter().filter_map(|name| node.sysctl(name));
    values.next().is_none_or(|value| value.trim() != "0")
}

fn conf4(node: &Node, name: &str) -> Conf4 {
    // A name may have dots, as VLANs' have.
    let name = name.replace('.', "/");
    let of = |what: &str| number(node, &format!("net.ipv4.conf.{name}.{what}"));
    let own = format!("net.ipv4.conf.{name}.forwarding");
    Conf4 {
        forwarding: forwards(node, &[&own, "net.ipv4.ip_forward"]),
        rp_filter: of("rp_filter"),
        accept_local: of("accept_local") != 0,
        route_localnet: of("route_localnet") != 0,
        src_valid_mark: of("src_valid_mark") != 0,
        proxy_arp: of("proxy_arp") != 0,
        ..Conf4::default()
    }
}

fn conf6(node: &Node, name: &str) -> Conf6 {
    let name = name.replace('.', "/");
    let of = |what: &str| number(node, &format!("net.ipv6.conf.{name}.{what}"));
    Conf6 {
        disable: of("disable_ipv6") != 0,
        forwarding: forwards(node, &[&format!("net.ipv6.conf.{name}.forwarding")]),
        hop_limit: 64,
        ..Conf6::default()
    }
}

fn addresses(node: &Node) -> Vec<Address> {
    let all = node.addresses().map(|(link, address)| Address {
        device: link.index,
        own: address.prefix,
        peer: None,
        broadcast: None,
        scope: match (link.kind == LinkKind::Loopback, address.link_local) {
            (true, _) => Scope::HOST,
            (_, true) => Scope::LINK,
            _ => Scope::UNIVERSE,
        },
        flags: AddressFlags::default(),
    });
    all.collect()
}

fn neighbours(node: &Node) -> Vec<Neighbour> {
    let all = node.neighbours.iter().map(|entry| Neighbour {
        device: entry.ifindex,
        address: entry.address,
        mac: entry.lladdr.as_deref().and_then(mac),
        state: match (entry.failed, entry.permanent, &entry.lladdr) {
            (true, ..) => State::Failed,
            (_, true, _) => State::Permanent,
            (.., None) => State::Incomplete,
            _ => State::Valid,
        },
    });
    all.collect()
}

fn route(route: &node::Route) -> Route {
    let hop = route.oif.map(|device| Hop {
        device,
        gateway: route.gateway,
        weight: 1,
        dead: false,
        linkdown: false,
        onlink: false,
        encap: false,
    });
    Route {
        kind: match route.kind {
            node::RouteKind::Unicast => RouteKind::Unicast,
            node::RouteKind::Local => RouteKind::Local,
            node::RouteKind::Refusing => RouteKind::Unreachable,
        },
        table: route.table,
        to: route.destination,
        from: None,
        tos: 0,
        priority: route.metric,
        scope: Scope::UNIVERSE,
        protocol: 0,
        prefsrc: None,
        metrics: Metrics {
            mtu: route.mtu,
            ..Metrics::default()
        },
        hops: hop.into_iter().collect(),
        nexthop: None,
        ipv6_preference: Preference::default(),
    }
}

fn rules(node: &Node) -> Vec<Rule> {
    [false, true]
        .into_iter()
        .flat_map(
            |ipv6| match node.rules.iter().any(|rule| rule.ipv6 == ipv6) {
                true => node
                    .rules
                    .iter()
                    .filter(|r| r.ipv6 == ipv6)
                    .filter_map(rule)
                    .collect(),
                false => kernels(node, ipv6),
            },
        )
        .collect()
}

fn kernels(node: &Node, ipv6: bool) -> Vec<Rule> {
    let mut others: Vec<u32> = node.routes.iter().map(|route| route.table).collect();
    others.retain(|table| ![LOCAL, MAIN, DEFAULT].contains(table));
    others.sort_unstable();
    others.dedup();
    let others = others.into_iter().map(|table| (OWN[2].0, table));
    let all = OWN.into_iter().chain(others);
    all.map(|(priority, table)| Rule::every(ipv6, priority, Action::Table(table)))
        .collect()
}

/// Nothing of one with a selector that cannot be read back: it is as if it took nothing.
pub fn rule(rule: &PolicyRule) -> Option<Rule> {
    let action = match rule.action {
        policy::Action::Table(table) => Action::Table(table),
        policy::Action::Refuse => Action::Prohibit,
        policy::Action::Goto(to) => Action::Goto(to),
        policy::Action::Nothing => Action::Nop,
    };
    let read = Rule {
        invert: rule.not,
        from: rule.from,
        to: rule.to,
        iif: rule.iif.clone(),
        suppress_prefix_length: rule.suppress_prefix_length,
        ..Rule::every(rule.ipv6, rule.priority, action)
    };
    match rule.others {
        true => selected(read, &rule.line),
        false => Some(read),
    }
}

/// With what its line says beside, as ip-rule(8) prints it.
fn selected(mut rule: Rule, line: &str) -> Option<Rule> {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        match word {
            "fwmark" => rule.mark = Some(masked(words.next()?)?),
            "oif" => rule.oif = Some(words.next()?.to_owned()),
            "uidrange" => rule.uids = Some(range(words.next()?)?),
            "sport" => rule.sports = Some(range(words.next()?)?),
            "dport" => rule.dports = Some(range(words.next()?)?),
            "ipproto" => rule.protocol = Some(protocol(words.next()?)?),
            "from" | "to" | "iif" | "lookup" | "suppress_prefixlength" | "goto" => {
                words.next()?;
            }
            "not" | "nop" | "blackhole" | "unreachable" | "prohibit" => {}
            _ => return None,
        }
    }
    let any = rule.mark.is_some()
        || rule.oif.is_some()
        || rule.uids.is_some()
        || rule.protocol.is_some()
        || rule.sports.is_some()
        || rule.dports.is_some();
    any.then_some(rule)
}

fn masked(text: &str) -> Option<Masked> {
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    let hex = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    Some(Masked {
        value: hex(value)?,
        mask: hex(mask)?,
    })
}

fn range<T: std::str::FromStr>(text: &str) -> Option<Range<T>> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    Some(Range {
        start: start.parse().ok()?,
        end: end.parse().ok()?,
    })
}

fn protocol(text: &str) -> Option<u8> {
    let known = (0..=u8::MAX).find(|number| crate::flow::protocol(*number) == text);
    known.or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{overlay_node, policy};

    #[test]
    fn lines_of_rules_are_read_back() {
        let read = |line: &str| {
            let mut made = policy(5, policy::Action::Table(7), line);
            made.others = true;
            rule(&made)
        };
        let marked = read("from all fwmark 0x7/0xff lookup 7").expect("a rule");
        let (value, mask) = (7, 0xff);
        assert_eq!(marked.mark, Some(Masked { value, mask }));
        let ports = read("from all ipproto tcp dport 80-90 lookup 7").expect("a rule");
        assert_eq!(
            (ports.protocol, ports.dports),
            (Some(6), Some(Range { start: 80, end: 90 }))
        );
        assert_eq!(read("from all tos 0x10 lookup 7"), None);
        assert_eq!(read("from all fwmark no lookup 7"), None);
    }

    #[test]
    fn a_snapshot_without_rules_has_the_kernels() {
        let stack = stack(&overlay_node(1450, 1450, 1500));
        let rules = stack.rules.whole().expect("rules");
        assert_eq!(rules.len(), 6, "three of each family");
        assert_eq!(stack.routes.whole().expect("routes").len(), 3);
    }
}
