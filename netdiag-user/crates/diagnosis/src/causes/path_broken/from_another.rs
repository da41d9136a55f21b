//! Datagrams that are answered from an address that nobody asked: the client's socket takes none of them (RFC 1122, 4.1.3.5).
use std::net::IpAddr;

use netdiag_lang::t;

use super::{
    not_back,
    story::{Case, Story, each},
};
use crate::{
    model::{
        address::endpoint,
        flow::ends,
        shell::CommandLine,
        total::Total,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, Subject},
    },
    pipeline::facts::{Facts, Loss},
    shared::{losses, untracking},
    shell,
    unexplained::Symptoms,
};

/// Who is asked, and who answers.
#[derive(PartialEq)]
struct Other {
    server: IpAddr,
    port: u16,
    answers: IpAddr,
}

pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let answered = symptoms.answered_by_others(facts, findings).into_iter();
    let answered = answered.map(|(answers, symptom)| {
        let (server, port) = (symptom.server, symptom.port);
        let other = Other {
            server,
            port,
            answers,
        };
        (other, symptom)
    });
    each(facts, answered, |case, other| other.tell(case))
}

impl Other {
    fn tell(&self, case: &Case<'_, '_>) -> Option<Story> {
        let (server, answers) = (self.server, self.answers);
        let (client, what, asked) = (case.client, &case.what, case.asked);
        let summary = t!(
            "{client} asked {what} {asked} times, and the answers come from {answers}, which it did not ask: its socket takes none of them"
        );
        let refused = self.refused(case)?;
        // Whom this node itself led it to.
        if case.worst().far() == answers {
            let rules = untracking::evidence(case.facts);
            let evidence = [refused].into_iter().chain(rules);
            return Some(Story::suspected(summary, evidence, not_back::fix(client)));
        }
        let fix = Fix {
            summary: t!(
                "let the program behind {server} answer from the address that it was asked at (bind() to it, or IP_PKTINFO), or give the route back to {client} that source"
            ),
            commands: self.listener(case.facts).into_iter().collect(),
        };
        Some(Story {
            blames: Some((Subject::Address { address: server }, None)),
            ..Story::suspected(summary, [refused], fix)
        })
    }

    /// What the client's side threw away.
    fn refused(&self, case: &Case<'_, '_>) -> Option<Evidence> {
        let answers = |loss: &&Loss| {
            let (source, to) = ends(loss.flow());
            let port = loss.flow().source_port;
            let asked =
                |(client, server): (IpAddr, (IpAddr, u16))| client == to && server.1 == port;
            source == self.answers && case.ends().any(asked)
        };
        let mut refused = case.facts.losses.iter().filter(answers).peekable();
        let first = *refused.peek()?;
        let packets = refused.map(|loss| loss.dropped.packets).total();
        let (from, reason) = (endpoint(self.answers, self.port), &first.reason);
        let text = t!("{packets} answers of {from} were dropped, as no socket waits for them");
        let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
        line.reason = Some(reason.clone());
        line.location = Some(first.symbol().to_owned());
        line.packets = Some(packets);
        line.confirm = Some(losses::dropped_like(first));
        Some(line)
    }

    /// Shows what the program is bound to.
    fn listener(&self, facts: &Facts<'_>) -> Option<CommandLine> {
        let list = shell!("ss -Hlunp sport = :{}", self.port);
        let ends = [self.server, self.answers];
        let own = ends.into_iter().any(|address| facts.owns(address));
        let inside = ends
            .into_iter()
            .find_map(|address| facts.pod_side_of(address));
        match inside {
            Some(side) => Some(facts.node.inside(side.netns, list)),
            None => own.then_some(list),
        }
    }
}

#[cfg(test)]
mod tests;
