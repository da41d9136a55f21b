//! What the Service causes share about connections that somebody follows (`netdiag path`): a rule that
//! refuses them is certain without a pattern, after one packet or before any.
use std::net::IpAddr;

use super::services;
use crate::{
    model::{
        flow::{TCP, UDP},
        services::Service,
    },
    pipeline::{
        connection_groups::{ConnectionGroup, Outcome},
        facts::Facts,
    },
};

/// IANA protocol numbers.
const SCTP: u8 = 132;

/// The address that is asked, and the rule that refuses it; nothing where a connection got through.
pub fn refusal<'a>(facts: &Facts<'a>) -> Option<(IpAddr, &'a Service)> {
    let followed = facts.followed()?;
    let port = followed.port?;
    let own = |a: &&ConnectionGroup<'_>| followed.is(a.client, a.server, a.port);
    let tried: Vec<_> = facts.attempts().iter().filter(own).collect();
    // Where packets were seen, it is about their protocol.
    let protocols: Vec<u8> = match tried.is_empty() {
        true => vec![TCP, UDP, SCTP],
        false => tried.iter().map(|a| a.protocol).collect(),
    };
    let mut tries = tried.iter().flat_map(|a| a.tries.iter());
    if tries.any(|t| t.outcome == Outcome::Accepted) {
        return None;
    }
    let mut asked = followed
        .servers
        .iter()
        .flat_map(|server| protocols.iter().map(|protocol| (*server, *protocol)));
    asked.find_map(|(server, protocol)| {
        let rule = services::refusal(facts, (server, port), protocol)?;
        Some((server, rule))
    })
}
