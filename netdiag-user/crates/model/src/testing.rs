//! Nodes for unit tests, built like sentences.
use std::net::IpAddr;

use crate::{
    gather::Listener,
    node::{
        Fdb, Link, LinkAddress, LinkCounters, LinkKind, Neighbour, Node, PodSide, Route, RouteKind,
        Tunnel,
    },
    policy::{Action, PolicyRule},
};

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn link(index: u32, name: &str, kind: LinkKind, mtu: u32) -> Link {
    Link {
        index,
        name: name.into(),
        ethernet: !matches!(kind, LinkKind::Ipip | LinkKind::Wireguard),
        kind,
        mtu,
        up: true,
        master: None,
        link: None,
        peer_netns: None,
        peer_elsewhere: false,
        tunnel: None,
        lladdr: None,
        addresses: Vec::new(),
        carrier: true,
        counters: LinkCounters::default(),
        isolated: false,
        hairpin: false,
        vlan_filtering: false,
        promiscuous: false,
    }
}

impl Link {
    pub fn with_address(mut self, prefix: &str) -> Self {
        let prefix = prefix.parse().expect("a prefix");
        self.addresses.push(LinkAddress {
            prefix,
            dynamic: false,
            link_local: false,
        });
        self
    }

    pub fn with_peer(mut self, netns: u32) -> Self {
        self.peer_elsewhere = true;
        self.peer_netns = Some(netns);
        self
    }

    pub fn with_tunnel(mut self, local: &str, underlay: u32) -> Self {
        self.tunnel = Some(Tunnel {
            vni: Some(7),
            port: Some(4789),
            local: Some(ip(local)),
            underlay: Some(underlay),
            ..Tunnel::default()
        });
        self
    }
}

pub fn route(destination: &str, oif: u32, gateway: Option<&str>) -> Route {
    Route {
        kind: RouteKind::Unicast,
        destination: destination.parse().expect("a prefix"),
        table: 254,
        metric: 0,
        oif: Some(oif),
        gateway: gateway.map(ip),
        mtu: None,
    }
}

pub fn policy(priority: u32, action: Action, line: &str) -> PolicyRule {
    PolicyRule {
        priority,
        ipv6: false,
        action,
        from: None,
        to: None,
        iif: None,
        not: false,
        others: false,
        suppress_prefix_length: None,
        line: line.into(),
    }
}

pub const NETNS: u32 = 0xF000_0001;
pub const POD_NETNS: u32 = 0xF000_0002;
pub const UPLINK: u32 = 2;
pub const OVERLAY: u32 = 3;
pub const POD: u32 = 4;

/// A node with one pod at 172.20.1.5 (`cali1`), a VXLAN device to 172.20.2.0/24 behind the peer
/// 192.0.2.2, and its uplink `ens5` at 192.0.2.1.
pub fn overlay_node(pod_mtu: u32, overlay_mtu: u32, uplink_mtu: u32) -> Node {
    let uplink = link(UPLINK, "ens5", LinkKind::Physical, uplink_mtu).with_address("192.0.2.1/24");
    let overlay = link(OVERLAY, "vxlan.calico", LinkKind::Vxlan, overlay_mtu)
        .with_tunnel("192.0.2.1", UPLINK)
        .with_address("172.20.1.0/32");
    let pod = link(POD, "cali1", LinkKind::Veth, pod_mtu).with_peer(POD_NETNS);
    let mac = vec![2, 0, 0, 0, 0, 2];
    Node {
        name: "n1".into(),
        netns: NETNS,
        links: vec![uplink, overlay, pod],
        routes: vec![
            route("192.0.2.0/24", UPLINK, None),
            route("172.20.2.0/24", OVERLAY, Some("172.20.2.0")),
            route("172.20.1.5/32", POD, None),
        ],
        neighbours: vec![Neighbour {
            ifindex: OVERLAY,
            address: ip("172.20.2.0"),
            lladdr: Some(mac.clone()),
            failed: false,
            permanent: true,
        }],
        fdb: vec![Fdb {
            ifindex: OVERLAY,
            lladdr: mac,
            vtep: ip("192.0.2.2"),
        }],
        pod_sides: vec![PodSide {
            links: vec![(2, "eth0".into())],
            lower: None,
            path: Some("/run/netns/cni-1".into()),
            netns: POD_NETNS,
            mtu: pod_mtu,
            route_mtu: None,
            addresses: vec![ip("172.20.1.5")],
            ports: Vec::new(),
            ways: Vec::new(),
        }],
        ..Node::default()
    }
}

/// A TCP socket that waits for connections.
pub fn listener(address: &str, port: u16) -> Listener {
    Listener {
        device: 0,
        address: ip(address),
        port,
        queued: 0,
        backlog: 128,
        ipv6_only: false,
        owner: None,
    }
}
