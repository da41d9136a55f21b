//! An address that this node's rules lead on, which somebody on the link asks for again and again, and no answer and none of its
//! traffic comes here (RFC 826, RFC 4861). Another host's answer goes to the asker alone, so that this is worth a look and no
//! fault yet.
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use netdiag_common::claim::{NeighbourAnnouncement, NeighbourAnnouncementKey};
use netdiag_lang::t;

use super::ID;
use crate::{
    model::{
        address::{endpoint, from_wire, mac},
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

/// Questions of one asker, and in all that nobody else came between.
const REPEATS: u64 = 4;
const QUESTIONS: u64 = 5;
const SPAN_NS: u64 = 3_000_000_000;
/// Who has an answer asks again after half a minute at the earliest, who has none each second.
const RARELY_NS: u64 = 5_000_000_000;

/// An address that is asked for again and again.
struct Wanted {
    address: IpAddr,
    ifindex: u32,
    questions: NeighbourAnnouncement,
}

/// The rules tell whether the node has anything to do with it.
pub fn wants(facts: &Facts<'_>) -> Option<Want> {
    (!wanted(facts).is_empty()).then_some(Want::Services)
}

pub fn evaluate(facts: &Facts<'_>, _: &Symptoms<'_>, _: &[Finding]) -> Vec<Finding> {
    let all = wanted(facts).into_iter();
    all.filter_map(|wanted| wanted.finding(facts)).collect()
}

/// Each once, by the link that it is asked for on most often.
fn wanted(facts: &Facts<'_>) -> Vec<Wanted> {
    let asked = facts.neighbour_questions.iter();
    let mut all: Vec<Wanted> = asked.filter_map(|row| Wanted::of(facts, row)).collect();
    all.sort_by_key(|one| (one.address, std::cmp::Reverse(one.count())));
    all.dedup_by_key(|one| one.address);
    all
}

impl Wanted {
    fn of(
        facts: &Facts<'_>,
        (key, questions): &(NeighbourAnnouncementKey, NeighbourAnnouncement),
    ) -> Option<Self> {
        let wanted = Self {
            address: from_wire(key.address),
            ifindex: key.ifindex,
            questions: *questions,
        };
        let span = questions.last.saturating_sub(questions.first);
        let count = wanted.count();
        let often = count >= QUESTIONS && questions.of_one.max(questions.of_other) >= REPEATS;
        let lasts = span >= SPAN_NS && span <= count.saturating_mul(RARELY_NS);
        let now = facts.now.saturating_sub(questions.last) <= RARELY_NS;
        // The node's own, at which it may be set not to answer, is another's to look at.
        // A pod looks on its own link for what it should send to its gateway.
        let link = facts.link(key.ifindex);
        let outside = link.is_some_and(|link| facts.role(link) != Some(Role::Pod));
        let told = often && lasts && now && outside && !facts.owns(wanted.address);
        (told && !wanted.is_answered(facts) && !wanted.comes_here(facts)).then_some(wanted)
    }

    /// Of two askers who take turns the turns: what the other asked before the agent's window is not in it.
    fn count(&self) -> u64 {
        let asked = &self.questions;
        match (asked.changes, asked.latest) {
            (0, 1) => asked.of_other,
            (0, _) => asked.of_one,
            (turns, _) => turns.into(),
        }
    }

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

    /// Who asked last, where the node knows his address.
    fn asker(&self, facts: &Facts<'_>) -> Option<IpAddr> {
        let lladdr = self.lladdr();
        let family = |address: IpAddr| address.is_ipv4() == self.address.is_ipv4();
        let mut known = facts.node.neighbours.iter();
        let known = known.find(|n| n.lladdr.as_ref() == Some(&lladdr) && family(n.address))?;
        Some(known.address)
    }

    fn lladdr(&self) -> Vec<u8> {
        let last = match self.questions.latest {
            1 => self.questions.other,
            _ => self.questions.one,
        };
        last.to_be_bytes()[2..].to_vec()
    }

    fn finding(&self, facts: &Facts<'_>) -> Option<Finding> {
        let known = facts.gathered.services()?;
        let address = self.address;
        let mine = |s: &&Service| s.address == address && !s.rejected && !s.backends.is_empty();
        let service = known.rules.iter().find(mine)?;
        let link = facts.node.link_name(self.ifindex);
        let asker = self.asker(facts);
        let who = asker.map_or_else(|| mac(&self.lladdr()), |asker| asker.to_string());
        let count = self.count();
        let port = || format!("{} {}", protocol(service.protocol), service.port);
        let what = service.name.clone().unwrap_or_else(port);
        let summary = t!(
            "{who} asked {count} times on {link} for {address}, which the rules of this node lead to pods ({what}), and no answer is seen: whether another node answers cannot be seen from here"
        );
        let mut finding = Finding::new(ID, Severity::Info, Confidence::Suspected, summary);
        finding.evidence = vec![self.asked(&link, &who), led(service), self.not_ours()];
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

    fn asked(&self, link: &str, who: &str) -> Evidence {
        let (address, count) = (self.address, self.count());
        let how = match address {
            IpAddr::V4(_) => "ARP",
            IpAddr::V6(_) => t!("neighbour discovery"),
        };
        let text = t!(
            "{who} asks by {how} for {address} again and again, {count} times, and nobody says here that he has it, nor does anything come for it"
        );
        let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Observed, text);
        line.at = Some(link.to_owned());
        line.direction = Some("ingress".into());
        line.packets = Some(count);
        line.confirm = Some(match address {
            IpAddr::V4(_) => shell!(
                "timeout 10 tcpdump -c 5 -lnni {v} arp and host {}",
                link,
                address
            ),
            IpAddr::V6(_) => shell!(
                "timeout 10 tcpdump -c 5 -lnni {v} 'icmp6[0] == 135 or icmp6[0] == 136'",
                link
            ),
        });
        line
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
