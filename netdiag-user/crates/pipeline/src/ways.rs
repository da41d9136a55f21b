//! Which way rules and tables lead a packet on this node: asked of what the kernel decides by, with the packet
//! itself. Nothing here asks for a destination alone.
use std::{
    cell::OnceCell,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    ptr,
};

use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{
    Prepared,
    tables::{Asked, Led, No, Tables},
};

use super::{expected_path::pod_link, facts::Facts};
use crate::model::{
    flow,
    node::{LOCAL, Link, MAIN, Node, Route, RouteKind},
    policy::{Chosen, Packet, PolicyRule},
    world::{self, Stack, World, of_node},
};

/// Marks of rules that are tried, the first ones.
const MOST_MARKS: usize = 64;

/// What the kernel decides by, made when somebody asks first: the node's own namespace at a reading and at the run's
/// start, and all namespaces that were read.
#[derive(Default)]
pub struct States {
    now: OnceCell<Stack>,
    start: OnceCell<Stack>,
    world: OnceCell<World>,
}

/// The rules and tables of one snapshot.
pub struct Ways<'a> {
    node: &'a Node,
    tables: Tables<'a>,
    /// The snapshot's own, by where its likeness is.
    routes: HashMap<*const world::route::Route, &'a Route>,
    /// Next hops of default routes, in whatever table.
    out: BTreeSet<NextHop>,
}

impl<'a> Ways<'a> {
    fn new(node: &'a Node, state: &'a OnceCell<Stack>) -> Self {
        let stack = state.get_or_init(|| of_node::stack(node));
        let made = stack.routes.some().into_iter().flatten();
        let default = |r: &&Route| r.kind == RouteKind::Unicast && is_default(r);
        Self {
            out: node.routes.iter().filter(default).map(next_hop).collect(),
            node,
            tables: Tables::new(node.netns, stack),
            routes: made.map(ptr::from_ref).zip(&node.routes).collect(),
        }
    }

    /// Of a packet without a mark.
    pub fn chosen(&self, packet: &Packet) -> Chosen<'a> {
        self.marked(packet, 0)
    }

    /// What a rule says that goes by a mark, if it refuses such a packet: nobody knows what mark it had.
    pub fn may_refuse(&self, packet: &Packet) -> Option<Chosen<'a>> {
        Some(self.marked(packet, self.refusing(packet)?))
    }

    fn refusing(&self, packet: &Packet) -> Option<u32> {
        let marks = self.node.rules.iter().filter_map(PolicyRule::mark_value);
        let said = |mark: &u32| {
            let by = self.marked(packet, *mark).rule();
            by.is_some_and(|rule| rule.others)
        };
        marks.take(MOST_MARKS).find(said)
    }

    /// What says no to a packet in routing, whatever mark it may have had; nothing, too, where that is not known.
    pub fn refused(&self, packet: &Packet) -> Option<No<'a>> {
        let refuse = |mark| self.tables.refuse(&asked(packet, mark)).ok().flatten();
        refuse(0).or_else(|| refuse(self.refusing(packet)?))
    }

    fn marked(&self, packet: &Packet, mark: u32) -> Chosen<'a> {
        let led = self.tables.lead(&asked(packet, mark));
        let own = |route: &world::route::Route| self.routes.get(&ptr::from_ref(route)).copied();
        // A rule of the kernel's own is nobody's.
        let by = |rule: Option<&world::rule::Rule>, route: &Route| {
            let somebodys = ![MAIN, LOCAL].contains(&route.table);
            rule.filter(|_| somebodys).and_then(|rule| self.rule(rule))
        };
        match led {
            Ok(Led::By(route, ..)) => own(route).map_or(Chosen::None, Chosen::Route),
            Ok(Led::RefusedByRoute(route, rule)) => own(route).map_or(Chosen::None, |route| {
                Chosen::RefusingRoute(route, by(rule, route))
            }),
            Ok(Led::RefusedByRule(rule)) => {
                self.rule(rule).map_or(Chosen::None, Chosen::RefusingRule)
            }
            Ok(Led::Nowhere) => Chosen::None,
            // Where the walk does not know, nobody does.
            Err(_) => Chosen::Unknown,
        }
    }

    /// The snapshot's own.
    fn rule(&self, made: &world::rule::Rule) -> Option<&'a PolicyRule> {
        let mut rules = self.node.rules.iter();
        rules.find(|rule| of_node::rule(rule).as_ref() == Some(made))
    }
}

impl<'a> Facts<'a> {
    pub fn ways(&self) -> &Ways<'a> {
        let state = &self.states.now;
        self.ways.get_or_init(|| Ways::new(self.node, state))
    }

    /// As they were when the run began.
    pub fn ways_before(&self) -> &Ways<'a> {
        let state = &self.states.start;
        self.ways_before
            .get_or_init(|| Ways::new(self.start, state))
    }

    /// What packets' whole ways are computed from: the namespaces whose state was asked for.
    pub fn prepared(&self) -> &Prepared<'a> {
        let world = &self.states.world;
        let made = || world.get_or_init(|| self.gathered.world(self.node));
        self.prepared.get_or_init(|| Prepared::new(made()))
    }

    /// One that this node itself sends.
    pub fn from_node(&self, destination: IpAddr) -> Packet {
        Packet::between(Packet::any(destination), destination)
    }

    /// One that whoever has that address sends: it comes in where he is.
    pub fn from_to(&self, source: IpAddr, destination: IpAddr) -> Packet {
        Packet {
            iif: self.comes_by(source),
            ..Packet::between(source, destination)
        }
    }

    pub fn packet_of(&self, flow: &FlowKey) -> Packet {
        let (source, destination) = flow::ends(flow);
        Packet {
            protocol: flow.protocol,
            sport: flow.source_port,
            dport: flow.destination_port,
            ..self.from_to(source, destination)
        }
    }

    /// The route that leads a packet, or refuses it.
    pub fn way(&self, packet: &Packet) -> Option<&'a Route> {
        self.ways().chosen(packet).route()
    }

    /// The device by which that leads.
    pub fn link_by(&self, packet: &Packet) -> Option<&'a Link> {
        self.link(self.way(packet)?.oif?)
    }

    /// Whether no route of its own leads it anywhere: it goes out into the world, if anywhere.
    pub fn leaves(&self, packet: &Packet) -> bool {
        match self.ways().chosen(packet) {
            // Refused is not gone.
            Chosen::RefusingRule(_) | Chosen::Unknown => false,
            chosen => chosen.route().is_none_or(|route| self.leads_out(route)),
        }
    }

    /// The same when the run began.
    pub fn way_before(&self, packet: &Packet) -> Option<&'a Route> {
        self.ways_before().chosen(packet).route()
    }

    /// The device that routing sees what this address sends come in by; nothing for the node's own.
    fn comes_by(&self, source: IpAddr) -> Option<u32> {
        if self.owns(source) || source.is_unspecified() {
            return None;
        }
        if let Some(link) = pod_link(self, source) {
            return Some(routed_by(self.node, link));
        }
        // Who is elsewhere comes in by the way that leads there, as long as routing is symmetric.
        self.way(&self.from_node(source))?.oif
    }

    /// Whether that is the way by which everything goes that no route of its own leads to: out into the world. A
    /// router has networks beside the default route by the same next hop; who is on the link has none.
    pub fn leads_out(&self, route: &Route) -> bool {
        let ways = self.ways();
        let by_the_router = || route.gateway.is_some() && ways.out.contains(&next_hop(route));
        route.kind == RouteKind::Unicast && (is_default(route) || by_the_router())
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where it is decided")]
fn is_default(route: &Route) -> bool {
    route.destination.is_anywhere()
}

fn asked(packet: &Packet, mark: u32) -> Asked {
    Asked {
        source: packet.source,
        destination: packet.destination,
        protocol: packet.protocol,
        sport: packet.sport,
        dport: packet.dport,
        mark,
        iif: packet.iif,
    }
}

/// With whether it is IPv4's.
type NextHop = (bool, Option<u32>, Option<IpAddr>);

fn next_hop(route: &Route) -> NextHop {
    (
        route.destination.address.is_ipv4(),
        route.oif,
        route.gateway,
    )
}

/// A port's bridge, if any.
pub fn routed_by(node: &Node, link: &Link) -> u32 {
    let master = link.master.and_then(|index| node.link(index));
    master.map_or(link.index, |master| master.index)
}

#[cfg(test)]
mod tests;
