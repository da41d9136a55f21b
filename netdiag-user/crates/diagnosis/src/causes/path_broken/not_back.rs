//! Answers that leave this node as whoever was asked in the end sends them, though it led the question on to him: who asked does
//! not know him. Connection tracking has to see both directions as one connection, in one zone.
use netdiag_lang::t;

use super::{ID, conversations, leaving};
use crate::{
    model::{
        flow::ends,
        node::Link,
        total::Total,
        verdict::{Confidence, Finding, Fix, Severity},
    },
    pipeline::facts::Facts,
    shared::untracking,
    shell,
    unexplained::{Symptom, Symptoms, grouped},
};

pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let all = symptoms.left(facts, findings);
    let bare = all.filter_map(|symptom| Some((left(facts, symptom)?, symptom)));
    let servers = grouped(bare.map(|(link, c)| ((link.index, c.server, c.port), (link, c))));
    let told = servers.into_iter().map(|(_, all)| {
        let all: Vec<(&Link, &Symptom)> = all;
        let of_link: Vec<&Symptom> = all.iter().map(|(_, symptom)| *symptom).collect();
        finding(facts, all[0].0, &of_link)
    });
    told.collect()
}

/// By which link such answers leave.
fn left<'a>(facts: &Facts<'a>, symptom: &Symptom) -> Option<&'a Link> {
    let last = symptom.last.as_ref().filter(|hop| hop.plain())?;
    let (client, backend) = ends(&symptom.leg.filter(|_| symptom.answers)?);
    let own = client == symptom.client && backend != symptom.server;
    let bare = ends(last.flow()) == (backend, client);
    facts.link(last.key.ifindex).filter(|_| own && bare)
}

fn finding(facts: &Facts<'_>, link: &Link, all: &[&Symptom]) -> Finding {
    let worst = all[0];
    let asked: u64 = all.iter().map(|c| c.asked).total();
    let (client, refer) = (worst.client, worst.refer());
    let backend = worst.leg.map_or(worst.server, |leg| ends(&leg).1);
    let summary = t!(
        "what {client} asks {} {} is led to {backend}, and the answers leave by {} in the name of {backend}, whom {client} did not ask: {asked} times",
        refer.protocol,
        refer.destination,
        link.name
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    let text = t!("an answer left with the address of {backend}: nothing translated it back");
    finding.evidence.push(leaving(worst, link, text));
    finding.evidence.extend(untracking::evidence(facts));
    conversations(facts, &mut finding, all);
    finding.fix = Fix {
        summary: t!(
            "let connection tracking see both directions as one: find the rule that leaves one of them untracked (notrack) or in another zone, and take it away or let it hold for both"
        )
        .into(),
        commands: untracking::look()
            .into_iter()
            .chain([shell!("conntrack -L -s {}", client)])
            .collect(),
    };
    finding
}
