//! Sockets, connections and queues as they are found out.
use std::net::IpAddr;

use netdiag_common::flow::FlowKey;
use serde::{Deserialize, Serialize};

use crate::address::to_wire;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tuple {
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
    pub protocol: u8,
}

impl Tuple {
    pub fn flow(&self) -> FlowKey {
        FlowKey {
            source: to_wire(self.source.0),
            destination: to_wire(self.destination.0),
            source_port: self.source.1,
            destination_port: self.destination.1,
            protocol: self.protocol,
            family: if self.source.0.is_ipv4() { 4 } else { 6 },
            padding: [0; 2],
        }
    }
}

/// A connection that the node translates (NAT), or a conversation of datagrams, as conntrack has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracked {
    /// As the client's packets have it.
    pub asked: Tuple,
    /// As the answers of the server that it was translated to have it.
    pub answered: Tuple,
}

impl Tracked {
    /// Whether the answers are those to another packet than the client sent.
    pub fn is_translated(&self) -> bool {
        let back = Tuple {
            source: self.asked.destination,
            destination: self.asked.source,
            ..self.asked
        };
        back != self.answered
    }

    pub fn has(&self, address: IpAddr) -> bool {
        let tuples = [self.asked, self.answered];
        let mut ends = tuples.iter().flat_map(|t| [t.source.0, t.destination.0]);
        ends.any(|end| end == address)
    }
}

/// A listening TCP socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Unspecified where it listens on every address.
    pub address: IpAddr,
    pub port: u16,
    /// The index of the device by which alone it hears (SO_BINDTODEVICE); 0 where by every one.
    #[serde(default)]
    pub device: u32,
    /// Connections that wait to be accepted, and how many may.
    pub queued: u32,
    pub backlog: u32,
    /// An IPv6 socket that takes no IPv4 connections.
    pub ipv6_only: bool,
    /// The process that holds it, `nginx[42]`, where it could be read.
    pub owner: Option<String>,
}

/// Connections from one local address to one address and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    pub source: IpAddr,
    pub address: IpAddr,
    pub port: u16,
    /// All of them, and those that are over and wait in TIME_WAIT.
    pub sockets: u32,
    pub waiting: u32,
    /// A process that holds one, `nginx[42]`.
    pub owner: Option<String>,
}

/// How a connection to an address and port fares among the listeners there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    Served(&'a Listener),
    /// Somebody listens on that port, but on loopback only.
    Loopback(&'a Listener),
    /// Somebody listens on that port, but on other addresses only.
    Elsewhere(&'a Listener),
    Nobody,
}

/// Which of the listeners would take it, by whatever device it comes.
pub fn reach(listeners: &[Listener], address: IpAddr, port: u16) -> Reach<'_> {
    reach_by(listeners, None, address, port)
}

/// The same of what comes by the device with that index.
pub fn reach_by(
    listeners: &[Listener],
    device: Option<u32>,
    address: IpAddr,
    port: u16,
) -> Reach<'_> {
    let of_port = || listeners.iter().filter(|l| l.port == port);
    let takes = |l: &&Listener| l.takes(address) && hears(l.device, device);
    if let Some(listener) = of_port().find(takes) {
        return Reach::Served(listener);
    }
    let loopback = of_port().find(|l| l.address.is_loopback());
    match (loopback, of_port().next()) {
        (Some(listener), _) => Reach::Loopback(listener),
        (None, Some(listener)) => Reach::Elsewhere(listener),
        (None, None) => Reach::Nobody,
    }
}

/// Whether a socket that is bound to one device hears what comes by another.
pub fn hears(bound: u32, by: Option<u32>) -> bool {
    bound == 0 || by.is_none_or(|by| by == bound)
}

impl Listener {
    fn takes(&self, address: IpAddr) -> bool {
        let family = address.is_ipv4() == self.address.is_ipv4();
        let both = self.address.is_ipv6() && !self.ipv6_only;
        self.address == address || self.address.is_unspecified() && (family || both)
    }
}

/// A link's queue; its counts are since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qdisc {
    pub ifindex: u32,
    pub kind: String,
    pub sent: u64,
    pub drops: u64,
    /// Packets that wait now.
    pub waiting: u64,
    /// It stands between the link and all else that queues there.
    #[serde(default)]
    pub root: bool,
    #[serde(default)]
    pub bucket: Option<TokenBucket>,
}

/// What a tbf lets through, all in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBucket {
    /// A second.
    pub rate: u64,
    /// At once.
    pub burst: u64,
    /// What may wait.
    pub limit: u64,
    /// What is more than that at once has a rate of its own.
    pub peak: bool,
}

/// A UDP socket that receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// Unspecified where it takes what comes for every address.
    pub address: IpAddr,
    /// The index of the device by which alone it hears (SO_BINDTODEVICE); 0 where by every one.
    #[serde(default)]
    pub device: u32,
    /// Memory of what waits to be read, and how much may: bytes as the kernel counts them, which
    /// are more than the datagrams'.
    pub queued: u32,
    pub limit: u32,
    /// Datagrams dropped since it was made.
    pub drops: u32,
    /// The process that holds it, `nginx[42]`, where it could be read.
    pub owner: Option<String>,
    /// From whom alone it takes anything: it is connected (udp(7)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<(IpAddr, u16)>,
}

/// What resolv.conf says in one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    pub netns: u32,
    pub servers: Vec<IpAddr>,
    /// In lower case, without the last dot.
    pub search: Vec<String>,
    /// It is what kubelet's own configuration has for the pods of this node, and no namespace's.
    #[serde(default)]
    pub kubelet: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(address: &str, ipv6_only: bool) -> Vec<Listener> {
        let address = address.parse().expect("an address");
        vec![Listener {
            address,
            port: 80,
            device: 0,
            queued: 0,
            backlog: 128,
            ipv6_only,
            owner: None,
        }]
    }

    #[test]
    fn listeners_take_what_the_kernel_gives_them() {
        let pod: IpAddr = "10.0.0.5".parse().expect("an address");
        let reach = |address, only| match reach(&on(address, only), pod, 80) {
            Reach::Served(_) => "served",
            Reach::Loopback(_) => "loopback",
            Reach::Elsewhere(_) => "elsewhere",
            Reach::Nobody => "nobody",
        };
        for served in ["0.0.0.0", "10.0.0.5", "::"] {
            assert_eq!(reach(served, false), "served", "{served}");
        }
        assert_eq!(reach("::", true), "elsewhere");
        assert_eq!(reach("127.0.0.1", false), "loopback");
        assert_eq!(reach("::1", true), "loopback");
        assert_eq!(super::reach(&[], pod, 80), Reach::Nobody);
    }
}
