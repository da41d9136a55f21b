//! IP in IP and GRE over IPv4 (net/ipv4/ip_tunnel.c, ipip.c, ip_gre.c): a packet becomes another's load as it is, without
//! a frame, and comes in at the other end's device.
use std::net::{IpAddr, Ipv4Addr};

use netdiag_model::world::device::{Device, Gre, IpTunnel, Kind};

use super::{Going, Walker, forward::mtu};
use crate::{
    connection::Tracked,
    packet::{Carried, Decided, Frame, GRE, IN_IP, Packet, Sender, To},
    prepared::Space,
    route::decision::{Decision, No},
    way::{How, Station, Subject, Unknown, Walk},
};

const IPV4: u32 = 20;
const ECN: u8 = 3;
/// Whom every namespace has of itself: it takes what no other does (`ip_tunnel_init_net`).
const OF_ITSELF: [&str; 2] = ["tunl0", "gre0"];

impl<'w> Walker<'w> {
    /// `ip_tunnel_xmit`
    pub(super) fn encapsulates(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (device, own): (&'w Device, &'w IpTunnel),
        inner: Packet,
    ) -> Going<'w> {
        if own.external || own.wrapped {
            return Err(Unknown::NotModelled(
                "a tunnel that is told by others".into(),
            ));
        }
        let no = |station, how| No {
            station,
            how,
            by: Some(Subject::Device(device)),
        };
        if inner.is_ipv6() && own.gre.is_none() {
            return self.refuse(walk, space, no(Station::Encap, How::NoRemote), inner);
        }
        let remote = own.remote.or(inner.next_hop);
        let Some(remote) = remote.filter(IpAddr::is_ipv4) else {
            return self.refuse(walk, space, no(Station::Encap, How::NoRemote), inner);
        };
        if remote.is_multicast() {
            return Err(Unknown::NotModelled("a tunnel to a group".into()));
        }
        let outer = outer(own, remote, &inner);
        let sender = Sender {
            netns: space.netns,
            device: own.underlay,
            uid: 0,
            any_source: false,
            failing: None,
        };
        // Its way is asked for with the tunnel's mark, and the packet's stays on it.
        let asked = Packet {
            mark: own.mark,
            ..outer
        };
        let (decision, source) = space.route_out(&asked, &sender)?;
        let mut outer = Packet { source, ..outer };
        match decision {
            Decision::No(no) => self.refuse(walk, space, no, inner),
            Decision::Local(route) => {
                self.loads(walk, device, inner, &mut outer, own);
                self.looped(walk, space, route, outer)
            }
            Decision::Looped { .. } => Err(Unknown::NotModelled("IPv6".into())),
            Decision::Onward { route, hops } => {
                self.choose(walk, space, (route, &hops), outer, |walk, way| {
                    if way.device.index == device.index {
                        return self.refuse(walk, space, no(Station::Encap, How::Circular), inner);
                    }
                    let cut = own.pmtu_discovery || inner.df && !inner.is_ipv6();
                    if cut {
                        let whole = mtu(&walk.learned, space, (route, way), &outer, false)?;
                        let room = whole.saturating_sub(IPV4 + own.headers());
                        if inner.decided != Decided::No
                            && let Some(table) = space.leads_by(&inner, device)?
                        {
                            let (by, to) = (space.end(device), inner.destination);
                            let before = walk.learned.size(by, to, Some(table));
                            if room < before.unwrap_or(device.mtu) {
                                walk.learned.learn_size(by, to, Some(table), room);
                            }
                        }
                        let alone = inner.segment.is_none();
                        if alone && inner.df && inner.largest() > room {
                            let no = no(Station::Encap, How::TooBig(room));
                            return self.refuses(walk, space, no, inner);
                        }
                    }
                    let mut outer = Packet {
                        source: way.source.unwrap_or(outer.source),
                        ..outer
                    };
                    self.loads(walk, device, inner, &mut outer, own);
                    self.by(walk, space, route, way, outer, false)
                })
            }
        }
    }

    /// Puts the packet into it.
    fn loads(
        &self,
        walk: &mut Walk<'w>,
        device: &Device,
        inner: Packet,
        outer: &mut Packet,
        own: &IpTunnel,
    ) {
        let to = device.mac.unwrap_or_default();
        walk.carried.push(Carried {
            frame: Frame::new(None, to),
            packet: inner,
            vni: own.gre.and_then(|gre| gre.out_key).unwrap_or(0),
            sealed: None,
        });
        outer.carries = Some(walk.carried.len() - 1);
    }

    /// At its end (`ip_tunnel_rcv`).
    pub(super) fn unloads(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        carried: Carried,
        outer: Packet,
    ) -> Going<'w> {
        let Some(device) = end(space, &outer, carried.vni)? else {
            let no = No {
                station: Station::Socket,
                how: How::NoSocket,
                by: None,
            };
            return self.refuses(walk, space, no, outer);
        };
        let inner = Packet {
            mark: outer.mark,
            served: outer.served,
            decided: Decided::No,
            tracked: Tracked::No,
            next_hop: None,
            iif: None,
            pieces: carried.packet.cut_by(&outer),
            ..carried.packet
        };
        self.came(walk, space, device, inner)?;
        // What comes without a frame is for this host.
        self.taken(walk, space, device, To::Host, inner)
    }
}

fn outer(own: &IpTunnel, remote: IpAddr, inner: &Packet) -> Packet {
    let headers = IPV4 + own.headers();
    let class = match own.tos {
        1 => inner.tos,
        tos => tos,
    };
    Packet {
        protocol: match own.gre {
            Some(_) => GRE,
            None => IN_IP,
        },
        tos: class & !ECN | inner.tos & ECN,
        ttl: match own.ttl {
            0 => inner.ttl,
            ttl => ttl,
        },
        // What was cut before is carried in as many packets.
        size: inner.pieces.unwrap_or(inner.size) + headers,
        df: own.pmtu_discovery || inner.df && !inner.is_ipv6(),
        segment: inner
            .segment
            .filter(|_| inner.pieces.is_none())
            .map(|segment| segment + headers),
        parts: inner.pieces.is_some(),
        mark: inner.mark,
        served: inner.served,
        ..Packet::new(own.local.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), remote)
    }
}

/// Which device takes it (`ip_tunnel_lookup`): of both addresses, of its remote alone, of its local one alone, and at last
/// the namespace's own.
fn end<'w>(space: &'w Space<'w>, outer: &Packet, key: u32) -> Result<Option<&'w Device>, Unknown> {
    let devices = space.stack.devices.whole();
    let devices = devices.map_err(|why| Unknown::NotRead("devices", why.clone()))?;
    let of_kind = |device: &&'w Device| match &device.kind {
        Kind::IpTunnel(own) => device.flags.up && own.gre.is_some() == (outer.protocol == GRE),
        _ => false,
    };
    let all: Vec<(&'w Device, &'w IpTunnel)> = devices
        .values()
        .filter(of_kind)
        .filter_map(|device| match &device.kind {
            Kind::IpTunnel(own) => Some((device, own)),
            _ => None,
        })
        .collect();
    let takes = |gre: Option<Gre>| gre.is_none_or(|gre| gre.in_key.unwrap_or(0) == key);
    let (here, there) = (Some(outer.destination), Some(outer.source));
    let addresses = [(here, there), (None, there), (here, None)];
    for (local, remote) in addresses {
        let like = |(_, own): &&(&Device, &IpTunnel)| {
            (own.local, own.remote) == (local, remote) && takes(own.gre)
        };
        if let Some((device, _)) = all.iter().find(like) {
            return Ok(Some(device));
        }
    }
    let last = all.iter().find(|(device, own)| {
        OF_ITSELF.contains(&device.name.as_str()) && (own.local, own.remote) == (None, None)
    });
    Ok(last.map(|(device, _)| *device))
}

#[cfg(test)]
mod tests {
    use netdiag_model::world::{Known, Stack, device::Flags};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn device(index: u32, name: &str, ends: [Option<&str>; 2]) -> (u32, Device) {
        let [local, remote] = ends.map(|end| end.map(ip));
        let own = IpTunnel {
            local,
            remote,
            ..IpTunnel::default()
        };
        let device = Device {
            index,
            name: name.into(),
            kind: Kind::IpTunnel(own),
            mtu: 1480,
            flags: Flags {
                up: true,
                ..Flags::default()
            },
            running: true,
            lower_up: true,
            ethernet: false,
            mac: None,
            master: None,
            lower: None,
            lower_netnsid: None,
            group: 0,
            port: None,
            bond_port: None,
            vlans: None,
            conf4: None,
            conf6: None,
        };
        (index, device)
    }

    fn carrier(from: &str, to: &str) -> Packet {
        let inner = Packet {
            protocol: 17,
            sport: 1,
            dport: 2,
            ttl: 9,
            size: 100,
            df: true,
            mark: 3,
            ..Packet::new(ip("10.0.0.1"), ip("10.0.0.2"))
        };
        let own = IpTunnel {
            local: Some(ip(from)),
            ..IpTunnel::default()
        };
        outer(&own, ip(to), &inner)
    }

    #[test]
    fn whose_ends_are_both_named_takes_it_first_and_the_namespaces_own_last() {
        let all = [
            device(3, "tunl0", [None, None]),
            device(4, "here", [Some("192.0.2.1"), None]),
            device(5, "there", [None, Some("192.0.2.2")]),
            device(6, "both", [Some("192.0.2.1"), Some("192.0.2.2")]),
        ];
        let taken = |from: &str, without: &[u32]| {
            let mut all: std::collections::BTreeMap<_, _> = all.clone().into();
            all.retain(|index, _| !without.contains(index));
            let stack = Stack {
                devices: Known::Is(all),
                ..Stack::default()
            };
            let space = Space::new(1, &stack);
            let found = end(&space, &carrier(from, "192.0.2.1"), 0).expect("devices");
            found.map(|device| device.index)
        };
        assert_eq!(taken("192.0.2.2", &[]), Some(6));
        assert_eq!(taken("192.0.2.2", &[6]), Some(5));
        assert_eq!(taken("192.0.2.9", &[]), Some(4));
        assert_eq!(taken("192.0.2.9", &[4]), Some(3));
        assert_eq!(taken("192.0.2.9", &[3, 4]), None);
    }

    #[test]
    fn what_carries_it_has_its_hops_and_its_mark() {
        let outer = carrier("192.0.2.1", "192.0.2.2");
        assert_eq!((outer.ttl, outer.mark, outer.size), (9, 3, 120));
        assert_eq!((outer.protocol, outer.df), (IN_IP, true));
    }
}
