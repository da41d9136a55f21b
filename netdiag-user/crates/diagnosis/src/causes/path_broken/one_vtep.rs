//! Two next hops on one tunnel, whose entries both lead to one node: what is for one of them is wrapped for the other's node, which
//! throws the frames away as another host's, without a word.
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use netdiag_lang::t;

use super::story::{Case, Story, each};
use crate::{
    model::{
        address::mac,
        flow::ends,
        node::{Fdb, Link, LinkKind, Route},
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, Subject},
    },
    pipeline::facts::{Facts, HopFlow},
    shell,
    unexplained::{Symptom, Symptoms},
};

struct Shared<'a> {
    tunnel: &'a Link,
    /// The next hop that nobody answers by, and its entry.
    silent: (IpAddr, &'a Fdb),
    other: IpAddr,
}

pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let left = symptoms.left(facts, findings);
    let led = left.filter_map(|symptom| Some((Shared::of(facts, symptom)?, symptom)));
    each(facts, led, |case, shared| shared.tell(case))
}

/// A node's end has next hops of both families.
impl PartialEq for Shared<'_> {
    fn eq(&self, other: &Self) -> bool {
        let end = |shared: &Self| (shared.tunnel.index, &shared.silent.1.lladdr);
        end(self) == end(other)
    }
}

/// By whom routes lead by that tunnel.
fn next_hops<'a>(facts: &Facts<'a>, tunnel: &Link) -> impl Iterator<Item = IpAddr> + use<'a> {
    let index = tunnel.index;
    let routes = facts.node.routes.iter();
    let by = routes.filter(move |route| route.oif == Some(index));
    by.filter_map(|route| route.gateway)
}

/// Where the tunnel sends what is for a next hop.
fn entry<'a>(facts: &Facts<'a>, tunnel: &Link, hop: IpAddr) -> Option<&'a Fdb> {
    let mut known = facts.node.neighbours.iter();
    let known = known.find(|n| n.ifindex == tunnel.index && n.address == hop)?;
    let lladdr = known.lladdr.as_ref()?;
    let mut entries = facts.node.fdb.iter();
    entries.find(|f| f.ifindex == tunnel.index && f.lladdr == *lladdr)
}

impl<'a> Shared<'a> {
    fn of(facts: &Facts<'a>, symptom: &Symptom) -> Option<Self> {
        let route = facts.way(&facts.from_node(symptom.far()))?;
        let tunnel = facts
            .link(route.oif?)
            .filter(|l| l.kind == LinkKind::Vxlan)?;
        let hop = route
            .gateway
            .filter(|_| symptom.asked > 0 && !symptom.answers)?;
        let own = entry(facts, tunnel, hop)?;
        let shares = |other: &IpAddr| {
            let entry = entry(facts, tunnel, *other);
            entry.is_some_and(|entry| entry.vtep == own.vtep && entry.lladdr != own.lladdr)
        };
        let other = next_hops(facts, tunnel).find(shares)?;
        (!answers(facts, tunnel, hop)).then_some(Self {
            tunnel,
            silent: (hop, own),
            other,
        })
    }

    fn tell(&self, case: &Case<'_, '_>) -> Story {
        let (name, (hop, entry), other) = (&self.tunnel.name, self.silent, self.other);
        let (whose, vtep) = (mac(&entry.lladdr), entry.vtep);
        let (client, what, asked) = (case.client, &case.what, case.asked);
        let summary = t!(
            "{name} sends what is for {hop} ({whose}) to {vtep}, where it sends what is for {other} as well: one node is not the other; {client} asked {what}: {asked} packets, unanswered"
        );
        let text = t!("the entries of {name} for {hop} and for {other} lead to {vtep} alike");
        let mut line = Evidence::new(EvidenceKind::Fdb, Origin::Configured, text);
        line.confirm = Some(shell!("bridge fdb show dev {}", name).showing(&[&whose]));
        Story {
            blames: Some((Subject::Vtep { address: vtep }, None)),
            ..Story::suspected(summary, [line], self.fix(case.facts))
        }
    }

    fn fix(&self, facts: &Facts<'_>) -> Fix {
        let (name, (hop, entry)) = (&self.tunnel.name, self.silent);
        let whose = mac(&entry.lladdr);
        let mut members = facts.cluster.nodes.iter();
        let owner = members.find(|m| m.pod_cidrs.iter().any(|network| network.contains(hop)));
        let mut addresses = owner.into_iter().flat_map(|m| &m.addresses);
        let family = |a: &&IpAddr| a.is_ipv4() == entry.vtep.is_ipv4() && **a != entry.vtep;
        let right = addresses.find(family);
        Fix {
            summary: t!(
                "see which node has {hop} (its Node object or lease), and let the CNI's agent enter that node's address for {whose}: restart it here"
            ),
            commands: match right {
                Some(right) => vec![shell!(
                    "bridge fdb replace {} dev {} dst {} self permanent",
                    whose,
                    name,
                    right
                )],
                None => vec![
                    shell!("bridge fdb show dev {}", name),
                    shell!("ip neighbour show dev {}", name),
                ],
            },
        }
    }
}

/// Something that answers comes in by the tunnel from a network behind that next hop: who asks from there is no sign that
/// anything gets there.
fn answers(facts: &Facts<'_>, tunnel: &Link, hop: IpAddr) -> bool {
    let by = |r: &&Route| r.oif == Some(tunnel.index) && r.gateway == Some(hop);
    let behind = |source: IpAddr| {
        let mut routes = facts.node.routes.iter().filter(by);
        routes.any(|r| r.destination.contains(source))
    };
    let came = |h: &HopFlow| {
        let in_by = h.key.ifindex == tunnel.index && !h.egress();
        in_by && behind(ends(h.flow()).0) && facts.direction().is_answer(h.flow())
    };
    facts.flows.iter().any(came)
}
