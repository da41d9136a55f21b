//! What left this node otherwise than what is answered does: by a link by which nobody hears from that server, with a
//! source that this node made up, or as it is where others are translated.
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use netdiag_common::flow::FlowKey;
use netdiag_forwarding::answers_for;
use netdiag_lang::t;

use super::Symptom;
use crate::{
    model::{
        flow::ends,
        node::{Link, RouteKind},
        roles::Role,
        world::End,
    },
    pipeline::{
        connection_groups::{Connection, Outcome},
        facts::{Facts, HopFlow},
        owed::Spared,
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
    Untranslated {
        left: &'a Link,
        /// Others of the same client's are.
        part: bool,
    },
    /// The rules lead other ports of that address on, and not this one.
    Unlisted {
        left: &'a Link,
        /// The first of them, as protocol and port.
        beside: (u8, u16),
    },
    /// Its source is of that link's own network: who is there asks on the link for it, and this node does not answer.
    Unclaimed { left: &'a Link, source: IpAddr },
    /// What pods send out is translated, on that link or on others, and this is not: nobody there knows the pod.
    Excepted {
        left: &'a Link,
        others_here: bool,
        /// The handle of the rule that leaves it out.
        rule: Option<u64>,
    },
    /// It is for this very node, and left by a link of it: who sits on that link does not reach the host below.
    Below { left: &'a Link, own: IpAddr },
}

impl<'a> Unlike<'a> {
    pub fn of(facts: &Facts<'a>, living: &Living, symptom: &Symptom) -> Option<Self> {
        let last = symptom.last.as_ref().filter(|last| leaves(last))?;
        let asks = symptom.asked > 0 && !symptom.answers && last.plain();
        let left = facts.link(last.key.ifindex).filter(|_| asks)?;
        let untranslated = || living.is_left_as_it_is(facts, symptom, last);
        living
            .made_up(facts, symptom, last)
            .map(|source| Self::Source { left, source })
            .or_else(|| {
                let part = living.is_part(facts, symptom.client, to(last.flow()));
                untranslated().then_some(Self::Untranslated { left, part })
            })
            .or_else(|| below(facts, last).map(|own| Self::Below { left, own }))
            .or_else(|| unclaimed(facts, last).map(|source| Self::Unclaimed { left, source }))
            .or_else(|| {
                let beside = living.unlisted(facts, symptom, last)?;
                Some(Self::Unlisted { left, beside })
            })
            .or_else(|| living.excepted(facts, symptom, last, left))
            .or_else(|| {
                let other = living.other(facts, last)?;
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
            Self::Unlisted { .. } => t!(
                "it left as it is: the rules of this node lead that address on, and not that port of it"
            )
            .into(),
            Self::Unclaimed { source, .. } => t!(
                "its source {source} is of this link's own network: whoever is there asks for it here, and this node does not answer for it"
            ),
            Self::Excepted { .. } => t!(
                "it left with the pod's own address, and what pods send to others is translated to this node's"
            )
            .into(),
            Self::Below { own, .. } => {
                t!("{own} is an address of this node itself: nobody out there has it")
            }
        }
    }

    pub fn left(self) -> &'a Link {
        match self {
            Self::Link { left, .. }
            | Self::Source { left, .. }
            | Self::Untranslated { left, .. }
            | Self::Unlisted { left, .. }
            | Self::Unclaimed { left, .. }
            | Self::Excepted { left, .. }
            | Self::Below { left, .. } => left,
        }
    }
}

fn leaves(hop: &HopFlow) -> bool {
    hop.egress() && hop.role == Some(Role::Uplink)
}

/// The address of this node, which it is for.
fn below(facts: &Facts<'_>, last: &HopFlow) -> Option<IpAddr> {
    let (source, to) = ends(last.flow());
    (facts.owns(to) && !facts.owns(source)).then_some(to)
}

/// The source that its next hop looks for on the link itself, and gets no answer to.
fn unclaimed(facts: &Facts<'_>, last: &HopFlow) -> Option<IpAddr> {
    let (source, to) = ends(last.flow());
    let left = facts.link(last.key.ifindex)?;
    let link = left.master.and_then(|master| facts.link(master));
    let link = link.unwrap_or(left);
    let mut networks = link.addresses.iter().map(|own| own.prefix);
    let beside = networks.any(|own| own.contains(source) && own.address != source);
    if !beside || facts.owns(source) {
        return None;
    }
    let way = facts.way(&facts.packet_of(last.flow()))?;
    let asks = way.gateway.unwrap_or(to);
    let at = End {
        netns: facts.node.netns,
        index: link.index,
    };
    let answers = answers_for(facts.prepared(), at, source, asks);
    (answers == Ok(false)).then_some(source)
}

/// What is answered, looked through once for all symptoms.
#[derive(Default)]
pub struct Living {
    /// By whom was asked: the uplinks that the questions left by.
    outs: HashMap<To, BTreeSet<u32>>,
    /// Whom others asked, and were translated to somebody else.
    led: HashSet<To>,
    /// Who was answered by whom, and did not get there as it was asked.
    made: HashSet<(IpAddr, To)>,
    /// With which source.
    sources: HashSet<IpAddr>,
    /// Uplinks by which what pods ask leaves with another source, and those by which it leaves with the pods' own.
    named: BTreeSet<u32>,
    bare: BTreeSet<u32>,
}

impl Living {
    pub fn new(facts: &Facts<'_>) -> Self {
        let mut all = Self::default();
        let tries = facts.attempts().iter().flat_map(|all| all.tries.iter());
        for tried in tries.filter(|tried| is_answered(tried)) {
            let asked = to(&tried.flow);
            all.sources.insert(ends(&tried.flow).0);
            if tried.became.is_some_and(|leg| to(&leg) != asked) {
                all.led.insert(asked);
            }
            if tried.was.is_none() && !tried.goes_as_it_is(facts) {
                all.made.insert((ends(&tried.flow).0, asked));
            }
            if let Some(out) = tried.requests.iter().rev().find(|hop| leaves(hop)) {
                all.outs.entry(asked).or_default().insert(out.key.ifindex);
                let named = facts.legs().origin(&tried.flow).is_some_and(|(sent, _)| {
                    let source = ends(&sent).0;
                    facts.is_local_pod(source) && source != ends(&tried.flow).0
                });
                if named {
                    all.named.insert(out.key.ifindex);
                } else if facts.is_local_pod(ends(&tried.flow).0) {
                    all.bare.insert(out.key.ifindex);
                }
            }
        }
        all
    }

    /// Whether others of the same client's are answered, or of a pod's, in whose place this node itself may have asked here.
    fn is_part(&self, facts: &Facts<'_>, client: IpAddr, asked: To) -> bool {
        let here = facts.owns(client);
        let by = |of: IpAddr| of == client || here && facts.is_local_pod(of);
        self.made.iter().any(|(of, to)| *to == asked && by(*of))
    }

    /// The link by which what is asked of the same server leaves and is answered, where nothing that leaves by this one is.
    fn other<'a>(&self, facts: &Facts<'a>, last: &HopFlow) -> Option<&'a Link> {
        let outs = self.outs.get(&to(last.flow()))?;
        let other = outs.first().filter(|_| !outs.contains(&last.key.ifindex))?;
        facts.link(*other)
    }

    /// The source that this node gave it, where nothing that comes for that comes here, as far as is known.
    fn made_up(&self, facts: &Facts<'_>, symptom: &Symptom, last: &HopFlow) -> Option<IpAddr> {
        let (source, _) = ends(last.flow());
        if source == symptom.client || symptom.leg.is_none() || self.sources.contains(&source) {
            return None;
        }
        let mut routes = facts.node.routes.iter();
        let taken = facts.owns(source)
            || facts.is_local_pod(source)
            || facts.pods.by_address(source).is_some()
            || routes.any(|r| r.kind == RouteKind::Local && r.destination.contains(source));
        (!taken).then_some(source)
    }

    /// As the rules are, a pod's question stays as it is there, though those of pods to others leave in this node's name, and none
    /// that leaves as it is comes back.
    fn excepted<'a>(
        &self,
        facts: &Facts<'_>,
        symptom: &Symptom,
        last: &HopFlow,
        left: &'a Link,
    ) -> Option<Unlike<'a>> {
        let by = last.key.ifindex;
        let own = ends(last.flow()).0 == symptom.client && facts.is_local_pod(symptom.client);
        if !own || self.named.is_empty() || self.bare.contains(&by) {
            return None;
        }
        let rule = match facts.stays_as_sent(last.flow())? {
            Spared::By(taker, _) => taker.rule.map(|rule| rule.handle),
            Spared::Untracked(_) | Spared::Nobody => None,
        };
        Some(Unlike::Excepted {
            left,
            others_here: self.named.contains(&by),
            rule,
        })
    }

    /// Who has that address is known by rules alone: it is of nobody's network that this node knows, nor the world's, and nobody
    /// out there answers for it.
    fn unlisted(&self, facts: &Facts<'_>, symptom: &Symptom, last: &HopFlow) -> Option<(u8, u16)> {
        let server = symptom.server;
        let asked = (server, symptom.port, symptom.protocol);
        let as_it_is = to(last.flow()) == asked && is_ours(facts, symptom);
        if !as_it_is || !is_private(server) || !facts.leaves(&facts.packet_of(last.flow())) {
            return None;
        }
        let beside = published::led_on_beside(facts, (server, symptom.port), symptom.protocol);
        let first = beside.first()?;
        let alive = |to: &To| to.0 == server && !self.led.contains(to);
        (!self.outs.keys().any(alive)).then_some(*first)
    }

    /// Others' questions to that address and port become something else here, and this would not as the rules are: what
    /// began before they were there is no fault of theirs.
    fn is_left_as_it_is(&self, facts: &Facts<'_>, symptom: &Symptom, last: &HopFlow) -> bool {
        let server = (symptom.server, symptom.port);
        let asked = (server.0, server.1, symptom.protocol);
        let ours = is_ours(facts, symptom);
        let ruled = || published::is_led_on(facts, server, symptom.protocol);
        let now = || {
            facts
                .translates(last.flow())
                .is_some_and(|it| it.destination)
        };
        to(last.flow()) == asked && ours && (self.led.contains(&asked) || ruled()) && !now()
    }
}

/// For use within a site alone (RFC 1918, RFC 6598, RFC 4193).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64,
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// Asked by this node or a pod of it.
fn is_ours(facts: &Facts<'_>, symptom: &Symptom) -> bool {
    facts.owns(symptom.client) || facts.is_local_pod(symptom.client)
}

fn is_answered(tried: &Connection<'_>) -> bool {
    matches!(tried.outcome, Outcome::Accepted | Outcome::Refused)
}

/// Address, port and protocol.
type To = (IpAddr, u16, u8);

fn to(flow: &FlowKey) -> To {
    (ends(flow).1, flow.destination_port, flow.protocol)
}
