//! Encapsulated packets as an uplink carries them: VXLAN (RFC 7348) and IP in IP (RFC 2003).
use netdiag_common::{
    config::HopSettings,
    hop::{IPIP, PLAIN, VXLAN},
};

use super::{Bytes, Packet, ethernet, ip};

const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const UDP_HEADER: u32 = 8;
const VXLAN_HEADER: u32 = 8;
/// The I flag: the VNI is valid.
const VNI_VALID: u8 = 0x08;

/// What an outer packet carries.
pub struct Carried {
    pub kind: u8,
    pub vni: u32,
    pub port: u16,
    /// Offset of the inner IP header, 0 where the payload is no IP (ARP, say).
    pub inner: u32,
}

const NOTHING: Carried = Carried {
    kind: PLAIN,
    vni: 0,
    port: 0,
    inner: 0,
};

/// Whether `packet` is one of the node's tunnels', judged by the ports that its devices say.
#[inline(always)]
pub fn carried(bytes: &impl Bytes, packet: &Packet, settings: &HopSettings) -> Carried {
    match packet.flow.protocol {
        ip::UDP => vxlan(bytes, packet, settings).unwrap_or(NOTHING),
        IPV4_IN_IP | IPV6_IN_IP => Carried {
            kind: IPIP,
            vni: 0,
            port: 0,
            inner: packet.l4,
        },
        _ => NOTHING,
    }
}

#[inline(always)]
fn vxlan(bytes: &impl Bytes, packet: &Packet, settings: &HopSettings) -> Option<Carried> {
    let port = packet.flow.destination_port;
    let ports = &settings.vxlan_ports;
    if port == 0 || (port != ports[0] && port != ports[1] && port != ports[2] && port != ports[3]) {
        return None;
    }
    let h: [u8; 8] = bytes.load(packet.l4 + UDP_HEADER)?;
    if h[0] & VNI_VALID == 0 {
        return None;
    }
    let frame = packet.l4 + UDP_HEADER + VXLAN_HEADER;
    Some(Carried {
        kind: VXLAN,
        vni: u32::from_be_bytes([0, h[4], h[5], h[6]]),
        port,
        inner: ethernet::ip_offset(bytes, frame).unwrap_or(0),
    })
}
