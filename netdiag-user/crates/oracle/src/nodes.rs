//! Worlds of two nodes with a pod each, read apart and each through a recording of its own: s0 and its pod s2, s1 and
//! its pod s3. Where the nodes are in two networks, s0's traffic is its own and s2 is the router, which nobody reads.
use std::collections::BTreeSet;

use anyhow::{Context, Result};
use fastrand::Rng;
use netdiag_model::{
    gather::{Gathered, Piece, Want},
    node::{Link, LinkKind, Node},
    observation::Observation,
    pod::PodIndex,
    world::{
        End, Netns, World,
        device::{Device, Kind},
    },
};
use netdiag_pipeline::{
    asked::Asked,
    clock::Clock,
    facts::KnownNames,
    scene::{Run, Scene},
};
use netdiag_recording::{Recorder, Replay};

use crate::{
    command::Command,
    names::{TUNNEL, mac},
    set::Set,
    traffic::Shot,
    wire::VXLAN,
    witness::PORTS,
};

/// Namespaces of the two nodes.
const NODES: [[usize; 2]; 2] = [[0, 2], [1, 3]];
/// The last byte of a tunnel's link-layer address.
const TUNNEL_END: usize = 0xfe;
/// A router that nobody reads between the nodes: then s2 is no pod.
const ROUTER: usize = 2;

/// How a world's nodes reach each other's pods.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// By routes over one link.
    Routes,
    /// By a tunnel over one link.
    Tunnel,
    /// By a tunnel through a router.
    TunnelBeyond,
}

impl Joined {
    pub fn by_chance(rng: &mut Rng) -> Self {
        *rng.choice(&[Self::Routes, Self::Tunnel, Self::TunnelBeyond])
            .unwrap_or(&Self::Routes)
    }
}

/// The lines of one, in IPv4's words.
pub fn world(rng: &mut Rng, joined: Joined) -> Vec<Command> {
    let mut lines = underlay(rng, joined);
    for (node, other) in [(0, 1), (1, 0)] {
        lines.extend(pod(rng, joined, node));
        lines.extend(towards(rng, joined, node, other));
    }
    for _ in 0..rng.usize(0..4) {
        lines.push(fault(rng, joined));
    }
    lines
}

/// A node's own address: where a router is between, of another network each.
fn own(joined: Joined, node: usize) -> String {
    let net = match joined {
        Joined::TunnelBeyond => 8 + node,
        _ => 8,
    };
    format!("10.{net}.0.{}", node + 1)
}

fn pod_of(node: usize) -> String {
    format!("10.{}.0.9", node + 1)
}

fn underlay(rng: &mut Rng, joined: Joined) -> Vec<Command> {
    let mtu = [1500, 1500, 1400][rng.usize(0..3)];
    let mut lines = Vec::new();
    for (node, other) in [(0, 1), (1, 0)] {
        let by = match joined {
            Joined::TunnelBeyond => ROUTER,
            _ => other,
        };
        let address = own(joined, node);
        lines.push(Command::ip(node, format!("link set e{by} mtu {mtu}")));
        lines.push(Command::ip(
            node,
            format!("addr add {address}/24 dev e{by}"),
        ));
        if joined == Joined::TunnelBeyond {
            let router = format!("10.{}.0.254", 8 + node);
            lines.push(Command::ip(node, format!("route add default via {router}")));
            lines.push(Command::ip(ROUTER, format!("link set e{node} mtu {mtu}")));
            lines.push(Command::ip(
                ROUTER,
                format!("addr add {router}/24 dev e{node}"),
            ));
        }
    }
    lines
}

/// A pod, or an address of the node's own in its place where there is no namespace left for one.
fn pod(rng: &mut Rng, joined: Joined, node: usize) -> Vec<Command> {
    let (net, address) = (node + 1, pod_of(node));
    let inside = NODES[node][1];
    if joined == Joined::TunnelBeyond && inside == ROUTER {
        return vec![Command::ip(node, format!("addr add {address}/32 dev lo"))];
    }
    let gateway = format!("10.{net}.0.1");
    let mut lines = vec![
        Command::ip(node, format!("addr add {gateway}/24 dev e{inside}")),
        Command::ip(inside, format!("addr add {address}/24 dev e{node}")),
        Command::ip(inside, format!("route add default via {gateway}")),
    ];
    if rng.u8(0..3) == 0 {
        lines.push(Command::ip(inside, format!("link set e{node} mtu 1450")));
        lines.push(Command::ip(node, format!("link set e{inside} mtu 1450")));
    }
    lines
}

/// The way to the other node's pods.
fn towards(rng: &mut Rng, joined: Joined, node: usize, other: usize) -> Vec<Command> {
    let (net, remote) = (other + 1, own(joined, other));
    if joined == Joined::Routes {
        let words = format!("route add 10.{net}.0.0/24 via {remote}");
        return vec![Command::ip(node, words)];
    }
    let (local, peer) = (own(joined, node), format!("10.12.0.{}", other + 1));
    let (lladdr, to) = (mac(node, TUNNEL_END), mac(other, TUNNEL_END));
    let mtu = if rng.u8(0..4) == 0 { 1500 } else { 1450 };
    vec![
        Command::ip(
            node,
            format!(
                "link add {TUNNEL} address {lladdr} type vxlan id 7 dstport {VXLAN} local {local} nolearning"
            ),
        ),
        Command::ip(node, format!("link set {TUNNEL} up mtu {mtu}")),
        Command::ip(
            node,
            format!("addr add 10.12.0.{}/24 dev {TUNNEL}", node + 1),
        ),
        Command::ip(node, format!("route add 10.{net}.0.0/24 via {peer}")),
        Command::ip(
            node,
            format!("neigh add {peer} lladdr {to} dev {TUNNEL} nud permanent"),
        ),
        Command::bridge(node, format!("fdb append {to} dev {TUNNEL} dst {remote}")),
    ]
}

/// What is wrong in one of them.
fn fault(rng: &mut Rng, joined: Joined) -> Command {
    let node = rng.usize(0..2);
    let (net, far) = (node + 1, 2 - node);
    let (inside, other) = (NODES[node][1], 1 - node);
    let by = match joined {
        Joined::TunnelBeyond => ROUTER,
        _ => other,
    };
    let to = mac(other, TUNNEL_END);
    match rng.u8(0..14) {
        0 => Command::ip(node, format!("route del 10.{net}.0.0/24")),
        1 => Command::ip(node, format!("route add unreachable {}", pod_of(node))),
        2 => Command::sysctl(node, format!("ipv4/conf/e{by}/forwarding"), 0),
        3 => Command::sysctl(node, "ipv4/conf/all/rp_filter", 1),
        4 => Command::ip(inside, format!("link set e{node} down")),
        5 => Command::ip(node, format!("route del 10.{far}.0.0/24")),
        6 => Command::ip(inside, "route del default"),
        7 => Command::ip(
            node,
            format!("rule add pref 50 to 10.{far}.0.0/16 prohibit"),
        ),
        8 => Command::ip(
            node,
            format!("rule add pref 50 from 10.{far}.0.0/16 lookup 77"),
        ),
        9 => Command::bridge(node, format!("fdb replace {to} dev {TUNNEL} dst 10.8.0.77")),
        10 => Command::ip(node, format!("link set {TUNNEL} down")),
        11 => Command::ip(
            node,
            format!(
                "neigh replace 10.12.0.{} lladdr {} dev {TUNNEL} nud permanent",
                other + 1,
                mac(other, 0x98)
            ),
        ),
        12 => Command::ip(inside, format!("addr del {}/24 dev e{node}", pod_of(node))),
        _ => Command::ip(node, format!("route change 10.{far}.0.0/24 mtu 1300")),
    }
}

/// Between pods, and between a node and the other's pod, small and large.
pub fn shots(rng: &mut Rng, joined: Joined, ipv6: bool, count: usize) -> Vec<Shot> {
    let family = |text: &str| {
        let v4: std::net::Ipv4Addr = text.parse().unwrap_or(std::net::Ipv4Addr::LOCALHOST);
        match ipv6 {
            true => crate::six::address(v4).into(),
            false => std::net::IpAddr::V4(v4),
        }
    };
    let shot = |number: usize| {
        let node = rng.usize(0..2);
        let inside = NODES[node][1];
        let from_node = rng.u8(0..4) == 0;
        let routed = joined == Joined::TunnelBeyond && inside == ROUTER;
        let pods = if routed { node } else { inside };
        let destination = match rng.u8(0..8) {
            0 if joined != Joined::TunnelBeyond => own(joined, 1 - node),
            _ => pod_of(1 - node),
        };
        Shot {
            space: if from_node { node } else { pods },
            source: (routed && !from_node).then(|| family(&pod_of(node))),
            destination: family(&destination),
            sport: 20_000 + number as u16,
            dport: PORTS[rng.usize(0..PORTS.len())],
            mark: if rng.u8(0..4) == 0 { 1 } else { 0 },
            tos: 0,
            // The router takes one of a tunnel's own, which have more.
            ttl: [16, 16, 16, 3, 2, 1][rng.usize(0..6)],
            size: [80, 200, 1290, 1390, 1450, 1500][rng.usize(0..6)],
            count: 1,
            cut: false,
            bound: None,
            wire: None,
            talks: rng.u8(0..3) > 0,
        }
    };
    (0..count).map(shot).collect()
}

/// The world as two recordings have it, one of each node.
pub fn apart(set: &Set, whole: World) -> Result<World> {
    let mut nodes = Vec::new();
    for node in NODES {
        let spaces: BTreeSet<Netns> = node.iter().map(|space| set.inode(*space)).collect();
        nodes.push(recorded(&whole, set.inode(node[0]), &spaces)?);
    }
    let [one, other] = <[World; 2]>::try_from(nodes).ok().context("two nodes")?;
    let (both, numbers) = one.beside(other);
    anyhow::ensure!(
        numbers.iter().all(|(was, is)| was == is),
        "on one machine every namespace has a number of its own"
    );
    Ok(both)
}

/// What a recording of one node gives back.
fn recorded(whole: &World, netns: Netns, spaces: &BTreeSet<Netns>) -> Result<World> {
    let mut gathered = Gathered::default();
    let of_node = whole.stacks.iter().filter(|(at, _)| spaces.contains(*at));
    for (at, stack) in of_node {
        let piece = Piece::Stack(Box::new(stack.clone()));
        gathered.insert(Want::Stack(*at), Ok(piece));
    }
    let node = Node {
        netns,
        links: links(whole, netns, spaces),
        ..Node::default()
    };
    let scene = Scene {
        start: node.clone(),
        node,
        pods: PodIndex::default(),
        cluster: std::sync::Arc::default(),
        gathered,
        names: Box::new(KnownNames::default()),
        clock: Clock {
            monotonic: 0,
            wall: jiff::Timestamp::UNIX_EPOCH,
        },
        run: Run::default(),
        asked: Asked::default(),
        links: Vec::new(),
    };
    let mut file = Vec::new();
    let mut recorder = Recorder::to(&mut file)?;
    let mut reading = Observation {
        now: 1,
        ..Observation::default()
    };
    recorder.put(&scene, &mut reading)?;
    recorder.close()?;
    let mut replay = Replay::from(file.as_slice())?;
    replay.tick().context("a recording of one reading")?;
    Ok(replay.scene.gathered.world(&replay.scene.node))
}

/// The node's links with whom they lead to, as a snapshot finds out: of a pair that leads to another machine, nothing.
fn links(whole: &World, netns: Netns, spaces: &BTreeSet<Netns>) -> Vec<Link> {
    let stack = whole.stacks.get(&netns);
    let devices = stack.and_then(|stack| stack.devices.some());
    let devices = devices.into_iter().flat_map(|all| all.values());
    let pair = |device: &&Device| device.kind == Kind::Veth;
    let link = |device: &Device| {
        let end = End {
            netns,
            index: device.index,
        };
        let peer = whole.wires.get(&end);
        let peer = peer.filter(|peer| spaces.contains(&peer.netns));
        Link {
            index: device.index,
            name: device.name.clone(),
            kind: LinkKind::Veth,
            mtu: device.mtu,
            up: device.flags.up,
            ethernet: true,
            master: device.master,
            link: peer.map(|peer| peer.index),
            peer_netns: peer.map(|peer| peer.netns),
            peer_elsewhere: true,
            tunnel: None,
            lladdr: None,
            addresses: Vec::new(),
            carrier: true,
            counters: Default::default(),
            isolated: false,
            hairpin: false,
            vlan_filtering: false,
            promiscuous: false,
        }
    };
    devices.filter(pair).map(link).collect()
}
