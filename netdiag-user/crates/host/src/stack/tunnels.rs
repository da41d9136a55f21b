//! Tunnels without frames: IP in IP and GRE over IPv4.
use std::net::IpAddr;

use rtnetlink::packet_route::link::{GreIOFlags, InfoGre, InfoIpTunnel, TunnelEncapType};

use crate::model::world::device::{Gre, IpTunnel};

pub fn in_ip(all: &[InfoIpTunnel]) -> IpTunnel {
    let mut tunnel = IpTunnel::default();
    for one in all {
        match one {
            InfoIpTunnel::Link(index) => tunnel.underlay = underlay(*index),
            InfoIpTunnel::Local(address) => tunnel.local = some(*address),
            InfoIpTunnel::Remote(address) => tunnel.remote = some(*address),
            InfoIpTunnel::Ttl(ttl) => tunnel.ttl = *ttl,
            InfoIpTunnel::Tos(tos) => tunnel.tos = *tos,
            InfoIpTunnel::PMtuDisc(on) => tunnel.pmtu_discovery = *on,
            InfoIpTunnel::FwMark(mark) => tunnel.mark = *mark,
            InfoIpTunnel::CollectMetadata => tunnel.external = true,
            InfoIpTunnel::EncapType(kind) => tunnel.wrapped = *kind != TunnelEncapType::None,
            _ => {}
        }
    }
    tunnel
}

pub fn gre(all: &[InfoGre]) -> IpTunnel {
    let mut tunnel = IpTunnel::default();
    let mut own = Gre::default();
    let (mut keys, mut sent) = ((0, 0), (false, false));
    for one in all {
        match one {
            InfoGre::Link(index) => tunnel.underlay = underlay(*index),
            InfoGre::Local(address) => tunnel.local = some((*address).into()),
            InfoGre::Remote(address) => tunnel.remote = some((*address).into()),
            InfoGre::Ttl(ttl) => tunnel.ttl = *ttl,
            InfoGre::Tos(tos) => tunnel.tos = *tos,
            InfoGre::PathMTUDiscovery(on) => tunnel.pmtu_discovery = *on,
            InfoGre::FwMask(mark) => tunnel.mark = *mark,
            InfoGre::CollectMetadata => tunnel.external = true,
            InfoGre::IKey(key) => keys.0 = *key,
            InfoGre::OKey(key) => keys.1 = *key,
            InfoGre::IFlags(flags) => sent.0 = flags.contains(GreIOFlags::Key),
            InfoGre::OFlags(flags) => {
                sent.1 = flags.contains(GreIOFlags::Key);
                let options = [GreIOFlags::Checksum, GreIOFlags::Seq];
                let has = options.into_iter().filter(|one| flags.contains(*one));
                own.options = 4 * u32::try_from(has.count()).unwrap_or(0);
            }
            InfoGre::EncapType(kind) => tunnel.wrapped = !is_none(kind),
            _ => {}
        }
    }
    own.in_key = sent.0.then_some(keys.0);
    own.out_key = sent.1.then_some(keys.1);
    tunnel.gre = Some(own);
    tunnel
}

fn is_none(kind: &impl std::fmt::Debug) -> bool {
    format!("{kind:?}") == "None"
}

fn underlay(index: u32) -> Option<u32> {
    Some(index).filter(|index| *index != 0)
}

fn some(address: IpAddr) -> Option<IpAddr> {
    Some(address).filter(|address| !address.is_unspecified())
}
