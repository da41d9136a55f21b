//! What a namespace's state says of names and addresses.
use super::samples::{name, text};
use crate::{
    model::{
        address::Prefix,
        link_filters::LinkHook,
        netfilter::Family,
        world::{
            AtLink, Known, Stack, Why,
            address::{Address, Flags, Scope},
            device::{Device, Df, Flags as DeviceFlags, IpTunnel, Kind, Mac, Vxlan},
            ipsec::{Direction, Ipsec, IpsecPolicy, Ports},
            ipvs::{Forward, Ipvs, RealServer, VirtualServer, Wanted},
            neighbour::{FdbEntry, Neighbour, Proxied, State},
            route::{Exception, Hop, Kind as RouteKind, Metrics, Nexthop, Preference, Route},
            rule::{Action, Rule as PolicyRule},
            ruleset::{Bytes, Chain, Compare, Expression, Reg, Rule, Ruleset, Table},
            wireguard::{Peer, WireGuard},
        },
    },
    testing::ip,
};

const MAC: Mac = Mac([0x02, 0xf1, 0xc5, 0xf6, 0x2a, 0x01]);

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

fn device(index: u32, kind: Kind) -> Device {
    Device {
        index,
        name: name(),
        kind,
        mtu: 1500,
        flags: DeviceFlags::default(),
        running: true,
        lower_up: true,
        ethernet: true,
        mac: Some(MAC),
        master: None,
        lower: None,
        lower_netnsid: None,
        group: 0,
        port: None,
        bond_port: None,
        vlans: None,
        conf4: None,
        conf6: None,
    }
}

fn hop() -> Hop {
    Hop {
        device: 1,
        gateway: Some(ip("10.20.30.40")),
        weight: 1,
        dead: false,
        linkdown: false,
        onlink: false,
        encap: false,
    }
}

fn tunnel() -> Vxlan {
    Vxlan {
        vni: 7,
        port: 4789,
        local: Some(ip("10.20.30.40")),
        remote: Some(ip("2001:db8:acce::7")),
        underlay: None,
        learning: true,
        external: false,
        proxy: false,
        ttl: 0,
        ttl_inherit: false,
        tos: 0,
        udp_csum: true,
        df: Df::Unset,
    }
}

fn route() -> Route {
    Route {
        kind: RouteKind::Unicast,
        table: 254,
        to: prefix("10.20.30.0/24"),
        from: Some(prefix("2001:db8:acce::/48")),
        tos: 0,
        priority: 0,
        scope: Scope::LINK,
        protocol: 2,
        prefsrc: Some(ip("10.20.30.40")),
        metrics: Metrics::default(),
        hops: vec![hop()],
        nexthop: None,
        ipv6_preference: Preference::Medium,
    }
}

fn rule() -> PolicyRule {
    PolicyRule {
        ipv6: false,
        priority: 100,
        action: Action::Table(254),
        invert: false,
        from: Some(prefix("10.20.30.0/24")),
        to: Some(prefix("10.20.30.40/32")),
        tos: 0,
        iif: Some(name()),
        oif: Some(name()),
        mark: None,
        uids: None,
        protocol: None,
        sports: None,
        dports: None,
        tunnel_id: None,
        suppress_prefix_length: None,
        suppress_group: None,
        unknown: None,
    }
}

fn entry() -> FdbEntry {
    FdbEntry {
        device: 1,
        master: None,
        mac: MAC,
        vlan: None,
        remote: Some(ip("10.20.30.40")),
        remote_port: None,
        remote_vni: None,
        remote_link: None,
        local: false,
        is_static: true,
        sticky: false,
    }
}

fn ipsec() -> Ipsec {
    let policy = IpsecPolicy {
        direction: Direction::Out,
        from: prefix("2001:db8:acce::/48"),
        to: prefix("2001:db8:aced::/48"),
        protocol: 6,
        sport: Ports::default(),
        dport: Ports::default(),
    };
    Ipsec {
        policies: vec![policy],
        refuses_rest: false,
    }
}

fn ipvs() -> Ipvs {
    let server = |wanted| VirtualServer {
        wanted,
        scheduler: "rr".into(),
        one_packet: false,
        persistent: false,
        real: vec![RealServer {
            address: ip("2001:db8:acce::9"),
            port: 8080,
            forward: Forward::Masquerade,
            weight: 1,
        }],
    };
    let at = Wanted::At {
        address: ip("2001:db8:acce::8"),
        protocol: 6,
        port: 443,
    };
    Ipvs {
        servers: vec![
            server(at),
            server(Wanted::Mark {
                mark: 1,
                ipv6: true,
            }),
        ],
        conntrack: true,
        snat_reroute: true,
    }
}

fn wireguard() -> WireGuard {
    let peer = Peer {
        key: name(),
        endpoint: Some(ip("10.20.30.50")),
        port: 51820,
        device: None,
        preshared: true,
        allowed: vec![prefix("10.20.30.0/24")],
        handshake: Some(7),
    };
    WireGuard {
        key: Some(name()),
        port: 51820,
        mark: 0,
        socket_here: true,
        peers: vec![peer],
    }
}

/// With an address among its bytes.
pub fn ruleset() -> Ruleset {
    let compare = Expression::Compare {
        how: Compare::Equal,
        reg: Reg(4),
        with: Bytes::from(vec![10, 20, 30, 40]),
    };
    let chain = Chain {
        name: name(),
        handle: 1,
        base: None,
        rules: vec![Rule {
            handle: 2,
            expressions: vec![compare],
            comment: None,
        }],
    };
    let table = Table {
        family: Family::Ip,
        name: name(),
        legacy: false,
        dormant: false,
        chains: vec![chain],
        sets: Vec::new(),
    };
    Ruleset {
        tables: vec![table],
        ..Ruleset::default()
    }
}

pub fn stack() -> Stack {
    let in_ip = IpTunnel {
        local: Some(ip("10.20.30.40")),
        remote: Some(ip("10.20.30.50")),
        ..IpTunnel::default()
    };
    let devices = [
        Kind::Other(text()),
        Kind::Vxlan(tunnel()),
        Kind::IpTunnel(in_ip),
        Kind::WireGuard(Known::Is(wireguard())),
    ];
    let devices = (1..).zip(devices).map(|(at, kind)| (at, device(at, kind)));
    Stack {
        devices: Known::Is(devices.collect()),
        addresses: Known::Is(vec![Address {
            device: 1,
            own: prefix("10.20.30.40/24"),
            peer: Some(ip("10.20.30.50")),
            broadcast: Some(ip("10.20.30.60")),
            scope: Scope::UNIVERSE,
            flags: Flags::default(),
        }]),
        rules: Known::Is(vec![rule()]),
        routes: Known::Partly(vec![route()], Why::TooMany),
        nexthops: Known::Is([(1, Nexthop::Hop(hop()))].into()),
        exceptions: Known::Is(vec![Exception {
            table: Some(254),
            to: ip("10.20.30.40"),
            device: 1,
            gateway: Some(ip("10.20.30.41")),
            mtu: Some(1400),
            mtu_locked: false,
        }]),
        neighbours: Known::Is(vec![Neighbour {
            device: 1,
            address: ip("10.20.30.40"),
            mac: Some(MAC),
            state: State::Valid,
        }]),
        proxied: Known::Is(vec![Proxied {
            device: None,
            address: ip("2001:db8:acce::7"),
        }]),
        fdb: Known::Is(vec![entry()]),
        settings: Known::Not(Why::Refused(text())),
        ipvs: Known::Is(ipvs()),
        ipsec: Known::Is(ipsec()),
        at_links: Known::Is(vec![AtLink {
            device: 2,
            hook: LinkHook::Egress,
            program: Some(name()),
        }]),
        ..Stack::default()
    }
}
