//! What of the traffic a finding accounts for, as values: the sentences and the few flows that it
//! names are for people, and nothing is decided by them.
use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
};

use netdiag_common::flow::FlowKey;

use super::FlowRef;
use crate::flow::{self, TCP, UDP};

/// Who talks to whom, in either direction, the lower address first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pair {
    protocol: u8,
    addresses: [IpAddr; 2],
}

impl Pair {
    fn of(protocol: u8, a: IpAddr, b: IpAddr) -> Self {
        let addresses = [a.min(b), a.max(b)];
        Self {
            protocol,
            addresses,
        }
    }
}

/// What many flows have to pass: what is wrong with it affects all that go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Passage {
    /// A link of the node's, by its index.
    Link(u32),
    /// A next hop, the other end of a tunnel, or whom it is for.
    Host(IpAddr),
    /// This machine's table of neighbours, of IPv6 or of IPv4.
    Neighbours { ipv6: bool },
    /// Connection tracking of the namespace with that inode.
    Tracking(u32),
}

/// The conversations that a finding explains, and what all of those that it explains go by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The ports of either end, where they are known.
    ends: HashMap<Pair, BTreeSet<[u16; 2]>>,
    passages: BTreeSet<Passage>,
}

/// A port that is not known stands for all.
const ANY: u16 = 0;

impl Scope {
    pub fn add(&mut self, protocol: u8, source: (IpAddr, u16), destination: (IpAddr, u16)) {
        let pair = Pair::of(protocol, source.0, destination.0);
        let [lower, upper] = match source.0 <= destination.0 {
            true => [source, destination],
            false => [destination, source],
        };
        let ports = self.ends.entry(pair).or_default();
        ports.insert([lower.1, upper.1]);
    }

    /// As the packets have it.
    pub fn add_key(&mut self, flow: &FlowKey) {
        let (source, destination) = flow::ends(flow);
        let ports = match matches!(flow.protocol, TCP | UDP) {
            true => (flow.source_port, flow.destination_port),
            // An echo's identifier is no port.
            false => (ANY, ANY),
        };
        self.add(flow.protocol, (source, ports.0), (destination, ports.1));
    }

    pub fn add_passage(&mut self, passage: Passage) {
        self.passages.insert(passage);
    }

    pub fn add_hosts(&mut self, hosts: &[IpAddr]) {
        let hosts = hosts.iter().copied().map(Passage::Host);
        self.passages.extend(hosts);
    }

    /// As a finding names it: `10.0.0.1:80`, or the address alone.
    pub fn add_flow(&mut self, flow: &FlowRef) {
        let protocol = flow::number(&flow.protocol);
        let ends = (end(&flow.source), end(&flow.destination));
        if let (Some(protocol), (Some(source), Some(destination))) = (protocol, ends) {
            self.add(protocol, source, destination);
        }
    }

    /// Whether a client's traffic with that server's port is among it: a client's own port is none
    /// of the server's.
    pub fn has(&self, protocol: u8, client: IpAddr, (server, port): (IpAddr, u16)) -> bool {
        let Some(all) = self.ends.get(&Pair::of(protocol, client, server)) else {
            return false;
        };
        let of_server = |[lower, upper]: &[u16; 2]| match server <= client {
            true => *lower,
            false => *upper,
        };
        let own = |ports: &[u16; 2]| port == ANY || [ANY, port].contains(&of_server(ports));
        all.iter().any(own)
    }

    /// Whether a flow is among it, as its client's packets have it.
    pub fn has_key(&self, flow: &FlowKey) -> bool {
        let (client, server) = flow::ends(flow);
        self.has(flow.protocol, client, (server, flow.destination_port))
    }

    /// Whether any traffic between these two is among it.
    pub fn is_between(&self, a: IpAddr, b: IpAddr) -> bool {
        let addresses = [a.min(b), a.max(b)];
        self.ends.keys().any(|pair| pair.addresses == addresses)
    }

    /// Whether any traffic with that host is among it.
    pub fn meets(&self, host: IpAddr) -> bool {
        self.ends.keys().any(|pair| pair.addresses.contains(&host))
    }

    /// A client whose traffic with that server's port is among it; the lowest address of several.
    pub fn client_of(&self, protocol: u8, server: (IpAddr, u16)) -> Option<IpAddr> {
        let pairs = self.ends.keys().filter(|pair| pair.protocol == protocol);
        let clients = pairs.filter_map(|pair| match pair.addresses {
            [client, own] | [own, client] if own == server.0 => Some(client),
            _ => None,
        });
        clients
            .filter(|client| self.has(protocol, *client, server))
            .min()
    }

    /// The same for traffic as a finding names it, whichever end it names first.
    pub fn has_flow(&self, flow: &FlowRef) -> bool {
        let Some(protocol) = flow::number(&flow.protocol) else {
            return false;
        };
        let ends = (end(&flow.source), end(&flow.destination));
        let (Some(source), Some(destination)) = ends else {
            return false;
        };
        let names = |end: (IpAddr, u16)| end.1 != ANY;
        let nobody = !names(source) && !names(destination);
        let way = |client: (IpAddr, u16), server| {
            (names(server) || nobody) && self.has(protocol, client.0, server)
        };
        way(source, destination) || way(destination, source)
    }

    pub fn passes(&self, passages: &BTreeSet<Passage>) -> bool {
        !self.passages.is_disjoint(passages)
    }
}

fn end(text: &str) -> Option<(IpAddr, u16)> {
    let bare = text.parse().ok().map(|address| (address, ANY));
    let socket = |s: SocketAddr| (s.ip(), s.port());
    bare.or_else(|| text.parse().ok().map(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_port_of_a_server_is_not_another() {
        let (client, server) = (ip("10.0.0.1"), ip("10.0.0.2"));
        for [client, server] in [[client, server], [server, client]] {
            let mut scope = Scope::default();
            scope.add(TCP, (client, 41_000), (server, 80));
            scope.add(TCP, (server, 80), (client, 443));
            assert!(scope.has(TCP, client, (server, 80)));
            assert!(!scope.has(TCP, client, (server, 443)), "a client's port");
            assert!(scope.is_between(server, client));
            assert!(!scope.is_between(client, ip("10.0.0.3")));
            assert!(!scope.has(UDP, client, (server, 80)));
            assert!(!scope.has(TCP, ip("10.0.0.3"), (server, 80)));
            assert_eq!(scope.client_of(TCP, (server, 80)), Some(client));
            assert_eq!(scope.client_of(TCP, (server, 443)), None);
            assert!(scope.has(TCP, client, (server, ANY)), "any port of it");
            scope.add(1, (client, ANY), (server, ANY));
            assert!(!scope.has(TCP, client, (server, 443)), "pings are pings");
            scope.add(TCP, (client, ANY), (server, ANY));
            assert!(scope.has(TCP, client, (server, 443)), "every port of it");
        }
    }

    #[test]
    fn flows_are_read_as_they_are_told() {
        let flow = FlowRef {
            protocol: "udp".into(),
            source: "[fd00::1]:41000".into(),
            destination: "[fd00::2]:53".into(),
            ..FlowRef::default()
        };
        let mut scope = Scope::default();
        scope.add_flow(&flow);
        assert!(scope.has(UDP, ip("fd00::1"), (ip("fd00::2"), 53)));
        let port = FlowRef {
            protocol: "udp".into(),
            source: "198.51.100.1".into(),
            destination: "not an address".into(),
            ..FlowRef::default()
        };
        scope.add_flow(&port);
        assert!(!scope.has(UDP, ip("198.51.100.1"), (ip("fd00::2"), 53)));
    }

    #[test]
    fn a_flow_is_had_by_its_servers_port() {
        let flow = |source: &str, destination: &str| FlowRef {
            protocol: "tcp".into(),
            source: source.into(),
            destination: destination.into(),
            ..FlowRef::default()
        };
        let mut scope = Scope::default();
        scope.add(TCP, (ip("10.0.0.1"), ANY), (ip("10.0.0.2"), 80));
        assert!(scope.has_flow(&flow("10.0.0.1", "10.0.0.2:80")));
        assert!(scope.has_flow(&flow("10.0.0.2:80", "10.0.0.1")), "answers");
        assert!(scope.has_flow(&flow("10.0.0.1:41000", "10.0.0.2:80")));
        assert!(!scope.has_flow(&flow("10.0.0.1", "10.0.0.2:81")));
        assert!(!scope.has_flow(&flow("10.0.0.3", "10.0.0.2:80")));
        assert!(scope.has_flow(&flow("10.0.0.1", "10.0.0.2")), "some port");
    }

    #[test]
    fn what_is_wrong_with_a_link_affects_what_goes_by_it() {
        let mut scope = Scope::default();
        scope.add_passage(Passage::Link(3));
        let by = |index| BTreeSet::from([Passage::Link(index), Passage::Host(ip("10.0.0.1"))]);
        assert!(scope.passes(&by(3)));
        assert!(!scope.passes(&by(4)));
    }
}
