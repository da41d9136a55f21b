//! WireGuard's devices (WG_CMD_GET_DEVICE, include/uapi/linux/wireguard.h), without any secret.
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::Prefix;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireGuard {
    /// Its public key, in base64; none where it has no private one.
    pub key: Option<String>,
    /// The UDP port that it listens at.
    pub port: u16,
    /// Its packets' mark.
    pub mark: u32,
    /// Its socket is in its own namespace. Otherwise it was moved here from the one that has it, which the kernel does not
    /// name.
    pub socket_here: bool,
    pub peers: Vec<Peer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its public key, in base64.
    pub key: String,
    /// Where its packets are sent: as somebody set it, or where it was heard from last.
    pub endpoint: Option<IpAddr>,
    pub port: u16,
    /// By which device, where that is an address of a link's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<u32>,
    /// There is a secret beside the keys, which is not kept.
    #[serde(default)]
    pub preshared: bool,
    /// What is sent to it, and may come from it.
    pub allowed: Vec<Prefix>,
    /// Seconds since they agreed on keys when it was read, if they ever did.
    pub handshake: Option<u64>,
}

impl Peer {
    /// Older keys are of no use (REJECT_AFTER_TIME, drivers/net/wireguard/messages.h).
    const REJECTED_AFTER: u64 = 180;

    pub fn has_session(&self) -> bool {
        self.handshake.is_some_and(|age| age < Self::REJECTED_AFTER)
    }
}

impl WireGuard {
    /// Its peers and their networks.
    pub fn size(&self) -> usize {
        self.peers.iter().map(|peer| 1 + peer.allowed.len()).sum()
    }

    /// Whose packets those of an address are, by the longest prefix (`wg_allowedips_lookup_dst`).
    pub fn peer_of(&self, address: IpAddr) -> Option<usize> {
        let lengths = self.peers.iter().enumerate().filter_map(|(at, peer)| {
            let fits = peer.allowed.iter().filter(|it| it.contains(address));
            fits.map(|prefix| prefix.length)
                .max()
                .map(|length| (length, at))
        });
        lengths.max_by_key(|(length, _)| *length).map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_says_whose_packet_it_is() {
        let peer = |allowed: &[&str]| Peer {
            key: String::new(),
            endpoint: None,
            port: 0,
            device: None,
            preshared: false,
            allowed: allowed
                .iter()
                .map(|text| text.parse().expect("a prefix"))
                .collect(),
            handshake: None,
        };
        let own = WireGuard {
            peers: vec![peer(&["0.0.0.0/0"]), peer(&["10.2.0.0/16", "fd00::/8"])],
            ..WireGuard::default()
        };
        let of = |text: &str| own.peer_of(text.parse().expect("an address"));
        assert_eq!(of("10.2.0.1"), Some(1));
        assert_eq!(of("10.3.0.1"), Some(0));
        assert_eq!(of("fd00::1"), Some(1));
        assert_eq!(of("2001:db8::1"), None);
    }
}
