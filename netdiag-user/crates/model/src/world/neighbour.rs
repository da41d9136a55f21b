//! Neighbours, what is answered for others, and forwarding tables of frames (RTM_GETNEIGH).
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::device::Mac;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    pub device: u32,
    pub address: IpAddr,
    pub mac: Option<Mac>,
    pub state: State,
}

/// Of `NUD_*` (include/uapi/linux/neighbour.h) what makes a difference to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Asked for: packets wait.
    Incomplete,
    /// Reachable, stale, delayed or probed: packets are sent.
    Valid,
    /// Nobody is ever asked for it.
    Permanent,
    /// The device needs no address (NOARP).
    NoArp,
    Failed,
}

/// `ip neigh add proxy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxied {
    /// On any device where there is none.
    pub device: Option<u32>,
    pub address: IpAddr,
}

/// An entry of a bridge's table, or of a VXLAN device's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbEntry {
    /// The port that it points to; the VXLAN device itself.
    pub device: u32,
    /// The bridge whose table it is in; nothing for a VXLAN device's own.
    pub master: Option<u32>,
    pub mac: Mac,
    pub vlan: Option<u16>,
    /// Where a VXLAN device sends it.
    pub remote: Option<IpAddr>,
    pub remote_port: Option<u16>,
    pub remote_vni: Option<u32>,
    pub remote_link: Option<u32>,
    /// The bridge's or the port's own address: taken in, never sent on.
    pub local: bool,
    /// Kept for ever; on a bridge a frame that was seen elsewhere moves it all the same.
    pub is_static: bool,
    /// Never moved.
    pub sticky: bool,
}
