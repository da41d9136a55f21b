//! What left this node otherwise than what is answered does: by a link by which nobody hears from that server, with a
//! source that this node made up, or as it is where others are translated.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

use super::Candidate;
use crate::{
    model::{
        address::Prefix,
        flow::ends,
        node::{Link, RouteKind},
        roles::Role,
    },
    pipeline::{
        connection_groups::{Connection, Outcome},
        facts::{Facts, HopFlow},
    },
    shared::published,
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unlike<'a> {
    /// What others ask of the same server leaves by another link.
    Link { left: &'a Link, other: &'a Link },
    /// This node translates its source to an address that it does not have.
    Source { left: &'a Link, source: IpAddr },
    /// What others ask there is translated on this node, and this is not.
    Untranslated { left: &'a Link },
}

impl<'a> Unlike<'a> {
    pub fn of(facts: &Facts<'a>, candidate: &Candidate) -> Option<Self> {
        let last = candidate.last.as_ref().filter(|last| leaves(last))?;
        let asks = candidate.asked > 0 && !candidate.answers && last.plain();
        let left = facts.link(last.key.ifindex).filter(|_| asks)?;
        let untranslated = || is_left_as_it_is(facts, candidate, last);
        made_up(facts, candidate, last)
            .map(|source| Self::Source { left, source })
            .or_else(|| untranslated().then_some(Self::Untranslated { left }))
            .or_else(|| {
                let other = answered_by(facts, last)?;
                Some(Self::Link { left, other })
            })
    }

    pub fn text(self) -> String {
        match self {
            Self::Link { other, .. } => t!(
                "what others ask there leaves by {} and is answered, and nothing that leaves here is",
                other.name
            ),
            Self::Source { source, .. } => t!(
                "this node made its source {source}, which no link of it has: answers do not come here"
            ),
            Self::Untranslated { .. } => {
                t!("what others ask there is translated on this node, and this left as it is")
                    .into()
            }
        }
    }

    pub fn left(self) -> &'a Link {
        match self {
            Self::Link { left, .. } | Self::Source { left, .. } | Self::Untranslated { left } => {
                left
            }
        }
    }
}

fn leaves(hop: &HopFlow) -> bool {
    hop.egress() && hop.role == Some(Role::Uplink)
}

fn all<'f>(facts: &'f Facts<'_>) -> impl Iterator<Item = &'f Connection<'f>> {
    facts.attempts().iter().flat_map(|all| all.tries.iter())
}

fn is_answered(tried: &Connection<'_>) -> bool {
    matches!(tried.outcome, Outcome::Accepted | Outcome::Refused)
}

/// The source that this node gave it, where nothing that comes for that comes here, as far as is known.
fn made_up(facts: &Facts<'_>, candidate: &Candidate, last: &HopFlow) -> Option<IpAddr> {
    let (source, _) = ends(last.flow());
    let local = |to: &Prefix, kind: RouteKind| kind == RouteKind::Local && to.contains(source);
    let mut routes = facts.node.routes.iter();
    let taken = facts.owns(source)
        || facts.is_local_pod(source)
        || facts.pods.by_address(source).is_some()
        || routes.any(|route| local(&route.destination, route.kind));
    let works = |tried: &Connection<'_>| is_answered(tried) && ends(&tried.flow).0 == source;
    let ours = source != candidate.client && candidate.leg.is_some();
    (ours && !taken && !all(facts).any(works)).then_some(source)
}

/// Others' questions to that address and port become something else here.
fn is_left_as_it_is(facts: &Facts<'_>, candidate: &Candidate, last: &HopFlow) -> bool {
    let as_it_is = to(last.flow()) == to_server(candidate);
    let server = (candidate.server, candidate.port);
    let ours = facts.owns(candidate.client) || facts.is_local_pod(candidate.client);
    let led = |tried: &Connection<'_>| {
        let became = tried.became.is_some_and(|leg| to(&leg) != to(&tried.flow));
        to(&tried.flow) == to_server(candidate) && became && is_answered(tried)
    };
    let ruled = || published::is_led_on(facts, server, candidate.protocol);
    as_it_is && ours && (all(facts).any(led) || ruled())
}

fn to(flow: &FlowKey) -> (IpAddr, u16, u8) {
    (ends(flow).1, flow.destination_port, flow.protocol)
}

fn to_server(candidate: &Candidate) -> (IpAddr, u16, u8) {
    (candidate.server, candidate.port, candidate.protocol)
}

/// The link by which what is asked of the same server leaves and is answered, where nothing that leaves by this one is.
fn answered_by<'a>(facts: &Facts<'a>, last: &HopFlow) -> Option<&'a Link> {
    let same = |tried: &&Connection<'_>| to(&tried.flow) == to(last.flow()) && is_answered(tried);
    let out = |tried: &Connection<'_>| {
        let out = tried.requests.iter().rev().find(|hop| leaves(hop))?;
        Some(out.key.ifindex)
    };
    let outs: BTreeSet<u32> = all(facts).filter(same).filter_map(out).collect();
    let other = outs.first().filter(|_| !outs.contains(&last.key.ifindex))?;
    facts.link(*other)
}
