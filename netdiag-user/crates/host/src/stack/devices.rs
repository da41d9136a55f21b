//! Devices (RTM_GETLINK).
use anyhow::Result;
use rtnetlink::packet_route::link::{
    BridgeBooleanOptionFlags as Options, BridgePortState, InfoBridge, InfoBridgePort, InfoData,
    InfoIpVlan, InfoKind, InfoMacVlan, InfoPortData, InfoVlan, InfoVrf, InfoVxlan, IpVlanFlags,
    IpVlanMode, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    MacVlanMode, VlanProtocol, VxlanDf,
};

use super::{bonds, conf, tunnels};
use crate::{
    listing::{self, Listed, Message},
    model::world::{
        Known,
        device::{
            Bridge, Device, Df, Flags, Ipvlan, IpvlanMode, Kind, Mac, MacvlanMode, Port, PortState,
            Vlan, Vxlan,
        },
    },
};

pub fn devices(most: usize) -> Result<Listed<Device>> {
    let take = |message, all: &mut Vec<Device>| {
        if let Message::NewLink(message) = message {
            all.push(device(&message));
        }
    };
    let mut ask = LinkMessage::default();
    let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    ask.attributes.push(mask);
    listing::list_each([Message::GetLink(ask)], most, "devices", take)
}

fn device(message: &LinkMessage) -> Device {
    let flags = message.header.flags;
    let mut device = Device {
        index: message.header.index,
        name: String::new(),
        kind: match flags.contains(LinkFlags::Loopback) {
            true => Kind::Loopback,
            false => Kind::Physical,
        },
        mtu: 0,
        flags: Flags {
            up: flags.contains(LinkFlags::Up),
            loopback: flags.contains(LinkFlags::Loopback),
            no_arp: flags.contains(LinkFlags::Noarp),
            promiscuous: flags.contains(LinkFlags::Promisc),
            all_multicast: flags.contains(LinkFlags::Allmulti),
            point_to_point: flags.contains(LinkFlags::Pointopoint),
        },
        running: flags.contains(LinkFlags::Running),
        lower_up: flags.contains(LinkFlags::LowerUp),
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
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
    message
        .attributes
        .iter()
        .for_each(|attribute| apply(&mut device, attribute));
    device
}

fn apply(device: &mut Device, attribute: &LinkAttribute) {
    match attribute {
        LinkAttribute::IfName(name) => device.name.clone_from(name),
        LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
        // By whoever wants it: the flag is that of people alone.
        LinkAttribute::Promiscuity(times) => device.flags.promiscuous |= *times > 0,
        LinkAttribute::Controller(master) => device.master = Some(*master),
        LinkAttribute::Link(lower) => device.lower = Some(*lower).filter(|index| *index != 0),
        LinkAttribute::LinkNetNsId(id) => device.lower_netnsid = Some(*id),
        LinkAttribute::Address(bytes) => device.mac = mac(bytes),
        LinkAttribute::Group(group) => device.group = *group,
        LinkAttribute::AfSpecUnspec(specs) => (device.conf4, device.conf6) = conf::of(specs),
        LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| describe(device, info)),
        // `xdp`, statistics and what else a link tells does not turn a packet here.
        _ => {}
    }
}

pub fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

fn describe(device: &mut Device, info: &LinkInfo) {
    match info {
        LinkInfo::Kind(kind) => device.kind = of_kind(kind),
        LinkInfo::Data(data) => detail(&mut device.kind, data),
        LinkInfo::PortData(InfoPortData::BridgePort(all)) => device.port = Some(port(all)),
        LinkInfo::PortData(InfoPortData::BondPort(all)) => {
            device.bond_port = Some(bonds::port(all));
        }
        _ => {}
    }
}

fn of_kind(kind: &InfoKind) -> Kind {
    match kind {
        InfoKind::Veth => Kind::Veth,
        InfoKind::Netkit => Kind::Netkit,
        InfoKind::Dummy => Kind::Dummy,
        InfoKind::Bridge => Kind::Bridge(Bridge::default()),
        InfoKind::Tun => Kind::Tun,
        InfoKind::Vrf => Kind::Vrf { table: 0 },
        InfoKind::Wireguard => Kind::WireGuard(Known::default()),
        other => Kind::Other(other.to_string()),
    }
}

fn detail(kind: &mut Kind, data: &InfoData) {
    match data {
        InfoData::Bridge(all) => *kind = Kind::Bridge(bridge(all)),
        InfoData::Vxlan(all) => *kind = Kind::Vxlan(vxlan(all)),
        InfoData::Vlan(all) => *kind = Kind::Vlan(vlan(all)),
        InfoData::IpTunnel(all) if *kind == ipip() => *kind = Kind::IpTunnel(tunnels::in_ip(all)),
        InfoData::GreTun(all) if *kind == gre() => *kind = Kind::IpTunnel(tunnels::gre(all)),
        InfoData::Bond(all) => *kind = bonds::bond(all).map_or(kind.clone(), Kind::Bond),
        InfoData::IpVlan(all) => *kind = ipvlan(all).unwrap_or(kind.clone()),
        InfoData::MacVlan(all) => *kind = macvlan(all).unwrap_or(kind.clone()),
        InfoData::Vrf(all) => {
            let table = all.iter().find_map(|one| match one {
                InfoVrf::TableId(table) => Some(*table),
                _ => None,
            });
            *kind = Kind::Vrf {
                table: table.unwrap_or(0),
            };
        }
        _ => {}
    }
}

/// Kinds by the kernel's names, until what they have is read: GRE has others, which carry frames.
fn ipip() -> Kind {
    Kind::Other(InfoKind::IpIp.to_string())
}

fn gre() -> Kind {
    Kind::Other(InfoKind::GreTun.to_string())
}

fn bridge(all: &[InfoBridge]) -> Bridge {
    let mut bridge = Bridge::default();
    for one in all {
        match one {
            InfoBridge::StpState(state) => bridge.stp = u32::from(*state) != 0,
            InfoBridge::VlanFiltering(on) => bridge.vlan_filtering = *on,
            InfoBridge::VlanProtocol(of) => bridge.vlan_service = *of == VlanProtocol::Ieee8021Ad,
            InfoBridge::MultiBoolOpt(options) => {
                let apart = Options::MstEnable | Options::FdbLocalVlan0;
                bridge.vlans_apart = options.value.intersects(apart);
            }
            InfoBridge::MulticastSnooping(on) => bridge.multicast_snooping = *on,
            InfoBridge::NfCallIpTables(on) => bridge.nf_call_iptables = *on,
            InfoBridge::NfCallIp6Tables(on) => bridge.nf_call_ip6tables = *on,
            InfoBridge::AgeingTime(time) => bridge.ageing = *time,
            _ => {}
        }
    }
    bridge
}

fn port(all: &[InfoBridgePort]) -> Port {
    let mut port = Port {
        state: PortState::Disabled,
        learning: true,
        hairpin: false,
        isolated: false,
        unicast_flood: true,
        multicast_flood: true,
        broadcast_flood: true,
        locked: false,
        proxy_arp: false,
        neigh_suppress: false,
    };
    for one in all {
        match one {
            InfoBridgePort::State(state) => port.state = port_state(*state),
            InfoBridgePort::Learning(on) => port.learning = *on,
            InfoBridgePort::HairpinMode(on) => port.hairpin = *on,
            InfoBridgePort::Isolated(on) => port.isolated = *on,
            InfoBridgePort::UnicastFlood(on) => port.unicast_flood = *on,
            InfoBridgePort::MulticastFlood(on) => port.multicast_flood = *on,
            InfoBridgePort::BroadcastFlood(on) => port.broadcast_flood = *on,
            InfoBridgePort::Locked(on) => port.locked = *on,
            InfoBridgePort::ProxyARP(on) => port.proxy_arp = *on,
            InfoBridgePort::NeighSupress(on) => port.neigh_suppress = *on,
            _ => {}
        }
    }
    port
}

fn port_state(state: BridgePortState) -> PortState {
    match state {
        BridgePortState::Listening => PortState::Listening,
        BridgePortState::Learning => PortState::Learning,
        BridgePortState::Forwarding => PortState::Forwarding,
        BridgePortState::Blocking => PortState::Blocking,
        _ => PortState::Disabled,
    }
}

fn vxlan(all: &[InfoVxlan]) -> Vxlan {
    let mut vxlan = Vxlan {
        vni: 0,
        port: 0,
        local: None,
        remote: None,
        underlay: None,
        learning: false,
        external: false,
        proxy: false,
        ttl: 0,
        ttl_inherit: false,
        tos: 0,
        udp_csum: true,
        df: Df::Unset,
    };
    for one in all {
        match one {
            InfoVxlan::Id(vni) => vxlan.vni = *vni,
            InfoVxlan::Port(port) => vxlan.port = *port,
            InfoVxlan::Local(local) => vxlan.local = Some((*local).into()),
            InfoVxlan::Local6(local) => vxlan.local = Some((*local).into()),
            InfoVxlan::Group(remote) => vxlan.remote = Some((*remote).into()),
            InfoVxlan::Group6(remote) => vxlan.remote = Some((*remote).into()),
            InfoVxlan::Link(index) => vxlan.underlay = Some(*index).filter(|index| *index != 0),
            InfoVxlan::Learning(on) => vxlan.learning = *on,
            InfoVxlan::CollectMetadata(on) => vxlan.external = *on,
            InfoVxlan::Proxy(on) => vxlan.proxy = *on,
            InfoVxlan::Ttl(ttl) => vxlan.ttl = *ttl,
            InfoVxlan::TtlInherit(on) => vxlan.ttl_inherit = *on != 0,
            InfoVxlan::Tos(tos) => vxlan.tos = *tos,
            InfoVxlan::UDPCsum(on) => vxlan.udp_csum = *on,
            InfoVxlan::Df(VxlanDf::Set) => vxlan.df = Df::Set,
            InfoVxlan::Df(VxlanDf::Inherit) => vxlan.df = Df::Inherit,
            _ => {}
        }
    }
    vxlan.local = vxlan.local.filter(|address| !address.is_unspecified());
    vxlan.remote = vxlan.remote.filter(|address| !address.is_unspecified());
    vxlan
}

fn macvlan(all: &[InfoMacVlan]) -> Option<Kind> {
    all.iter().find_map(|one| {
        let InfoMacVlan::Mode(mode) = one else {
            return None;
        };
        Some(Kind::Macvlan(match mode {
            MacVlanMode::Private => MacvlanMode::Private,
            MacVlanMode::Vepa => MacvlanMode::Vepa,
            MacVlanMode::Bridge => MacvlanMode::Bridge,
            MacVlanMode::Passthrough => MacvlanMode::Passthru,
            MacVlanMode::Source => MacvlanMode::Source,
            _ => return None,
        }))
    })
}

fn ipvlan(all: &[InfoIpVlan]) -> Option<Kind> {
    let mode = all.iter().find_map(|one| match one {
        InfoIpVlan::Mode(IpVlanMode::L2) => Some(IpvlanMode::L2),
        InfoIpVlan::Mode(IpVlanMode::L3) => Some(IpvlanMode::L3),
        InfoIpVlan::Mode(IpVlanMode::L3S) => Some(IpvlanMode::L3s),
        _ => None,
    });
    let has = |wanted| {
        let mut all = all.iter();
        all.any(|one| matches!(one, InfoIpVlan::Flags(flags) if flags.contains(wanted)))
    };
    Some(Kind::Ipvlan(Ipvlan {
        mode: mode?,
        private: has(IpVlanFlags::Private),
        vepa: has(IpVlanFlags::Vepa),
    }))
}

fn vlan(all: &[InfoVlan]) -> Vlan {
    let mut vlan = Vlan {
        id: 0,
        service: false,
    };
    for one in all {
        match one {
            InfoVlan::Id(id) => vlan.id = *id,
            InfoVlan::Protocol(protocol) => vlan.service = *protocol == VlanProtocol::Ieee8021Ad,
            _ => {}
        }
    }
    vlan
}
