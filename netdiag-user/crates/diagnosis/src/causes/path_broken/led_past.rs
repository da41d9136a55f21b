//! Connections of others that this node leads on to a host beyond, out by the link that they came in by, with their own
//! source: who is led to answers past this node, by an address that the client never asked, and the client resets it.
#[cfg(test)]
mod tests;

use std::{cmp::Reverse, net::IpAddr};

use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

use super::story::{Case, Story, each};
use crate::{
    model::{
        address::{Prefix, endpoint},
        flow::{ends, protocol},
        node::Link,
        roles::Role,
        services::Engine,
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin},
    },
    pipeline::{
        connection_groups::{Connection, Outcome},
        facts::{Facts, HopFlow},
    },
    shell,
    unexplained::{Symptom, Symptoms},
};

/// To whom they are led, by that link.
#[derive(Clone, Copy, PartialEq)]
struct Past<'a> {
    link: &'a Link,
    backend: (IpAddr, u16),
    protocol: u8,
}

/// A finding for each host that they are led to.
pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let mut all: Vec<_> = symptoms
        .left(facts, findings)
        .filter_map(|symptom| Some((Past::of(facts, symptom)?, symptom)))
        .collect();
    all.sort_by_key(|(_, symptom)| Reverse(symptom.asked));
    all.retain(|(past, _)| !past.is_fine_for_others(facts));
    each(facts, all, |case, past| past.tell(case))
}

impl<'a> Past<'a> {
    fn of(facts: &Facts<'a>, symptom: &Symptom) -> Option<Self> {
        let leg = symptom
            .leg
            .filter(|_| symptom.asked > 0 && !symptom.answers)?;
        let (source, backend) = ends(&leg);
        let last = symptom.last.as_ref()?;
        let link = facts.link(last.key.ifindex)?;
        let led = backend != symptom.server && source == symptom.client;
        let out = last.plain() && last.flow() == &leg && last.role == Some(Role::Uplink);
        let stranger = !facts.owns(source) && !facts.is_local_pod(source);
        // Whoever is on the way between the two may be their router, too.
        let back = facts.way(&facts.from_node(source))?.oif;
        let past = came_by(facts, leg, symptom)? == link.index && back == Some(link.index);
        (led && out && stranger && past).then_some(Self {
            link,
            backend: (backend, leg.destination_port),
            protocol: symptom.protocol,
        })
    }

    /// Somebody who is led on so, to this one or another beyond that link, is answered: the answers do come this way.
    fn is_fine_for_others(&self, facts: &Facts<'_>) -> bool {
        let by_it = |leg: &FlowKey| {
            let journey = facts.journeys().get(leg);
            let mut hops = journey.into_iter().flat_map(|j| j.hops.iter());
            hops.any(|h| h.egress() && h.key.ifindex == self.link.index)
        };
        let so = |tried: &Connection<'_>| {
            let led = |leg: &FlowKey| {
                let ((source, to), (own, asked)) = (ends(leg), ends(&tried.flow));
                source == own && to != asked && by_it(leg)
            };
            tried.became.as_ref().is_some_and(led)
        };
        let works =
            |tried: &Connection<'_>| matches!(tried.outcome, Outcome::Accepted | Outcome::Refused);
        let mut all = facts.attempts().iter().flat_map(|all| all.tries.iter());
        all.any(|tried| works(tried) && so(tried))
    }

    fn what(&self) -> String {
        let (address, port) = self.backend;
        format!("{} {}", protocol(self.protocol), endpoint(address, port))
    }

    fn tell(&self, case: &Case<'_, '_>) -> Story {
        let (to, link) = (self.what(), &self.link.name);
        let (client, what, asked) = (case.client, &case.what, case.asked);
        let summary = t!(
            "this node leads {what} on to {to} by {link}, by which it came, with the client's own address: the answer goes past this node to {client}, who does not know it; asked {asked} times, unanswered"
        );
        let text = t!("it left by {link}, by which it came in, for {to}, with the source {client}");
        let seen = [case.leaving(self.link, text), self.way_back(client)];
        Story::suspected(summary, seen, self.fix(case.facts, case.worst()))
    }

    fn way_back(&self, client: IpAddr) -> Evidence {
        let link = &self.link.name;
        let text = t!("{client} is reached by {link} as {} is", self.backend.0);
        let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
        line.confirm = Some(shell!("ip route get {}", client).showing(&[link]));
        line
    }

    fn fix(&self, facts: &Facts<'_>, worst: &Symptom) -> Fix {
        let known = facts.gathered.services();
        let mut rules = known.iter().flat_map(|known| &known.rules);
        let asked = (worst.server, worst.port);
        let rule = rules.find(|rule| (rule.address, rule.port) == asked);
        let engine = rule.map_or(Engine::Nftables, |rule| rule.engine);
        Fix {
            summary: t!(
                "masquerade what is led on to {}, so that its answers come back to this node (kube-proxy does by --cluster-cidr or masqueradeAll), or let it route them back by this node",
                self.what()
            ),
            commands: self.masquerade(engine),
        }
    }

    fn masquerade(&self, engine: Engine) -> Vec<CommandLine> {
        let (address, port) = self.backend;
        let (host, word) = (Prefix::host(address), protocol(self.protocol));
        let begins = match (engine, address.is_ipv4()) {
            (Engine::Nftables, ipv4) => return nftables(ipv4, (address, port), &word),
            (Engine::IptablesLegacy, true) => shell!("iptables-legacy -t nat"),
            (Engine::IptablesLegacy, false) => shell!("ip6tables-legacy -t nat"),
            (Engine::IptablesNft, true) => shell!("iptables-nft -t nat"),
            (Engine::IptablesNft, false) => shell!("ip6tables-nft -t nat"),
            // What it leads on is no translation of connection tracking's.
            (Engine::Ipvs, true) => shell!("iptables -t nat"),
            (Engine::Ipvs, false) => shell!("ip6tables -t nat"),
        };
        let state = match engine {
            Engine::Ipvs => ["ipvs", "--ipvs"].as_slice(),
            _ => ["conntrack", "--ctstate", "DNAT"].as_slice(),
        };
        let rule = begins.with_words(["-A", "POSTROUTING", "-d", &host.to_string(), "-p", &word]);
        let rule = rule.with_words(["--dport", &port.to_string(), "-m"]);
        vec![
            rule.with_words(state.iter().copied())
                .with_words(["-j", "MASQUERADE"]),
        ]
    }
}

fn nftables(ipv4: bool, (address, port): (IpAddr, u16), word: &str) -> Vec<CommandLine> {
    let begins = match ipv4 {
        true => [
            shell!("nft add table ip led-on"),
            shell!(
                "nft add chain ip led-on postrouting '{{ type nat hook postrouting priority 100; }}'"
            ),
        ],
        false => [
            shell!("nft add table ip6 led-on"),
            shell!(
                "nft add chain ip6 led-on postrouting '{{ type nat hook postrouting priority 100; }}'"
            ),
        ],
    };
    let rule = match ipv4 {
        true => shell!(
            "nft add rule ip led-on postrouting ip daddr {} {} dport {} ct status dnat masquerade",
            address,
            word,
            port
        ),
        false => shell!(
            "nft add rule ip6 led-on postrouting ip6 daddr {} {} dport {} ct status dnat masquerade",
            address,
            word,
            port
        ),
    };
    begins.into_iter().chain([rule]).collect()
}

/// The uplink by which its first packet came in, as it was asked.
fn came_by(facts: &Facts<'_>, leg: FlowKey, symptom: &Symptom) -> Option<u32> {
    let (asked, _) = facts.legs().origin(&leg)?;
    let own = ends(&asked) == (symptom.client, symptom.server);
    let journey = facts.journeys().get(&asked).filter(|_| own)?;
    let came = |h: &&&HopFlow| h.role == Some(Role::Uplink) && !h.egress();
    journey.hops.iter().find(came).map(|hop| hop.key.ifindex)
}
