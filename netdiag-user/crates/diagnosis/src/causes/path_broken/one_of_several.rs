//! A route leads by several next hops at once (ECMP), and one of them sends nothing on: whoever the hash gives to it is lost, new
//! connections again and again, while the others live. Nobody says so: it answers for itself.
use std::net::IpAddr;

use netdiag_lang::t;

use super::ID;
use crate::{
    model::{
        flow::{TCP, ends},
        journal::Thing,
        node::{Link, Route, RouteKind},
        roles::Role,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    pipeline::{
        connection_groups::{Connection, ConnectionGroup, Outcome},
        facts::Facts,
    },
    shared::dead_end::shown_as,
    shell,
    unexplained::Symptoms,
};

/// Tries of one client's that tell a share.
const TRIES: usize = 12;
/// In percent, of those lost and of those that get through: what is lost by chance is less, and a server that is gone loses all.
const LEAST: usize = 20;
/// What is over sooner is over before anybody looks at it.
const SPAN_NS: u64 = 4_000_000_000;
/// Next hops that are named.
const NAMED: usize = 4;

/// What leaves by one of them each time.
struct Several<'a> {
    group: &'a ConnectionGroup<'a>,
    lost: usize,
    tried: usize,
    left: &'a Link,
    /// The same route, by each of them.
    routes: Vec<&'a Route>,
}

pub fn evaluate(facts: &Facts<'_>, _: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let told = |g: &ConnectionGroup<'_>| {
        let has = |f: &Finding| f.scope.has(g.protocol, g.client, (g.server, g.port));
        findings.iter().any(has)
    };
    let groups = facts.attempts().iter().filter(|g| g.tries.len() >= TRIES);
    let several = groups.filter(|g| !told(g));
    let several: Vec<_> = several.filter_map(|g| Several::of(facts, g)).collect();
    // One of them is the same for all.
    let mut routes: Vec<&Route> = Vec::new();
    let first = several.iter().filter(|it| {
        let new = it.routes.first().filter(|route| !routes.contains(route));
        routes.extend(new.copied());
        new.is_some()
    });
    first.map(|it| it.finding(facts)).collect()
}

/// It asked once more, or not at all that was seen: the first packet was lost.
fn is_lost(tried: &Connection<'_>) -> bool {
    tried.outcome == Outcome::Unanswered || tried.flow.protocol == TCP && tried.packets() > 1
}

impl<'a> Several<'a> {
    fn of(facts: &'a Facts<'_>, group: &'a ConnectionGroup<'a>) -> Option<Self> {
        let client = group.client;
        let ours = facts.is_local_pod(client) || facts.owns(client);
        let old = |t: &&Connection<'_>| t.outcome != Outcome::Pending && t.became.is_none();
        let tries: Vec<&Connection<'_>> = group.tries.iter().filter(old).collect();
        let tried = tries.len();
        let lost: Vec<_> = { tries.iter() }.filter(|t| is_lost(t)).collect();
        let enough = |part: usize| part * 100 >= tried * LEAST;
        if !ours || tried < TRIES || !enough(lost.len()) || !enough(tried - lost.len()) {
            return None;
        }
        let spans = |all: &[&&Connection<'_>]| {
            let first = all.iter().map(|t| t.first()).min()?;
            Some(all.iter().map(|t| t.first()).max()?.saturating_sub(first))
        };
        spans(&lost).filter(|span| *span >= SPAN_NS)?;
        // All of them left, by that very link.
        let out = |t: &Connection<'_>| {
            let last = t.last_seen()?;
            let leaves = last.egress() && last.role == Some(Role::Uplink) && last.plain();
            leaves.then_some(last.key.ifindex)
        };
        let by = out(lost.first()?)?;
        let all = lost.iter().all(|t| out(t) == Some(by));
        let left = facts.link(by).filter(|_| all)?;
        let flow = lost.first()?.last_seen()?.flow();
        let way = facts.way(&facts.packet_of(flow))?;
        let beside = |r: &&Route| {
            let same =
                (r.destination, r.table, r.metric) == (way.destination, way.table, way.metric);
            same && r.kind == RouteKind::Unicast && r.gateway.is_some()
        };
        let routes: Vec<&Route> = facts.node.routes.iter().filter(beside).collect();
        let (_, far) = ends(flow);
        let several = routes.len() > 1 && way.destination.contains(far);
        several.then_some(Self {
            group,
            lost: lost.len(),
            tried,
            left,
            routes,
        })
    }

    fn gateways(&self) -> String {
        let all = self.routes.iter().filter_map(|r| r.gateway);
        let all: Vec<String> = all.take(NAMED).map(|g| g.to_string()).collect();
        all.join(t!(", "))
    }

    fn finding(&self, facts: &Facts<'_>) -> Finding {
        let (client, left) = (self.group.client, &self.left.name);
        let (what, by) = (self.group.target(), self.gateways());
        let (lost, tried) = (self.lost, self.tried);
        let to = self.routes.first().map(|r| shown_as(r.destination));
        let to = to.unwrap_or_default();
        let summary = t!(
            "{lost} of {tried} times what {client} asks {what} is lost behind {left}, and the rest is answered: the route {to} leads by several next hops ({by}), and one of them seems to send nothing on"
        );
        let mut finding = Finding::new(ID, Severity::Warning, Confidence::Suspected, summary);
        self.group.cover(&mut finding.scope);
        finding.flows.push(self.group.refer());
        finding.pods = self.group.pods(facts);
        finding.about.push(self.group.server);
        finding.first_seen = facts.clock.text(self.group.first());
        finding.last_seen = facts.clock.text(self.group.last());
        finding.evidence = vec![self.seen(), self.configured(&to)];
        finding.fix = self.fix();
        finding
    }

    fn seen(&self) -> Evidence {
        let (lost, tried) = (self.lost, self.tried);
        let text = t!(
            "{lost} of {tried} conversations lost their first packet behind it, others at the same time did not"
        );
        let mut line = Evidence::new(EvidenceKind::Route, Origin::Observed, text);
        line.at = Some(self.left.name.clone());
        line.direction = Some("egress".into());
        let server = self.group.server;
        let name = &self.left.name;
        line.confirm = Some(shell!(
            "timeout 10 tcpdump -c 5 -lnni {v} dst host {}",
            name,
            server
        ));
        line
    }

    fn configured(&self, to: &str) -> Evidence {
        let by = self.gateways();
        let text = t!("the route {to} has several next hops: {by}");
        let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
        let Some(route) = self.routes.first() else {
            return line;
        };
        let (to, table) = (route.destination, route.table);
        let shown = shell!("ip route show table {} exact {}", table, to);
        let gateways: Vec<String> = { self.routes.iter() }
            .filter_map(|r| Some(r.gateway?.to_string()))
            .collect();
        let gateways: Vec<&str> = gateways.iter().map(String::as_str).collect();
        line.confirm = Some(shown.of_family(to.address.is_ipv6()).showing(&gateways));
        line.of([Thing::Route { to, table }])
    }

    /// Which of them it is, their link-layer addresses tell beside what is lost.
    fn fix(&self) -> Fix {
        let by = self.gateways();
        let ipv6 = matches!(self.group.server, IpAddr::V6(_));
        let table = self.routes.first().map_or(254, |r| r.table);
        Fix {
            summary: t!(
                "find out which of {by} sends nothing on (the frames of what is lost go to its link-layer address), mend it, or take it out of the route until it does"
            ),
            commands: vec![
                shell!("ip neighbour show dev {}", self.left.name).of_family(ipv6),
                shell!("ip route show table {}", table).of_family(ipv6),
            ],
        }
    }
}

#[cfg(test)]
mod tests;
