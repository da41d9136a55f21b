//! The node's network configuration as netlink and /proc show it.
use super::shell::CommandLine;
use crate::shell;
use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{address::Prefix, counter_name::CounterName, journal::Change, policy::PolicyRule};

/// What kind of device a link is, as far as netdiag tells kinds apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkKind {
    Loopback,
    /// A NIC: the kernel names no kind for it.
    Physical,
    Veth,
    /// A pair like veth's, with programs at both ends in place of a cable.
    Netkit,
    Bridge,
    Vxlan,
    Geneve,
    Ipip,
    Sit,
    Ip6Tunnel,
    Gre,
    Wireguard,
    Vlan,
    Bond,
    Other(String),
}

/// Attributes of a tunnel device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    pub vni: Option<u32>,
    pub port: Option<u16>,
    pub local: Option<IpAddr>,
    pub remote: Option<IpAddr>,
    /// ifindex of the device that it is bound to.
    pub underlay: Option<u32>,
    /// External (metadata) mode: peers and addresses come with each packet.
    pub external: bool,
    /// Outer bytes that its options add: GRE's key, checksum and sequence number, and the
    /// encapsulation limit of tunnels over IPv6.
    #[serde(default)]
    pub extra: u32,
    /// Whether it takes outer UDP over IPv6 that comes without a checksum (udp6zerocsumrx); nothing for
    /// what has no such option.
    #[serde(default)]
    pub zero_checksum: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAddress {
    pub prefix: Prefix,
    /// Has a finite lifetime, as DHCP gives.
    pub dynamic: bool,
    pub link_local: bool,
}

/// What a link counted since it was made (`struct rtnl_link_stats64`), and its carrier's changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkCounters {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    /// Packets that the NIC had no room for.
    pub rx_missed: u64,
    /// Frames with a bad checksum on the wire.
    pub rx_crc: u64,
    pub carrier_changes: u64,
}

/// Counters of one namespace by their names in /proc/net, `TcpExt.ListenOverflows`,
/// `nf_conntrack.drop`: whatever the kernel has, none is known by heart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Inode of the namespace.
    pub netns: u32,
    pub values: BTreeMap<CounterName, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub kind: LinkKind,
    pub mtu: u32,
    pub up: bool,
    /// Frames start with an Ethernet header.
    pub ethernet: bool,
    pub master: Option<u32>,
    /// Peer or lower device's ifindex (IFLA_LINK).
    pub link: Option<u32>,
    /// Inode of the namespace where the peer is, when it is another one that could be found.
    pub peer_netns: Option<u32>,
    /// The peer is in another namespace.
    pub peer_elsewhere: bool,
    pub tunnel: Option<Tunnel>,
    /// Its link-layer address.
    #[serde(default)]
    pub lladdr: Option<Vec<u8>>,
    pub addresses: Vec<LinkAddress>,
    /// There is a signal on the cable (IFLA_CARRIER); links that know none have it.
    #[serde(default = "yes")]
    pub carrier: bool,
    #[serde(default)]
    pub counters: LinkCounters,
    /// As a port of a bridge: nothing passes between it and other isolated ones.
    #[serde(default)]
    pub isolated: bool,
    /// As a port of a bridge: frames may leave by the port that they came by.
    #[serde(default)]
    pub hairpin: bool,
    /// As a bridge: it separates VLANs, and its ports need not be on one network.
    #[serde(default)]
    pub vlan_filtering: bool,
    /// It takes in frames for everybody (IFF_PROMISC).
    #[serde(default)]
    pub promiscuous: bool,
}

fn yes() -> bool {
    true
}

impl Link {
    pub fn is_tunnel(&self) -> bool {
        use LinkKind::{Geneve, Gre, Ip6Tunnel, Ipip, Sit, Vxlan, Wireguard};
        matches!(
            self.kind,
            Vxlan | Geneve | Ipip | Sit | Ip6Tunnel | Gre | Wireguard
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteKind {
    Unicast,
    /// To this node itself: local and broadcast.
    Local,
    /// Blackhole, unreachable, prohibit.
    Refusing,
}

/// Table of the routes that one adds (RT_TABLE_MAIN).
pub const MAIN: u32 = 254;
/// Table of the kernel's routes to this node itself (RT_TABLE_LOCAL).
pub const LOCAL: u32 = 255;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub kind: RouteKind,
    pub destination: Prefix,
    pub table: u32,
    pub metric: u32,
    pub oif: Option<u32>,
    pub gateway: Option<IpAddr>,
    pub mtu: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    pub ifindex: u32,
    pub address: IpAddr,
    pub lladdr: Option<Vec<u8>>,
    pub failed: bool,
    /// Nobody is asked for it: it was made by hand, or by a CNI's agent.
    #[serde(default)]
    pub permanent: bool,
}

/// A neighbour whose link-layer address changed while it was watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourMoves {
    pub ifindex: u32,
    pub address: IpAddr,
    /// Those that it had, each once.
    pub lladdrs: Vec<Vec<u8>>,
    /// How often it changed from one to another.
    pub changes: u32,
    /// How often to one that it had before; readings of before do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns: Option<u32>,
}

/// One entry of a VXLAN device's forwarding table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fdb {
    pub ifindex: u32,
    pub lladdr: Vec<u8>,
    pub vtep: IpAddr,
}

/// What a pod's own namespace says of its way out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSide {
    pub netns: u32,
    /// Device MTU of the pod's interface.
    pub mtu: u32,
    /// The smallest `mtu` of its routes, where one is set.
    pub route_mtu: Option<u32>,
    pub addresses: Vec<IpAddr>,
    /// Its links that are ports of a bridge or bond: a pod has none, the network behind a veth
    /// that stands for a NIC has.
    #[serde(default)]
    pub ports: Vec<u32>,
    /// Its links that lead outward, by index.
    #[serde(default)]
    pub links: Vec<(u32, String)>,
    /// The index of the node's device that it shares (macvlan, ipvlan), where it has no link of
    /// its own.
    #[serde(default)]
    pub lower: Option<u32>,
    /// The file that names its namespace, as the node sees it: what nsenter(1) takes.
    #[serde(default)]
    pub path: Option<String>,
    /// Its routes: where to, and the gateway that they lead by; readings of before have none.
    #[serde(default)]
    pub ways: Vec<(Prefix, Option<IpAddr>)>,
}

impl PodSide {
    /// The gateway by which the pod sends what is for `destination`; nothing where that is on its
    /// own link.
    pub fn gateway(&self, destination: IpAddr) -> Option<IpAddr> {
        self.way(destination)?.1
    }

    /// The route that it takes, with its gateway.
    pub fn way(&self, destination: IpAddr) -> Option<(Prefix, Option<IpAddr>)> {
        let ways = self.ways.iter().filter(|(to, _)| to.contains(destination));
        ways.max_by_key(|(to, _)| to.length).copied()
    }
}

/// Everything that is read from the node, at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub kernel: String,
    /// Inode of the namespace netdiag runs in.
    pub netns: u32,
    pub links: Vec<Link>,
    pub routes: Vec<Route>,
    /// Tables that rules of somebody's send ordinary packets to, beside the kernel's own three.
    #[serde(default)]
    pub policy_tables: Vec<u32>,
    /// What chooses among the tables, in the order of priority; readings of before have none.
    #[serde(default)]
    pub rules: Vec<PolicyRule>,
    pub neighbours: Vec<Neighbour>,
    pub fdb: Vec<Fdb>,
    pub pod_sides: Vec<PodSide>,
    /// The same of pods that no link of this node leads to (macvlan, ipvlan, a device moved in):
    /// what they send does not pass the node's stack.
    #[serde(default)]
    pub linkless: Vec<PodSide>,
    /// `(name, value)`, the name as sysctl(8) writes it.
    pub sysctls: Vec<(String, String)>,
    /// Counters of this namespace and of the pods'.
    #[serde(default)]
    pub counters: Vec<Counters>,
    /// Addresses by which the cluster knows this node, with where that is said.
    pub known_as: Vec<(IpAddr, String)>,
    /// Since the run began.
    #[serde(default)]
    pub neighbour_moves: Vec<NeighbourMoves>,
    /// The same of all else, the earliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

impl Node {
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|l| l.index == index)
    }

    pub fn link_name(&self, index: u32) -> String {
        self.link(index)
            .map_or_else(|| format!("ifindex {index}"), |l| l.name.clone())
    }

    pub fn sysctl(&self, name: &str) -> Option<&str> {
        self.sysctls
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Every address of this node with its link.
    pub fn addresses(&self) -> impl Iterator<Item = (&Link, &LinkAddress)> {
        self.links
            .iter()
            .flat_map(|l| l.addresses.iter().map(move |a| (l, a)))
    }

    pub fn owns(&self, address: IpAddr) -> bool {
        self.addresses().any(|(_, a)| a.prefix.address == address)
    }

    /// A counter's value in a namespace.
    pub fn counter(&self, netns: u32, name: &str) -> Option<u64> {
        let of = |c: &&Counters| c.netns == netns;
        self.counters.iter().find(of)?.values.get(name).copied()
    }

    pub fn pod_side(&self, netns: u32) -> Option<&PodSide> {
        self.sides().find(|p| p.netns == netns)
    }

    /// Of all pods, whatever leads to them.
    pub fn sides(&self) -> impl Iterator<Item = &PodSide> {
        self.pod_sides.iter().chain(&self.linkless)
    }

    /// A command line that runs `command` in a namespace: by its name or the file that names it,
    /// else by one of its processes.
    pub fn inside(&self, netns: u32, command: CommandLine) -> CommandLine {
        let path = self.pod_side(netns).and_then(|s| s.path.as_deref());
        match path {
            _ if netns == self.netns => command,
            Some(path) => command.under(&entering(path)),
            None => command.under(&shell!(
                "nsenter -n -t $( lsns -n -t net -o NS,PID | awk '$1=={}{{print $2}}' )",
                netns
            )),
        }
    }

    /// In which namespace a command is run that was made to be run in one ([`Self::inside`]), and that command by itself.
    pub fn run_in<'c>(&self, argv: &'c [String]) -> Option<(u32, &'c [String])> {
        let sides = self.sides();
        let mut named = sides.filter_map(|side| Some((side.netns, side.path.as_deref()?)));
        let entered = named.find_map(|(netns, path)| {
            let prefix = entering(path).argv();
            // A name that no command may have in it has none, which every command would begin with.
            let command = argv.strip_prefix(prefix.as_slice());
            command.filter(|_| !prefix.is_empty()).map(|it| (netns, it))
        });
        let elsewhere = argv.first().is_none_or(|program| program == "nsenter")
            || argv.get(1).is_some_and(|object| object == "netns");
        entered.or_else(|| (!elsewhere).then_some((self.netns, argv)))
    }

    /// The route that a packet to `destination` takes: longest prefix, then least metric. The
    /// local table is asked first, then main, as the default rules do; another table (a VRF's,
    /// policy routing's) where neither knows a way.
    pub(crate) fn route_to(&self, destination: IpAddr) -> Option<&Route> {
        let best = |wanted: &dyn Fn(&Route) -> bool| {
            self.routes
                .iter()
                .filter(|r| wanted(r) && r.destination.contains(destination))
                .max_by_key(|r| (r.destination.length, std::cmp::Reverse(r.metric)))
        };
        best(&|r| r.kind == RouteKind::Local && r.table == LOCAL)
            .or_else(|| best(&|r| r.table == MAIN))
            .or_else(|| best(&|_| true))
    }
}

/// Where ip-netns(8) looks for names, which is one folder by both.
const NAMED: [&str; 2] = ["/run/netns/", "/var/run/netns/"];

/// As one types it: a name, a process, else the file.
fn entering(path: &str) -> CommandLine {
    let plain = |name: &&str| !name.is_empty() && !name.contains('/') && !name.starts_with('.');
    let mut named = NAMED.iter().filter_map(|folder| path.strip_prefix(folder));
    if let Some(name) = named.find(plain) {
        return shell!("ip netns exec {}", name);
    }
    let process = path.strip_prefix("/proc/");
    let pid = process.and_then(|rest| rest.strip_suffix("/ns/net"));
    match pid.and_then(|pid| pid.parse::<u32>().ok()) {
        Some(pid) => shell!("nsenter -t {v} -n", pid),
        None => shell!("nsenter --net={}", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_entered_as_people_type_it() {
        for (path, typed) in [
            ("/run/netns/cni-1", "ip netns exec cni-1 ss -l"),
            ("/var/run/netns/cni-1", "ip netns exec cni-1 ss -l"),
            ("/proc/42/ns/net", "nsenter -t 42 -n ss -l"),
            ("/proc/self/ns/net", "nsenter --net=/proc/self/ns/net ss -l"),
            (
                "/run/docker/netns/a",
                "nsenter --net=/run/docker/netns/a ss -l",
            ),
            ("/run/netns/../a", "nsenter --net=/run/netns/../a ss -l"),
        ] {
            let line = shell!("ss -l").under(&entering(path));
            assert_eq!(line.text(), typed);
            assert_eq!(line.programs(), [["ss", "-l"]], "{typed}");
        }
        let refused = shell!("ss -l").under(&entering("/run/netns/-n"));
        assert!(refused.is_refused(), "an option");
    }

    #[test]
    fn a_command_is_run_where_it_says() {
        let side = |netns, path: &str| PodSide {
            netns,
            path: Some(path.into()),
            ..PodSide::default()
        };
        let node = Node {
            netns: 1,
            pod_sides: vec![
                // No command leads into it, and none is run there.
                side(2, "/run/netns/-n"),
                side(3, "/run/netns/cni-3"),
                side(4, "/proc/42/ns/net"),
            ],
            ..Node::default()
        };
        for (line, run) in [
            ("ip route", Some((1, "ip route"))),
            ("ip netns exec cni-3 ip route", Some((3, "ip route"))),
            ("nsenter -t 42 -n ip route", Some((4, "ip route"))),
            ("ip netns exec cni-9 ip route", None),
            ("nsenter -t 43 -n ip route", None),
        ] {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let is = node.run_in(&argv).map(|(netns, it)| (netns, it.join(" ")));
            let is = is.as_ref().map(|(netns, it)| (*netns, it.as_str()));
            assert_eq!(is, run, "{line}");
        }
    }

    fn route(destination: &str, table: u32, mtu: u32) -> Route {
        Route {
            kind: RouteKind::Unicast,
            destination: destination.parse().expect("a prefix"),
            table,
            metric: 0,
            oif: Some(1),
            gateway: None,
            mtu: Some(mtu),
        }
    }

    #[test]
    fn policy_routings_tables_come_last() {
        let routes = vec![
            route("0.0.0.0/0", MAIN, 1),
            route("10.0.0.7/32", 77, 2),
            route("fd00::/8", 77, 3),
        ];
        let node = Node {
            routes,
            ..Node::default()
        };
        let mtu = |to: &str| node.route_to(to.parse().expect("an address"))?.mtu;
        assert_eq!(mtu("10.0.0.7"), Some(1));
        assert_eq!(mtu("fd00::7"), Some(3));
    }
}
