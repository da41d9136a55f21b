//! Answers that leave by another uplink than the question came by, and packets that leave one with the address of
//! another: as far as this node goes, they are gone; whoever tracks connections or filters by source drops them.
use std::{cmp::Reverse, net::IpAddr};

use netdiag_lang::t;

use super::story::{Case, Story};
use crate::{
    model::{
        address::Prefix,
        flow,
        journal::Thing,
        node::{Link, Neighbour, Route, RouteKind},
        policy::{Action, Packet},
        roles::Role,
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin},
    },
    pipeline::facts::Facts,
    shared::dead_end::shown_as,
    shell,
    unexplained::{Symptoms, Turn, grouped},
};

/// The first table that nobody may have for something else.
const TABLE: u32 = 100;

/// What goes one wrong way.
struct Turned<'c, 'a> {
    turn: Turn<'a>,
    case: Case<'c, 'a>,
}

/// A finding about the pair of links that most of what these leave untold goes by.
pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let mut found = symptoms.turned(facts, findings);
    // The one that asks most often first.
    found.sort_by_key(|(_, symptom)| Reverse(symptom.asked));
    let pairs = grouped(found).into_iter();
    let most = pairs.max_by_key(|(_, all)| (all.len(), all[0].asked));
    let most = most.map(|(turn, all)| Turned {
        turn,
        case: Case::of(facts, all),
    });
    most.map(|one| one.case.finding(one.tell()))
        .into_iter()
        .collect()
}

impl<'a> Turned<'_, 'a> {
    /// As the tables are asked for it: before what it leaves as is made of it.
    fn decided(&self) -> Packet {
        let worst = self.case.worst();
        let server = worst.leg.map_or(worst.server, |leg| flow::ends(&leg).1);
        let (source, destination) = match worst.answers {
            true => (server, worst.client),
            false => (worst.client, server),
        };
        self.case.facts.from_to(source, destination)
    }

    fn route(&self) -> Option<&'a Route> {
        let left = self.turn.left();
        let route = self.case.facts.way(&self.decided());
        route.filter(|r| r.kind == RouteKind::Unicast && r.oif == Some(left.index))
    }

    fn tell(&self) -> Story {
        let (owed, left) = (&self.turn.owed().name, &self.turn.left().name);
        let (client, what, asked) = (self.case.client, &self.case.what, self.case.asked);
        let by = self.route().map_or_else(String::new, |route| {
            t!(
                " (route {} of table {})",
                shown_as(route.destination),
                route.table
            )
        });
        let summary = match self.turn {
            Turn::Link { .. } => t!(
                "{client} asks {what} by {owed}, and the answers leave by {left}{by}: {asked} packets, none of the answers gets there"
            ),
            Turn::Source { source, .. } => t!(
                "what asks {what} leaves by {left}{by} with {source}, an address of {owed}: {asked} packets, none answered"
            ),
        };
        Story::suspected(summary, self.evidence(), self.fix())
    }

    fn evidence(&self) -> Vec<Evidence> {
        let owed = &self.turn.owed().name;
        let seen = self.case.leaving(self.turn.left(), self.turn.text());
        let address = match self.turn {
            Turn::Source { source, .. } => {
                let text = t!("{source} is an address of {owed}");
                let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
                let shown = shell!("ip address show to {}", source);
                line.confirm = Some(shown.showing(&[&source.to_string()]));
                Some(line)
            }
            Turn::Link { .. } => None,
        };
        let route = self.route().map(|route| self.route_evidence(route));
        [Some(seen), address, route].into_iter().flatten().collect()
    }

    fn route_evidence(&self, route: &Route) -> Evidence {
        let (to, table, left) = (route.destination, route.table, &self.turn.left().name);
        let packet = self.decided();
        let text = t!(
            "{} is led by the route {} of table {table}, by {left}",
            packet.destination,
            shown_as(to)
        );
        let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
        let shown = shell!("ip route get {}", packet.destination);
        let shown = shown.with_names(["from", &packet.source.to_string()]);
        let came = packet.iif.map(|iif| self.case.facts.node.link_name(iif));
        let shown = match &came {
            Some(iif) => shown.with_names(["iif", iif]),
            None => shown,
        };
        line.confirm = Some(shown.showing(&[left]));
        line.at = Some(left.clone());
        line.of([Thing::Route { to, table }])
    }

    /// A table of its own for what answers by that address, behind the routes that main has for networks of its own.
    fn fix(&self) -> Fix {
        let (facts, owed) = (self.case.facts, self.turn.owed());
        if facts.role(owed) == Some(Role::Pod) {
            return self.to_the_pod(owed);
        }
        let packet = self.decided();
        let table = free_table(facts).to_string();
        let of_family = |command: CommandLine| command.of_family(packet.source.is_ipv6());
        let route = of_family(shell!("ip route add default"));
        let gateway = gateway(facts, owed, packet.destination);
        let route = gateway.map(|gateway| match gateway {
            Some(gateway) => route.with_names(["via", &gateway.to_string()]),
            None => route,
        });
        let route = route.map(|it| it.with_names(["dev", &owed.name, "table", &table]));
        let from = Prefix::host(packet.source).to_string();
        let to = Prefix::host(packet.destination).to_string();
        let rule = of_family(shell!("ip rule add"))
            .with_names(["from", &from, "to", &to, "lookup", &table]);
        let own = facts.owns(packet.source);
        let summary = match (self.turn, own) {
            (Turn::Link { came, .. }, true) => t!(
                "lead the answers of {} back by {}: a policy rule by their source (without \"to\" for all clients, behind one that asks table main with suppress_prefixlength 0)",
                packet.source,
                came.name
            ),
            (Turn::Link { came, .. }, false) => t!(
                "lead the answers back by {}: rules see them with the address {}, so for all clients mark the connections that come in by {} (CONNMARK), and lead their answers by that mark",
                came.name,
                packet.source,
                came.name
            ),
            (Turn::Source { owner, source, .. }, true) => t!(
                "lead what {source} sends out by {}: a policy rule by its source; or let the program take another source",
                owner.name
            ),
            (Turn::Source { left, owner, .. }, false) => t!(
                "lead it out by {}, or translate what leaves by {} to an address of that link",
                owner.name,
                left.name
            ),
        };
        Fix {
            summary,
            commands: match route {
                Some(route) => vec![route, rule],
                // Nobody knows the router there.
                None => vec![of_family(shell!("ip neighbour show dev {v}", owed.name))],
            },
        }
    }
}

impl Turned<'_, '_> {
    /// This node leads the address elsewhere, with which the pod behind that link asks.
    fn to_the_pod(&self, pods: &Link) -> Fix {
        let (client, name) = (self.case.client, &pods.name);
        let host = Prefix::host(client);
        let lead = shell!("ip route replace {} dev {}", host, name).of_family(client.is_ipv6());
        Fix {
            summary: t!(
                "let the pod behind {name} ask with an address that this node leads to it, or lead {client} there"
            ),
            commands: match pods.master {
                None => vec![lead],
                Some(_) => vec![shell!("ip route get {}", client)],
            },
        }
    }
}

/// By whom that link leads to an address: the router of its default route, else of any, else the only neighbour there;
/// `Some(None)` where who has the address is on the link himself.
fn gateway(facts: &Facts<'_>, link: &Link, to: IpAddr) -> Option<Option<IpAddr>> {
    if link.addresses.iter().any(|a| a.prefix.contains(to)) {
        return Some(None);
    }
    let like = |address: &IpAddr| address.is_ipv6() == to.is_ipv6();
    let node = facts.node;
    let by_route = |r: &&Route| r.kind == RouteKind::Unicast && r.oif == Some(link.index);
    let routes = node.routes.iter().filter(by_route);
    let routes = routes.filter_map(|r| Some((r.destination.length, r.gateway.filter(like)?)));
    if let Some((_, router)) = routes.min() {
        return Some(Some(router));
    }
    let there = |n: &&Neighbour| n.ifindex == link.index && !n.failed && n.lladdr.is_some();
    let there = node.neighbours.iter().filter(there);
    let mut there = there.map(|n| n.address).filter(like);
    let only = there.next()?;
    there.next().is_none().then_some(Some(only))
}

fn free_table(facts: &Facts<'_>) -> u32 {
    let used = |table: u32| {
        let mut routes = facts.node.routes.iter();
        let mut rules = facts.node.rules.iter();
        let ruled = rules.any(|rule| rule.action == Action::Table(table));
        ruled || routes.any(|route| route.table == table)
    };
    (TABLE..).find(|table| !used(*table)).unwrap_or(TABLE)
}

#[cfg(test)]
mod tests;
