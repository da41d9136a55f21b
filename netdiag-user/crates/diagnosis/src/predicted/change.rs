//! The smallest change that brings it through where it ends, and what becomes of it with that.
use std::net::IpAddr;

use netdiag_forwarding::{
    Prepared,
    way::{Does, Station, Step, Subject},
};
use netdiag_lang::t;

use super::{is_at, is_untranslated};
use crate::{
    model::{
        address::endpoint,
        flow,
        netfilter::Chain,
        services::{Engine, Service},
        verdict::{Fix, Tried},
    },
    need::REFUSALS,
    pipeline::{facts::Facts, predicted::Question, taker::taker, tried::End},
    shared::{dead_end, ending, matching_rules::origin, rule_evidence},
    tried,
    unexplained::owed::is_service,
};

pub fn smallest(facts: &Facts<'_>, step: &Step<'_>, question: &Question) -> Option<Fix> {
    if let Some(told) = dead_end::told(facts, step) {
        return Some(told.fix);
    }
    let refuses = step.station == Station::Hook && matches!(step.does, Does::Refuses(_));
    let Some(Subject::Filter(filter)) = step.by.filter(|_| refuses) else {
        return None;
    };
    let taker = taker(filter, false);
    let place = rule_evidence::place(&taker.chain);
    let list = rule_evidence::origin_of(&taker).list();
    let list = list.map(|list| facts.node.inside(step.netns, list));
    if leads_services(facts, &taker.chain, step.packet.destination) {
        return Some(Fix {
            summary: instead(facts, step, &place),
            commands: list.into_iter().collect(),
        });
    }
    let opened = facts.opened(question);
    let opens = opened.iter().map(|opened| {
        let command = origin(facts, opened).let_pass(&opened.pass())?;
        Some(facts.node.inside(opened.netns, command))
    });
    let opens: Vec<_> = opens.collect::<Option<_>>()?;
    if opens.is_empty() {
        return None;
    }
    Some(Fix {
        summary: match taker.rule {
            Some(_) => t!(
                "let it pass in the NetworkPolicy or firewall that set this rule of {place}; until then by a rule before it"
            ),
            None => t!(
                "let a rule of {place} accept it: its policy drops what none of them accepts; find out who set the policy"
            ),
        },
        commands: list.into_iter().chain(opens).collect(),
    })
}

/// Whether it is of whoever leads Services here: he would set it again, and behind it nothing leads on.
pub fn leads_services(facts: &Facts<'_>, chain: &Chain, to: IpAddr) -> bool {
    let table =
        |it: &Service| it.engine == Engine::Nftables && it.table.as_deref() == Some(&chain.table);
    let shared = || all_services(facts).any(table) && is_service(facts, to);
    let own = [&chain.table, &chain.chain];
    own.iter().any(|name| REFUSALS.contains(&name.as_str())) || shared()
}

fn all_services<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a Service> {
    let known = facts.gathered.services().into_iter();
    known.flat_map(|known| known.rules.iter().chain(&known.node_ports))
}

/// What to change in place of such a rule.
fn instead(facts: &Facts<'_>, step: &Step<'_>, place: &str) -> String {
    let (address, port) = (step.packet.destination, step.packet.dport);
    let to = endpoint(address, port);
    let known = facts.gathered.services();
    let all = known
        .iter()
        .flat_map(|known| known.rules.iter().chain(&known.node_ports));
    let mut here = all.filter(|it| is_at(facts, it, address)).peekable();
    if here.peek().is_none() {
        return t!(
            "{place} refuses it in place of Services, and none has {address}: where a host has it, give the host or the Services another range"
        );
    }
    match here.any(|it| (it.port, it.protocol) == (port, step.packet.protocol)) {
        true => t!(
            "change the Service behind {to}, not the rule of {place}, which is set for it: it lacks an endpoint that this may go to (one on this node, where its traffic policy is Local), or its source ranges leave this out"
        ),
        false => t!("ask a port that the Service at {address} has: {place} refuses the others"),
    }
}

/// Nothing where it has no commands for this node, or they are not understood.
pub fn tried(facts: &Facts<'_>, fix: &Fix, question: &Question) -> Option<Tried> {
    let world = tried::changed(facts, fix)?;
    let prepared = Prepared::new(&world);
    let foreseen = facts.foreseen(&prepared, question)?;
    let mut tried = Tried {
        conversations: 1,
        ..Tried::default()
    };
    match foreseen.end() {
        // Past the rules it would leave for an address that nobody has.
        End::Arrives { .. } if is_untranslated(facts, &foreseen, flow::ends(&question.flow).1) => {
            return None;
        }
        End::Arrives { .. } => tried.get_through = 1,
        End::Stops { step, .. } => tried.behind = Some(ending::said(facts, &step)),
        End::Untold(_) => return None,
    }
    Some(tried)
}
