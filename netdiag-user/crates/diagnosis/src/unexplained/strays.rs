//! Answers over UDP from an address that nobody asked: a server with several addresses answers from
//! the one that its routes prefer (RFC 1122, 4.1.3.5), and the client's socket does not take it.
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

use super::symptoms::ASKED;
use crate::{
    model::{
        flow::{UDP, ends},
        total::Total,
    },
    pipeline::{
        connection_groups::Connection,
        facts::{Facts, Loss},
    },
};

/// A client's socket, and the port that it asks.
type Asker = (IpAddr, u16, u16);

/// Who answered whom, of those that were not taken, and how often.
#[derive(Default)]
pub struct Strays(HashMap<Asker, BTreeMap<IpAddr, u64>>);

impl Strays {
    pub fn new(facts: &Facts<'_>) -> Self {
        let mut all: HashMap<Asker, BTreeMap<IpAddr, u64>> = HashMap::new();
        for loss in facts.losses.iter().filter(|l| is_untaken(facts, l)) {
            let flow = loss.flow();
            let (server, client) = ends(flow);
            let asker = (client, flow.destination_port, flow.source_port);
            *all.entry(asker).or_default().entry(server).or_default() += loss.dropped.packets;
        }
        if all.is_empty() {
            return Self::default();
        }
        // A resolver asks two servers by one socket, and is done with the first answer.
        let groups = facts
            .attempts()
            .iter()
            .filter(|group| group.protocol == UDP);
        for tried in groups.flat_map(|group| group.tries.iter()) {
            let (asker, server) = asked(&tried.flow);
            if let Some(answered) = all.get_mut(&asker) {
                answered.remove(&server);
            }
        }
        Self(all)
    }

    /// Who answers most of these tries in place of the one that was asked, and not by chance.
    pub fn answers(&self, facts: &Facts<'_>, tries: &[Connection<'_>]) -> Option<IpAddr> {
        let answered: Vec<_> = tries.iter().filter_map(|t| self.of(facts, t)).collect();
        let packets = answered.iter().map(|(_, packets)| *packets).total();
        let most = answered.len() * 2 > tries.len() && packets >= ASKED;
        answered.first().filter(|_| most).map(|(server, _)| *server)
    }

    fn of(&self, facts: &Facts<'_>, tried: &Connection<'_>) -> Option<(IpAddr, u64)> {
        // Behind a masquerade the node's socket is the one that is answered.
        let mut flows = tried.became.into_iter().chain([tried.flow]);
        flows.find_map(|flow| self.of_flow(facts, &flow))
    }

    fn of_flow(&self, facts: &Facts<'_>, flow: &FlowKey) -> Option<(IpAddr, u64)> {
        let (asker, server) = asked(flow);
        // Whoever is meant by such a question answers by an address of its own.
        let one = flow.protocol == UDP && !facts.is_broadcast(server);
        let answered = self.0.get(&asker).filter(|_| one)?;
        answered
            .iter()
            .next()
            .map(|(server, packets)| (*server, *packets))
    }
}

fn asked(flow: &FlowKey) -> (Asker, IpAddr) {
    let (client, server) = ends(flow);
    ((client, flow.source_port, flow.destination_port), server)
}

/// Most of what came was dropped, since no socket takes it. Before Linux 5.17 the kernel gives
/// no reason.
fn is_untaken(facts: &Facts<'_>, loss: &Loss) -> bool {
    let reason = loss.reason.as_str();
    let unnamed = reason == "NOT_SPECIFIED" && loss.is_beside("__udp4_lib_rcv");
    let flow = loss.flow();
    let socket =
        flow.protocol == UDP && (reason == "NO_SOCKET" || unnamed) && loss.forged.is_none();
    socket && {
        let journey = facts.journeys().get(flow);
        let came = journey.and_then(|j| j.hops.iter().map(|h| h.hop.packets).max());
        loss.dropped.packets.saturating_mul(2) > came.unwrap_or(0)
    }
}

/// What to do about it.
pub fn text(asked: IpAddr, answers: IpAddr) -> String {
    t!(
        "the answers come from {answers}, which was not asked, and the client's socket takes none of them: \
         let the program behind {asked} answer from the address that was asked (bind() to it, or \
         IP_PKTINFO)"
    )
}
