//! What gets through in spite of losses: then they are no pattern.
use std::collections::HashMap;

use netdiag_common::hop;

use super::{ACK, SYN};
use crate::{
    model::{flow::TCP, roles::Role},
    pipeline::facts::{Facts, Loss},
};

/// Which end of a lost packet's flow is the server, and by which port.
pub struct Service {
    pub port: u16,
    /// The lost packet came from the server.
    pub reply: bool,
}

impl Service {
    pub fn of(loss: &Loss) -> Self {
        let flow = loss.flow();
        // An echo's identifier changes from run to run of ping.
        if matches!(flow.protocol, 1 | 58) {
            return Self {
                port: 0,
                reply: false,
            };
        }
        let flags = loss.dropped.tcp_flags;
        let reply = match flow.protocol == TCP && flags & SYN != 0 {
            true => flags & ACK != 0,
            // Servers' ports are the lower ones; clients' are ephemeral.
            false => flow.source_port < flow.destination_port,
        };
        let port = if reply {
            flow.source_port
        } else {
            flow.destination_port
        };
        Self { port, reply }
    }
}

/// From whom to whom, by which protocol, from the server's port or towards it.
type Way = ([u8; 16], [u8; 16], u8, u16);

/// What got through as far as this node sees, each way with the time of the last such sign: what
/// worked before the losses began proves nothing.
#[derive(Default)]
pub struct Success {
    /// Connections that a server accepted, by the way of its answer.
    accepted: HashMap<Way, u64>,
    /// Ways towards a server's port, or from one, that carry acknowledgements.
    acknowledged: HashMap<Way, u64>,
    /// Ways from a server's port that anything took.
    answered: HashMap<Way, u64>,
    /// Ways from a server's port that left this node, or reached its pod.
    delivered: HashMap<Way, u64>,
}

impl Success {
    pub fn of(facts: &Facts<'_>) -> Self {
        let mut all = Self::default();
        for seen in facts.flows {
            let (flow, hop) = (seen.flow(), &seen.hop);
            let echo = matches!(flow.protocol, 1 | 58);
            let port = if echo { 0 } else { flow.source_port };
            let from = (flow.source, flow.destination, flow.protocol, port);
            let to = (
                flow.source,
                flow.destination,
                flow.protocol,
                flow.destination_port,
            );
            let flags = hop.flags;
            if flags & hop::SYN != 0 && flags & hop::ACK != 0 {
                note(&mut all.accepted, from, hop.first);
            }
            if flags & hop::ACK != 0 && flags & hop::RST == 0 {
                note(&mut all.acknowledged, from, hop.last);
                note(&mut all.acknowledged, to, hop.last);
            }
            note(&mut all.answered, from, hop.last);
            if seen.egress() && !matches!(seen.role, Some(Role::Bridge) | None) {
                note(&mut all.delivered, from, hop.last);
            }
        }
        all
    }

    /// Whether the conversation of a lost packet goes on all the same.
    pub fn despite(&self, loss: &Loss, service: &Service) -> bool {
        let (flow, lost) = (loss.flow(), &loss.dropped);
        let back = (flow.destination, flow.source, flow.protocol, service.port);
        let same = (flow.source, flow.destination, flow.protocol, service.port);
        let since = |signs: &HashMap<Way, u64>, way: &Way, time: u64| {
            signs.get(way).is_some_and(|last| *last > time)
        };
        let syn = lost.tcp_flags & SYN != 0;
        match (flow.protocol == TCP, syn, service.reply) {
            (true, true, false) => since(&self.accepted, &back, lost.first),
            // A connection's answer, or data: the other end acknowledged something later.
            (true, ..) => since(&self.acknowledged, &back, lost.last),
            (false, _, false) => since(&self.answered, &back, lost.first),
            (false, _, true) => since(&self.delivered, &same, lost.first),
        }
    }
}

fn note(signs: &mut HashMap<Way, u64>, way: Way, time: u64) {
    let last = signs.entry(way).or_default();
    *last = time.max(*last);
}
