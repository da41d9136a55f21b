//! The route that leads by who does not answer, where others lead there as well: a next hop of several, or a route before
//! another.
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        journal::Thing,
        node::{Link, Route, RouteKind},
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Fix, Origin},
    },
    pipeline::facts::Facts,
    shared::dead_end::shown_as,
    shell,
};

pub struct Beside<'a> {
    route: &'a Route,
    device: &'a str,
    /// With another next hop each; of the same route where the metric is the same.
    others: Vec<&'a Route>,
}

impl<'a> Beside<'a> {
    /// Of a next hop on that link, on the way to somebody beyond it.
    pub fn of(
        facts: &Facts<'a>,
        (address, to): (IpAddr, IpAddr),
        link: Option<&'a Link>,
    ) -> Option<Self> {
        let link = link?;
        let routes = || facts.node.routes.iter();
        let leads = |r: &&Route| {
            let by_it = r.gateway == Some(address) && r.oif == Some(link.index);
            by_it && r.kind == RouteKind::Unicast && r.destination.contains(to)
        };
        let route = routes()
            .filter(leads)
            .max_by_key(|r| r.destination.length)?;
        let beside = |r: &&Route| {
            let same = (r.destination, r.table) == (route.destination, route.table);
            let another = r.gateway.is_some() && r.gateway != route.gateway;
            same && another && r.kind == RouteKind::Unicast
        };
        let others: Vec<&Route> = routes().filter(beside).collect();
        (!others.is_empty()).then_some(Self {
            route,
            device: &link.name,
            others,
        })
    }

    /// Those of the very route.
    fn siblings(&self) -> impl Iterator<Item = &'a Route> {
        let metric = self.route.metric;
        self.others
            .iter()
            .copied()
            .filter(move |r| r.metric == metric)
    }

    fn gateways(&self) -> String {
        let all = self.others.iter().filter_map(|r| r.gateway);
        let all: Vec<String> = all.map(|gateway| gateway.to_string()).collect();
        all.join(", ")
    }

    pub fn text(&self) -> String {
        let (to, others) = (shown_as(self.route.destination), self.gateways());
        match self.siblings().count() {
            0 => t!(
                "the route {to} with metric {} leads by it, and none is asked of {others}, by which that network is led to as well",
                self.route.metric
            ),
            several => t!(
                "it is one of the {} next hops of the route {to}, beside {others}",
                several + 1
            ),
        }
    }

    pub fn evidence(&self) -> Evidence {
        let (to, table) = (self.route.destination, self.route.table);
        let gateway = self
            .route
            .gateway
            .map(|g| g.to_string())
            .unwrap_or_default();
        let text = t!(
            "the route {} of table {table} leads by {gateway}",
            shown_as(to)
        );
        let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
        let shown = shell!("ip route show table {} exact {}", table, to);
        line.confirm = Some(shown.of_family(to.address.is_ipv6()).showing(&[&gateway]));
        line.of([Thing::Route { to, table }])
    }

    /// Bring it back, or go on without it.
    pub fn fix(&self, look: Vec<CommandLine>) -> Fix {
        let gateway = self
            .route
            .gateway
            .map(|g| g.to_string())
            .unwrap_or_default();
        Fix {
            summary: t!(
                "bring {gateway} back, or take it out of the route {} until it answers, and find out who set it",
                shown_as(self.route.destination)
            ),
            commands: look.into_iter().chain([self.without()]).collect(),
        }
    }

    /// The route without it.
    fn without(&self) -> CommandLine {
        let Route {
            destination: to,
            table,
            metric,
            ..
        } = *self.route;
        let ipv6 = to.address.is_ipv6();
        let table = table.to_string();
        let gateway = self
            .route
            .gateway
            .map(|g| g.to_string())
            .unwrap_or_default();
        let siblings: Vec<String> = self
            .siblings()
            .filter_map(|r| r.gateway)
            .map(|g| g.to_string())
            .collect();
        let one = shell!(
            "ip route del {} via {} dev {} metric {} table {}",
            to,
            gateway,
            self.device,
            metric,
            table
        );
        let rest = || shell!("ip route replace {} metric {} table {}", to, metric, table);
        let command = match (ipv6, siblings.as_slice()) {
            // A next hop of IPv6's is a route of its own.
            (true, _) | (false, []) => one,
            (false, [other]) => rest().with_names(["via", other.as_str()]),
            (false, all) => {
                let hops = all
                    .iter()
                    .flat_map(|other| ["nexthop", "via", other.as_str()]);
                rest().with_names(hops)
            }
        };
        command.of_family(ipv6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{UPLINK, ip, overlay_node, with_facts};

    /// What is told of the first of these gateways, each with the metric of its route to the world.
    fn told(gateways: &[(&str, u32)]) -> Option<(String, Vec<String>)> {
        let mut node = overlay_node(1450, 1450, 1500);
        let routes = gateways.iter().map(|(gateway, metric)| Route {
            kind: RouteKind::Unicast,
            destination: "198.51.100.0/24".parse().expect("a prefix"),
            table: 254,
            metric: *metric,
            oif: Some(UPLINK),
            gateway: Some(ip(gateway)),
            mtu: None,
        });
        node.routes.extend(routes);
        let about = (ip(gateways[0].0), ip("198.51.100.9"));
        with_facts(&node, &Default::default(), |facts| {
            let beside = Beside::of(facts, about, facts.link(UPLINK))?;
            let commands = beside.fix(Vec::new()).commands;
            Some((beside.text(), commands.iter().map(|c| c.text()).collect()))
        })
    }

    #[test]
    fn a_dead_next_hop_is_one_of_those_of_its_route() {
        assert_eq!(told(&[("192.0.2.8", 0)]), None, "the only one");
        let (text, commands) = told(&[("192.0.2.8", 0), ("192.0.2.9", 0)]).expect("two");
        assert!(text.contains("one of the 2 next hops"), "{text}");
        assert_eq!(
            commands,
            ["ip route replace 198.51.100.0/24 metric 0 table 254 via 192.0.2.9"]
        );
        let three = told(&[("192.0.2.8", 0), ("192.0.2.9", 0), ("192.0.2.10", 0)]);
        let (_, commands) = three.expect("three");
        assert_eq!(
            commands,
            [
                "ip route replace 198.51.100.0/24 metric 0 table 254 nexthop via 192.0.2.9 nexthop via 192.0.2.10"
            ]
        );
    }

    #[test]
    fn a_route_before_another_is_taken_away() {
        let (text, commands) = told(&[("192.0.2.8", 10), ("192.0.2.9", 100)]).expect("two");
        assert!(text.contains("metric 10"), "{text}");
        assert_eq!(commands.len(), 1);
        assert!(
            commands[0].starts_with("ip route del 198.51.100.0/24 via 192.0.2.8"),
            "{commands:?}"
        );
    }
}
