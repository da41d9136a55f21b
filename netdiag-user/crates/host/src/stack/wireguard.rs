//! WireGuard's devices by generic netlink (include/uapi/linux/{genetlink,wireguard}.h). The kernel tells the private key to
//! whoever may ask for peers: it is passed over here and never kept.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    ops::ControlFlow,
};

use anyhow::{Context, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use netdiag_lang::mark;
use nix::time::{ClockId, clock_gettime};

use super::generic::{self, GENERIC, members, request};
use crate::{
    gather::{
        inet_diag,
        netlink::{self, DUMP, End, address, attribute, attributes, u16_at, u32_at},
    },
    model::{
        address::Prefix,
        world::{
            Known, Why,
            device::{Device, Kind},
            wireguard::{Peer, WireGuard},
        },
    },
};

const WG_CMD_GET_DEVICE: u8 = 0;
const WGDEVICE_A_IFINDEX: u16 = 1;
const WGDEVICE_A_PUBLIC_KEY: u16 = 4;
const WGDEVICE_A_LISTEN_PORT: u16 = 6;
const WGDEVICE_A_FWMARK: u16 = 7;
const WGDEVICE_A_PEERS: u16 = 8;
const WGPEER_A_PUBLIC_KEY: u16 = 1;
const WGPEER_A_PRESHARED_KEY: u16 = 2;
const WGPEER_A_ENDPOINT: u16 = 4;
const WGPEER_A_LAST_HANDSHAKE_TIME: u16 = 6;
const WGPEER_A_ALLOWEDIPS: u16 = 9;
const WGALLOWEDIP_A_IPADDR: u16 = 2;
const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;
/// As long as none is set.
const NO_KEY: [u8; 32] = [0; 32];

/// Asks for each of them, up to so many peers and prefixes.
pub fn add(devices: &mut Known<BTreeMap<u32, Device>>, most: usize) {
    let (Known::Is(devices) | Known::Partly(devices, _)) = devices else {
        return;
    };
    let is = |device: &Device| matches!(device.kind, Kind::WireGuard(_));
    let all = devices.values_mut().filter(|device| is(device));
    let all: Vec<&mut Device> = all.collect();
    if all.is_empty() {
        return;
    }
    let asked = family().and_then(|family| Ok((family, ports()?)));
    let mut left = most;
    for device in all {
        let read = match &asked {
            Ok(asked) => read(asked, device.index, &mut left),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        device.kind = Kind::WireGuard(match read {
            Ok((own, End::Whole)) => Known::Is(own),
            Ok((own, End::Changed)) => Known::Partly(own, Why::Changing),
            Ok((own, End::Enough)) => Known::Partly(own, Why::TooMany),
            Err(error) => Known::Not(Why::Refused(format!("{error:#}"))),
        });
    }
}

fn family() -> Result<u16> {
    let found = generic::family("wireguard");
    let found = found.context(mark!("asking for WireGuard's netlink family"))?;
    found.context(mark!("WireGuard's netlink family has no number"))
}

fn read(
    (family, ports): &(u16, BTreeSet<u16>),
    index: u32,
    most: &mut usize,
) -> Result<(WireGuard, End)> {
    let index = index.to_ne_bytes();
    let which = [(WGDEVICE_A_IFINDEX, &index[..])];
    let request = request(*family, DUMP, WG_CMD_GET_DEVICE, &which);
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?.tv_sec();
    let mut rest = *most;
    let once = || {
        let (mut own, mut left) = (WireGuard::default(), *most);
        let end = netlink::until(GENERIC, &request, |message| {
            match take(&mut own, &mut left, members(message), now) {
                Some(()) => ControlFlow::Continue(()),
                None => ControlFlow::Break(()),
            }
        })?;
        rest = left;
        Ok((own, end))
    };
    let (mut own, end) = netlink::twice(once).context(mark!("asking for WireGuard's peers"))?;
    *most = rest;
    own.socket_here = ports.contains(&own.port);
    Ok((own, end))
}

/// Ports at which somebody hears whoever speaks to whatever address: a device that came from another namespace has its
/// socket there.
fn ports() -> Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    inet_diag::each(inet_diag::RECEIVE, inet_diag::MOST, |socket| {
        let (address, port) = socket.local;
        if address.is_unspecified() && socket.remote.1 == 0 {
            ports.insert(port);
        }
    })?;
    Ok(ports)
}

/// Takes one message; nothing where that is more than may be kept. A peer that has no room in one goes on in the next
/// (`wg_get_device_dump`).
fn take(own: &mut WireGuard, left: &mut usize, members: &[u8], now: i64) -> Option<()> {
    for (kind, value) in attributes(members) {
        match kind {
            WGDEVICE_A_PUBLIC_KEY => own.key = (value != NO_KEY).then(|| BASE64.encode(value)),
            WGDEVICE_A_LISTEN_PORT => own.port = u16_at(value, 0).unwrap_or(0),
            WGDEVICE_A_FWMARK => own.mark = u32_at(value, 0).unwrap_or(0),
            WGDEVICE_A_PEERS => {
                for (_, value) in attributes(value) {
                    let read = peer(value, now);
                    *left = left.checked_sub(1 + read.allowed.len())?;
                    match own.peers.last_mut() {
                        Some(before) if before.key == read.key => {
                            before.allowed.extend(read.allowed);
                        }
                        _ => own.peers.push(read),
                    }
                }
            }
            _ => {}
        }
    }
    Some(())
}

fn peer(of: &[u8], now: i64) -> Peer {
    let mut peer = Peer {
        key: String::new(),
        endpoint: None,
        port: 0,
        device: None,
        preshared: false,
        allowed: Vec::new(),
        handshake: None,
    };
    for (kind, value) in attributes(of) {
        match kind {
            WGPEER_A_PUBLIC_KEY => peer.key = BASE64.encode(value),
            WGPEER_A_PRESHARED_KEY => peer.preshared = value != NO_KEY,
            WGPEER_A_ENDPOINT => {
                if let Some((address, port, device)) = endpoint(value) {
                    (peer.endpoint, peer.port, peer.device) = (Some(address), port, device);
                }
            }
            WGPEER_A_LAST_HANDSHAKE_TIME => {
                let at = value.first_chunk().map(|it| i64::from_ne_bytes(*it));
                let at = at.filter(|at| *at > 0);
                peer.handshake = at.map(|at| u64::try_from(now - at).unwrap_or(0));
            }
            WGPEER_A_ALLOWEDIPS => {
                let all = attributes(value).filter_map(|(_, value)| prefix(value));
                peer.allowed.extend(all);
            }
            _ => {}
        }
    }
    peer
}

fn prefix(of: &[u8]) -> Option<Prefix> {
    let address = address(attribute(of, WGALLOWEDIP_A_IPADDR)?)?;
    let length = *attribute(of, WGALLOWEDIP_A_CIDR_MASK)?.first()?;
    Some(Prefix { address, length })
}

/// `struct sockaddr_in` or `sockaddr_in6`: address, port, and the device of a link's own address.
fn endpoint(of: &[u8]) -> Option<(IpAddr, u16, Option<u32>)> {
    let port = u16::from_be_bytes([*of.get(2)?, *of.get(3)?]);
    let (address, device) = match i32::from(u16_at(of, 0)?) {
        libc::AF_INET => (address(of.get(4..8)?)?, None),
        libc::AF_INET6 => {
            let address = <[u8; 16]>::try_from(of.get(8..24)?).ok()?;
            let scope = u32_at(of, 24).filter(|index| *index != 0);
            (Ipv6Addr::from(address).into(), scope)
        }
        _ => return None,
    };
    Some((address, port, device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::netlink::nla;

    const KEY: [u8; 32] = [7; 32];

    fn told(allowed: &[(&[u8], u8)], first: bool) -> Vec<u8> {
        let each = allowed.iter().map(|(address, length)| {
            let of = [
                nla(WGALLOWEDIP_A_IPADDR, address),
                nla(WGALLOWEDIP_A_CIDR_MASK, &[*length]),
            ];
            nla(0, &of.concat())
        });
        let mut members = nla(WGPEER_A_PUBLIC_KEY, &KEY);
        if first {
            let mut socket = (libc::AF_INET as u16).to_ne_bytes().to_vec();
            socket.extend([0xca, 0x6c, 192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
            members.extend(nla(WGPEER_A_ENDPOINT, &socket));
            let time = [95_i64.to_ne_bytes(), 0_i64.to_ne_bytes()].concat();
            members.extend(nla(WGPEER_A_LAST_HANDSHAKE_TIME, &time));
        }
        members.extend(nla(WGPEER_A_ALLOWEDIPS, &each.collect::<Vec<_>>().concat()));
        nla(WGDEVICE_A_PEERS, &nla(0, &members))
    }

    #[test]
    fn a_peer_may_go_on_in_the_next_message() {
        let mut first = nla(WGDEVICE_A_PUBLIC_KEY, &NO_KEY);
        // A private key stands beside it, which nothing takes.
        first.extend(nla(3, &[9; 32]));
        first.extend(told(&[(&[10, 0, 0, 0], 8)], true));
        let second = told(&[(&[0; 16], 0)], false);
        let (mut own, mut left) = (WireGuard::default(), 16);
        assert_eq!(take(&mut own, &mut left, &first, 100), Some(()));
        assert_eq!(take(&mut own, &mut left, &second, 100), Some(()));
        let [peer] = own.peers.as_slice() else {
            panic!("{own:?}");
        };
        assert_eq!(own.key, None);
        assert_eq!((peer.port, peer.handshake), (51820, Some(5)));
        assert_eq!(peer.endpoint, "192.0.2.7".parse().ok());
        let allowed: Vec<String> = peer.allowed.iter().map(ToString::to_string).collect();
        assert_eq!(allowed, ["10.0.0.0/8", "::/0"]);
    }

    #[test]
    fn peers_beyond_the_bound_are_not_kept() {
        let many = vec![(&[10_u8, 0, 0, 0][..], 8); 20];
        let (mut own, mut left) = (WireGuard::default(), 16);
        assert_eq!(take(&mut own, &mut left, &told(&many, true), 100), None);
        assert_eq!(own.peers.len(), 0);
    }

    #[test]
    fn broken_answers_are_refused() {
        let (mut own, mut left) = (WireGuard::default(), 16);
        let broken = nla(WGDEVICE_A_PEERS, &[40, 0, 0, 0]);
        assert_eq!(take(&mut own, &mut left, &broken, 0), Some(()));
        assert_eq!(endpoint(&[2, 0, 1]), None);
        assert_eq!(own, WireGuard::default());
    }
}
