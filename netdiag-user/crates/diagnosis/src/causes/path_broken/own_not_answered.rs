//! An address that a link of this node has, and that somebody on that link asks for again and again in vain: as configured the
//! node keeps silent (`arp_ignore`, `arp_filter`, a link without ARP).
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use netdiag_forwarding::{answers_for, keeps_silent, way::Does};
use netdiag_lang::t;

use super::{
    ID,
    wanted::{Wanted, asked_in_vain},
};
use crate::{
    model::{
        address::from_wire,
        gather::Want,
        node::Link,
        verdict::{Confidence, Finding, Passage, Severity},
        world::End,
    },
    pipeline::facts::Facts,
    shared::dead_end::{self, Told},
    unexplained::Symptoms,
};

/// The state tells why.
pub fn wants(facts: &Facts<'_>) -> Option<Want> {
    let mut all = asked_in_vain(facts).into_iter();
    all.any(|wanted| holder(facts, &wanted).is_some())
        .then_some(Want::Stack(facts.node.netns))
}

pub fn evaluate(facts: &Facts<'_>, _: &Symptoms<'_>, _: &[Finding]) -> Vec<Finding> {
    if facts.gathered.stack(facts.node.netns).is_none() {
        return Vec::new();
    }
    let all = asked_in_vain(facts).into_iter();
    all.filter_map(|wanted| finding(facts, &wanted)).collect()
}

/// The link that has the address and hears the questions. What another one has may be answered for by that alone.
fn holder<'a>(facts: &Facts<'a>, wanted: &Wanted) -> Option<&'a Link> {
    let link = facts.link(wanted.ifindex)?;
    let has = |l: &&Link| {
        l.addresses
            .iter()
            .any(|a| a.prefix.address == wanted.address)
    };
    let bridge = link.master.and_then(|index| facts.link(index));
    [Some(link), bridge].into_iter().flatten().find(has)
}

/// What keeps the node from answering.
fn told(facts: &Facts<'_>, wanted: &Wanted, holder: &Link) -> Option<Told> {
    let netns = facts.node.netns;
    let index = holder.index;
    let asker = wanted.asker(facts)?;
    if answers_beside(facts, wanted, asker) {
        return None;
    }
    let step = keeps_silent(
        facts.prepared(),
        End { netns, index },
        wanted.address,
        asker,
    )?;
    let refuses = matches!(step.does, Does::Refuses(_));
    dead_end::told(facts, &step).filter(|_| refuses)
}

/// Another link hears the same questions, and answers for the address (`arp_filter`).
fn answers_beside(facts: &Facts<'_>, wanted: &Wanted, asker: IpAddr) -> bool {
    let netns = facts.node.netns;
    let rows = facts.neighbour_questions.iter();
    let same = rows.filter(|(key, _)| from_wire(key.address) == wanted.address);
    let mut beside = same.filter(|(key, _)| key.ifindex != wanted.ifindex);
    beside.any(|(key, _)| {
        let link = facts.link(key.ifindex);
        let index = link.and_then(|l| l.master).unwrap_or(key.ifindex);
        let answers = answers_for(
            facts.prepared(),
            End { netns, index },
            wanted.address,
            asker,
        );
        answers == Ok(true)
    })
}

fn finding(facts: &Facts<'_>, wanted: &Wanted) -> Option<Finding> {
    let holder = holder(facts, wanted)?;
    let told = told(facts, wanted, holder)?;
    let (link, who) = (&holder.name, wanted.who(facts));
    let (address, count, how) = (wanted.address, wanted.count(), wanted.how());
    let summary = t!(
        "{}; {who} asked {count} times on {link} and gets no answer",
        told.what
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    let text = t!("{who} asks by {how} for {address} again and again, {count} times");
    finding.evidence = vec![wanted.line(link, text), told.evidence];
    finding.about = vec![address];
    finding.first_seen = facts.clock.text(wanted.questions.first);
    finding.last_seen = facts.clock.text(wanted.questions.last);
    // What is sent by who asks is answered, and he cannot bring it.
    if let Some(asker) = wanted.asker(facts) {
        finding.scope.add_passage(Passage::Host(asker));
    }
    if let Some(subject) = told.subject {
        finding.ties.blame(subject.clone(), told.what);
        finding.blames(subject);
    }
    finding.fix = told.fix;
    Some(finding)
}
