//! Who talks to whom on that node, and what comes of it.
use std::net::{IpAddr, Ipv4Addr};

use netdiag::{
    model::{
        address::to_wire,
        flow::{TCP, UDP},
        observation::Observation,
    },
    pipeline::scene::Scene,
};
use netdiag_common::{
    dns::{Dns, DnsKey, NAME},
    flow::FlowKey,
    hop::{
        ACK, EGRESS, FlowHop, FlowHopKey, INGRESS, Outer, OuterKey, PLAIN, RST, SYN, TRACKED, VXLAN,
    },
    loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
};

use crate::node::{self, HOSTS, NETNS, OVERLAY, PODS, SERVICES, UPLINK};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 60 * SECOND;
/// Of a cluster's name server.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 255, 10);
const LOOKUPS: u32 = 2_000;

/// What becomes of a conversation.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Works,
    Refused,
    Silent,
    Dropped,
}

struct Talks {
    rows: Observation,
    /// Of a hundred conversations so many fail, each of them in one of three ways.
    failing: u32,
    number: u32,
}

/// A reading of so many rows of flows.
pub fn reading(flows: usize, failing: u32) -> (Scene, Observation) {
    let rows = Observation {
        now: NOW,
        ..Observation::default()
    };
    let mut talks = Talks {
        rows,
        failing,
        number: 0,
    };
    while talks.rows.flows.len() < flows {
        talks.next();
    }
    talks.rows.flows.truncate(flows);
    talks.lookups();
    talks.outers();
    (node::scene(), talks.rows)
}

fn flow(from: (IpAddr, u16), to: (IpAddr, u16), protocol: u8) -> FlowKey {
    FlowKey {
        source: to_wire(from.0),
        destination: to_wire(to.0),
        source_port: from.1,
        destination_port: to.1,
        protocol,
        family: 4,
        padding: [0; 2],
    }
}

/// Where a packet passes: link, direction, how it is carried.
type Place = (u32, u8, u8);

impl Talks {
    /// Whom it concerns decides: a client and server either get on or do not.
    fn fate(&self, pair: u32) -> Fate {
        if pair.wrapping_mul(2_654_435_761) >> 8 & 127 >= self.failing * 128 / 100 {
            return Fate::Works;
        }
        [Fate::Refused, Fate::Silent, Fate::Dropped][pair as usize % 3]
    }

    fn next(&mut self) {
        let n = self.number;
        self.number += 1;
        let (pod, port) = (n % PODS, 32_768 + (n / 7 % 28_000) as u16);
        let client = (node::pod(pod), port);
        match n % 10 {
            // By a Service to a pod elsewhere.
            0..5 => {
                let number = (n / 3 % u32::from(SERVICES)) as u16;
                let (server, endpoints) = node::service(number);
                let endpoint = endpoints[n as usize % 3];
                let fate = self.fate(u32::from(number));
                let legs = [(server, vec![pod_in(pod)]), (endpoint, away())];
                self.talk(client, &legs, TCP, fate);
            }
            // Between pods of this node.
            5..8 => {
                let other = (n / 11 + 1) % PODS;
                let fate = self.fate(1000 + pod * PODS + other);
                let way = vec![pod_in(pod), (node::pod_link(other), EGRESS, PLAIN)];
                self.talk(client, &[((node::pod(other), 8080), way)], TCP, fate);
            }
            // From elsewhere.
            8 => {
                let far = (node::there(2 + (n % u32::from(HOSTS - 1)) as u8, 7), port);
                let fate = self.fate(20_000 + pod);
                let came = away().into_iter().rev().map(|(l, _, c)| (l, INGRESS, c));
                let way = came.chain([(node::pod_link(pod), EGRESS, PLAIN)]).collect();
                self.talk(far, &[((client.0, 9090), way)], UDP, fate);
            }
            // Out into the world.
            _ => {
                let way = vec![pod_in(pod), (UPLINK, EGRESS, PLAIN)];
                let world = Ipv4Addr::new(198, 51, 100, (n % 200) as u8).into();
                self.talk(client, &[((world, 443), way)], TCP, Fate::Works);
            }
        }
    }

    fn talk(
        &mut self,
        client: (IpAddr, u16),
        legs: &[((IpAddr, u16), Vec<Place>)],
        protocol: u8,
        fate: Fate,
    ) {
        let began = SECOND + u64::from(self.number) * 2_000_000 % (50 * SECOND);
        let mut time = began;
        for (server, way) in legs {
            let asked = flow(client, *server, protocol);
            for place in way {
                time += 20_000;
                self.pass(asked, *place, time, true, fate);
            }
        }
        let (server, _) = legs.last().expect("a leg");
        match fate {
            Fate::Silent => return,
            Fate::Dropped => return self.lose(flow(client, *server, protocol), began),
            Fate::Works | Fate::Refused => {}
        }
        for (server, way) in legs.iter().rev() {
            let answered = flow(*server, client, protocol);
            for (link, direction, carried) in way.iter().rev() {
                time += 20_000;
                let back = if *direction == INGRESS {
                    EGRESS
                } else {
                    INGRESS
                };
                self.pass(answered, (*link, back, *carried), time, false, fate);
            }
        }
    }

    fn pass(&mut self, flow: FlowKey, place: Place, first: u64, asks: bool, fate: Fate) {
        let (ifindex, direction, carried) = place;
        let key = FlowHopKey {
            flow,
            ifindex,
            direction,
            carried,
            padding: [0; 2],
        };
        let works = fate == Fate::Works;
        let packets = if works { 40 } else { 4 };
        let last = first + packets * 50_000_000;
        let flags = match (flow.protocol, asks, fate) {
            (UDP, ..) => 0,
            (_, true, Fate::Works) => SYN | ACK | TRACKED,
            (_, true, _) => SYN | TRACKED,
            (_, false, Fate::Refused) => RST | ACK,
            (_, false, _) => SYN | ACK | TRACKED,
        };
        let hop = FlowHop {
            packets,
            bytes: packets * 400,
            first,
            last,
            progress: last,
            largest: 1400,
            limit: 1450,
            flags,
            syns: u32::from(asks && flow.protocol == TCP) * if works { 1 } else { 4 },
            retransmits: if asks && !works { 3 } else { 0 },
            mss: 1410,
            ..FlowHop::default()
        };
        self.rows.flows.push((key, hop));
    }

    fn lose(&mut self, flow: FlowKey, first: u64) {
        let kind = self.number % 2;
        let key = DropKey {
            flow,
            location: u64::from(kind) * 3,
            reason: kind * 3,
            netns: NETNS,
            ifindex: OVERLAY,
            padding: 0,
        };
        let dropped = Dropped {
            packets: 4,
            bytes: 240,
            first,
            last: first + 3 * SECOND,
            ethertype: 0x0800,
            tcp_flags: 2,
            ..Dropped::default()
        };
        self.rows.drops.push((key, dropped));
        let key = RetransmitKey {
            flow,
            netns: NETNS,
            padding: 0,
        };
        let again = Retransmitted {
            packets: 3,
            first,
            last: first + 3 * SECOND,
            ..Retransmitted::default()
        };
        self.rows.retransmits.push((key, again));
    }

    fn lookups(&mut self) {
        for n in 0..LOOKUPS {
            let pod = n % PODS;
            let mut name = [0; NAME];
            let label = format!("service-{}", n / PODS);
            name[0] = label.len() as u8;
            name[1..=label.len()].copy_from_slice(label.as_bytes());
            let key = DnsKey {
                client: to_wire(node::pod(pod)),
                server: to_wire(SERVER.into()),
                name,
                ifindex: node::pod_link(pod),
                kind: 1,
                family: 4,
                carried: PLAIN,
            };
            let first = SECOND + u64::from(n) * 1_000_000;
            let works = self.fate(30_000 + pod) == Fate::Works;
            let mut dns = Dns {
                queries: 4,
                first_query: first,
                last_query: first + 30 * SECOND,
                ..Dns::default()
            };
            if works {
                (dns.answers, dns.noerror) = (4, 4);
                dns.last_answer = dns.last_query + 1;
                dns.last_good = dns.last_answer;
            } else {
                (dns.unanswered, dns.silent_since) = (4, first);
            }
            self.rows.dns.push((key, dns));
        }
    }

    fn outers(&mut self) {
        for n in 2..=HOSTS {
            for (direction, from, to) in [(EGRESS, 1, n), (INGRESS, n, 1)] {
                let key = OuterKey {
                    source: to_wire(node::host(from)),
                    destination: to_wire(node::host(to)),
                    ifindex: UPLINK,
                    vni: 4096,
                    port: 4789,
                    direction,
                    carried: VXLAN,
                    padding: [0; 4],
                };
                let outer = Outer {
                    packets: 9_000,
                    bytes: 9_000_000,
                    first: SECOND,
                    last: NOW,
                    inner: FlowKey::EMPTY,
                };
                self.rows.outers.push((key, outer));
            }
        }
    }
}

fn pod_in(pod: u32) -> Place {
    (node::pod_link(pod), INGRESS, PLAIN)
}

fn away() -> Vec<Place> {
    vec![(OVERLAY, EGRESS, PLAIN), (UPLINK, EGRESS, VXLAN)]
}
