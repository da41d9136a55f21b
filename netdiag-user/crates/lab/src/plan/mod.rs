//! What a lab consists of, as plain data: every name, address and number of it. A plan follows
//! from the options and the id alone, so that it can be made again for a lab that stands.
mod network;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netns::PREFIX;
use crate::rng::Rng;
use crate::state::Options;
use network::{Network, node_names, tunnel};

/// Indices of the two nodes.
pub const A: usize = 0;
pub const B: usize = 1;

/// How the nodes reach each other's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As flannel does it: a bridge, and a VXLAN device with static entries.
    Vxlan,
    /// As Calico does it: no bridge, and the IPIP device.
    Ipip,
    /// A bridge, and a GRE device from node to node.
    Gre,
}

#[derive(Clone, Copy, Debug)]
pub struct Mtu {
    pub uplink: u32,
    pub tunnel: u32,
    pub pod: u32,
}

#[derive(Clone, Debug)]
pub struct Tunnel {
    pub device: String,
    pub vni: u32,
    pub port: u16,
    /// The outer packets are IPv6.
    pub ipv6: bool,
}

#[derive(Clone, Debug)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub sandbox: String,
    pub netns: String,
    pub veth: String,
    pub veth_mac: [u8; 6],
    pub mac: [u8; 6],
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub netns: String,
    pub uplink: String,
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
    /// A second address of the uplink, as from DHCP: it has a lifetime.
    pub leased: Option<Ipv4Addr>,
    /// The tunnel's own source address.
    pub local: IpAddr,
    /// Where the other node sends packets for this one's pods.
    pub known_as: IpAddr,
    /// The tunnel is bound to the second network's device.
    pub tunnel_on_second: bool,
    /// What kubelet is told of the node's address, and netdiag with it.
    pub told: Option<IpAddr>,
    /// VNI and port of its tunnel, where they are not the other node's.
    pub overlay: Option<(u32, u16)>,
    pub tunnel_mac: [u8; 6],
    pub bridge_mac: [u8; 6],
    pub rp_filter: u8,
    /// Pod networks, /24 and /64.
    pub pods_ipv4: Ipv4Addr,
    pub pods_ipv6: Ipv6Addr,
    pub pods: Vec<Pod>,
}

impl Node {
    pub fn gateway_ipv4(&self) -> Ipv4Addr {
        let [a, b, c, _] = self.pods_ipv4.octets();
        Ipv4Addr::new(a, b, c, 1)
    }

    pub fn gateway_ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.pods_ipv6.to_bits() | 1)
    }
}

/// A host that is no node: the default gateway, and where traffic from outside comes from.
#[derive(Clone, Debug)]
pub struct Outside {
    pub netns: String,
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
}

/// A second network between node A and the host outside.
#[derive(Clone, Debug)]
pub struct Second {
    pub device: String,
    pub node: Ipv4Addr,
    pub outside: Ipv4Addr,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub id: String,
    pub options: Options,
    pub kind: Kind,
    pub mtu: Mtu,
    pub tunnel: Tunnel,
    /// The pods' bridge; without one in Calico's form.
    pub bridge: String,
    pub cni_network: String,
    pub nodes: [Node; 2],
    pub outside: Outside,
    pub second: Option<Second>,
    /// node A and the outside hang on the first switch, node B on the second.
    pub switches: [String; 2],
    /// The nodes' uplinks are the two ends of one cable: packets between them pass no switch.
    pub direct: bool,
    /// The pods do not obey "fragmentation needed".
    pub deaf: bool,
    /// Which form of the incident this is, for scenarios that have several.
    pub variant: u32,
    /// The same of the scenario beside it, where there are two.
    pub second_variant: u32,
    /// For what a scenario varies besides.
    pub rng: Rng,
}

/// One end of some traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Node index, pod index.
    Pod(usize, usize),
    /// The node itself, by its address on the underlay.
    Node(usize),
    Outside,
}

impl Plan {
    pub fn new(id: &str, options: Options, kind: Kind) -> Self {
        let mut rng = Rng::new(options.seed);
        let net = Network::new(&mut rng);
        let names = node_names(&mut rng, net.nodes);
        let uplink = rng.pick(&["eth0", "ens5", "enp1s0", "bond0", "eno1"]);
        let numbers = (rng.byte(0, 99), rng.byte(100, 200));
        let nodes = [(A, numbers.0), (B, numbers.1)].map(|(index, subnet)| {
            let name = names[index].clone();
            net.node(&mut rng, id, kind, name, uplink, (index as u8, subnet))
        });
        let tunnel = tunnel(&mut rng, kind);
        let own = |name: &str| format!("{PREFIX}{id}-{name}");
        let mtu = 1500;
        Self {
            id: id.to_owned(),
            kind,
            mtu: Mtu {
                uplink: mtu,
                tunnel: mtu - 50,
                pod: mtu - 50,
            },
            tunnel,
            bridge: rng.pick(&["cni0", "cbr0", "kube-bridge"]).to_owned(),
            cni_network: match kind {
                Kind::Vxlan | Kind::Gre => "cbr0".to_owned(),
                Kind::Ipip => "k8s-pod-network".to_owned(),
            },
            nodes,
            outside: Outside {
                netns: own("outside"),
                ipv4: net.v4(1),
                ipv6: net.v6(1),
            },
            second: None,
            switches: [own("sw1"), own("sw2")],
            direct: false,
            deaf: false,
            variant: 0,
            second_variant: 0,
            options,
            rng,
        }
    }

    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.nodes.iter().flat_map(|node| &node.pods)
    }

    /// Every namespace of the lab.
    pub fn namespaces(&self) -> Vec<String> {
        let nodes = self.nodes.iter().map(|node| node.netns.clone());
        let pods = self.pods().map(|pod| pod.netns.clone());
        let rest = self.switches.iter().chain([&self.outside.netns]).cloned();
        rest.chain(nodes).chain(pods).collect()
    }

    pub fn netns(&self, place: Place) -> &str {
        match place {
            Place::Pod(node, pod) => &self.nodes[node].pods[pod].netns,
            Place::Node(node) => &self.nodes[node].netns,
            Place::Outside => &self.outside.netns,
        }
    }

    /// The address that traffic to this place is sent to, in the family that the pods talk.
    pub fn address(&self, place: Place) -> IpAddr {
        let (ipv4, ipv6) = match place {
            Place::Pod(node, pod) => {
                let pod = &self.nodes[node].pods[pod];
                (pod.ipv4, pod.ipv6)
            }
            Place::Node(node) => (self.nodes[node].ipv4, self.nodes[node].ipv6),
            Place::Outside => (self.outside.ipv4, self.outside.ipv6),
        };
        if self.options.ipv6 {
            ipv6.into()
        } else {
            ipv4.into()
        }
    }

    /// The same plan as the second of two scenarios has it.
    pub fn of_second(&self) -> Self {
        Self {
            variant: self.second_variant,
            ..self.clone()
        }
    }

    /// A number for choosing between an incident's forms, so that every form comes up within a
    /// few seeds, with and without offload (which goes by odd and even).
    pub fn form(&self) -> usize {
        (self.options.seed / 2) as usize
    }

    /// The tunnel's packets are IPv6 from here on.
    pub fn ipv6_underlay(&mut self) {
        self.tunnel.ipv6 = true;
        for node in &mut self.nodes {
            node.local = node.ipv6.into();
            node.known_as = node.ipv6.into();
        }
    }
}
