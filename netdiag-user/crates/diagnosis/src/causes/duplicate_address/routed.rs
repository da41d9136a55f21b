//! Two pods of this node that are routed to and have one address: the route leads to one of them, and what the other one asks is
//! answered to the wrong one.
use std::{collections::BTreeMap, net::IpAddr};

use netdiag_lang::t;

use super::ID;
use crate::{
    model::{
        flow::ends,
        node::{Link, PodSide},
        pod::label,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity, Subject,
        },
    },
    pipeline::facts::{Facts, HopFlow},
    shared::losses::PATTERN,
    shell,
};

/// Who has it: the pod that sends with it, and the one to whom the route leads.
struct Both<'a> {
    address: IpAddr,
    sends: (&'a PodSide, &'a Link),
    gets: (&'a PodSide, &'a Link),
    seen: Vec<&'a HopFlow>,
}

pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    let mut holders: BTreeMap<IpAddr, Vec<(&PodSide, &Link)>> = BTreeMap::new();
    for link in facts.node.links.iter().filter(|l| l.master.is_none()) {
        let side = link.peer_netns.and_then(|netns| facts.node.pod_side(netns));
        for address in side.into_iter().flat_map(|side| &side.addresses) {
            let all = holders.entry(*address).or_default();
            all.extend(side.map(|side| (side, link)));
        }
    }
    let twice = holders
        .into_iter()
        .filter_map(|(address, all)| both(facts, address, &all));
    twice.map(|both| both.finding(facts)).collect()
}

fn both<'a>(
    facts: &'a Facts<'_>,
    address: IpAddr,
    all: &[(&'a PodSide, &'a Link)],
) -> Option<Both<'a>> {
    let (one, _) = all.first()?;
    if all.iter().all(|(side, _)| side.netns == one.netns) {
        return None;
    }
    let led = facts.link_by(&facts.from_node(address))?.index;
    let gets = *all.iter().find(|(_, link)| link.index == led)?;
    let mut others = all.iter().filter(|(side, _)| side.netns != gets.0.netns);
    others.find_map(|sends| {
        let came = |h: &&HopFlow| {
            let by_it = !h.egress() && h.key.ifindex == sends.1.index;
            by_it && h.plain() && ends(h.flow()).0 == address
        };
        let seen: Vec<&HopFlow> = facts.flows.iter().filter(came).collect();
        let packets: u64 = seen.iter().map(|h| h.hop.packets).total();
        (packets >= PATTERN).then_some(Both {
            address,
            sends: *sends,
            gets,
            seen,
        })
    })
}

impl Both<'_> {
    fn finding(&self, facts: &Facts<'_>) -> Finding {
        let (address, sends, gets) = (self.address, &self.sends.1.name, &self.gets.1.name);
        let packets: u64 = self.seen.iter().map(|h| h.hop.packets).total();
        let summary = t!(
            "{address} is the address of two pods of this node: the one behind {sends} sends with it ({packets} packets), and the route leads what is for it to the one behind {gets}"
        );
        let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
        let text = t!("what is for {address} is led to {gets}");
        let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
        line.confirm = Some(shell!("ip route get {}", address).showing(&[gets]));
        finding.evidence.push(line);
        for (side, link) in [self.sends, self.gets] {
            let pod = facts.pods.by_interface(&link.name);
            let pod = pod.map(|pod| pod.refer(Some(address), Some(PodRole::Server)));
            let whose = pod.as_ref().map_or_else(|| t!("a pod").into(), label);
            let text = t!("{whose} behind {} has {address}", link.name);
            let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
            let shown = shell!("ip address show to {}", address);
            let shown = facts.node.inside(side.netns, shown);
            line.confirm = Some(shown.showing(&[&address.to_string()]));
            finding.evidence.push(line);
            finding.pods.extend(pod);
        }
        finding.pods.sort();
        finding.pods.dedup();
        finding.about.push(address);
        finding.scope.add_hosts(&[address]);
        let because = t!("another pod that holds {address}, too, gets its packets");
        finding.ties.blame(Subject::Address { address }, because);
        finding.blames(Subject::Address { address });
        finding.fix = Fix {
            summary: t!(
                "recreate one of the two: the new pod is given another address than {address}; then find out why the CNI's address management gave it out twice (its store was lost, or a pod's deletion was not told to it)"
            ),
            commands: vec![shell!(
                "kubectl get pods -A -o wide | grep -w -F -e {v}",
                address
            )],
        };
        let first = self.seen.iter().map(|h| h.hop.first).min();
        let last = self.seen.iter().map(|h| h.hop.last).max();
        finding.first_seen = facts.clock.text(first.unwrap_or(0));
        finding.last_seen = facts.clock.text(last.unwrap_or(0));
        finding
    }
}

#[cfg(test)]
mod tests;
