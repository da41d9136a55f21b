//! What leaves this node otherwise than what is answered there does, and is not: by another link, with a source that no
//! link of the node has, untranslated.
use std::net::IpAddr;

use netdiag_lang::t;

use super::story::{Case, Story, each};
use crate::{
    model::{
        address::endpoint,
        flow::{self, ends},
        journal::Thing,
        node::{MAIN, Route, RouteKind},
        policy::{Action, PolicyRule},
        services::Service,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin},
    },
    pipeline::{facts::Facts, owed::Spared},
    shared::{dead_end::shown_as, restoring, services, spared::Bare},
    shell,
    unexplained::{Symptoms, Unlike},
};

/// Questions by a link, as many as two connections ask in vain: one server may lose one connection.
const ASKED: u64 = 6;

struct Group<'c, 'a> {
    unlike: Unlike<'a>,
    case: &'c Case<'c, 'a>,
}

/// A finding for each way in which it does.
pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    each(facts, symptoms.unlike(facts, findings), |case, unlike| {
        let group = Group { unlike, case };
        group.is_a_pattern().then(|| group.tell())
    })
}

impl<'a> Group<'_, 'a> {
    fn is_a_pattern(&self) -> bool {
        let by_link = matches!(self.unlike, Unlike::Link { .. });
        !by_link || self.case.asked >= ASKED
    }

    fn tell(&self) -> Story {
        let left = &self.unlike.left().name;
        let (client, what, asked) = (self.case.client, &self.case.what, self.case.asked);
        let spared = self.spared();
        let summary = match self.unlike {
            Unlike::Link { other, .. } => t!(
                "what {client} asks {what} leaves by {left}{}, and nothing comes back: {asked} times; what leaves by {} for there is answered",
                self.led(),
                other.name
            ),
            Unlike::Source { source, .. } => t!(
                "what {client} asks {what} leaves by {left} with the source {source}, which this node gives it and no link of it has: {asked} times, and no answer comes here"
            ),
            Unlike::Untranslated { part: true, .. } => t!(
                "a part of what {client} asks {what} leaves by {left} as it is: {asked} times, unanswered; the rest is translated on this node"
            ),
            Unlike::Untranslated { .. } => t!(
                "what {client} asks {what} leaves by {left} as it is: {asked} times, unanswered; what others ask there is translated on this node"
            ),
            Unlike::Unlisted { beside, .. } => t!(
                "what {client} asks {what} leaves by {left} as it is: {asked} times, unanswered; the rules of this node lead {} on, and not {what}",
                named(self.case.worst().server, beside)
            ),
            Unlike::Unclaimed { source, .. } => t!(
                "what {client} asks {what} leaves by {left}, where its source {source} is looked for on the link itself, and this node does not answer for it: {asked} times, unanswered"
            ),
            Unlike::Excepted { .. } => {
                let why = spared.as_ref().map(|(bare, spared)| bare.why(spared));
                let why = why.unwrap_or_default();
                t!(
                    "what {client} asks {what} leaves by {left} with the pod's own address, though what pods ask others is translated: {why}: {asked} times, unanswered"
                )
            }
            Unlike::Below { own, .. } => t!(
                "what {client} asks {what} leaves by {left}, though {own} is this node's own address: {asked} times, unanswered; who sits on {left} (macvlan, ipvlan) does not reach the host below"
            ),
        };
        let seen = self.case.leaving(self.unlike.left(), self.unlike.text());
        let by_rule = spared.as_ref().and_then(|(bare, by)| bare.evidence(by));
        let evidence = [seen].into_iter().chain(self.configured()).chain(by_rule);
        let fix = match &spared {
            Some((bare, by)) => bare.fix(by),
            None => self.fix(),
        };
        Story::suspected(summary, evidence, fix)
    }

    /// What its first one is, that is not translated, and why it is not.
    fn spared(&self) -> Option<(Bare<'a>, Spared)> {
        let Unlike::Excepted {
            left, others_here, ..
        } = self.unlike
        else {
            return None;
        };
        let flow = self.case.worst().last.as_ref()?.flow();
        let (source, server) = ends(flow);
        let bare = Bare {
            source,
            server,
            left,
            others_here,
        };
        Some((bare, self.case.facts.stays_as_sent(flow)?))
    }

    /// By what, in brackets.
    fn led(&self) -> String {
        let Some(route) = self.route() else {
            return String::new();
        };
        match (to_table(self.case.facts, route).first(), route.gateway) {
            (Some(rule), _) => t!(" (policy rule \"{}\")", rule.text()),
            (None, Some(gateway)) => t!(" (next hop {gateway})"),
            (None, None) => String::new(),
        }
    }

    fn configured(&self) -> Vec<Evidence> {
        match self.unlike {
            Unlike::Source { source, .. } => {
                let text = t!("no link of this node has {source}");
                let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
                let shown = shell!("ip address show to {}", source);
                line.confirm = Some(shown.showing_nothing());
                vec![line]
            }
            Unlike::Untranslated { .. } | Unlike::Excepted { .. } => Vec::new(),
            Unlike::Unlisted { beside, .. } => {
                let server = self.case.worst().server;
                let text = t!("the rules lead {} on", named(server, beside));
                let known = self.case.facts.gathered.services();
                let service = known.and_then(|all| all.rule(server, beside.1, beside.0));
                let list = |s: &Service| services::rules(text, s.engine.list(server));
                service.map(list).into_iter().collect()
            }
            Unlike::Unclaimed { left, source } => {
                let text = t!("nothing on {} answers for {source}", left.name);
                let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Configured, text);
                let shown = shell!("ip neighbour show proxy").of_family(source.is_ipv6());
                line.confirm = Some(shown);
                vec![line]
            }
            Unlike::Below { own, .. } => {
                let text = t!("{own} is an address of this node itself");
                let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
                let shown = shell!("ip address show to {}", own);
                line.confirm = Some(shown.showing(&[&own.to_string()]));
                vec![line]
            }
            Unlike::Link { .. } => {
                let (facts, route) = (self.case.facts, self.route());
                let rules = route.into_iter().flat_map(|route| to_table(facts, route));
                let rules = rules.map(rule_evidence);
                route.map(route_evidence).into_iter().chain(rules).collect()
            }
        }
    }

    /// The one by which it left, whichever of several next hops or tables that is.
    fn route(&self) -> Option<&'a Route> {
        let (_, to) = ends(self.case.worst().last.as_ref()?.flow());
        let left = self.unlike.left().index;
        let leads = |route: &&Route| {
            let here = route.kind == RouteKind::Unicast && route.oif == Some(left);
            here && route.destination.contains(to)
        };
        let routes = self.case.facts.node.routes.iter().filter(leads);
        routes.max_by_key(|route| (route.destination.length, route.table != MAIN))
    }

    fn fix(&self) -> Fix {
        let worst = self.case.worst();
        match self.unlike {
            Unlike::Source { left, source } => Fix {
                summary: t!(
                    "let the rule that translates to {source} take an address of {} (masquerade), or give {source} to this node",
                    left.name
                ),
                commands: restoring::translating(source),
            },
            Unlike::Untranslated { part: true, .. } => Fix {
                summary: t!(
                    "let the rules for {} lead on all that they are asked about: of those that choose by chance the last one has to take whatever the others leave; whoever writes them (kube-proxy) writes them again when it is restarted",
                    worst.server
                ),
                commands: restoring::translating(worst.server),
            },
            Unlike::Untranslated { .. } | Unlike::Excepted { .. } => Fix {
                summary: t!(
                    "translate {} for what this node itself sends and for these pods too: a rule in prerouting sees what comes in alone, what this node sends passes output",
                    worst.server
                ),
                commands: restoring::translating(worst.server),
            },
            Unlike::Unlisted { .. } => Fix {
                summary: t!(
                    "let the rules lead {} on too: see whether the Service has that port (kubectl get services -A), and why whoever writes the rules (kube-proxy) has not written it; it writes all of them when it is restarted",
                    self.case.what
                ),
                commands: restoring::translating(worst.server),
            },
            Unlike::Unclaimed { left, source } => claiming(&left.name, source),
            Unlike::Below { left, own } => Fix {
                summary: t!(
                    "let these reach {own} by another link of theirs, or give this node a macvlan of {} of its own and lead them by that; find out how the pod's link was chosen",
                    left.name
                ),
                commands: vec![
                    shell!("ip -d link show type macvlan"),
                    shell!("ip -d address show dev {}", left.name),
                ],
            },
            Unlike::Link { left, other } => {
                let route = self.route();
                let gateway = route.and_then(|route| route.gateway);
                let by = gateway.map_or_else(|| left.name.clone(), |gateway| gateway.to_string());
                let ipv6 = worst.far().is_ipv6();
                let table = route.map_or(MAIN, |route| route.table).to_string();
                Fix {
                    summary: t!(
                        "see whether {by} sends on what it gets and takes the way back, or lead this by {} too",
                        other.name
                    ),
                    commands: vec![
                        shell!("ip route show table {}", table).of_family(ipv6),
                        shell!("ip rule show").of_family(ipv6),
                    ],
                }
            }
        }
    }
}

/// As `tcp 10.96.0.10:53`.
fn named(server: IpAddr, (protocol, port): (u8, u16)) -> String {
    format!("{} {}", flow::protocol(protocol), endpoint(server, port))
}

/// What makes this node answer for an address that is behind it.
fn claiming(link: &str, source: IpAddr) -> Fix {
    let commands = match source.is_ipv6() {
        true => vec![
            shell!("sysctl -w {}", format!("net.ipv6.conf.{link}.proxy_ndp=1")),
            shell!("ip -6 neighbour add proxy {} dev {}", source, link),
        ],
        false => vec![shell!("ip neighbour add proxy {} dev {}", source, link)],
    };
    Fix {
        summary: t!(
            "let this node answer for {source} on {link}, as what sets up pods' addresses there should, or let the router beyond lead {source} by this node"
        ),
        commands,
    }
}

/// What somebody's rules send to the route's table.
fn to_table<'f>(facts: &Facts<'f>, route: &Route) -> Vec<&'f PolicyRule> {
    let ipv6 = route.destination.address.is_ipv6();
    let to = |rule: &&PolicyRule| rule.action == Action::Table(route.table) && rule.ipv6 == ipv6;
    let rules = facts.node.rules.iter().filter(to);
    rules.filter(|_| route.table != MAIN).collect()
}

fn route_evidence(route: &Route) -> Evidence {
    let (to, table) = (route.destination, route.table);
    let text = match route.gateway {
        Some(gateway) => t!(
            "the route {} of table {table} leads by {gateway}",
            shown_as(to)
        ),
        None => t!("the route {} of table {table} leads there", shown_as(to)),
    };
    let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
    let shown = shell!("ip route show table {}", table).of_family(to.address.is_ipv6());
    line.confirm = Some(shown.showing(&[&shown_as(to)]));
    line.of([Thing::Route { to, table }])
}

fn rule_evidence(rule: &PolicyRule) -> Evidence {
    let (ipv6, priority) = (rule.ipv6, rule.priority);
    let text = t!("policy rule {}", rule.text());
    let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, text);
    let shown = shell!("ip rule show pref {}", priority).of_family(ipv6);
    line.confirm = Some(shown.showing(&[&priority.to_string()]));
    line.of([Thing::Policy { ipv6, priority }])
}

#[cfg(test)]
mod tests;
