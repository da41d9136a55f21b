//! An address that this node's rules lead on, which somebody on the link asks for again and again, and no answer and none of its
//! traffic comes here (RFC 826, RFC 4861). Another host's answer goes to the asker alone, so that this is worth a look and no
//! fault yet.
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use netdiag_common::claim::NeighbourAnnouncementKey;
use netdiag_lang::t;

use super::{
    ID,
    wanted::{RARELY_NS, SPAN_NS, Wanted, asked_in_vain},
};
use crate::{
    model::{
        address::{endpoint, from_wire},
        flow::{ends, protocol},
        gather::Want,
        roles::Role,
        services::Service,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity, Subject,
        },
    },
    pipeline::facts::{Facts, HopFlow},
    shared::services,
    shell,
    unexplained::Symptoms,
};

/// The rules tell whether the node has anything to do with it.
pub fn wants(facts: &Facts<'_>) -> Option<Want> {
    (!wanted(facts).is_empty()).then_some(Want::Services)
}

pub fn evaluate(facts: &Facts<'_>, _: &Symptoms<'_>, _: &[Finding]) -> Vec<Finding> {
    let all = wanted(facts).into_iter();
    all.filter_map(|wanted| wanted.finding(facts)).collect()
}

/// Those that are not the node's own, and that nobody is seen to answer for.
fn wanted(facts: &Facts<'_>) -> Vec<Wanted> {
    let mut all = asked_in_vain(facts);
    all.dedup_by_key(|one| one.address);
    all.retain(|wanted| {
        let others = !facts.owns(wanted.address);
        others && !wanted.is_answered(facts) && !wanted.comes_here(facts)
    });
    all
}

impl Wanted {
    /// What is for it comes in from outside: somebody here answers, as MetalLB's speaker does. What pods here send to it is led
    /// on whether anybody answers or not.
    fn comes_here(&self, facts: &Facts<'_>) -> bool {
        let to = |hop: &HopFlow| {
            let lately = hop.hop.last + RARELY_NS > self.questions.last;
            let outside = hop.role == Some(Role::Uplink) && !hop.egress();
            outside && lately && ends(hop.flow()).1 == self.address
        };
        let stack = facts.gathered.stack(facts.node.netns);
        let proxied = stack.and_then(|stack| stack.proxied.some());
        let mut proxied = proxied.into_iter().flatten();
        facts.flows.iter().any(to) || proxied.any(|entry| entry.address == self.address)
    }

    /// Somebody said that he has it, and it is not long ago.
    fn is_answered(&self, facts: &Facts<'_>) -> bool {
        let same = |key: &NeighbourAnnouncementKey| from_wire(key.address) == self.address;
        let mut claims = facts.claims.iter();
        claims.any(|(key, claim)| same(key) && claim.last + SPAN_NS > self.questions.last)
    }

    fn finding(&self, facts: &Facts<'_>) -> Option<Finding> {
        let known = facts.gathered.services()?;
        let address = self.address;
        let mine = |s: &&Service| s.address == address && !s.rejected && !s.backends.is_empty();
        let service = known.rules.iter().find(mine)?;
        let link = facts.node.link_name(self.ifindex);
        let who = self.who(facts);
        let count = self.count();
        let port = || format!("{} {}", protocol(service.protocol), service.port);
        let what = service.name.clone().unwrap_or_else(port);
        let summary = t!(
            "{who} asked {count} times on {link} for {address}, which the rules of this node lead to pods ({what}), and no answer is seen: whether another node answers cannot be seen from here"
        );
        let mut finding = Finding::new(ID, Severity::Info, Confidence::Suspected, summary);
        finding.evidence = vec![
            self.line(&link, self.asked(&who)),
            led(service),
            self.not_ours(),
        ];
        finding.blames(Subject::Service {
            name: service.name.clone().unwrap_or_else(|| service.label()),
        });
        let backends = service.backends.iter();
        let pods = backends.filter_map(|(pod, _)| facts.pod(*pod, PodRole::Server));
        finding.pods = pods.collect();
        finding.pods.sort();
        finding.pods.dedup();
        finding.about = vec![address];
        finding.first_seen = facts.clock.text(self.questions.first);
        finding.last_seen = facts.clock.text(self.questions.last);
        finding.fix = Fix {
            summary: t!(
                "ask for it from here: where nobody answers, start what announces load balancers' addresses (MetalLB's speaker, kube-vip, keepalived) on a node of that network, and see in its log why it does not; where none is to run, let the router lead {address} to a node"
            ),
            commands: vec![match address {
                IpAddr::V4(_) => shell!("arping -c3 -w3 -I {v} {}", link, address),
                IpAddr::V6(_) => shell!("ndisc6 -r3 {} {}", address, link),
            }],
        };
        Some(finding)
    }

    fn asked(&self, who: &str) -> String {
        let (address, count, how) = (self.address, self.count(), self.how());
        t!(
            "{who} asks by {how} for {address} again and again, {count} times, and nobody says here that he has it, nor does anything come for it"
        )
    }

    fn not_ours(&self) -> Evidence {
        let text = t!("no link of this node has {}", self.address);
        let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
        line.confirm = Some(shell!("ip address show to {}", self.address).showing_nothing());
        line
    }
}

fn led(service: &Service) -> Evidence {
    let (label, protocol) = (service.label(), protocol(service.protocol));
    let (pod, port) = service.backends[0];
    let text = t!("{protocol} {label} is led to {}", endpoint(pod, port));
    services::rules(text, service.engine.list(service.address))
}
