//! Links and their addresses (RTM_GETLINK, RTM_GETADDR).
use std::collections::HashMap;

use anyhow::Result;
use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    link::{
        GreIOFlags, InfoBridge, InfoBridgePort, InfoData, InfoGeneve, InfoGre, InfoGre6,
        InfoIpTunnel, InfoKind, InfoPortData, InfoVxlan, Ip6TunnelFlags, LinkAttribute,
        LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, Stats64,
    },
};

use super::listing::{self, Left, Listed, Message, Most};
use crate::model::{
    address::Prefix,
    node::{Link, LinkAddress, LinkCounters, LinkKind, Tunnel},
};

/// IFA_VALID of an address that never expires.
const FOREVER: u32 = u32::MAX;

/// The links of a namespace, and what the listing left out.
pub struct Links {
    pub all: Vec<Link>,
    /// By which id this namespace knows the one of a link's peer, by the link's index.
    pub nsids: HashMap<u32, i32>,
    pub left: Left,
    pub left_addresses: Left,
}

/// The links of this thread's namespace with their addresses, with what they counted where that is
/// wanted.
pub fn links(most: &Most, counted: bool) -> Result<Links> {
    let addresses = addresses(most)?;
    let mut nsids = HashMap::new();
    let take = |message, all: &mut Vec<Link>| {
        if let Message::NewLink(message) = message {
            let (link, nsid) = link(&message, &addresses.all);
            nsids.extend(nsid.map(|id| (link.index, id)));
            all.push(link);
        }
    };
    let mut ask = LinkMessage::default();
    if !counted {
        let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
        ask.attributes.push(mask);
    }
    let listed = listing::list_each([Message::GetLink(ask)], most.links, "links", take)?;
    Ok(Links {
        all: listed.all,
        left: listed.left,
        left_addresses: addresses.left,
        nsids,
    })
}

/// Addresses by the index of their link.
struct Addresses {
    all: HashMap<u32, Vec<LinkAddress>>,
    left: Left,
}

fn addresses(most: &Most) -> Result<Addresses> {
    let take = |message, all: &mut Vec<_>| {
        if let Message::NewAddress(message) = message {
            all.extend(address(&message).map(|address| (message.header.index, address)));
        }
    };
    let ask = Message::GetAddress(AddressMessage::default());
    let Listed { all: found, left } = listing::list_each([ask], most.addresses, "addresses", take)?;
    let mut all: HashMap<u32, Vec<LinkAddress>> = HashMap::new();
    for (index, address) in found {
        all.entry(index).or_default().push(address);
    }
    Ok(Addresses { all, left })
}

/// The link that a note of the kernel's is on, less its addresses and where it leads; nothing where it
/// is on a bridge's port alone.
pub fn noted(message: &LinkMessage) -> Option<Link> {
    let whole = message.header.interface_family == AddressFamily::Unspec;
    whole.then(|| link(message, &HashMap::new()).0)
}

/// With the id of its peer's namespace.
fn link(message: &LinkMessage, addresses: &HashMap<u32, Vec<LinkAddress>>) -> (Link, Option<i32>) {
    let index = message.header.index;
    let flags = message.header.flags;
    let loopback = flags.contains(LinkFlags::Loopback);
    let mut link = Link {
        index,
        name: String::new(),
        kind: if loopback {
            LinkKind::Loopback
        } else {
            LinkKind::Physical
        },
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        master: None,
        link: None,
        peer_netns: None,
        peer_elsewhere: false,
        tunnel: None,
        lladdr: None,
        addresses: addresses.get(&index).cloned().unwrap_or_default(),
        carrier: true,
        counters: LinkCounters::default(),
        isolated: false,
        hairpin: false,
        vlan_filtering: false,
        promiscuous: flags.contains(LinkFlags::Promisc),
    };
    let mut nsid = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::Link(lower) => link.link = Some(*lower),
            LinkAttribute::LinkNetNsId(id) => {
                link.peer_elsewhere = true;
                nsid = Some(*id);
            }
            LinkAttribute::Address(lladdr) => link.lladdr = Some(lladdr.clone()),
            LinkAttribute::Carrier(carrier) => link.carrier = *carrier != 0,
            LinkAttribute::CarrierChanges(changes) => {
                link.counters.carrier_changes = u64::from(*changes);
            }
            LinkAttribute::Stats64(stats) => count(&mut link.counters, stats),
            LinkAttribute::LinkInfo(infos) => describe(&mut link, infos),
            _ => {}
        }
    }
    (link, nsid)
}

fn count(counters: &mut LinkCounters, stats: &Stats64) {
    *counters = LinkCounters {
        rx_packets: stats.rx_packets,
        tx_packets: stats.tx_packets,
        rx_errors: stats.rx_errors,
        tx_errors: stats.tx_errors,
        rx_dropped: stats.rx_dropped,
        tx_dropped: stats.tx_dropped,
        rx_missed: stats.rx_missed_errors,
        rx_crc: stats.rx_crc_errors,
        carrier_changes: counters.carrier_changes,
    };
}

fn describe(link: &mut Link, infos: &[LinkInfo]) {
    for info in infos {
        match info {
            LinkInfo::Kind(kind) => link.kind = link_kind(kind),
            LinkInfo::Data(InfoData::Bridge(bridge)) => {
                link.vlan_filtering = bridge.contains(&InfoBridge::VlanFiltering(true));
            }
            LinkInfo::Data(data) => link.tunnel = tunnel(data),
            LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
                link.isolated = port.contains(&InfoBridgePort::Isolated(true));
                link.hairpin = port.contains(&InfoBridgePort::HairpinMode(true));
            }
            _ => {}
        }
    }
    if link.is_tunnel() && link.tunnel.is_none() {
        link.tunnel = Some(Tunnel::default());
    }
}

fn link_kind(kind: &InfoKind) -> LinkKind {
    match kind {
        InfoKind::Veth => LinkKind::Veth,
        InfoKind::Netkit => LinkKind::Netkit,
        InfoKind::Bridge => LinkKind::Bridge,
        InfoKind::Vxlan => LinkKind::Vxlan,
        InfoKind::Geneve => LinkKind::Geneve,
        InfoKind::IpIp => LinkKind::Ipip,
        InfoKind::SitTun => LinkKind::Sit,
        InfoKind::Ip6Tnl => LinkKind::Ip6Tunnel,
        InfoKind::GreTun | InfoKind::GreTun6 => LinkKind::Gre,
        InfoKind::Wireguard => LinkKind::Wireguard,
        InfoKind::Vlan => LinkKind::Vlan,
        InfoKind::Bond => LinkKind::Bond,
        other => LinkKind::Other(format!("{other:?}").to_lowercase()),
    }
}

fn tunnel(data: &InfoData) -> Option<Tunnel> {
    let mut tunnel = Tunnel::default();
    match data {
        InfoData::Vxlan(attributes) => attributes.iter().for_each(|a| vxlan(&mut tunnel, a)),
        InfoData::Geneve(attributes) => attributes.iter().for_each(|a| geneve(&mut tunnel, a)),
        InfoData::IpTunnel(attributes) => attributes.iter().for_each(|a| ip_tunnel(&mut tunnel, a)),
        InfoData::GreTun(attributes) => attributes.iter().for_each(|a| gre(&mut tunnel, a)),
        InfoData::GreTun6(attributes) => attributes.iter().for_each(|a| gre6(&mut tunnel, a)),
        _ => return None,
    }
    tunnel.remote = tunnel
        .remote
        .filter(|a| !a.is_unspecified() && !a.is_multicast());
    tunnel.local = tunnel.local.filter(|a| !a.is_unspecified());
    tunnel.underlay = tunnel.underlay.filter(|index| *index != 0);
    Some(tunnel)
}

fn vxlan(tunnel: &mut Tunnel, attribute: &InfoVxlan) {
    match attribute {
        InfoVxlan::Id(vni) => tunnel.vni = Some(*vni),
        InfoVxlan::Port(port) => tunnel.port = Some(*port),
        InfoVxlan::Local(local) => tunnel.local = Some((*local).into()),
        InfoVxlan::Local6(local) => tunnel.local = Some((*local).into()),
        InfoVxlan::Group(remote) => tunnel.remote = Some((*remote).into()),
        InfoVxlan::Group6(remote) => tunnel.remote = Some((*remote).into()),
        InfoVxlan::Link(link) => tunnel.underlay = Some(*link),
        InfoVxlan::CollectMetadata(external) => tunnel.external = *external,
        InfoVxlan::UDPZeroCsumRX(takes) => tunnel.zero_checksum = Some(*takes),
        _ => {}
    }
}

fn geneve(tunnel: &mut Tunnel, attribute: &InfoGeneve) {
    match attribute {
        InfoGeneve::Id(vni) => tunnel.vni = Some(*vni),
        InfoGeneve::Port(port) => tunnel.port = Some(*port),
        InfoGeneve::Remote(remote) => tunnel.remote = Some((*remote).into()),
        InfoGeneve::Remote6(remote) => tunnel.remote = Some((*remote).into()),
        _ => {}
    }
}

fn ip_tunnel(tunnel: &mut Tunnel, attribute: &InfoIpTunnel) {
    match attribute {
        InfoIpTunnel::Link(link) => tunnel.underlay = Some(*link),
        InfoIpTunnel::Local(local) => tunnel.local = Some(*local),
        InfoIpTunnel::Remote(remote) => tunnel.remote = Some(*remote),
        InfoIpTunnel::Ipv6Flags(flags) if !flags.contains(Ip6TunnelFlags::IgnEncapLimit) => {
            tunnel.extra = ENCAP_LIMIT;
        }
        InfoIpTunnel::CollectMetadata => tunnel.external = true,
        _ => {}
    }
}

/// The destination option that limits encapsulation (RFC 2473, 4.1.1), padded to eight bytes.
const ENCAP_LIMIT: u32 = 8;

/// Checksum, key and sequence number: four bytes each (RFC 2890).
fn gre_options(flags: GreIOFlags) -> u32 {
    let options = [GreIOFlags::Checksum, GreIOFlags::Key, GreIOFlags::Seq];
    4 * options.iter().filter(|o| flags.contains(**o)).count() as u32
}

fn gre(tunnel: &mut Tunnel, attribute: &InfoGre) {
    match attribute {
        InfoGre::Link(link) => tunnel.underlay = Some(*link),
        InfoGre::Local(local) => tunnel.local = Some((*local).into()),
        InfoGre::Remote(remote) => tunnel.remote = Some((*remote).into()),
        InfoGre::OFlags(flags) => tunnel.extra += gre_options(*flags),
        InfoGre::CollectMetadata => tunnel.external = true,
        _ => {}
    }
}

fn gre6(tunnel: &mut Tunnel, attribute: &InfoGre6) {
    match attribute {
        InfoGre6::Link(link) => tunnel.underlay = Some(*link),
        InfoGre6::Local(local) => tunnel.local = Some((*local).into()),
        InfoGre6::Remote(remote) => tunnel.remote = Some((*remote).into()),
        InfoGre6::OFlags(flags) => tunnel.extra += gre_options(*flags),
        InfoGre6::EncapLimit(limit) if *limit > 0 => tunnel.extra += ENCAP_LIMIT,
        InfoGre6::CollectMetadata => tunnel.external = true,
        _ => {}
    }
}

pub(super) fn address(message: &AddressMessage) -> Option<LinkAddress> {
    let mut own = None;
    let mut dynamic = false;
    for attribute in &message.attributes {
        match attribute {
            // For point-to-point links ADDRESS is the peer's and LOCAL our own.
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => own = own.or(Some(*address)),
            AddressAttribute::CacheInfo(cache) => dynamic = cache.ifa_valid != FOREVER,
            _ => {}
        }
    }
    let address = own?;
    let link_local = match address {
        std::net::IpAddr::V4(v4) => v4.is_link_local(),
        std::net::IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let prefix = Prefix {
        address,
        length: message.header.prefix_len,
    };
    Some(LinkAddress {
        prefix,
        dynamic,
        link_local,
    })
}
