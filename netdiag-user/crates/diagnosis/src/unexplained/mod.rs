//! Flows that get nowhere and that no cause explains: beside them no node is called healthy.
//!
//! A client that asks again and again and gets no answer, and data that is sent again and again
//! without progress, is always somebody's fault. Whose, the hop tells that saw it last:
//!
//! - Inside this node, or at a pod of it that says nothing: the fault is here, whatever it is. The
//!   verdict is `incomplete`.
//! - It left by an uplink or a tunnel. Then this node did its part, and the network or the other
//!   end did not: a client that tries a dead address of the world's is everyday. It is told, and
//!   the node is healthy all the same, unless the other end is the cluster's own, or this node chose a
//!   source, a way back or no translation that nobody expects (see `owed`), nobody behind the same next
//!   hop answers anybody (see `next_hops`), or only what is larger gets stuck (see `clues`): its MTU may
//!   be this node's fault.
//!
//! What got through in the end is not stuck, nor what was refused: RST is an answer. A name server
//! that answers the cluster's names with errors alone, or after seconds, is told all the same: see
//! `lookups`. So is UDP that is answered from an address that nobody asked: see `strays`; or that was
//! answered before, or gets lost between two pods of this node: see `datagrams`. What a finding of severity
//! info is about is explained only where somebody is known to mean it.
mod clues;
mod datagrams;
mod drops;
mod lookups;
mod made_up;
mod next_hops;
pub mod owed;
mod passages;
mod strays;
mod symptoms;
mod turn;
mod unlike;

use std::{collections::BTreeSet, net::IpAddr};

use netdiag_lang::t;

pub use self::{
    next_hops::Ways,
    symptoms::{Symptom, Symptoms},
    turn::Turn,
    unlike::Unlike,
};
use self::{owed::Owed, unlike::Living};
use crate::{
    model::{
        address::endpoint,
        flow,
        gather::Want,
        node::Neighbour,
        pod::label,
        roles::Role,
        verdict::{Finding, PodRole, Severity, Unexplained},
        world::Netns,
    },
    pipeline::facts::{Facts, HopFlow},
    shared::{isolation, overlay, published},
    shell,
};

/// Flows that are named; more of them tell nothing new.
const NAMED: usize = 5;

impl Symptoms<'_> {
    /// Flows that are stuck and that `findings` do not explain.
    pub fn unexplained(&self, facts: &Facts<'_>, findings: &[Finding]) -> Vec<Unexplained> {
        let mut all: Vec<Symptom> = self.untold(facts, findings).cloned().collect();
        let known = Known {
            facts,
            ways: Ways::new(facts, all.iter()),
            owed: Owed::new(facts),
            findings,
        };
        for symptom in &mut all {
            let apart = isolation::between(facts, symptom.client, symptom.far());
            symptom.dropped = apart.map(|a| a.text()).or(symptom.dropped.take());
        }
        let (ours, others): (Vec<_>, Vec<_>) = all.iter().partition(|c| is_ours(&known, c));
        let mut told = tell(facts, &ours, true, |c| here(&known, c));
        told.extend(made_up::told(facts));
        told.extend(lookups::failing(facts, findings));
        told.extend(lookups::slow(facts, findings));
        told.extend(tell(facts, &others, false, |c| elsewhere(&known, c)));
        told
    }

    /// Those that no finding tells.
    pub fn untold<'s>(
        &'s self,
        facts: &Facts<'_>,
        findings: &[Finding],
    ) -> impl Iterator<Item = &'s Symptom> {
        self.ours().filter(|c| !explained(facts, c, findings))
    }

    /// What left this node, and that no finding tells.
    pub fn left(&self, facts: &Facts<'_>, findings: &[Finding]) -> impl Iterator<Item = &Symptom> {
        self.untold(facts, findings).filter(|c| left(c))
    }

    /// What left otherwise than what others ask there and is answered, and that no finding tells.
    pub fn unlike<'f>(
        &self,
        facts: &Facts<'f>,
        findings: &[Finding],
    ) -> Vec<(Unlike<'f>, &Symptom)> {
        let mut all = self.untold(facts, findings).filter(|c| left(c)).peekable();
        if all.peek().is_none() {
            return Vec::new();
        }
        let living = Living::new(facts);
        let unlike =
            all.filter_map(|symptom| Some((Unlike::of(facts, &living, symptom)?, symptom)));
        unlike.collect()
    }

    /// What left otherwise than who asked expects, though nobody is seen to be answered so, and that no finding tells.
    pub fn turned<'f>(&self, facts: &Facts<'f>, findings: &[Finding]) -> Vec<(Turn<'f>, &Symptom)> {
        let all = self.untold(facts, findings).filter(|c| left(c));
        let turned = all.filter_map(|symptom| Some((Turn::of(facts, symptom)?, symptom)));
        turned
            .filter(|(turn, _)| !turn.is_fine_for_others(facts))
            .collect()
    }

    /// What left by a next hop behind which nobody answers anybody, and whose entry somebody made, that no finding tells.
    pub fn by_hand<'f>(
        &self,
        facts: &Facts<'f>,
        findings: &[Finding],
    ) -> Vec<(&'f Neighbour, &Symptom)> {
        let all: Vec<&Symptom> = self.left(facts, findings).collect();
        let ways = Ways::new(facts, all.iter().copied());
        let asks = |c: &&Symptom| c.asked > 0 && !c.answers && ways.doubtful(c);
        let led = all.into_iter().filter(asks);
        led.filter_map(|symptom| Some((ways.permanent(symptom)?, symptom)))
            .collect()
    }

    /// What got no farther than this node without a word of a drop, and that no finding tells.
    pub fn silent(&self, facts: &Facts<'_>, findings: &[Finding]) -> Vec<&Symptom> {
        let silent = self.untold(facts, findings).filter(|c| {
            let asks = c.asked > 0 && c.stray.is_none();
            asks && !c.is_dropped() && c.circles.is_none() && !left(c)
        });
        silent.collect()
    }

    /// Who answers in place of the server that was asked, where no finding tells.
    pub fn answered_by_others(
        &self,
        facts: &Facts<'_>,
        findings: &[Finding],
    ) -> Vec<(IpAddr, &Symptom)> {
        let all = self.untold(facts, findings).filter(|c| c.asked > 0);
        all.filter_map(|c| Some((c.stray?, c))).collect()
    }

    /// What comes back by the link that it left by, and that no finding tells.
    pub fn circling(&self, facts: &Facts<'_>, findings: &[Finding]) -> Vec<&Symptom> {
        let all = self.untold(facts, findings);
        all.filter(|c| c.circles.is_some()).collect()
    }
}

/// The same with what they are the same in, in the order in which each came first.
pub fn grouped<K: PartialEq, T>(all: impl IntoIterator<Item = (K, T)>) -> Vec<(K, Vec<T>)> {
    let mut groups: Vec<(K, Vec<T>)> = Vec::new();
    for (key, one) in all {
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.push(one),
            None => groups.push((key, vec![one])),
        }
    }
    groups
}

/// Whether an address is the cluster's as far as is known: this node's or another's, a pod's, a Service's,
/// a name server's, a next hop's.
pub fn is_clusters(facts: &Facts<'_>, address: IpAddr) -> bool {
    facts.owns(address) || facts.is_local_pod(address) || owed::clusters(facts, address).is_some()
}

/// Where a masquerade makes another flow of them, conntrack tells which; and whether anybody takes
/// what comes for the node itself, its sockets.
pub fn wants(facts: &Facts<'_>, symptoms: &Symptoms<'_>) -> Vec<Want> {
    let all = &symptoms.all;
    let inside = all.iter().filter(|c| !c.is_dropped() && !left(c));
    let clients: BTreeSet<IpAddr> = inside.map(|c| c.client).collect();
    let tracked = clients.into_iter().take(NAMED).map(Want::Tracked);
    // And of what the node led on, whether the rules still do.
    let led = |c: &Symptom| c.leg.is_some_and(|leg| flow::ends(&leg).1 != c.server);
    let stacks = all
        .iter()
        .filter(|c| !c.is_dropped() && (!left(c) || led(c)));
    let stacks: BTreeSet<_> = stacks.take(NAMED).flat_map(|c| whose(facts, c)).collect();
    let elsewhere = all.iter().filter(|c| !facts.owns(c.client));
    let own = elsewhere.map(|c| ((c.server, c.port), c.protocol));
    let leaving = all.iter().filter_map(|c| owed::leaving(facts, c));
    let leaving: BTreeSet<_> = leaving.take(NAMED).collect();
    // What strangers ask for may be led on here.
    let stranger = |a: IpAddr| !facts.owns(a) && !facts.is_local_pod(a);
    let led = |c: &&Symptom| stranger(c.client) && !facts.is_local_pod(c.server);
    // And what is led on for others may leave as it is where this node asks.
    let ours = |a: IpAddr| facts.owns(a) || facts.is_local_pod(a);
    let as_it_is = |c: &&Symptom| c.leg.is_none() && left(c) && ours(c.client);
    let services = all.iter().find(|c| led(c) || as_it_is(c));
    let services = services.map(|_| Want::Services);
    tracked
        .chain(services)
        .chain(datagrams::wants(facts))
        .chain(published::wants(facts, own))
        .chain(leaving.into_iter().map(Want::SourceNat))
        .chain(stacks.into_iter().map(Want::Stack))
        .collect()
}

/// The namespaces whose state tells where a question or its answer ends.
fn whose(facts: &Facts<'_>, symptom: &Symptom) -> impl Iterator<Item = Netns> {
    let ends = [symptom.client, symptom.far()].map(|end| facts.pod_side_of(end));
    let pods = ends.into_iter().flatten().map(|side| side.netns);
    let last = symptom.last.as_ref().filter(|hop| hop.egress());
    let came = last.and_then(|hop| facts.link(hop.key.ifindex)?.peer_netns);
    std::iter::once(facts.node.netns).chain(pods).chain(came)
}

/// What all symptoms are told with.
struct Known<'f, 'a> {
    facts: &'f Facts<'a>,
    ways: Ways<'f, 'a>,
    owed: Owed<'f, 'a>,
    findings: &'f [Finding],
}

/// Where sizes decide, this node's own MTU may be the wrong one.
fn is_ours(known: &Known<'_, '_>, symptom: &Symptom) -> bool {
    // Who has that network says that nobody in it has the address.
    let missing = || clues::is_missing_there(known.facts, symptom);
    !left(symptom)
        || known.ways.doubtful(symptom)
        || clues::sizes(known.facts, symptom).is_some()
        || known.owed.question(symptom).is_some() && !missing()
}

/// Whether it went out of this node as far as its hooks see.
fn left(symptom: &Symptom) -> bool {
    let out = |h: &&HopFlow| {
        h.egress()
            && match h.role {
                Some(Role::Uplink) => true,
                // What these carry is seen at the uplink again; what others carry is not.
                Some(Role::Tunnel) => !symptom.unpacked,
                _ => false,
            }
    };
    let here = symptom.dropped.is_some() || symptom.circles.is_some();
    !here && symptom.last.as_ref().filter(out).is_some()
}

/// A finding that accounts for its conversation, or for what all goes by that it goes by.
fn explained(facts: &Facts<'_>, symptom: &Symptom, findings: &[Finding]) -> bool {
    let settles = |f: &&Finding| f.severity > Severity::Info || f.meant;
    findings
        .iter()
        .filter(settles)
        .any(|f| is_about(f, symptom))
        || {
            let passages = passages::of(facts, symptom);
            let mut settled = findings.iter().filter(settles);
            settled.any(|f| f.scope.passes(&passages))
        }
}

/// Whether a finding names that conversation.
fn is_about(finding: &Finding, symptom: &Symptom) -> bool {
    let mut ends = symptom.ends();
    ends.any(|(client, server)| {
        let has = |client| finding.scope.has(symptom.protocol, client, server);
        has(client) || has(symptom.client)
    })
}

fn tell(
    facts: &Facts<'_>,
    all: &[&Symptom],
    here: bool,
    place: impl Fn(&Symptom) -> String,
) -> Vec<Unexplained> {
    let line = |(n, c): (usize, &&Symptom)| {
        let more = match all.len() - NAMED.min(all.len()) {
            more if more > 0 && n == NAMED - 1 => t!(" and {more} more"),
            _ => String::new(),
        };
        let client = facts.pod(c.client, PodRole::Source);
        let server = facts.pod(c.server, PodRole::Server);
        let who = client.as_ref().filter(|p| p.name.is_some());
        let who = who.map_or_else(|| c.client.to_string(), label);
        let target = endpoint(c.server, c.port);
        Unexplained {
            what: t!("{} {target} from {who}{more}", flow::protocol(c.protocol)),
            why: t!("{}: {}", c.text(), place(c)),
            here,
            flows: vec![c.refer()],
            pods: client.into_iter().chain(server).collect(),
            node: None,
        }
    };
    all.iter().take(NAMED).enumerate().map(line).collect()
}

fn here(known: &Known<'_, '_>, symptom: &Symptom) -> String {
    let (facts, ways) = (known.facts, &known.ways);
    if let Some(answers) = symptom.stray {
        return strays::text(symptom.server, answers);
    }
    let path = walk(symptom);
    if left(symptom) {
        if let Some(sizes) = clues::sizes(facts, symptom) {
            return sizes.text(symptom);
        }
        if let Some(question) = known
            .owed
            .question(symptom)
            .filter(|_| !ways.doubtful(symptom))
        {
            let by = symptom.last.as_ref().map_or("", |h| h.interface.as_str());
            return t!(
                "left this node by {by}, and {question}: {path}, and watch at the other end too"
            );
        }
        let way = ways.name(symptom);
        let entry = ways.entry(symptom);
        let entry = entry.map_or_else(String::new, |e| t!(" ({e})"));
        let bare = clues::bare(facts, symptom);
        let bare = bare.map_or_else(String::new, |bare| t!("{bare}; "));
        return t!(
            "nobody behind {way} answers anybody{entry}; {bare}this node, the way or the other end: \
             {path}, and watch at the other end too"
        );
    }
    let seen = match &symptom.last {
        Some(hop) => t!(
            "last seen at {} ({})",
            hop.interface,
            overlay::way(hop.egress())
        ),
        None => t!("seen at no hop").to_owned(),
    };
    let dropped = symptom.dropped.as_ref();
    let dropped = dropped.map_or_else(String::new, |d| t!(", dropped ({d})"));
    if let Some(link) = &symptom.circles {
        let next = ways.name(symptom);
        let get = shell!("ip route get {}", symptom.far());
        let get = get.told_or(t!("the way that it takes"));
        return t!(
            "it comes back by {link}, by which it left{dropped}: a routing loop with {next}; {path}, \
             {get} and the routes there tell who is wrong"
        );
    }
    if let Some(finding) = known.findings.iter().find(|f| is_about(f, symptom)) {
        return t!(
            "{seen}{dropped}; {} names who drops it, and nothing says that this is meant: {path}",
            finding.cause
        );
    }
    if let Some(off) = clues::switched_off(facts, symptom) {
        return t!("{seen}{dropped}; {off}");
    }
    let closed = clues::closed_here(facts, symptom).filter(|_| symptom.leg.is_none());
    if let Some(closed) = closed {
        return t!("{seen}; {closed}");
    }
    if let Some(rule) = clues::uncomputed(facts, symptom) {
        return t!("{seen}{dropped}; {rule}");
    }
    t!("{seen}{dropped}; no cause explains it: {path}")
}

fn elsewhere(known: &Known<'_, '_>, symptom: &Symptom) -> String {
    let (facts, ways) = (known.facts, &known.ways);
    if let Some(answers) = symptom.stray {
        return strays::text(symptom.server, answers);
    }
    let by = symptom.last.as_ref().map_or("", |h| h.interface.as_str());
    let others = match ways.answers(symptom) {
        true => t!(", where others are answered"),
        false => "",
    };
    let said = clues::refusal(facts, symptom).or_else(|| clues::bare(facts, symptom));
    let said = said.map_or_else(String::new, |said| t!("{said}; "));
    t!(
        "left this node by {by}{others}: the network's or the other end's, not this node's; \
         {said}{}",
        walk(symptom)
    )
}

fn walk(symptom: &Symptom) -> String {
    let target = match symptom.port {
        0 => symptom.server.to_string(),
        port => endpoint(symptom.server, port),
    };
    let path = shell!("netdiag path {} {}", symptom.client, target);
    t!("{} walks the way", path.told_or(t!("netdiag's path")))
}

#[cfg(test)]
mod tests;
