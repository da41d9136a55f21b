//! The names and addresses that a seed gives.
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Kind, Node, Pod, Tunnel};
use crate::netns::PREFIX;
use crate::rng::Rng;

/// What runs on the one node and on the other.
const APPS: [[&str; 5]; 2] = [
    ["cart", "frontend", "orders", "web", "api"],
    ["catalog", "postgres", "payments", "search", "users"],
];

/// The addresses that a plan is made of.
pub struct Network {
    pub nodes: [u8; 3],
    pods: [u8; 2],
    v6: [u16; 2],
}

impl Network {
    pub fn new(rng: &mut Rng) -> Self {
        let nodes = match rng.between(0, 2) {
            0 => [192, 168, rng.byte(1, 250)],
            1 => [172, rng.byte(16, 31), rng.byte(0, 250)],
            _ => [10, rng.byte(0, 40), rng.byte(0, 250)],
        };
        let pods = rng.pick(&[[10, 244], [10, 42], [10, 100], [100, 96], [172, 12]]);
        let v6 = [rng.between(1, 0xffff) as u16, rng.between(1, 0xffff) as u16];
        Self { nodes, pods, v6 }
    }

    pub fn v4(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.nodes;
        Ipv4Addr::new(a, b, c, host)
    }

    pub fn v6(&self, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, self.v6[0], 0, 0, 0, 0, 0, host)
    }

    pub fn node(
        &self,
        rng: &mut Rng,
        id: &str,
        kind: Kind,
        name: String,
        uplink: &str,
        (index, subnet): (u8, u8),
    ) -> Node {
        // Two ranges apart from each other and from .1, where the gateway is.
        let host = 10 + 40 * index + rng.byte(0, 39);
        let netns = format!("{PREFIX}{id}-{name}");
        let [p, q] = self.pods;
        let pods_ipv4 = Ipv4Addr::new(p, q, subnet, 0);
        let pods_ipv6 = Ipv6Addr::new(0xfd00, self.v6[1], 0x244, subnet.into(), 0, 0, 0, 0);
        let app = APPS[usize::from(index)][rng.between(0, 4) as usize];
        let first = rng.byte(2, 120);
        let pods = [(app, first), ("coredns", first + rng.byte(1, 99))]
            .map(|(app, host)| pod(rng, &netns, kind, app, (pods_ipv4, pods_ipv6, host)));
        Node {
            uplink: uplink.to_owned(),
            ipv4: self.v4(host),
            ipv6: self.v6(host.into()),
            leased: None,
            local: self.v4(host).into(),
            known_as: self.v4(host).into(),
            tunnel_on_second: false,
            told: None,
            overlay: None,
            tunnel_mac: [
                0x02,
                0xf1,
                rng.byte(0, 255),
                rng.byte(0, 255),
                rng.byte(0, 255),
                index + 1,
            ],
            bridge_mac: [0x0a, 0x58, p, q, subnet, 1],
            rp_filter: 0,
            pods_ipv4,
            pods_ipv6,
            pods: pods.into(),
            name,
            netns,
        }
    }
}

pub fn node_names(rng: &mut Rng, net: [u8; 3]) -> [String; 2] {
    let [_, b, c] = net;
    match rng.between(0, 3) {
        0 => ["node-a", "node-b"].map(str::to_owned),
        1 => ["worker-1", "worker-2"].map(str::to_owned),
        2 => [format!("ip-{b}-{c}-a"), format!("ip-{b}-{c}-b")],
        _ => ["k8s-n1", "k8s-n2"].map(str::to_owned),
    }
}

pub fn tunnel(rng: &mut Rng, kind: Kind) -> Tunnel {
    let vni = rng.between(1, 8000);
    let other = rng.between(5000, 9999) as u16;
    let (port, calico) = rng.pick(&[(8472, false), (8472, false), (4789, true), (other, false)]);
    let device = match (kind, calico) {
        (Kind::Ipip, _) => "tunl0".to_owned(),
        (Kind::Gre, _) => format!("gre-{vni}"),
        (Kind::Vxlan, true) => "vxlan.calico".to_owned(),
        (Kind::Vxlan, false) => format!("flannel.{vni}"),
    };
    Tunnel {
        device,
        vni,
        port,
        ipv6: false,
    }
}

fn pod(
    rng: &mut Rng,
    node: &str,
    kind: Kind,
    app: &str,
    (ipv4, ipv6, host): (Ipv4Addr, Ipv6Addr, u8),
) -> Pod {
    let namespace = match app {
        "coredns" => "kube-system",
        _ => rng.pick(&["shop", "default", "prod", "team-a"]),
    };
    let [a, b, c, _] = ipv4.octets();
    let uid = [8, 4, 4, 4, 12].map(|length| rng.hex(length)).join("-");
    Pod {
        namespace: namespace.to_owned(),
        name: format!("{app}-{}-{}", rng.word(9), rng.word(5)),
        uid,
        sandbox: rng.hex(64),
        netns: format!("{node}-{app}"),
        veth: match kind {
            Kind::Vxlan | Kind::Gre => format!("veth{}", rng.hex(8)),
            Kind::Ipip => format!("cali{}", rng.hex(11)),
        },
        // Calico gives every host side the same address.
        veth_mac: match kind {
            Kind::Vxlan | Kind::Gre => [0x0a, 0x58, 0xfe, rng.byte(0, 255), c, host],
            Kind::Ipip => [0xee; 6],
        },
        mac: [0x0a, 0x58, a, b, c, host],
        ipv4: Ipv4Addr::new(a, b, c, host),
        ipv6: Ipv6Addr::from_bits(ipv6.to_bits() | u128::from(host)),
    }
}
