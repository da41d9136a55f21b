//! A node of a hundred links: pods behind veths, a VXLAN device to other nodes, Services by rules.
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use netdiag::{
    model::{
        address::Prefix,
        cluster::Cluster,
        gather::{Gathered, Piece, Want},
        node::{
            Counters, Fdb, Link, LinkAddress, LinkCounters, LinkKind, Neighbour, Node, PodSide,
            Route, RouteKind, Tunnel,
        },
        pod::{Pod, PodIndex},
        reason::Reasons,
        services::{Engine, Service, Services},
    },
    pipeline::{
        asked::Asked,
        clock::Clock,
        facts::KnownNames,
        scene::{Run, Scene},
    },
};

pub const UPLINK: u32 = 2;
pub const OVERLAY: u32 = 3;
const FIRST_POD: u32 = 10;
pub const PODS: u32 = 97;
pub const HOSTS: u8 = 50;
const PODS_THERE: u8 = 40;
pub const SERVICES: u16 = 500;
pub const NETNS: u32 = 1;

pub const REASONS: [&str; 4] = [
    "NETFILTER_DROP",
    "NO_SOCKET",
    "TCP_INVALID_SEQUENCE",
    "NOT_SPECIFIED",
];
pub const SYMBOLS: [&str; 4] = [
    "nft_do_chain+0x1",
    "tcp_v4_rcv+0x2",
    "tcp_rcv_established+0x3",
    "ip_forward+0x4",
];

pub fn pod_link(pod: u32) -> u32 {
    FIRST_POD + pod
}

pub fn pod(pod: u32) -> IpAddr {
    there(1, pod as u8 + 2)
}

/// A pod of the host of that number; this node is the first.
pub fn there(host: u8, pod: u8) -> IpAddr {
    Ipv4Addr::new(172, 20, host, pod).into()
}

pub fn host(host: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, host).into()
}

/// Address and port of a Service, and its endpoints.
pub fn service(number: u16) -> ((IpAddr, u16), [(IpAddr, u16); 3]) {
    let [high, low] = number.to_be_bytes();
    let endpoint = |n: u8| {
        let host = 2 + (low ^ n) % (HOSTS - 1);
        (there(host, 2 + (low ^ high ^ n) % PODS_THERE), 8080)
    };
    let address = Ipv4Addr::new(10, 96, high, low).into();
    ((address, 80), [endpoint(0), endpoint(1), endpoint(2)])
}

fn link(index: u32, name: String, kind: LinkKind) -> Link {
    Link {
        index,
        name,
        mtu: if kind == LinkKind::Physical {
            1500
        } else {
            1450
        },
        kind,
        up: true,
        ethernet: true,
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

fn with_address(mut link: Link, address: IpAddr, length: u8) -> Link {
    link.addresses.push(LinkAddress {
        prefix: Prefix { address, length },
        dynamic: false,
        link_local: false,
    });
    link
}

fn links() -> Vec<Link> {
    let uplink = with_address(link(UPLINK, "ens5".into(), LinkKind::Physical), host(1), 24);
    let mut overlay = link(OVERLAY, "vxlan.calico".into(), LinkKind::Vxlan);
    overlay.tunnel = Some(Tunnel {
        vni: Some(4096),
        port: Some(4789),
        local: Some(host(1)),
        underlay: Some(UPLINK),
        ..Tunnel::default()
    });
    let overlay = with_address(overlay, there(1, 0), 32);
    let local = link(1, "lo".into(), LinkKind::Loopback);
    let local = with_address(local, Ipv4Addr::LOCALHOST.into(), 8);
    let pods = (0..PODS).map(|n| {
        let mut pod = link(pod_link(n), format!("cali{n:011x}"), LinkKind::Veth);
        (pod.peer_elsewhere, pod.peer_netns) = (true, Some(netns(n)));
        pod.link = Some(2);
        pod
    });
    [local, uplink, overlay].into_iter().chain(pods).collect()
}

fn netns(pod: u32) -> u32 {
    1000 + pod
}

fn route(kind: RouteKind, destination: Prefix, oif: u32, gateway: Option<IpAddr>) -> Route {
    Route {
        kind,
        destination,
        table: if kind == RouteKind::Local { 255 } else { 254 },
        metric: 0,
        oif: Some(oif),
        gateway,
        mtu: None,
    }
}

fn routes() -> Vec<Route> {
    let prefix = |address, length| Prefix { address, length };
    let any = prefix(Ipv4Addr::UNSPECIFIED.into(), 0);
    let mut routes = vec![
        route(RouteKind::Unicast, any, UPLINK, Some(host(254))),
        route(RouteKind::Unicast, prefix(host(0), 24), UPLINK, None),
    ];
    for address in [host(1), host(255), there(1, 0)] {
        routes.push(route(RouteKind::Local, Prefix::host(address), UPLINK, None));
    }
    for n in 2..=HOSTS {
        let to = prefix(there(n, 0), 24);
        routes.push(route(RouteKind::Unicast, to, OVERLAY, Some(there(n, 0))));
    }
    let pods = (0..PODS).map(|n| (pod_link(n), Prefix::host(pod(n))));
    routes.extend(pods.map(|(link, to)| route(RouteKind::Unicast, to, link, None)));
    routes
}

fn neighbours() -> Vec<Neighbour> {
    let neighbour = |ifindex, address, number: u32, permanent| Neighbour {
        ifindex,
        address,
        lladdr: Some([[2, 0].as_slice(), &number.to_be_bytes()].concat()),
        failed: false,
        permanent,
    };
    let pods = (0..PODS).map(|n| neighbour(pod_link(n), pod(n), n, false));
    let peers = (2..=HOSTS).flat_map(|n| {
        let number = 1000 + u32::from(n);
        let far = neighbour(OVERLAY, there(n, 0), number, true);
        [far, neighbour(UPLINK, host(n), number, false)]
    });
    pods.chain(peers).collect()
}

fn node() -> Node {
    let fdb = (2..=HOSTS).map(|n| Fdb {
        ifindex: OVERLAY,
        lladdr: [[2, 0].as_slice(), &(1000 + u32::from(n)).to_be_bytes()].concat(),
        vtep: host(n),
    });
    let sides = (0..PODS).map(|n| PodSide {
        netns: netns(n),
        mtu: 1450,
        addresses: vec![pod(n)],
        links: vec![(2, "eth0".into())],
        ..PodSide::default()
    });
    let counters = [NETNS].into_iter().chain((0..PODS).map(netns));
    let counters = counters.map(|netns| Counters {
        netns,
        values: {
            [
                "TcpExt.ListenOverflows",
                "Udp.RcvbufErrors",
                "Ip.ForwDatagrams",
            ]
        }
        .map(|name| (name.into(), 7))
        .into(),
    });
    let sysctls = [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.all.rp_filter", "0"),
    ];
    Node {
        name: "n1".into(),
        kernel: "6.18.0".into(),
        netns: NETNS,
        links: links(),
        routes: routes(),
        neighbours: neighbours(),
        fdb: fdb.collect(),
        pod_sides: sides.collect(),
        counters: counters.collect(),
        sysctls: sysctls.map(|(k, v)| (k.into(), v.into())).to_vec(),
        ..Node::default()
    }
}

fn services() -> Services {
    let rules = (0..SERVICES).map(|n| {
        let ((address, port), backends) = service(n);
        Service {
            address,
            port,
            protocol: 6,
            name: Some(format!("shop/service-{n}:http")),
            backends: backends.to_vec(),
            rejected: false,
            local: false,
            engine: Engine::IptablesNft,
            table: None,
        }
    });
    Services {
        rules: rules.collect(),
        kube_proxy: true,
        proxies: vec!["kube-proxy[42]".into()],
        ..Services::default()
    }
}

fn pods() -> PodIndex {
    let here = (0..PODS).map(|n| Pod {
        namespace: "shop".into(),
        name: format!("cart-{n}"),
        addresses: vec![pod(n)],
        interface: Some(format!("cali{n:011x}")),
        netns: Some(netns(n)),
        ..Pod::default()
    });
    let others = (2..=HOSTS).flat_map(|host| {
        (2..PODS_THERE + 2).map(move |n| Pod {
            namespace: "shop".into(),
            name: format!("stock-{host}-{n}"),
            addresses: vec![there(host, n)],
            node: Some(format!("n{host}")),
            ..Pod::default()
        })
    });
    PodIndex::new(here.chain(others).collect())
}

pub fn scene() -> Scene {
    let (mut gathered, node) = (Gathered::default(), node());
    gathered.insert(Want::Services, Ok(Piece::Services(services())));
    let reasons = REASONS.iter().enumerate();
    let reasons = reasons.map(|(n, name)| (n as u32, (*name).to_owned()));
    let symbols = SYMBOLS.iter().enumerate();
    let symbols = symbols.map(|(n, name)| (n as u64, (*name).to_owned()));
    Scene {
        start: node.clone(),
        node,
        pods: pods(),
        cluster: Arc::new(Cluster::default()),
        gathered,
        names: Box::new(KnownNames {
            symbols: symbols.collect(),
            reasons: Reasons::new(reasons),
        }),
        clock: Clock {
            monotonic: 0,
            wall: jiff::Timestamp::UNIX_EPOCH,
        },
        run: Run {
            started: 1,
            hooked: 1,
            hooks: 100,
            ..Run::default()
        },
        asked: Asked::default(),
        links: Vec::new(),
    }
}
