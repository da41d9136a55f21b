//! Two more pods beside those that suffer, on the same node and in the same network, that talk to
//! each other and miss nothing.
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use netdiag::model::{
    address::{Prefix, to_wire},
    node::{Counters, Link, MAIN, Node, PodSide, Route, RouteKind},
    observation::Observation,
    pod::{Pod, PodIndex},
};
use netdiag_common::{
    flow::FlowKey,
    hop::{ACK, EGRESS, FlowHop, FlowHopKey, INGRESS, PLAIN, SYN, TRACKED},
};

use super::readings::{Change, Reading};

const TCP: u8 = 6;
const SERVED: u16 = 8080;
/// How long after the run began they began.
const BEGAN_NS: u64 = 20_000_000;
/// Between one request and the next; an answer takes a hundredth of it.
const EVERY_NS: u64 = 100_000_000;
const REQUEST: u64 = 125;
const ANSWER: u64 = 252;

/// Nothing where no pod of the node has a link that another could have beside it.
pub fn mixed_in(readings: &[Reading]) -> Result<Change<'_>, &'static str> {
    let couple = { readings.iter() }.find_map(|it| Couple::like(&it.scene.node, &it.scene.pods));
    let couple = couple.ok_or("no pod on this node has a link of its own")?;
    Ok(Box::new(move |scene, counted| {
        couple.join(&mut scene.node);
        couple.join(&mut scene.start);
        let pods = scene.pods.iter().cloned();
        scene.pods = PodIndex::new(pods.chain(couple.pods()).collect());
        couple.talk(counted, scene.run.started);
    }))
}

struct Couple {
    client: One,
    server: One,
}

/// One of them, made like a pod that is there.
struct One {
    name: &'static str,
    link: Link,
    side: PodSide,
    counters: Option<Counters>,
    address: Ipv4Addr,
}

impl Couple {
    fn like(node: &Node, pods: &PodIndex) -> Option<Self> {
        let used: BTreeSet<IpAddr> = { node.addresses().map(|(_, a)| a.prefix.address) }
            .chain(pods.iter().flat_map(|pod| pod.addresses.clone()))
            .collect();
        let (link, side, address) = node.links.iter().find_map(|link| {
            let side = node.pod_side(link.peer_netns?)?;
            let address = side.addresses.iter().find_map(|a| match a {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })?;
            pods.by_netns(side.netns)?;
            Some((link, side, address))
        })?;
        let [one, two, three, _] = address.octets();
        let free = (2..=250).rev().map(|n| Ipv4Addr::new(one, two, three, n));
        let mut free = free.filter(|it| !used.contains(&IpAddr::V4(*it)));
        let mut make = |name, number: u32| {
            Some(One {
                name,
                link: Link {
                    index: 9_000 + number,
                    name: format!("vethmore{number}"),
                    peer_netns: Some(90_000 + number),
                    addresses: Vec::new(),
                    ..link.clone()
                },
                side: PodSide {
                    netns: 90_000 + number,
                    addresses: Vec::new(),
                    path: None,
                    ..side.clone()
                },
                counters: { node.counters.iter() }
                    .find(|it| it.netns == side.netns)
                    .cloned(),
                address: free.next()?,
            })
        };
        Some(Self {
            client: make("more-client", 1)?,
            server: make("more-server", 2)?,
        })
    }

    fn both(&self) -> [&One; 2] {
        [&self.client, &self.server]
    }

    fn pods(&self) -> [Pod; 2] {
        self.both().map(|one| Pod {
            namespace: "default".into(),
            name: one.name.into(),
            addresses: vec![one.address.into()],
            interface: Some(one.link.name.clone()),
            netns: Some(one.side.netns),
            ..Pod::default()
        })
    }

    fn join(&self, node: &mut Node) {
        for one in self.both() {
            node.links.push(one.link.clone());
            let mut side = one.side.clone();
            side.addresses = vec![one.address.into()];
            if one.link.master.is_none() {
                node.routes.push(Route {
                    kind: RouteKind::Unicast,
                    destination: Prefix::host(one.address.into()),
                    table: MAIN,
                    metric: 0,
                    oif: Some(one.link.index),
                    gateway: None,
                    mtu: None,
                });
            }
            node.pod_sides.push(side);
            node.counters
                .extend(one.counters.clone().map(|it| Counters {
                    netns: one.side.netns,
                    ..it
                }));
        }
    }

    fn talk(&self, counted: &mut Observation, started: u64) {
        let began = started + BEGAN_NS;
        if counted.now < began + EVERY_NS {
            return;
        }
        let asked = FlowKey {
            source: to_wire(self.client.address.into()),
            destination: to_wire(self.server.address.into()),
            source_port: 40_001,
            destination_port: SERVED,
            protocol: TCP,
            family: 4,
            padding: [0; 2],
        };
        let times = (counted.now - began) / EVERY_NS;
        let (client, server) = (&self.client.link, &self.server.link);
        for (flow, size, from, to, delay) in [
            (asked, REQUEST, client, server, 0),
            (asked.reversed(), ANSWER, server, client, EVERY_NS / 100),
        ] {
            for (n, (link, direction)) in [(from, INGRESS), (to, EGRESS)].into_iter().enumerate() {
                let first = began + delay + n as u64 * 1_000;
                let key = FlowHopKey {
                    flow,
                    ifindex: link.index,
                    direction,
                    carried: PLAIN,
                    padding: [0; 2],
                };
                let opens = u32::from(delay == 0);
                let hop = passed(times, size, first, opens);
                counted.flows.push((key, hop));
            }
        }
    }
}

fn passed(times: u64, size: u64, first: u64, opens: u32) -> FlowHop {
    const HEADERS: u64 = 52;
    let last = first + (times - 1) * EVERY_NS;
    FlowHop {
        packets: times + 1,
        bytes: times * size + HEADERS,
        first,
        last,
        progress: last,
        payload: times * (size - HEADERS),
        largest: size as u32,
        flags: SYN | ACK | TRACKED,
        next_sequence: (times * (size - HEADERS)) as u32,
        syns: opens,
        mss: 1410,
        ..FlowHop::default()
    }
}
