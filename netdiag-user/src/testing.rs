//! Nodes and readings for unit tests, built like sentences.
mod commands;

use std::net::IpAddr;

use netdiag_common::{
    dns::{Dns, DnsKey},
    flow::FlowKey,
    hop::{EGRESS, FlowHop, FlowHopKey, INGRESS, PLAIN},
    loss::{DropKey, Dropped},
};

use crate::{
    model::{
        address::to_wire,
        cluster::Cluster,
        dns,
        flow::TCP,
        gather::{Gathered, Listener, Piece, Want},
        node::{
            Fdb, Link, LinkAddress, LinkCounters, LinkKind, Neighbour, Node, PodSide, Route,
            RouteKind, Tunnel,
        },
        observation::Observation,
        pod::{Pod, PodIndex},
        policy::{Action, PolicyRule},
        reason::Reasons,
    },
    pipeline::{
        clock::Clock,
        facts::{Facts, Known, Names, Rows},
    },
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
        address: ip(address),
        port,
        queued: 0,
        backlog: 128,
        ipv6_only: false,
        owner: None,
    }
}

pub fn tcp(source: &str, destination: &str, port: u16) -> FlowKey {
    FlowKey {
        source: to_wire(ip(source)),
        destination: to_wire(ip(destination)),
        source_port: 40_000,
        destination_port: port,
        protocol: TCP,
        family: 4,
        padding: [0; 2],
    }
}

/// A flow at a hop; `change` fills in its counts.
pub fn at(
    flow: FlowKey,
    ifindex: u32,
    egress: bool,
    carried: u8,
    change: impl FnOnce(&mut FlowHop),
) -> (FlowHopKey, FlowHop) {
    let direction = if egress { EGRESS } else { INGRESS };
    let key = FlowHopKey {
        flow,
        ifindex,
        direction,
        carried,
        padding: [0; 2],
    };
    let mut hop = FlowHop {
        packets: 10,
        bytes: 10_000,
        first: 1,
        last: 2,
        ..FlowHop::default()
    };
    change(&mut hop);
    (key, hop)
}

/// A flow that leaves the pod.
pub fn from_pod(flow: FlowKey, change: impl FnOnce(&mut FlowHop)) -> (FlowHopKey, FlowHop) {
    at(flow, POD, false, PLAIN, change)
}

/// Questions for the addresses of a name at a link; `change` fills in what came of them.
pub fn question(
    client: &str,
    server: &str,
    name: &str,
    ifindex: u32,
    change: impl FnOnce(&mut Dns),
) -> (DnsKey, Dns) {
    let key = DnsKey {
        client: to_wire(ip(client)),
        server: to_wire(ip(server)),
        name: dns::wire(name),
        ifindex,
        kind: 1,
        family: if ip(client).is_ipv4() { 4 } else { 6 },
        carried: PLAIN,
    };
    let mut dns = Dns {
        queries: 4,
        first_query: 1_000_000_000 + u64::from(ifindex),
        last_query: 4_000_000_000 + u64::from(ifindex),
        ..Dns::default()
    };
    change(&mut dns);
    (key, dns)
}

/// No answer to the last four queries.
pub fn silent(dns: &mut Dns) {
    dns.unanswered = 4;
    dns.silent_since = dns.first_query;
}

/// All of them answered with records.
pub fn resolved(dns: &mut Dns) {
    (dns.answers, dns.noerror) = (4, 4);
    dns.last_answer = dns.last_query + 1;
    dns.last_good = dns.last_answer;
}

/// Drops of a flow on `ifindex` for the reason of that number in [`TestNames`].
pub fn lost(
    flow: FlowKey,
    reason: u32,
    ifindex: u32,
    packets: u64,
    flags: u32,
) -> (DropKey, Dropped) {
    let key = DropKey {
        flow,
        location: LOCATION,
        reason,
        netns: NETNS,
        ifindex,
        padding: 0,
    };
    let dropped = Dropped {
        packets,
        bytes: packets * 60,
        first: 1,
        last: 2_000_000_000,
        tcp_flags: flags,
        ..Dropped::default()
    };
    (key, dropped)
}

/// The same for a reason and a function of these names.
pub fn died(
    flow: FlowKey,
    (reason, symbol): (&str, &str),
    ifindex: u32,
    packets: u64,
) -> (DropKey, Dropped) {
    let number = REASONS.iter().position(|name| *name == reason);
    let place = SYMBOLS.iter().position(|name| *name == symbol);
    let number = number.expect("a reason of the test's kernel") as u32;
    let (mut key, dropped) = lost(flow, number, ifindex, packets, 2);
    key.location = LOCATION + place.expect("a function of the test's kernel") as u64;
    (key, dropped)
}

pub const NETFILTER_DROP: u32 = 0;
pub const IP_RPFILTER: u32 = 1;
const REASONS: [&str; 22] = [
    "NETFILTER_DROP",
    "IP_RPFILTER",
    "NOT_SPECIFIED",
    "NO_SOCKET",
    "IP_CSUM",
    "TCP_CSUM",
    "UDP_CSUM",
    "IP_INNOROUTES",
    "IP_OUTNOROUTES",
    "IP_INADDRERRORS",
    "NEIGH_FAILED",
    "SOCKET_RCVBUFF",
    "QDISC_DROP",
    "CPU_BACKLOG",
    "VXLAN_VNI_NOT_FOUND",
    "BPF_CGROUP_EGRESS",
    "SECURITY_HOOK",
    "SOCKET_FILTER",
    "NEIGH_CREATEFAIL",
    "OTHERHOST",
    "TC_INGRESS",
    "TC_EGRESS",
];
const SYMBOLS: [&str; 16] = [
    "nft_do_chain",
    "nf_hook_slow",
    "ip_error",
    "ip6_forward",
    "ip6_pkt_drop",
    "neigh_invalidate",
    "vxlan_xmit",
    "vxlan_rcv",
    "__dev_queue_xmit",
    "__udp4_lib_rcv",
    "tcp_v4_rcv",
    "ip_finish_output2",
    "ip_forward",
    "ip_rcv_core",
    "br_forward",
    "veth_xdp_rcv_skb",
];
const LOCATION: u64 = 0x100;

pub struct TestNames(Reasons);

impl Default for TestNames {
    fn default() -> Self {
        let name = |(n, name): (usize, &&str)| (n as u32, format!("SKB_DROP_REASON_{name}"));
        Self(Reasons::new(REASONS.iter().enumerate().map(name)))
    }
}

impl Names for TestNames {
    fn symbol(&self, address: u64) -> String {
        let name = SYMBOLS[(address - LOCATION) as usize];
        format!("{name}+0x1")
    }

    fn reasons(&self) -> &Reasons {
        &self.0
    }
}

/// Facts of one reading, handed to `judge`.
pub fn with_facts<T>(
    node: &Node,
    observation: &Observation,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    with_gathered(node, observation, [], judge)
}

/// The same, with what the rules asked for.
pub fn with_gathered<T>(
    node: &Node,
    observation: &Observation,
    pieces: impl IntoIterator<Item = (Want, Result<Piece, String>)>,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    since(node, node, observation, pieces, judge)
}

/// The same, with what the Kubernetes API says.
pub fn with_cluster<T>(
    node: &Node,
    observation: &Observation,
    pieces: impl IntoIterator<Item = (Want, Result<Piece, String>)>,
    cluster: &Cluster,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let pods = PodIndex::default();
    let asked = (pieces, [].as_slice());
    all((node, node), observation, asked, (&pods, cluster), judge)
}

/// Where these pods are known, and what the Kubernetes API says.
pub fn with_pods<T>(
    node: &Node,
    pods: Vec<Pod>,
    cluster: &Cluster,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let (pods, none) = (PodIndex::new(pods), Observation::default());
    let asked = ([], [].as_slice());
    all((node, node), &none, asked, (&pods, cluster), judge)
}

/// The same, with the node as it was when the run began.
pub fn since<T>(
    start: &Node,
    node: &Node,
    observation: &Observation,
    pieces: impl IntoIterator<Item = (Want, Result<Piece, String>)>,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let (pods, cluster) = (PodIndex::default(), Cluster::default());
    let asked = (pieces, [].as_slice());
    all((start, node), observation, asked, (&pods, &cluster), judge)
}

/// Where some questions have no answer yet.
pub fn with_open<T>(
    node: &Node,
    observation: &Observation,
    pieces: impl IntoIterator<Item = (Want, Result<Piece, String>)>,
    open: &[Want],
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let (pods, cluster) = (PodIndex::default(), Cluster::default());
    let asked = (pieces, open);
    all((node, node), observation, asked, (&pods, &cluster), judge)
}

fn all<T>(
    (start, node): (&Node, &Node),
    observation: &Observation,
    (pieces, open): (
        impl IntoIterator<Item = (Want, Result<Piece, String>)>,
        &[Want],
    ),
    (pods, cluster): (&PodIndex, &Cluster),
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let names = TestNames::default();
    let pieces: Vec<_> = pieces.into_iter().collect();
    let mut gathered = Gathered::default();
    gathered.ask(open);
    for (want, piece) in &pieces {
        gathered.insert(want.clone(), piece.clone());
    }
    let clock = Clock {
        monotonic: 0,
        wall: jiff::Timestamp::UNIX_EPOCH,
    };
    let known = Known {
        node,
        start,
        pods,
        cluster,
        gathered: &gathered,
        names: &names,
        clock,
    };
    commands::check(&known, observation, &pieces);
    let rows = Rows::new(&known, observation);
    judge(&Facts::new(&known, &rows))
}
