//! Answers that leave this node as whoever was asked in the end sends them, though it led the question on to him: who asked does
//! not know him. Connection tracking has to see both directions as one connection, in one zone.
use std::net::IpAddr;

use netdiag_lang::t;

use super::story::{Case, Story, each};
use crate::{
    model::{
        flow::ends,
        node::Link,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin},
    },
    pipeline::facts::{Facts, Loss},
    shared::untracking,
    shell,
    unexplained::{Symptom, Symptoms},
};

/// By which link whose answers leave.
#[derive(PartialEq)]
struct Bare<'a> {
    link: &'a Link,
    server: IpAddr,
    port: u16,
}

/// By which link come answers to what this node sent on in its own name, and end at itself: whom it sent it on for is not
/// found again.
#[derive(PartialEq)]
struct Kept<'a> {
    link: &'a Link,
    own: IpAddr,
}

pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let left = symptoms.left(facts, findings);
    let bare = left.filter_map(|symptom| Some((Bare::of(facts, symptom)?, symptom)));
    let mut told = each(facts, bare, |case, bare| bare.tell(case));
    let untold = symptoms.untold(facts, findings);
    let kept = untold.filter_map(|symptom| Some((Kept::of(facts, symptom)?, symptom)));
    told.extend(each(facts, kept, |case, kept| kept.tell(case)));
    told
}

impl<'a> Kept<'a> {
    fn of(facts: &Facts<'a>, symptom: &Symptom) -> Option<Self> {
        let last = symptom.last.as_ref()?;
        let last = { Some(last) }.filter(|hop| hop.plain() && !hop.egress())?;
        let (own, server) = ends(&symptom.leg.filter(|_| symptom.answers)?);
        let sent_on = server == symptom.server && own != symptom.client && facts.owns(own);
        let comes = sent_on && ends(last.flow()) == (server, own);
        let ends_here = |l: &Loss| {
            let here = [0, facts.node.netns].contains(&l.key.netns);
            l.flow() == last.flow() && l.reason == "NO_SOCKET" && here
        };
        let link = facts.link(last.key.ifindex).filter(|_| comes)?;
        let kept = facts.losses.iter().any(ends_here) && !untracking::evidence(facts).is_empty();
        kept.then_some(Self { link, own })
    }

    fn tell(&self, case: &Case<'_, '_>) -> Story {
        let (client, what, asked, own) = (case.client, &case.what, case.asked, self.own);
        let came = &self.link.name;
        let summary = t!(
            "what {client} asks {what} leaves in the name of this node ({own}), and the answers that come by {came} end at this node: nothing translates them back to {client}; {asked} times"
        );
        let text = t!("an answer came by {came} for {own}, and no socket here takes it");
        let mut seen = Evidence::new(EvidenceKind::Route, Origin::Observed, text);
        seen.at = Some(came.clone());
        seen.direction = Some("ingress".into());
        let rules = untracking::evidence(case.facts);
        Story::suspected(summary, [seen].into_iter().chain(rules), fix(client))
    }
}

impl<'a> Bare<'a> {
    fn of(facts: &Facts<'a>, symptom: &Symptom) -> Option<Self> {
        let last = symptom.last.as_ref().filter(|hop| hop.plain())?;
        let (client, backend) = ends(&symptom.leg.filter(|_| symptom.answers)?);
        let own = client == symptom.client && backend != symptom.server;
        let bare = ends(last.flow()) == (backend, client);
        let link = facts.link(last.key.ifindex).filter(|_| own && bare)?;
        Some(Self {
            link,
            server: symptom.server,
            port: symptom.port,
        })
    }

    fn tell(&self, case: &Case<'_, '_>) -> Story {
        let (client, what, asked) = (case.client, &case.what, case.asked);
        let backend = case.worst().leg.map_or(self.server, |leg| ends(&leg).1);
        let left = &self.link.name;
        let summary = t!(
            "what {client} asks {what} is led to {backend}, and the answers leave by {left} in the name of {backend}, whom {client} did not ask: {asked} times"
        );
        let text = t!("an answer left with the address of {backend}: nothing translated it back");
        let seen = case.leaving(self.link, text);
        let rules = untracking::evidence(case.facts);
        Story {
            confidence: Confidence::Confirmed,
            ..Story::suspected(summary, [seen].into_iter().chain(rules), fix(client))
        }
    }
}

pub fn fix(client: IpAddr) -> Fix {
    Fix {
        summary: t!(
            "let connection tracking see both directions as one: find the rule that leaves one of them untracked (notrack) or in another zone, and take it away or let it hold for both"
        )
        .into(),
        commands: untracking::look()
            .into_iter()
            .chain([shell!("conntrack -L -s {}", client)])
            .collect(),
    }
}
