//! Devices (RTM_NEWLINK), each with the index that it has in the recording.
use std::{
    io::ErrorKind,
    os::fd::{AsRawFd, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

use super::{
    netlink::{CREATE, EXCLUSIVE, address, byte, bytes, nested, number, text},
    space::{Place, Space},
};
use crate::model::world::device::{
    Bond, BondMode, Bridge, Device, Df, Ipvlan, IpvlanMode, Kind, MacvlanMode, Port, PortState,
    Vxlan,
};

const NEW: u16 = 16;
const SET: u16 = 19;
const AF_BRIDGE: u8 = 7;
/// IFLA_…
const LINK_ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const LINK: u16 = 5;
const MASTER: u16 = 10;
const PORT: u16 = 12;
const INFO: u16 = 18;
const SPECIFIC: u16 = 26;
const GROUP: u16 = 27;
const NETNS: u16 = 28;
const KIND: u16 = 1;
const DATA: u16 = 2;
/// IFLA_BRIDGE_VLAN_INFO, and its flags.
const VLAN_INFO: u16 = 2;
const PVID: u16 = 2;
const UNTAGGED: u16 = 4;
const RANGE_BEGIN: u16 = 8;
const RANGE_END: u16 = 16;
/// VETH_INFO_PEER
const PEER: u16 = 1;
/// From which indices on other ends of sinks are.
const SINKS: u32 = 1_000_000;
/// IFF_…
const UP: u32 = 0x1;
const RUNNING: u32 = 0x40;
const NO_ARP: u32 = 0x80;
const PROMISCUOUS: u32 = 0x100;
const ALL_MULTICAST: u32 = 0x200;

/// ETH_MAX_MTU
const LARGEST: u32 = 65_535;

/// For all of a namespace's.
const PATIENCE: Duration = Duration::from_secs(3);

/// What stands in for what a recording has no other end of, or what this program cannot make.
pub enum Made {
    /// One of its own kind.
    Itself,
    /// Something that takes what is sent there.
    Sink,
}

/// One that stands by itself or on a link that is there.
pub fn add(
    space: &mut Space,
    device: &Device,
    into: Option<BorrowedFd<'_>>,
) -> std::io::Result<Made> {
    let Some((kind, data)) = info(&device.kind) else {
        return sink(space, device).map(|()| Made::Sink);
    };
    let mut body = named(device);
    if let Some(lower) = device.lower.filter(|_| stands_on(&device.kind)) {
        body.extend(number(LINK, lower));
    }
    if let Some(netns) = into {
        body.extend(number(NETNS, netns.as_raw_fd().cast_unsigned()));
    }
    body.extend(linked(kind, &data));
    let made = space.route.ask(NEW, CREATE | EXCLUSIVE, &body);
    match made {
        // Not every kernel has those, which take what they are sent as well.
        Err(error) if device.kind == Kind::Dummy && error.kind() == ErrorKind::Unsupported => {
            sink(space, device).map(|()| Made::Itself)
        }
        made => made.map(|()| Made::Itself),
    }
}

/// One whose frames end at the other end of a pair, which asks and answers nothing.
fn sink(space: &mut Space, device: &Device) -> std::io::Result<()> {
    let end = Device {
        index: device.index.saturating_add(SINKS),
        name: format!("sink{}", device.index),
        mac: None,
        mtu: LARGEST,
        ..device.clone()
    };
    let mut body = named(device);
    body.extend(linked("veth", &bytes(PEER, &named(&end))));
    space.route.ask(NEW, CREATE | EXCLUSIVE, &body)?;
    let silent = UP | NO_ARP;
    space
        .route
        .ask(SET, 0, &header(0, end.index, silent, silent))
}

/// A pair, of which the other end is in another namespace.
pub fn pair(
    space: &mut Space,
    own: &Device,
    other: &Device,
    there: BorrowedFd<'_>,
) -> std::io::Result<()> {
    let netns = number(NETNS, there.as_raw_fd().cast_unsigned());
    // What stands on them may be larger than they are now.
    let large = |device: &Device| {
        named(&Device {
            mtu: LARGEST,
            ..device.clone()
        })
    };
    let peer = [large(other), netns].concat();
    let mut body = large(own);
    body.extend(linked("veth", &bytes(PEER, &peer)));
    space.route.ask(NEW, CREATE | EXCLUSIVE, &body)
}

/// What it is told once all are there: whose port it is, its flags, and that it is up.
pub fn complete(place: &Place<'_>, space: &mut Space, device: &Device) {
    let (index, name) = (device.index, &device.name);
    if let Some(master) = device.master.filter(|master| space.made.contains(master)) {
        let body = [header(0, index, 0, 0), number(MASTER, master)].concat();
        let done = space.route.ask(SET, 0, &body);
        space.refused(done, || format!("{name} as a port"));
        if let Some(port) = &device.port {
            let body = [
                header(AF_BRIDGE, index, 0, 0),
                nested(PORT, &self::port(port, true)),
            ]
            .concat();
            let done = space.route.ask(SET, 0, &body);
            space.refused(done, || format!("what {name} does as a bridge's port"));
        }
    }
    if device.group != 0 {
        let body = [header(0, index, 0, 0), number(GROUP, device.group)].concat();
        let done = space.route.ask(SET, 0, &body);
        space.refused(done, || format!("the group of {name}"));
    }
    vlans(place, space, device);
}

/// Up, as far as it was; frames go by it from then on.
pub fn switched(space: &mut Space, device: &Device) {
    let flags = &device.flags;
    let alone = device.port.is_none() && device.bond_port.is_none();
    let mut all = 0;
    let mut has = |set: bool, flag: u32| all |= if set { flag } else { 0 };
    has(flags.up, UP);
    has(flags.no_arp && device.ethernet, NO_ARP);
    has(flags.promiscuous && alone, PROMISCUOUS);
    has(flags.all_multicast && alone, ALL_MULTICAST);
    let change = UP
        | if device.ethernet {
            NO_ARP | PROMISCUOUS | ALL_MULTICAST
        } else {
            0
        };
    let mut body = header(0, device.index, all, change);
    body.extend(number(MTU, device.mtu));
    let done = space.route.ask(SET, 0, &body);
    space.refused(done, || format!("{} up, with its MTU", device.name));
    // A port that was not forwarding becomes so when it is up.
    if let Some(port) = device
        .port
        .filter(|port| port.state != PortState::Forwarding)
    {
        let body = [
            header(AF_BRIDGE, device.index, 0, 0),
            nested(PORT, &self::port(&port, false)),
        ]
        .concat();
        let done = space.route.ask(SET, 0, &body);
        space.refused(done, || format!("the state of port {}", device.name));
    }
}

/// Up, with its MTU where it has one.
pub fn up(space: &mut Space, device: &Device) {
    let mut body = header(0, device.index, UP, UP);
    if device.mtu > 0 {
        body.extend(number(MTU, device.mtu));
    }
    let done = space.route.ask(SET, 0, &body);
    space.refused(done, || format!("{} up", device.name));
}

/// Until the kernel uses those that it used: it takes note of a signal within a second (net/core/link_watch.c).
pub fn wait(space: &mut Space, devices: &[&Device]) {
    let began = Instant::now();
    for device in devices.iter().filter(|device| device.running) {
        loop {
            let flags = space.route.flags(device.index);
            if flags.is_ok_and(|flags| flags & RUNNING != 0) {
                break;
            }
            if began.elapsed() > PATIENCE {
                space.lacks(format!("{} has no signal", device.name));
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// `ifinfomsg`
fn header(family: u8, index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}

fn named(device: &Device) -> Vec<u8> {
    let mut body = header(0, device.index, 0, 0);
    body.extend(text(NAME, &device.name));
    if device.mtu > 0 {
        body.extend(number(MTU, device.mtu));
    }
    if let Some(mac) = device.mac.filter(|_| device.ethernet) {
        body.extend(bytes(LINK_ADDRESS, &mac.0));
    }
    body
}

fn linked(kind: &str, data: &[u8]) -> Vec<u8> {
    let data = if data.is_empty() {
        Vec::new()
    } else {
        nested(DATA, data)
    };
    nested(INFO, &[text(KIND, kind), data].concat())
}

/// Whether another one's MTU bounds its own.
pub fn stands(kind: &Kind) -> bool {
    stands_on(kind) || matches!(kind, Kind::Vxlan(_) | Kind::IpTunnel(_) | Kind::Bridge(_))
}

/// Those that are made on another link: the others are told of it with their kind's own.
fn stands_on(kind: &Kind) -> bool {
    matches!(kind, Kind::Vlan(_) | Kind::Macvlan(_) | Kind::Ipvlan(_))
}

/// The kernel's name of its kind, and what is said of one (IFLA_INFO_DATA).
fn info(kind: &Kind) -> Option<(&'static str, Vec<u8>)> {
    Some(match kind {
        Kind::Dummy => ("dummy", Vec::new()),
        Kind::Bridge(bridge) => ("bridge", self::bridge(bridge)),
        Kind::Vxlan(vxlan) => ("vxlan", self::vxlan(vxlan)),
        Kind::Vlan(vlan) => {
            let protocol: u16 = if vlan.service { 0x88a8 } else { 0x8100 };
            let id = bytes(1, &vlan.id.to_ne_bytes());
            ("vlan", [id, bytes(5, &protocol.to_be_bytes())].concat())
        }
        Kind::Macvlan(mode) => {
            let mode = match mode {
                MacvlanMode::Private => 1,
                MacvlanMode::Vepa => 2,
                MacvlanMode::Bridge => 4,
                MacvlanMode::Passthru => 8,
                MacvlanMode::Source => 16,
            };
            ("macvlan", number(1, mode))
        }
        Kind::Ipvlan(ipvlan) => ("ipvlan", self::ipvlan(ipvlan)),
        Kind::Vrf { table } => ("vrf", number(1, *table)),
        Kind::Bond(bond) => ("bond", self::bond(bond)),
        Kind::IpTunnel(tunnel) if tunnel.gre.is_none() && !tunnel.wrapped => {
            let mut data = Vec::new();
            let mut has = |attribute: Option<Vec<u8>>| data.extend(attribute.unwrap_or_default());
            has(tunnel.underlay.map(|it| number(1, it)));
            has(tunnel.local.map(|it| address(2, it)));
            has(tunnel.remote.map(|it| address(3, it)));
            has(Some(byte(4, tunnel.ttl)));
            has(Some(byte(5, tunnel.tos)));
            has(Some(byte(10, tunnel.pmtu_discovery.into())));
            has(tunnel.external.then(|| bytes(18, &[])));
            ("ipip", data)
        }
        _ => return None,
    })
}

/// IFLA_BR_…
fn bridge(of: &Bridge) -> Vec<u8> {
    let protocol: u16 = if of.vlan_service { 0x88a8 } else { 0x8100 };
    let mut data = [
        number(4, of.ageing),
        byte(23, of.multicast_snooping.into()),
        byte(36, of.nf_call_iptables.into()),
        byte(37, of.nf_call_ip6tables.into()),
    ]
    .concat();
    // Its ports' states are those that were recorded: nobody here chooses them.
    if of.vlan_filtering {
        data.extend(byte(7, 1));
        data.extend(bytes(8, &protocol.to_be_bytes()));
    }
    data
}

/// IFLA_VXLAN_…
fn vxlan(of: &Vxlan) -> Vec<u8> {
    let mut data = number(1, of.vni);
    let mut has = |attribute: Option<Vec<u8>>| data.extend(attribute.unwrap_or_default());
    has(of
        .remote
        .map(|it| address(if it.is_ipv6() { 16 } else { 2 }, it)));
    has(of.underlay.map(|it| number(3, it)));
    has(of
        .local
        .map(|it| address(if it.is_ipv6() { 17 } else { 4 }, it)));
    has(Some(byte(5, of.ttl)));
    has(Some(byte(6, of.tos)));
    has(Some(byte(7, of.learning.into())));
    has(Some(byte(11, of.proxy.into())));
    has(Some(bytes(15, &of.port.to_be_bytes())));
    has(Some(byte(18, of.udp_csum.into())));
    has(of.external.then(|| byte(25, 1)));
    has(of.ttl_inherit.then(|| bytes(28, &[])));
    has(match of.df {
        Df::Unset => None,
        Df::Set => Some(byte(29, 1)),
        Df::Inherit => Some(byte(29, 2)),
    });
    data
}

fn ipvlan(of: &Ipvlan) -> Vec<u8> {
    let mode: u16 = match of.mode {
        IpvlanMode::L2 => 0,
        IpvlanMode::L3 => 1,
        IpvlanMode::L3s => 2,
    };
    let flags = u16::from(of.private) | u16::from(of.vepa) << 1;
    [
        bytes(1, &mode.to_ne_bytes()),
        bytes(2, &flags.to_ne_bytes()),
    ]
    .concat()
}

/// IFLA_BOND_…
fn bond(of: &Bond) -> Vec<u8> {
    let mode = match of.mode {
        BondMode::BalanceRr => 0,
        BondMode::ActiveBackup => 1,
        BondMode::BalanceXor => 2,
        BondMode::Broadcast => 3,
        BondMode::Ieee8023ad => 4,
        BondMode::BalanceTlb => 5,
        BondMode::BalanceAlb => 6,
    };
    [
        byte(1, mode),
        number(3, 100),
        byte(17, of.all_active.into()),
    ]
    .concat()
}

/// IFLA_BRPORT_…
fn port(of: &Port, forwards: bool) -> Vec<u8> {
    let state = match of.state {
        _ if forwards => 3,
        PortState::Disabled => 0,
        PortState::Listening => 1,
        PortState::Learning => 2,
        PortState::Forwarding => 3,
        PortState::Blocking => 4,
    };
    let switches = [
        (4, of.hairpin),
        (8, of.learning),
        (9, of.unicast_flood),
        (10, of.proxy_arp),
        (27, of.multicast_flood),
        (30, of.broadcast_flood),
        (32, of.neigh_suppress),
        (33, of.isolated),
        (39, of.locked),
    ];
    let switches = switches
        .into_iter()
        .filter(|(kind, set)| *kind != 39 || *set);
    let mut data = if forwards { Vec::new() } else { byte(1, state) };
    data.extend(switches.flat_map(|(kind, set)| byte(kind, set.into())));
    data
}

/// Those of a port in its bridge, or of a bridge in itself, where it filters them.
fn vlans(place: &Place<'_>, space: &mut Space, device: &Device) {
    let filters = |index: u32| {
        let bridge = place.stack.device(index).map(|device| &device.kind);
        matches!(bridge, Some(Kind::Bridge(bridge)) if bridge.vlan_filtering)
    };
    let own = filters(device.index);
    let Some(ranges) = device
        .vlans
        .as_ref()
        .filter(|_| own || device.master.is_some_and(filters))
    else {
        return;
    };
    /// IFLA_BRIDGE_FLAGS: the bridge itself is meant, not whose port it is.
    const FLAGS: u16 = 0;
    let mut spec = if own {
        bytes(FLAGS, &2_u16.to_ne_bytes())
    } else {
        Vec::new()
    };
    for range in ranges {
        let flags = if range.pvid { PVID } else { 0 } | if range.untagged { UNTAGGED } else { 0 };
        let one = |id: u16, more: u16| {
            bytes(
                VLAN_INFO,
                &[(flags | more).to_ne_bytes(), id.to_ne_bytes()].concat(),
            )
        };
        match range.first == range.last {
            true => spec.extend(one(range.first, 0)),
            false => {
                spec.extend(one(range.first, RANGE_BEGIN));
                spec.extend(one(range.last, RANGE_END));
            }
        }
    }
    let body = [
        header(AF_BRIDGE, device.index, 0, 0),
        nested(SPECIFIC, &spec),
    ]
    .concat();
    let done = space.route.ask(SET, 0, &body);
    space.refused(done, || format!("VLANs of {}", device.name));
}
