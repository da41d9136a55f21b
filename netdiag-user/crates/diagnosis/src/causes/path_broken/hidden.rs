//! A route that takes packets by a way by which nobody answers anybody, where the node has another one for them: a second default
//! route that a link's DHCP brought, a network that a VPN pushed.
use std::cmp::Reverse;

use netdiag_lang::t;

use super::story::{Case, Story, each};
use crate::{
    model::{
        journal::Thing,
        node::{Link, Route, RouteKind},
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin},
    },
    pipeline::facts::Facts,
    shared::dead_end::shown_as,
    shell,
    unexplained::{Symptom, Symptoms, Ways},
};

/// Questions by it, as many as two connections ask in vain.
const ASKED: u64 = 6;

/// The route that takes them, and the one that would.
#[derive(PartialEq)]
struct Hidden<'a> {
    takes: &'a Route,
    by: &'a Link,
    would: &'a Route,
    other: &'a Link,
}

pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let left = symptoms.left(facts, findings);
    let hidden = left.filter_map(|symptom| Some((Hidden::of(facts, symptom)?, symptom)));
    let hidden: Vec<_> = hidden.collect();
    let ways = Ways::new(facts, hidden.iter().map(|(_, symptom)| *symptom));
    // The other one has to be good for something, and this one for nothing.
    let heard = ways.heard_by();
    let works = |hidden: &Hidden<'_>| hidden.would.oif.is_some_and(|by| heard.contains(&by));
    let silent = hidden.into_iter();
    let silent = silent.filter(|(hidden, symptom)| works(hidden) && !ways.answers(symptom));
    each(facts, silent, |case, hidden| {
        (case.asked >= ASKED).then(|| hidden.tell(case))
    })
}

impl<'a> Hidden<'a> {
    fn of(facts: &Facts<'a>, symptom: &Symptom) -> Option<Self> {
        let asks = symptom.asked > 0 && !symptom.answers;
        let last = symptom.last.as_ref().filter(|hop| asks && hop.plain())?;
        let far = symptom.far();
        let takes = facts.way(&facts.packet_of(last.flow()))?;
        let by = facts
            .link(takes.oif?)
            .filter(|l| l.index == last.key.ifindex)?;
        // Whoever is on the link himself, or in the cluster, is led by no other way.
        let into_nothing = !by.ethernet && !by.is_tunnel();
        let out = takes.gateway.is_some() && facts.leads_out(takes);
        if !into_nothing && !out {
            return None;
        }
        let wider = |r: &&Route| {
            let there = r.kind == RouteKind::Unicast && r.table == takes.table;
            let later = (r.destination.length, Reverse(r.metric))
                < (takes.destination.length, Reverse(takes.metric));
            there && later && r.destination.contains(far) && r.oif != takes.oif
        };
        let others = facts.node.routes.iter().filter(wider);
        let would = others.max_by_key(|r| (r.destination.length, Reverse(r.metric)))?;
        let other = facts.link(would.oif?).filter(|l| l.up && l.carrier)?;
        Some(Self {
            takes,
            by,
            would,
            other,
        })
    }

    fn tell(&self, case: &Case<'_, '_>) -> Story {
        let (client, what, asked) = (case.client, &case.what, case.asked);
        let (left, other) = (&self.by.name, &self.other.name);
        let (takes, would) = (text(self.takes, left), text(self.would, other));
        let summary = t!(
            "what {client} asks {what} leaves by {left}, as the route {takes} says, where nobody answers anybody: {asked} times; without it, it would go by {would}"
        );
        let seen = t!("it left by {left}, and nothing that is asked there is answered");
        let routes = [(self.takes, left), (self.would, other)];
        let routes = routes.map(|(route, link)| evidence(route, link));
        let seen = case.leaving(self.by, seen);
        Story::suspected(summary, [seen].into_iter().chain(routes), self.fix(case))
    }

    fn fix(&self, case: &Case<'_, '_>) -> Fix {
        let far = case.worst().far();
        let (left, other) = (&self.by.name, &self.other.name);
        Fix {
            summary: t!(
                "see whether {left} is to lead to {far} at all: where it is, ask whoever is behind it; where it is not, keep its DHCP or VPN client from setting the route {}, and let {far} go by {other}",
                text(self.takes, left)
            ),
            // Whether to lead it past a VPN is for whoever knows what that is for.
            commands: vec![
                shell!("ip route get {}", far),
                shell!("ip route show table {}", self.takes.table).of_family(far.is_ipv6()),
            ],
        }
    }
}

/// As iproute2 writes it.
fn text(route: &Route, link: &str) -> String {
    let to = match route.destination.length {
        0 => shown_as(route.destination),
        _ => route.destination.to_string(),
    };
    let by = route
        .gateway
        .map_or_else(String::new, |gateway| format!(" via {gateway}"));
    let metric = match route.metric {
        0 => String::new(),
        metric => format!(" metric {metric}"),
    };
    format!("{to}{by} dev {link}{metric}")
}

fn evidence(route: &Route, link: &str) -> Evidence {
    let (to, table) = (route.destination, route.table);
    let text = t!("table {table} has the route {}", text(route, link));
    let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
    let shown = shell!("ip route show table {}", table).of_family(to.address.is_ipv6());
    line.confirm = Some(shown.showing(&[&shown_as(to), link]));
    line.of([Thing::Route { to, table }])
}

#[cfg(test)]
mod tests;
