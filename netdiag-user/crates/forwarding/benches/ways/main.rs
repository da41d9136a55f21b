//! What a way costs there and back, on a node of two hundred pods and fifty other nodes, and there through one of two
//! thousand Services.
//!
//! ```console
//! # cargo bench -p netdiag-forwarding
//! ```
use std::{
    collections::BTreeMap,
    hint::black_box,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use netdiag_forwarding::{
    Prepared,
    packet::{Frame, Packet, Sender, Start},
    walk,
    way::{Does, Walk},
};
use netdiag_model::{
    address::Prefix,
    node::{LOCAL, MAIN},
    world::{
        End, Known, Netns, Stack, World,
        address::{Address, Flags as Told, Scope},
        conf::{Conf4, Settings},
        device::{Device, Flags, Kind, Mac, Vxlan},
        ipsec::Ipsec,
        ipvs::Ipvs,
        neighbour::{FdbEntry, Neighbour, State},
        route::{Hop, Kind as Leads, Metrics, Preference, Route},
        rule::{Action, Rule},
        ruleset::Ruleset,
    },
};

const PODS: u32 = 200;
const NODES: u8 = 50;
const NODE: Netns = 1;
const UPLINK: u32 = 2;
const TUNNEL: u32 = 3;
/// Of the first pod's link; the others follow.
const FIRST: u32 = 10;
const TIMES: u32 = 20_000;

mod services;

fn main() {
    let world = world();
    pods(&world);
    let modes = [
        ("iptables", services::iptables()),
        ("nftables", services::nftables()),
    ];
    for (name, rules) in modes {
        let mut world = world.clone();
        let node = world.stacks.get_mut(&NODE).expect("the node");
        node.ruleset = Known::Is(rules.into());
        through_services(name, &world);
    }
    through_services("ipvs", &with_virtual_servers(world));
}

/// All of their addresses are the node's own.
fn with_virtual_servers(mut world: World) -> World {
    let node = world.stacks.get_mut(&NODE).expect("the node");
    node.ipvs = Known::Is(services::ipvs());
    for number in 0..services::SERVICES {
        let address = Prefix::host(services::address(number));
        if let Known::Is(addresses) = &mut node.addresses {
            let first = addresses[0].clone();
            addresses.push(Address {
                device: 1,
                own: address,
                ..first
            });
        }
        if let Known::Is(routes) = &mut node.routes {
            let mut local = route(LOCAL, address, 1, None);
            (local.kind, local.scope) = (Leads::Local, Scope::HOST);
            routes.push(local);
        }
    }
    world
}

fn through_services(mode: &str, world: &World) {
    let mut out = std::io::stdout().lock();
    let began = Instant::now();
    let prepared = Prepared::new(world);
    let made = began.elapsed();
    let mut times: Vec<Duration> = (0..TIMES)
        .map(|turn| {
            let service = services::address(turn % services::SERVICES);
            let packet = Packet {
                dport: 80,
                ..packet(pod(turn % PODS), service)
            };
            let began = Instant::now();
            let there = walk(&prepared, sends(turn % PODS), packet);
            let took = began.elapsed();
            let end = there.last().map(|step| &step.does);
            assert!(matches!(end, Some(Does::Chooses(_))), "{mode}: {there:?}");
            black_box(there);
            took
        })
        .collect();
    tell(&mut out, &format!("one of three, {mode}"), &mut times);
    let _ = writeln!(out, "{:24} {made:>8.1?}", "made ready");
}

fn tell(out: &mut impl Write, name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let of = |share: u32| times[(TIMES * share / 100) as usize];
    let _ = writeln!(
        out,
        "{name:24} {:>8.1?} median {:>8.1?} one in a hundred {:>8.1?} at most",
        of(50),
        of(99),
        times[times.len() - 1]
    );
}

fn pods(world: &World) {
    let prepared = Prepared::new(world);
    let mut out = std::io::stdout().lock();
    let ways = [
        ("to another pod here", pod(7)),
        ("to another node's pod", ip([10, 1, 20, 9])),
        ("out of the cluster", ip([203, 0, 113, 1])),
    ];
    for (name, far) in ways {
        let mut times: Vec<Duration> = (0..TIMES)
            .map(|turn| {
                let near = pod(turn % PODS);
                let began = Instant::now();
                let there = walk(&prepared, sends(turn % PODS), packet(near, far));
                let back = walk(&prepared, comes(far), packet(far, near));
                let took = began.elapsed();
                assert!(arrives(&there) && arrives(&back), "{name}: {there:?}");
                black_box((there, back));
                took
            })
            .collect();
        tell(&mut out, name, &mut times);
    }
    let began = Instant::now();
    black_box(Prepared::new(world));
    let _ = writeln!(out, "{:24} {:>8.1?}", "made ready", began.elapsed());
}

fn ip(octets: [u8; 4]) -> IpAddr {
    Ipv4Addr::from(octets).into()
}

fn pod(number: u32) -> IpAddr {
    ip([10, 1, 0, 10 + number as u8])
}

fn inside(number: u32) -> Netns {
    1000 + number
}

fn sends(number: u32) -> Start {
    Start::Socket(Sender {
        netns: inside(number),
        device: None,
        uid: 0,
        any_source: false,
        failing: None,
    })
}

/// Where what that address sends comes in.
fn comes(from: IpAddr) -> Start {
    let here = (0..PODS).find(|number| pod(*number) == from);
    if let Some(number) = here {
        return sends(number);
    }
    let tunnel = matches!(from, IpAddr::V4(v4) if v4.octets()[0] == 10);
    let index = if tunnel { TUNNEL } else { UPLINK };
    let end = End { netns: NODE, index };
    Start::Device(end, Frame::new(None, mac(index)))
}

/// Delivered, or out by the wire.
fn arrives(way: &Walk<'_>) -> bool {
    let end = way.last().map(|step| &step.does);
    matches!(end, Some(Does::Delivers | Does::Leaves { .. }))
}

fn packet(source: IpAddr, destination: IpAddr) -> Packet {
    Packet {
        protocol: 6,
        sport: 40_000,
        dport: 443,
        ttl: 64,
        size: 200,
        df: true,
        ..Packet::new(source, destination)
    }
}

fn mac(number: u32) -> Mac {
    let [.., a, b] = number.to_be_bytes();
    Mac([2, 0, 0, 0, a, b])
}

fn world() -> World {
    let mut world = World::default();
    world.stacks.insert(NODE, node());
    for number in 0..PODS {
        world.stacks.insert(inside(number), of_pod(number));
        let own = End {
            netns: NODE,
            index: FIRST + number,
        };
        let peer = End {
            netns: inside(number),
            index: UPLINK,
        };
        world.wires.extend([(own, peer), (peer, own)]);
    }
    world
}

fn node() -> Stack {
    let mut devices = vec![
        device(1, "lo", Kind::Loopback),
        device(UPLINK, "eth0", Kind::Physical),
        device(TUNNEL, "flannel.1", Kind::Vxlan(vxlan())),
    ];
    let router = ip([192, 0, 2, 254]);
    let mut routes = vec![
        route(MAIN, prefix([0, 0, 0, 0], 0), UPLINK, Some(router)),
        route(MAIN, prefix([192, 0, 2, 0], 24), UPLINK, None),
    ];
    let mut neighbours = vec![neighbour(UPLINK, router, 0xfff0)];
    let mut fdb = Vec::new();
    for number in 0..PODS {
        let index = FIRST + number;
        devices.push(device(index, &format!("veth{number}"), Kind::Veth));
        routes.push(route(MAIN, Prefix::host(pod(number)), index, None));
        neighbours.push(neighbour(index, pod(number), inside(number)));
    }
    for other in 1..=NODES {
        let (far, peer) = (ip([10, 1, other, 0]), ip([192, 0, 2, other + 10]));
        routes.push(route(
            MAIN,
            prefix([10, 1, other, 0], 24),
            TUNNEL,
            Some(far),
        ));
        neighbours.push(neighbour(TUNNEL, far, 0x8000 + u32::from(other)));
        neighbours.push(neighbour(UPLINK, peer, 0x9000 + u32::from(other)));
        fdb.push(entry(mac(0x8000 + u32::from(other)), peer));
    }
    let own = [
        (UPLINK, prefix([192, 0, 2, 1], 24)),
        (TUNNEL, prefix([10, 1, 0, 0], 32)),
        (TUNNEL, prefix([10, 1, 0, 1], 32)),
    ];
    stack(devices, &own, routes, neighbours, fdb)
}

fn of_pod(number: u32) -> Stack {
    let devices = vec![
        device(1, "lo", Kind::Loopback),
        device(UPLINK, "eth0", Kind::Veth),
    ];
    let gateway = ip([10, 1, 0, 1]);
    let routes = vec![
        route(MAIN, prefix([0, 0, 0, 0], 0), UPLINK, Some(gateway)),
        route(MAIN, Prefix::host(gateway), UPLINK, None),
    ];
    let neighbours = vec![neighbour(UPLINK, gateway, FIRST + number)];
    let own = [(UPLINK, Prefix::host(pod(number)))];
    stack(devices, &own, routes, neighbours, Vec::new())
}

fn prefix(octets: [u8; 4], length: u8) -> Prefix {
    Prefix {
        address: ip(octets),
        length,
    }
}

fn stack(
    devices: Vec<Device>,
    own: &[(u32, Prefix)],
    mut routes: Vec<Route>,
    neighbours: Vec<Neighbour>,
    fdb: Vec<FdbEntry>,
) -> Stack {
    let addresses = own.iter().map(|(device, own)| Address {
        device: *device,
        own: *own,
        peer: None,
        broadcast: None,
        scope: Scope::UNIVERSE,
        flags: Told::default(),
    });
    for (device, own) in own {
        let mut local = route(LOCAL, Prefix::host(own.address), *device, None);
        (local.kind, local.scope) = (Leads::Local, Scope::HOST);
        routes.push(local);
    }
    let rules = [(0, LOCAL), (32_766, MAIN), (32_767, 253)];
    Stack {
        devices: Known::Is(devices.into_iter().map(|one| (one.index, one)).collect()),
        addresses: Known::Is(addresses.collect()),
        rules: Known::Is(rules.map(|(priority, table)| rule(priority, table)).into()),
        routes: Known::Is(routes),
        nexthops: Known::Is(BTreeMap::new()),
        exceptions: Known::Is(Vec::new()),
        neighbours: Known::Is(neighbours),
        proxied: Known::Is(Vec::new()),
        fdb: Known::Is(fdb),
        ruleset: Known::Is(Ruleset::default().into()),
        settings: Known::Is(Settings {
            default_ttl: 64,
            min_pmtu: 552,
            ..Settings::default()
        }),
        nodes_id: None,
        at_links: Known::Is(Vec::new()),
        ipvs: Known::Is(Ipvs::default()),
        ipsec: Known::Is(Ipsec::default()),
        moment: 0,
        generation: 0,
    }
}

fn device(index: u32, name: &str, kind: Kind) -> Device {
    Device {
        index,
        name: name.into(),
        mtu: if index == TUNNEL { 1450 } else { 1500 },
        flags: Flags {
            up: true,
            loopback: kind == Kind::Loopback,
            ..Flags::default()
        },
        kind,
        running: true,
        lower_up: true,
        ethernet: index != 1,
        mac: Some(mac(index)),
        master: None,
        lower: None,
        lower_netnsid: None,
        group: 0,
        port: None,
        bond_port: None,
        vlans: None,
        conf4: Some(Conf4 {
            forwarding: true,
            ..Conf4::default()
        }),
        conf6: None,
    }
}

fn vxlan() -> Vxlan {
    Vxlan {
        vni: 1,
        port: 8472,
        local: Some(ip([192, 0, 2, 1])),
        remote: None,
        underlay: None,
        learning: false,
        external: false,
        proxy: false,
        ttl: 0,
        ttl_inherit: false,
        tos: 0,
        udp_csum: false,
        df: netdiag_model::world::device::Df::Unset,
    }
}

fn route(table: u32, to: Prefix, device: u32, gateway: Option<IpAddr>) -> Route {
    Route {
        kind: Leads::Unicast,
        table,
        to,
        from: None,
        tos: 0,
        priority: 0,
        scope: Scope::UNIVERSE,
        protocol: 4,
        prefsrc: None,
        metrics: Metrics::default(),
        hops: vec![Hop {
            device,
            gateway,
            weight: 1,
            dead: false,
            linkdown: false,
            onlink: true,
            encap: false,
        }],
        nexthop: None,
        ipv6_preference: Preference::default(),
    }
}

fn rule(priority: u32, table: u32) -> Rule {
    Rule::every(false, priority, Action::Table(table))
}

fn neighbour(device: u32, address: IpAddr, number: u32) -> Neighbour {
    Neighbour {
        device,
        address,
        // A pod's is that of its own end.
        mac: Some(match (inside(0)..inside(PODS)).contains(&number) {
            true => mac(UPLINK),
            false => mac(number),
        }),
        state: State::Permanent,
    }
}

fn entry(mac: Mac, remote: IpAddr) -> FdbEntry {
    FdbEntry {
        device: TUNNEL,
        master: None,
        mac,
        vlan: None,
        remote: Some(remote),
        remote_port: None,
        remote_vni: None,
        remote_link: None,
        local: false,
        is_static: true,
        sticky: false,
    }
}
