//! Ends that serve, by what is configured: Services of the rules and of the API, their backends, ports that rules
//! lead on, and listening sockets.
use std::net::IpAddr;

use netdiag_common::flow::FlowKey;

use super::{End, PRIVILEGED};
use crate::{
    facts::Facts,
    model::{
        address::{from_wire, to_wire},
        flow::TCP,
        gather::{Gathered, Reach, reach},
        hash::Set,
        path::Followed,
        services::Services,
    },
};

/// Those of `ends` that serve.
pub(super) fn among<'e>(facts: &Facts<'_>, ends: impl Iterator<Item = &'e End>) -> Set<End> {
    let named = named(facts);
    let serves = |end: &&End| {
        named.contains(*end)
            || is_published(facts, end)
            || listens(facts, end)
            || is_followed(facts, end)
    };
    ends.filter(serves).copied().collect()
}

/// Those of `ends` where nothing listens, in namespaces whose sockets somebody asked for: clients, as far as their
/// ports can be a client's.
pub(super) fn idle<'e>(facts: &Facts<'_>, ends: impl Iterator<Item = &'e End>) -> Set<End> {
    let idle = |end: &&End| {
        let (address, port, protocol) = **end;
        let known = || {
            facts
                .gathered
                .listeners(netns_of(facts, from_wire(address))?)
        };
        protocol == TCP && port >= PRIVILEGED && known().is_some() && !listens(facts, end)
    };
    ends.filter(idle).copied().collect()
}

/// Addresses and ports of Services and of their backends.
fn named(facts: &Facts<'_>) -> Set<End> {
    let mut named = Set::default();
    let known = facts.gathered.services();
    let rules = known.map(|known| known.rules.iter().chain(&known.node_ports));
    for rule in rules.into_iter().flatten() {
        named.insert((to_wire(rule.address), rule.port, rule.protocol));
        let backends = rule.backends.iter();
        named.extend(backends.map(|(address, port)| (to_wire(*address), *port, rule.protocol)));
    }
    for service in &facts.cluster.services {
        for address in service.addresses.iter().chain(&service.external) {
            let ports = service.ports.iter();
            named.extend(ports.map(|port| (to_wire(*address), port.port, port.protocol)));
        }
    }
    named
}

/// A port of the node's own, or of an address that some rule leads on.
fn is_published(facts: &Facts<'_>, (address, port, protocol): &End) -> bool {
    let leads = |services: &Services, address: IpAddr| {
        let own = facts.owns(address);
        let node_port = own && services.node_port(address, *port, *protocol).is_some();
        node_port || services.publishes((address, *port), *protocol, own)
    };
    let services = facts.gathered.services();
    services.is_some_and(|services| leads(services, from_wire(*address)))
}

/// Whether somebody asked for the way to that very port.
fn is_followed(facts: &Facts<'_>, (address, port, _): &End) -> bool {
    let is = |followed: &Followed| {
        followed.port == Some(*port) && followed.servers.contains(&from_wire(*address))
    };
    facts.followed().is_some_and(is)
}

/// Whether a socket listens there, in a namespace whose sockets somebody asked for.
fn listens(facts: &Facts<'_>, (address, port, protocol): &End) -> bool {
    let address = from_wire(*address);
    let listeners = || facts.gathered.listeners(netns_of(facts, address)?);
    *protocol == TCP
        && listeners().is_some_and(|all| matches!(reach(all, address, *port), Reach::Served(_)))
}

/// The network namespace of this node's, or of its pods', that has the address.
pub(super) fn netns_of(facts: &Facts<'_>, address: IpAddr) -> Option<u32> {
    match facts.owns(address) {
        true => Some(facts.node.netns),
        false => facts.pod_side_of(address).map(|side| side.netns),
    }
}

/// Flows as conntrack has them: the one that opened a connection, and the one that answers.
pub(super) fn tracked(gathered: &Gathered) -> impl Iterator<Item = (FlowKey, FlowKey)> {
    let all = gathered.connected();
    all.map(|it| (it.asked.flow(), it.answered.flow()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            gather::{Piece, Tracked, Tuple, Want},
            observation::Observation,
            services::{Engine, Service},
        },
        testing::{POD, POD_NETNS, at, from_pod, ip, listener, overlay_node, tcp, with_gathered},
    };

    const CLIENT: &str = "172.20.2.9";
    const SERVER: &str = "172.20.1.5";

    /// One connection that was there before the run, to a port above its client's.
    fn asked() -> FlowKey {
        FlowKey {
            source_port: 1024,
            ..tcp(CLIENT, SERVER, 50_051)
        }
    }

    fn is_right(want: Want, piece: Piece) -> bool {
        let flow = asked();
        let observation = Observation {
            now: 60_000_000_000,
            flows: vec![
                from_pod(flow.reversed(), |_| ()),
                at(flow, POD, true, netdiag_common::hop::PLAIN, |_| ()),
            ],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_gathered(&node, &observation, [(want, Ok(piece))], |facts| {
            let direction = facts.direction();
            !direction.is_answer(&flow) && direction.is_answer(&flow.reversed())
        })
    }

    #[test]
    fn who_listens_is_the_server() {
        let of = |port| Piece::Listeners(vec![listener("0.0.0.0", port)]);
        assert!(is_right(Want::Listeners(POD_NETNS), of(50_051)));
        assert!(!is_right(Want::Listeners(POD_NETNS), of(8080)), "a guess");
    }

    #[test]
    fn who_listens_elsewhere_alone_is_the_client() {
        let flow = FlowKey {
            source_port: 1024,
            ..tcp(SERVER, CLIENT, 50_051)
        };
        let observation = Observation {
            now: 60_000_000_000,
            flows: vec![from_pod(flow, |_| ())],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        let turned = |port| {
            let listeners = Piece::Listeners(vec![listener("0.0.0.0", port)]);
            let known = [(Want::Listeners(POD_NETNS), Ok(listeners))];
            with_gathered(&node, &observation, known, |facts| {
                assert!(facts.who_serves(&flow).is_empty(), "it is known");
                facts.direction().is_answer(&flow)
            })
        };
        assert!(!turned(8080), "its own port is nobody's there");
        assert!(turned(1024));
        with_gathered(&node, &observation, [], |facts| {
            assert_eq!(facts.who_serves(&flow), [Want::Listeners(POD_NETNS)]);
            let datagram = FlowKey {
                protocol: crate::model::flow::UDP,
                ..flow
            };
            let asked = facts.who_serves(&datagram);
            assert_eq!(asked, [Want::Tracked(ip(SERVER))]);
            assert_eq!(facts.who_serves(&datagram.reversed()), asked);
        });
    }

    #[test]
    fn whose_port_somebody_asked_the_way_to_is_the_server() {
        let flow = asked();
        let observation = Observation {
            now: 60_000_000_000,
            flows: vec![at(flow, POD, true, netdiag_common::hop::PLAIN, |_| ())],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_gathered(&node, &observation, [], |facts| {
            facts.follow(Followed {
                clients: vec![ip(CLIENT)],
                servers: vec![ip(SERVER)],
                port: Some(50_051),
            });
            assert!(!facts.direction().is_answer(&flow));
        });
    }

    #[test]
    fn a_services_backend_is_the_server() {
        let service = Service {
            address: ip("10.96.0.7"),
            port: 443,
            protocol: TCP,
            name: None,
            backends: vec![(ip(SERVER), 50_051)],
            rejected: false,
            local: false,
            engine: Engine::Nftables,
            table: None,
        };
        let services = Services {
            rules: vec![service],
            ..Services::default()
        };
        assert!(is_right(Want::Services, Piece::Services(services)));
    }

    #[test]
    fn conntracks_original_direction_is_the_clients() {
        let tuple = |from: (&str, u16), to: (&str, u16)| Tuple {
            source: (ip(from.0), from.1),
            destination: (ip(to.0), to.1),
            protocol: TCP,
        };
        let tracked = Tracked {
            asked: tuple((CLIENT, 1024), ("10.96.0.7", 443)),
            answered: tuple((SERVER, 50_051), (CLIENT, 1024)),
        };
        let want = Want::Tracked(ip(CLIENT));
        assert!(is_right(want, Piece::Tracked(vec![tracked])));
    }
}
