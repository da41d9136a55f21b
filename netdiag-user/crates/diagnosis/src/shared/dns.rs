//! What the DNS causes share: the way of a client's questions, what of them is lost, and what a
//! finding tells of them.
mod by_hand;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netdiag_common::{dns::PORT, flow::FlowKey};
use netdiag_lang::t;

use super::overlay;
use crate::{
    model::{
        flow::{UDP, ends},
        gather::Want,
        total::add,
        verdict::{Evidence, EvidenceKind, Origin, Suffers},
    },
    need::{Need, Sufferer},
    pipeline::{
        facts::{Facts, Loss, Question},
        picture::is_own_link,
    },
};

pub use super::losses::PATTERN;
use super::losses::dropped_like;
pub use crate::pipeline::picture::{Asking, Picture, Right, Silence};
pub use by_hand::{ask, ask_again};

/// What pods are told to ask, where that may be why these fail.
pub fn need<'a>(questions: impl Iterator<Item = &'a Question>) -> Vec<Need> {
    let sufferer = |q: &Question| {
        let server = (q.server, PORT);
        Sufferer::flow(UDP, q.client, server, q.dns.queries)
    };
    let sufferers: BTreeSet<_> = questions.map(sufferer).collect();
    let any = !sufferers.is_empty();
    let need = || Need::of(Want::Resolvers, sufferers.into_iter().collect());
    any.then(need).into_iter().collect()
}

/// A link that the questions passed while there was no answer.
pub struct Hop<'a> {
    pub at: &'a Question,
    pub asked: u64,
    /// An answer came back this far.
    pub answered: bool,
}

/// The links that a silence's questions passed, in that order.
pub fn way<'a>(facts: &Facts<'a>, silence: &Silence<'_>) -> Vec<Hop<'a>> {
    let names: BTreeSet<_> = silence
        .questions
        .iter()
        .map(|q| (&q.name, q.key.kind))
        .collect();
    let legs = legs(facts, silence);
    let masked = |q: &Question| legs.iter().any(|l| ends(l) == (q.client, q.server));
    let direct = others(facts, silence);
    let own = |q: &&Question| {
        (q.client == silence.client || masked(q))
            && !direct.contains(&q.server)
            && q.dns.last_query >= silence.since
            && names.contains(&(&q.name, q.key.kind))
    };
    // The node may ask for the same names by itself: that is answered, and no proof.
    let back = legs.iter().any(|leg| {
        let journey = facts.journeys().get(&leg.reversed());
        journey.is_some_and(|j| j.hops.iter().any(|h| h.hop.last >= silence.since))
    });
    let mut hops: BTreeMap<(u32, u8), Hop<'a>> = BTreeMap::new();
    for question in facts.dns.iter().filter(own) {
        let new = || Hop {
            at: question,
            asked: 0,
            answered: false,
        };
        let hop = hops
            .entry((question.key.ifindex, question.key.carried))
            .or_insert_with(new);
        add(&mut hop.asked, question.dns.unanswered.into());
        let answered = question.dns.last_answer >= silence.since;
        hop.answered |= answered && (question.client == silence.client || back);
        if question.dns.first_query > hop.at.dns.first_query {
            hop.at = question;
        }
    }
    let mut hops: Vec<_> = hops.into_values().collect();
    hops.sort_by_key(|h| h.at.dns.last_query);
    hops
}

/// Servers that the client asks too, by their own addresses, as its own link shows: what they
/// answer is no answer of this one's.
fn others(facts: &Facts<'_>, silence: &Silence<'_>) -> BTreeSet<IpAddr> {
    let sent = |q: &&Question| q.client == silence.client && q.server != silence.server;
    let all = facts.dns.iter().filter(sent);
    let all = all.filter(|q| is_own_link(facts, q));
    all.map(|q| q.server).collect()
}

/// What the node's masquerade makes of the questions: from then on they have another client.
fn legs(facts: &Facts<'_>, silence: &Silence<'_>) -> Vec<FlowKey> {
    let asks = |flow: &&FlowKey| {
        let asked = (silence.client, silence.server);
        flow.protocol == UDP && flow.destination_port == PORT && ends(flow) == asked
    };
    let asked = facts.journeys().values().map(|j| &j.flow).filter(asks);
    let legs = asked.filter_map(|flow| facts.legs().translated(flow));
    legs.map(|(leg, _)| leg)
        .filter(|leg| ends(leg).0 != silence.client)
        .collect()
}

/// Drops of these questions or of their answers on this node.
pub fn losses<'a>(facts: &Facts<'a>, servers: &BTreeSet<IpAddr>, since: u64) -> Vec<&'a Loss> {
    let about = |l: &&Loss| {
        let flow = l.flow();
        let (source, destination) = ends(flow);
        let asks = flow.destination_port == PORT && servers.contains(&destination);
        let answers = flow.source_port == PORT && servers.contains(&source);
        !l.harmless && l.dropped.last >= since && (asks || answers)
    };
    facts.losses.iter().filter(about).collect()
}

/// One line a place where they were dropped.
pub fn loss_evidence(losses: &[&Loss]) -> Vec<Evidence> {
    let mut sums: BTreeMap<(&str, &str), (u64, &Loss)> = BTreeMap::new();
    for loss in losses {
        let sum = sums.entry((&loss.reason, loss.symbol()));
        add(&mut sum.or_insert((0, *loss)).0, loss.dropped.packets);
    }
    let line = |((reason, symbol), (packets, like)): ((&str, &str), (u64, &Loss))| {
        let text = t!("{packets} of them dropped on this node: {reason} in {symbol}");
        let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
        line.packets = Some(packets);
        line.reason = Some(reason.to_owned());
        line.location = Some(symbol.to_owned());
        line.confirm = Some(dropped_like(like));
        line
    };
    sums.into_iter().map(line).collect()
}

/// The servers, and where this node sends what is for them: by these other findings are about
/// the same thing.
pub fn about(facts: &Facts<'_>, servers: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let mut about: BTreeSet<IpAddr> = servers.clone();
    for server in servers {
        let route = facts.way(&facts.from_node(*server));
        about.extend(route.and_then(|r| r.gateway));
        about.extend(overlay::peer_towards(facts, *server));
    }
    about.into_iter().collect()
}

/// Lookups of these servers, whose way has these addresses.
pub fn suffers(servers: &BTreeSet<IpAddr>, by: &[IpAddr]) -> Suffers {
    Suffers::Lookups {
        servers: servers.iter().copied().collect(),
        by: by.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        causes::dns_unreachable::evaluate,
        model::{
            dns,
            flow::UDP,
            gather::{Piece, Want},
            observation::Observation,
        },
        testing::{
            POD, UPLINK, at, from_pod, overlay_node, question, resolved, route, silent, tcp,
            with_facts, with_gathered,
        },
    };

    #[test]
    fn masqueraded_questions_are_followed_out_of_the_node() {
        let (pod, own, server, name) = ("172.20.1.5", "192.0.2.1", "198.51.100.53", "example.com");
        let mut node = overlay_node(1450, 1450, 1500);
        let default = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
        node.routes.push(default);
        let flow = |from| {
            let mut flow = tcp(from, server, 53);
            flow.protocol = UDP;
            flow
        };
        let farther = |dns: &mut netdiag_common::dns::Dns| {
            dns.last_query += 1000;
            silent(dns);
        };
        let told = |flows| {
            let observation = Observation {
                now: 15_000_000_000,
                dns: vec![
                    question(pod, server, name, POD, silent),
                    question(own, server, name, UPLINK, farther),
                ],
                flows,
                ..Observation::default()
            };
            let found = with_facts(&node, &observation, evaluate).expect("a finding");
            found.summary
        };
        let came = || from_pod(flow(pod), |h| h.first = 5);
        let left = at(flow(own), UPLINK, true, 0, |h| h.first = 6);
        let masqueraded = told(vec![came(), left]);
        assert!(
            masqueraded.contains("leave this node by ens5"),
            "{masqueraded}"
        );
        // The node's own questions are no sign of the pod's.
        let stuck = told(vec![came()]);
        assert!(stuck.contains("last seen at cali1"), "{stuck}");
    }

    /// Any pod can run a server that answered once, and ask it as often as it likes.
    #[test]
    fn a_strangers_silence_hides_no_other() {
        let (server, nobody) = ("172.20.2.53", "172.20.1.66");
        let name = "web.shop.svc.cluster.local";
        let many = |dns: &mut netdiag_common::dns::Dns| {
            silent(dns);
            (dns.unanswered, dns.silent_since) = (40, 3_000_000_000);
        };
        let once = |dns: &mut netdiag_common::dns::Dns| {
            resolved(dns);
            dns.last_answer = 2_000_000_000;
        };
        let observation = Observation {
            now: 15_000_000_000,
            dns: vec![
                question("172.20.1.5", server, name, POD, silent),
                question("172.20.1.6", nobody, name, POD, many),
                question("172.20.1.6", nobody, "a.b.svc.cluster.local", POD, once),
            ],
            ..Observation::default()
        };
        let kubelet = dns::of_kubelet(&format!("clusterDNS: [{server}]"));
        let node = overlay_node(1450, 1450, 1500);
        let pieces = [(Want::Resolvers, Ok(Piece::Resolvers(vec![kubelet])))];
        let found = with_gathered(&node, &observation, pieces, evaluate);
        let summary = found.expect("a finding").summary;
        assert!(summary.contains(server), "{summary}");
    }
}
