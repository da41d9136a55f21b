//! Bridges that filter VLANs, in worlds: one in a namespace, to which the others lead as ports, each with a tag or without.
//! They are in two VLANs, between which the bridge's own host is the router.
use fastrand::Rng;
use netdiag_model::world::{
    World,
    device::{Kind, VlanRange},
};

use crate::{
    command::Command,
    links::{Is, Links},
    mistakes::{bridges, devices, entries, mistake, vlans},
    names::{FILTERING, SPACES, TUNNEL2, VLAN, VLAN2, device, mac},
    wire::VXLAN,
};

pub const LINKS: Links = Links {
    name: "bridge-vlans",
    alone: false,
    file: None,
    probe: Some(("link add brv0 type bridge vlan_filtering 1", "brv0")),
    ipv6: true,
    superpackets: true,
    made,
    behind,
    is: Is::Device(|device| matches!(device.kind, Kind::Bridge(own) if own.vlan_filtering)),
    mistakes: &[
        mistake("a port's PVID ignored", |w| {
            each(w, |vlan| vlan.pvid = false);
        }),
        mistake("without a PVID taken for VLAN 1", |w| {
            vlans(w, |all| {
                let none = all.iter().all(|vlan| !vlan.pvid);
                all.extend(none.then_some(VlanRange {
                    first: 1,
                    last: 1,
                    pvid: true,
                    untagged: true,
                }));
            });
        }),
        mistake("VLANs of ports ignored", |w| in_all(w, false)),
        mistake("VLANs of the bridge itself ignored", |w| in_all(w, true)),
        mistake("a tag kept where it is taken off", |w| {
            each(w, |vlan| vlan.untagged = false);
        }),
        mistake("a tag taken off always", |w| {
            each(w, |vlan| vlan.untagged = true);
        }),
        mistake("one table for all VLANs of a bridge", |w| {
            entries(w, |all| {
                let copies = all.iter().flat_map(|entry| {
                    let of = |vlan| (vlan, *entry);
                    [1, NEAR, FAR].map(of)
                });
                let copies: Vec<_> = copies.collect();
                all.extend(copies.into_iter().map(|(vlan, mut entry)| {
                    entry.vlan = Some(vlan);
                    entry
                }));
            });
        }),
        mistake("VLAN filtering ignored", |w| {
            bridges(w, |bridge| bridge.vlan_filtering = false);
        }),
        mistake("a bridge's kind of tags ignored", |w| {
            bridges(w, |bridge| bridge.vlan_service = false);
        }),
    ],
};

/// The VLAN of most, and of the others.
const NEAR: u16 = 5;
const FAR: u16 = 6;
/// Of tags that a bridge carries.
const CARRIED: u16 = 9;

fn each(world: &mut World, of: impl Fn(&mut VlanRange)) {
    vlans(world, |all| all.iter_mut().for_each(&of));
}

/// Ports in every VLAN, or bridges.
fn in_all(world: &mut World, bridges: bool) {
    devices(world, |device| {
        let is_bridge = matches!(device.kind, Kind::Bridge(_));
        if let Some(all) = device.vlans.as_mut().filter(|_| is_bridge == bridges) {
            all.push(VlanRange {
                first: 1,
                last: 4094,
                pvid: false,
                untagged: false,
            });
        }
    });
}

fn behind(space: usize) -> String {
    format!("198.51.100.{}", 110 + space)
}

/// The address of a namespace in a VLAN's network.
fn address(vlan: u16, space: usize) -> String {
    format!("10.{}.0.{}", 60 + vlan, space + 1)
}

struct Network {
    hub: usize,
    /// The VLAN that its own device is in, in place of a device of the VLAN's own on it.
    of_itself: Option<u16>,
    ports: Vec<Port>,
    /// VLANs are told apart.
    filters: bool,
    /// How tags are called.
    protocol: &'static str,
    /// All have tags of the other kind in a VLAN that the bridge takes from them, which it carries untouched.
    carries: bool,
}

#[derive(Clone, Copy)]
struct Port {
    /// Where it leads to.
    space: usize,
    vlan: u16,
    /// There is a VLAN's device at the other end.
    tagged: bool,
    /// It is in the other VLAN by a tunnel through the near one, whose frames have tags.
    tunnelled: bool,
}

fn made(rng: &mut Rng) -> Vec<Command> {
    let network = Network::new(rng);
    let mut lines = network.bridge(rng);
    for port in &network.ports {
        match port.tunnelled {
            true => network.tunnel(rng, *port, &mut lines),
            false => network.port(rng, *port, &mut lines),
        }
    }
    for vlan in [NEAR, FAR] {
        network.own(rng, vlan, &mut lines);
    }
    network.routes(&mut lines);
    for _ in 0..[0, 0, 1, 1, 2][rng.usize(0..5)] {
        network.fault(rng, &mut lines);
    }
    lines
}

impl Network {
    fn new(rng: &mut Rng) -> Self {
        let hub = rng.usize(0..SPACES);
        let filters = rng.u8(0..10) > 0;
        let carries = filters && rng.u8(0..8) == 0;
        let port = |space| Port {
            space,
            vlan: match rng.u8(0..4) {
                0 if !carries => FAR,
                _ => NEAR,
            },
            tagged: !carries && (rng.bool() || !filters),
            tunnelled: false,
        };
        let mut ports: Vec<Port> = (0..SPACES).filter(|to| *to != hub).map(port).collect();
        let tunnelled = filters && !carries && rng.u8(0..6) == 0;
        if tunnelled {
            (ports[0].vlan, ports[0].tagged, ports[0].tunnelled) = (FAR, false, true);
        }
        let of_itself = match rng.u8(0..4) {
            _ if carries || tunnelled => Some(NEAR),
            _ if !filters => None,
            0 | 1 => Some(NEAR),
            2 => Some(FAR),
            _ => None,
        };
        let protocol = match rng.u8(0..8) {
            0 => " protocol 802.1ad",
            _ => "",
        };
        Self {
            hub,
            of_itself,
            ports,
            filters,
            protocol,
            carries,
        }
    }

    fn bridge(&self, rng: &mut Rng) -> Vec<Command> {
        let hub = self.hub;
        let filters = match (self.filters, self.protocol) {
            (false, _) => "",
            (true, "") => " vlan_filtering 1",
            (true, _) => " vlan_filtering 1 vlan_protocol 802.1ad",
        };
        let pvid = if rng.u8(0..4) == 0 {
            " vlan_default_pvid 0"
        } else {
            ""
        };
        let own = match rng.u8(0..4) {
            0 => format!(" address 02:00:00:00:{hub:02x}:b0"),
            _ => String::new(),
        };
        let made = format!("link add {FILTERING}{own} type bridge mcast_snooping 0{filters}{pvid}");
        let mut lines = vec![Command::ip(hub, made)];
        let flushed = rng.bool();
        for port in &self.ports {
            let name = device(port.space);
            if flushed {
                lines.push(Command::ip(hub, format!("addr flush dev {name}")));
            }
            lines.push(Command::ip(
                hub,
                format!("link set {name} master {FILTERING}"),
            ));
            // What another bridge sends back to this one waits in a queue, and is learned of after whatever is
            // answered at once: the walk has no order of queues.
            let hairpin = format!("link set dev {} hairpin off", device(hub));
            lines.push(Command::bridge(port.space, hairpin));
        }
        lines.push(Command::ip(hub, format!("link set {FILTERING} up")));
        lines
    }

    /// One port with what is at its other end.
    fn port(&self, rng: &mut Rng, port: Port, lines: &mut Vec<Command>) {
        let Port {
            space,
            vlan,
            tagged,
            ..
        } = port;
        let (name, hub) = (device(space), self.hub);
        match tagged {
            true => {
                let range = ["5-6", "2-8", &*vlan.to_string()][rng.usize(0..3)].to_owned();
                lines.push(Command::bridge(
                    hub,
                    format!("vlan add vid {range} dev {name}"),
                ));
            }
            false => {
                let own = format!("vlan add vid {vlan} dev {name} pvid untagged");
                lines.push(Command::bridge(hub, own));
            }
        }
        if rng.bool() {
            lines.push(Command::bridge(hub, format!("vlan del vid 1 dev {name}")));
        }
        let below = device(hub);
        let by = match tagged || self.carries {
            true => VLAN.to_owned(),
            false => below.clone(),
        };
        // Now and then as one that is no tag to the bridge.
        let other = self.carries || rng.u8(0..16) == 0;
        if tagged {
            self.device(rng, (space, VLAN, &below), (vlan, other), lines);
        } else if self.carries {
            self.device(rng, (space, VLAN, &below), (CARRIED, other), lines);
        }
        let (own, lo) = (address(vlan, space), behind(space));
        lines.push(Command::ip(space, format!("addr add {own}/24 dev {by}")));
        lines.push(Command::ip(space, format!("addr add {lo}/32 dev lo")));
    }

    /// A tunnel between the bridge's host, which has it as a port, and another.
    fn tunnel(&self, rng: &mut Rng, port: Port, lines: &mut Vec<Command>) {
        let (hub, space) = (self.hub, port.space);
        let near = Port { vlan: NEAR, ..port };
        self.port(rng, near, lines);
        for (at, other) in [(hub, space), (space, hub)] {
            let (local, remote) = (address(NEAR, at), address(NEAR, other));
            for words in [
                format!(
                    "link add {TUNNEL2} type vxlan id 8 dstport {VXLAN} local {local} remote {remote}"
                ),
                format!(
                    "link set {TUNNEL2} up mtu {}",
                    [1446, 1450, 1450][rng.usize(0..3)]
                ),
            ] {
                lines.push(Command::ip(at, words));
            }
        }
        lines.push(Command::ip(
            hub,
            format!("link set {TUNNEL2} master {FILTERING}"),
        ));
        lines.push(Command::bridge(
            hub,
            format!("vlan add vid {FAR} dev {TUNNEL2}"),
        ));
        self.device(rng, (space, VLAN2, TUNNEL2), (FAR, false), lines);
        let own = address(FAR, space);
        lines.push(Command::ip(space, format!("addr add {own}/24 dev {VLAN2}")));
    }

    /// A VLAN's device.
    fn device(
        &self,
        rng: &mut Rng,
        (space, name, below): (usize, &str, &str),
        (vlan, other): (u16, bool),
        lines: &mut Vec<Command>,
    ) {
        let own = match rng.u8(0..6) {
            0 => format!(" address 02:00:00:00:{space:02x}:8{vlan}"),
            _ => String::new(),
        };
        let protocol = match self.protocol.is_empty() == other {
            true => " protocol 802.1ad",
            false => "",
        };
        for words in [
            format!("link add link {below} name {name}{own} type vlan{protocol} id {vlan}"),
            format!("link set {name} up"),
        ] {
            lines.push(Command::ip(space, words));
        }
    }

    /// The bridge's own host in a VLAN.
    fn own(&self, rng: &mut Rng, vlan: u16, lines: &mut Vec<Command>) {
        let hub = self.hub;
        let itself = self.of_itself == Some(vlan);
        let (name, tag) = match (itself, vlan) {
            (true, _) if self.carries => (VLAN, Some((CARRIED, true))),
            (true, _) => (FILTERING, None),
            (false, NEAR) => (VLAN, Some((vlan, false))),
            (false, _) => (VLAN2, Some((vlan, false))),
        };
        let how = if itself { " pvid untagged" } else { "" };
        let words = format!("vlan add vid {vlan} dev {FILTERING} self{how}");
        lines.push(Command::bridge(hub, words));
        if let Some(tag) = tag {
            self.device(rng, (hub, name, FILTERING), tag, lines);
        }
        let (own, lo) = (address(vlan, hub), behind(hub));
        lines.push(Command::ip(hub, format!("addr add {own}/24 dev {name}")));
        if vlan == NEAR {
            lines.push(Command::ip(hub, format!("addr add {lo}/32 dev lo")));
        }
    }

    /// Who is in the other VLAN is reached by the bridge's own host.
    fn routes(&self, lines: &mut Vec<Command>) {
        let hub = self.hub;
        for port in &self.ports {
            let (to, own) = (behind(port.space), address(port.vlan, port.space));
            lines.push(Command::ip(hub, format!("route add {to}/32 via {own}")));
            let (to, own) = (behind(hub), address(port.vlan, hub));
            lines.push(Command::ip(
                port.space,
                format!("route add {to}/32 via {own}"),
            ));
            for other in self.ports.iter().filter(|other| other.space != port.space) {
                let next = if other.vlan == port.vlan {
                    other.space
                } else {
                    hub
                };
                let (to, via) = (behind(other.space), address(port.vlan, next));
                let words = format!("route add {to}/32 via {via}");
                lines.push(Command::ip(port.space, words));
            }
        }
    }

    fn fault(&self, rng: &mut Rng, lines: &mut Vec<Command>) {
        let (hub, at) = (self.hub, rng.usize(0..self.ports.len()));
        let Port { space, vlan, .. } = self.ports[at];
        let (port, other) = (device(space), if vlan == NEAR { FAR } else { NEAR });
        let next = device(self.ports[(at + 1) % self.ports.len()].space);
        let words = match rng.u8(0..19) {
            // Nothing for what has no tag, or another VLAN than it should be.
            0 => format!("vlan add vid {vlan} dev {port} untagged"),
            1 => format!("vlan add vid {other} dev {port} pvid untagged"),
            2 => format!("vlan del vid {vlan} dev {port}"),
            3 => format!("vlan add vid {vlan} dev {port} pvid"),
            4 => format!("vlan add vid 7 dev {port} pvid"),
            5 | 6 => format!("vlan del vid {vlan} dev {FILTERING} self"),
            7 => format!("vlan add vid {vlan} dev {FILTERING} self untagged"),
            8 => format!("vlan add vid {vlan} dev {FILTERING} self pvid untagged"),
            // Somebody's address behind another port, in his VLAN or in the other one.
            9 => fdb(space, hub, &next, vlan),
            10..=12 => fdb(space, hub, &next, other),
            13 => format!(
                "fdb replace {} dev {port} master local vlan {vlan}",
                mac(space, hub)
            ),
            14 => format!("link set dev {port} isolated on"),
            15 => format!("link set dev {port} learning off"),
            16 => {
                let words = format!("link set {FILTERING} promisc on");
                lines.push(Command::ip(hub, words));
                return;
            }
            17 => {
                let words = format!("link set {FILTERING} type bridge vlan_filtering 0");
                lines.push(Command::ip(hub, words));
                return;
            }
            _ => {
                let words = format!("link set {FILTERING} mtu 1400");
                lines.push(Command::ip(hub, words));
                return;
            }
        };
        lines.push(Command::bridge(hub, words));
    }
}

fn fdb(space: usize, hub: usize, port: &str, vlan: u16) -> String {
    let of = mac(space, hub);
    format!("fdb replace {of} dev {port} master static vlan {vlan}")
}
