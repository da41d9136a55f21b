//! Devices (RTM_GETLINK) with what a packet's way depends on.
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    Known,
    conf::{Conf4, Conf6},
    wireguard::WireGuard,
};

/// A link-layer address, of Ethernet's length.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// To a group, the broadcast address among them.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Where a group of IP's is sent to on Ethernet (RFC 1112, 6.4; RFC 2464, 7).
    pub fn of_group(group: IpAddr) -> Self {
        match group {
            IpAddr::V4(v4) => {
                let [_, b, c, d] = v4.octets();
                Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
            }
            IpAddr::V6(v6) => {
                let o = v6.octets();
                Self([0x33, 0x33, o[12], o[13], o[14], o[15]])
            }
        }
    }
}

impl std::str::FromStr for Mac {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "not six bytes in hexadecimal with colons between them";
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let hex = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            let part = parts.next().filter(hex).ok_or(WRONG)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| WRONG)?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(WRONG),
        }
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub index: u32,
    pub name: String,
    pub kind: Kind,
    pub mtu: u32,
    pub flags: Flags,
    /// The kernel uses it (IFF_RUNNING): it is up, has a signal, and the kernel has taken note of that,
    /// which may be a second after (net/core/link_watch.c). What is sent by others is thrown away.
    pub running: bool,
    /// It has a signal: a veth's peer is up, a bridge has a port that forwards (IFF_LOWER_UP).
    pub lower_up: bool,
    /// Frames begin with an Ethernet header.
    pub ethernet: bool,
    pub mac: Option<Mac>,
    /// The bridge, bond or VRF that it belongs to.
    pub master: Option<u32>,
    /// The device below it, in its own namespace unless `lower_elsewhere`: a VLAN's, a macvlan's; a
    /// tunnel's that it is bound to; a veth's peer.
    pub lower: Option<u32>,
    /// By which id this namespace knows the one of `lower`.
    pub lower_netnsid: Option<i32>,
    /// What `ip rule … suppress_ifgroup` asks for.
    pub group: u32,
    pub port: Option<Port>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bond_port: Option<BondPort>,
    /// The VLANs that a bridge that filters them lets in and out there: at a port, or at the bridge itself for its own
    /// host. Nothing where they were not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlans: Option<Vec<VlanRange>>,
    /// Nothing where IP is not running on it.
    pub conf4: Option<Conf4>,
    pub conf6: Option<Conf6>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    pub up: bool,
    pub loopback: bool,
    pub no_arp: bool,
    pub promiscuous: bool,
    pub all_multicast: bool,
    pub point_to_point: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Loopback,
    /// The kernel names no kind: a NIC.
    Physical,
    Veth,
    Netkit,
    Dummy,
    Bridge(Bridge),
    Vxlan(Vxlan),
    Vlan(Vlan),
    IpTunnel(IpTunnel),
    Macvlan(MacvlanMode),
    /// A program has what is sent there (tun, or tap with frames).
    Tun,
    Bond(Bond),
    Ipvlan(Ipvlan),
    /// Whose peers only whoever may change them is told.
    WireGuard(Known<WireGuard>),
    Vrf {
        table: u32,
    },
    /// One that no station knows yet, by the kernel's name.
    Other(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    pub stp: bool,
    pub vlan_filtering: bool,
    pub multicast_snooping: bool,
    pub nf_call_iptables: bool,
    pub nf_call_ip6tables: bool,
    /// Hundredths of a second that a learned entry lives.
    pub ageing: u32,
    /// Its VLANs are told by 802.1ad's tags, in place of 802.1Q's.
    #[serde(default, skip_serializing_if = "is_not")]
    pub vlan_service: bool,
    /// Its VLANs have states of their own (`mst_enabled`), or its own addresses are in none (`fdb_local_vlan_0`).
    #[serde(default, skip_serializing_if = "is_not")]
    pub vlans_apart: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's own form")]
fn is_not(value: &bool) -> bool {
    !value
}

/// VLANs of a bridge that are next to each other and alike (IFLA_BRIDGE_VLAN_INFO).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VlanRange {
    pub first: u16,
    pub last: u16,
    /// The one that frames without a tag are of, where they come in.
    pub pvid: bool,
    /// Frames go out without a tag.
    pub untagged: bool,
}

/// A bridge's port (IFLA_BRPORT_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub state: PortState,
    pub learning: bool,
    pub hairpin: bool,
    pub isolated: bool,
    pub unicast_flood: bool,
    pub multicast_flood: bool,
    pub broadcast_flood: bool,
    pub locked: bool,
    pub proxy_arp: bool,
    pub neigh_suppress: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortState {
    Disabled,
    Listening,
    Learning,
    Forwarding,
    Blocking,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vxlan {
    pub vni: u32,
    pub port: u16,
    pub local: Option<IpAddr>,
    /// Where what no entry knows is sent, one address or a group.
    pub remote: Option<IpAddr>,
    pub underlay: Option<u32>,
    pub learning: bool,
    /// The outer packet's peers come with each packet.
    pub external: bool,
    /// What it answers ARP and solicitations for by itself.
    pub proxy: bool,
    /// 0: as the route says, or the namespace.
    pub ttl: u8,
    pub ttl_inherit: bool,
    /// 1: as the inner packet's.
    pub tos: u8,
    pub udp_csum: bool,
    pub df: Df,
}

impl Vxlan {
    /// Its socket is of one family: that of the addresses that it was given.
    pub fn is_ipv6(&self) -> bool {
        self.remote
            .or(self.local)
            .is_some_and(|address| address.is_ipv6())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Df {
    #[default]
    Unset,
    Set,
    Inherit,
}

/// A tunnel of IPv4 that packets go into without a frame: IP in IP, or GRE (net/ipv4/ip_tunnel.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpTunnel {
    /// With GRE's header; nothing for IP in IP.
    pub gre: Option<Gre>,
    pub local: Option<IpAddr>,
    /// Nothing where the next hop of the route is the other end.
    pub remote: Option<IpAddr>,
    pub underlay: Option<u32>,
    /// The other ends come with each packet.
    pub external: bool,
    /// 0: as the inner packet's.
    pub ttl: u8,
    /// 1: as the inner packet's.
    pub tos: u8,
    /// Its packets are never cut.
    pub pmtu_discovery: bool,
    /// That its way is asked for with.
    pub mark: u32,
    /// Wrapped once more (FOU, GUE), which no station knows.
    pub wrapped: bool,
}

/// To whom a macvlan's frames go beside the link that it is on (drivers/net/macvlan.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MacvlanMode {
    /// To nobody, nor from others of that link by way of its switch.
    Private,
    /// To nobody: the link's switch sends them back.
    Vepa,
    /// To others of that link.
    Bridge,
    /// The only one there, which gets all.
    Passthru,
    /// By who sent them.
    Source,
}

/// Of devices that share a link and its address (drivers/net/ipvlan), all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipvlan {
    pub mode: IpvlanMode,
    /// They do not reach each other.
    pub private: bool,
    /// They reach each other by way of the link's switch.
    pub vepa: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpvlanMode {
    /// By frames.
    L2,
    /// What they send is routed where the link is.
    L3,
    /// What they get passes IP there, too.
    L3s,
}

/// Several links as one (drivers/net/bonding/bond_main.c).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    pub mode: BondMode,
    /// The port that is used, where the mode uses one.
    pub active: Option<u32>,
    /// What comes in by a port that is not used is taken all the same.
    pub all_active: bool,
    /// Of 802.3ad, which ports are used.
    pub aggregator: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BondMode {
    #[default]
    BalanceRr,
    ActiveBackup,
    BalanceXor,
    Broadcast,
    Ieee8023ad,
    BalanceTlb,
    BalanceAlb,
}

/// A bond's port (IFLA_BOND_SLAVE_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BondPort {
    /// It is not used.
    pub backup: bool,
    /// As the bond last looked, which some never do.
    pub link_up: bool,
    pub aggregator: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gre {
    /// What it takes.
    pub in_key: Option<u32>,
    /// What it sends.
    pub out_key: Option<u32>,
    /// Four bytes each: a checksum, a sequence number.
    pub options: u32,
}

impl IpTunnel {
    /// Bytes before the inner packet, of its own.
    pub fn headers(&self) -> u32 {
        /// Flags and the protocol (RFC 2784).
        const GRE: u32 = 4;
        let gre = |gre: Gre| GRE + gre.options + if gre.out_key.is_some() { 4 } else { 0 };
        self.gre.map_or(0, gre)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    pub id: u16,
    pub service: bool,
}
