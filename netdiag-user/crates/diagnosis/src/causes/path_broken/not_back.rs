//! Answers that leave this node as whoever was asked in the end sends them, though it led the question on to him: who asked does
//! not know him. Connection tracking has to see both directions as one connection, in one zone.
use std::net::IpAddr;

use netdiag_lang::t;

use super::story::{Case, Story, each};
use crate::{
    model::{
        flow::ends,
        node::Link,
        verdict::{Confidence, Finding, Fix},
    },
    pipeline::facts::Facts,
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

pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let all = symptoms.left(facts, findings);
    let bare = all.filter_map(|symptom| Some((Bare::of(facts, symptom)?, symptom)));
    each(facts, bare, |case, bare| bare.tell(case))
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
