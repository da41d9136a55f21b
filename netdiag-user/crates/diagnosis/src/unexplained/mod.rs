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
mod candidates;
mod clues;
mod datagrams;
mod drops;
mod lookups;
mod made_up;
mod next_hops;
mod owed;
mod passages;
mod strays;
mod turn;
mod unlike;

use std::{collections::BTreeSet, net::IpAddr};

use netdiag_lang::t;

pub use self::{candidates::Candidate, turn::Turn, unlike::Unlike};
use self::{candidates::candidates, next_hops::Ways, owed::Owed, unlike::Living};
use crate::{
    model::{
        address::endpoint,
        flow,
        gather::Want,
        pod::label,
        roles::Role,
        verdict::{Finding, PodRole, Severity, Unexplained},
        world::Netns,
    },
    pipeline::facts::{Facts, HopFlow},
    shared::{isolation, losses::DropGroup, overlay, published},
    shell,
};

/// Flows that are named; more of them tell nothing new.
const NAMED: usize = 5;

/// Flows that are stuck and that `findings` do not explain.
pub fn unexplained(facts: &Facts<'_>, findings: &[Finding]) -> Vec<Unexplained> {
    let mut all = candidates(facts);
    all.retain(|c| !explained(facts, c, findings));
    let known = Known {
        facts,
        ways: Ways::new(facts, &all),
        owed: Owed::new(facts),
        findings,
    };
    for candidate in &mut all {
        let apart = isolation::between(facts, candidate.client, candidate.far());
        candidate.dropped = apart.map(|a| a.text()).or(candidate.dropped.take());
    }
    let (ours, others): (Vec<_>, Vec<_>) = all.iter().partition(|c| is_ours(&known, c));
    let mut told = tell(facts, &ours, true, |c| here(&known, c));
    told.extend(made_up::told(facts));
    told.extend(lookups::failing(facts, findings));
    told.extend(lookups::slow(facts, findings));
    told.extend(tell(facts, &others, false, |c| elsewhere(&known, c)));
    told
}

/// Whether an address is the cluster's as far as is known: this node's or another's, a pod's, a Service's,
/// a name server's, a next hop's.
pub fn is_clusters(facts: &Facts<'_>, address: IpAddr) -> bool {
    facts.owns(address) || facts.is_local_pod(address) || owed::clusters(facts, address).is_some()
}

/// What of this node's own and its pods' packets it drops on their way, again and again.
pub fn dropped<'f>(facts: &'f Facts<'_>) -> Vec<DropGroup<'f>> {
    drops::patterns(facts)
}

/// What left otherwise than what others ask there and is answered, and that no finding tells.
pub fn unlike<'f>(facts: &Facts<'f>, findings: &[Finding]) -> Vec<(Candidate, Unlike<'f>)> {
    let mut all = candidates(facts);
    all.retain(|c| left(c) && !explained(facts, c, findings));
    if all.is_empty() {
        return Vec::new();
    }
    let living = Living::new(facts);
    let unlike = all.into_iter().filter_map(|candidate| {
        let unlike = Unlike::of(facts, &living, &candidate)?;
        Some((candidate, unlike))
    });
    unlike.collect()
}

/// What left otherwise than who asked expects, though nobody is seen to be answered so, and that no finding tells.
pub fn turned<'f>(facts: &Facts<'f>, findings: &[Finding]) -> Vec<(Candidate, Turn<'f>)> {
    let mut all = candidates(facts);
    all.retain(|c| left(c) && !explained(facts, c, findings));
    let turned = all.into_iter().filter_map(|candidate| {
        let turn = Turn::of(facts, &candidate)?;
        Some((candidate, turn))
    });
    turned
        .filter(|(_, turn)| !turn.is_fine_for_others(facts))
        .collect()
}

/// What got no farther than this node without a word of a drop, and that no finding tells.
pub fn silent(facts: &Facts<'_>, findings: &[Finding]) -> Vec<Candidate> {
    let mut all = candidates(facts);
    all.retain(|c| {
        let asks = c.asked > 0 && !c.answers && c.stray.is_none();
        let ended = c.is_dropped() || c.circles.is_some();
        asks && !ended && !left(c) && !explained(facts, c, findings)
    });
    all
}

/// What comes back by the link that it left by, and that no finding tells.
pub fn circling(facts: &Facts<'_>, findings: &[Finding]) -> Vec<Candidate> {
    let mut all = candidates(facts);
    all.retain(|c| c.circles.is_some() && !explained(facts, c, findings));
    all
}

/// Where a masquerade makes another flow of them, conntrack tells which; and whether anybody takes
/// what comes for the node itself, its sockets.
pub fn wants(facts: &Facts<'_>) -> Vec<Want> {
    let all = candidates::failing(facts);
    let inside = all.iter().filter(|c| !c.is_dropped() && !left(c));
    let clients: BTreeSet<IpAddr> = inside.map(|c| c.client).collect();
    let tracked = clients.into_iter().take(NAMED).map(Want::Tracked);
    let stacks = all.iter().filter(|c| !c.is_dropped() && !left(c));
    let stacks: BTreeSet<_> = stacks.take(NAMED).flat_map(|c| whose(facts, c)).collect();
    let elsewhere = all.iter().filter(|c| !facts.owns(c.client));
    let own = elsewhere.map(|c| ((c.server, c.port), c.protocol));
    let leaving = all.iter().filter_map(|c| owed::leaving(facts, c));
    let leaving: BTreeSet<_> = leaving.take(NAMED).collect();
    // What strangers ask for may be led on here.
    let stranger = |a: IpAddr| !facts.owns(a) && !facts.is_local_pod(a);
    let led = |c: &&Candidate| stranger(c.client) && !facts.is_local_pod(c.server);
    // And what is led on for others may leave as it is where this node asks.
    let ours = |a: IpAddr| facts.owns(a) || facts.is_local_pod(a);
    let as_it_is = |c: &&Candidate| c.leg.is_none() && left(c) && ours(c.client);
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
fn whose(facts: &Facts<'_>, candidate: &Candidate) -> impl Iterator<Item = Netns> {
    let ends = [candidate.client, candidate.far()].map(|end| facts.pod_side_of(end));
    let pods = ends.into_iter().flatten().map(|side| side.netns);
    let last = candidate.last.as_ref().filter(|hop| hop.egress());
    let came = last.and_then(|hop| facts.link(hop.key.ifindex)?.peer_netns);
    std::iter::once(facts.node.netns).chain(pods).chain(came)
}

/// What all candidates are told with.
struct Known<'f, 'a> {
    facts: &'f Facts<'a>,
    ways: Ways<'f, 'a>,
    owed: Owed<'f, 'a>,
    findings: &'f [Finding],
}

/// Where sizes decide, this node's own MTU may be the wrong one.
fn is_ours(known: &Known<'_, '_>, candidate: &Candidate) -> bool {
    !left(candidate)
        || known.ways.doubtful(candidate)
        || clues::sizes(known.facts, candidate).is_some()
        || known.owed.question(candidate).is_some()
}

/// Whether it went out of this node as far as its hooks see.
fn left(candidate: &Candidate) -> bool {
    let out = |h: &&HopFlow| {
        h.egress()
            && match h.role {
                Some(Role::Uplink) => true,
                // What these carry is seen at the uplink again; what others carry is not.
                Some(Role::Tunnel) => !candidate.unpacked,
                _ => false,
            }
    };
    let here = candidate.dropped.is_some() || candidate.circles.is_some();
    !here && candidate.last.as_ref().filter(out).is_some()
}

/// A finding that accounts for its conversation, or for what all goes by that it goes by.
fn explained(facts: &Facts<'_>, candidate: &Candidate, findings: &[Finding]) -> bool {
    let settles = |f: &&Finding| f.severity > Severity::Info || f.meant;
    findings
        .iter()
        .filter(settles)
        .any(|f| is_about(f, candidate))
        || {
            let passages = passages::of(facts, candidate);
            let mut settled = findings.iter().filter(settles);
            settled.any(|f| f.scope.passes(&passages))
        }
}

/// Whether a finding names that conversation.
fn is_about(finding: &Finding, candidate: &Candidate) -> bool {
    let mut ends = candidate.ends();
    ends.any(|(client, server)| {
        let has = |client| finding.scope.has(candidate.protocol, client, server);
        has(client) || has(candidate.client)
    })
}

fn tell(
    facts: &Facts<'_>,
    all: &[&Candidate],
    here: bool,
    place: impl Fn(&Candidate) -> String,
) -> Vec<Unexplained> {
    let line = |(n, c): (usize, &&Candidate)| {
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
            why: t!("{}: {}", c.symptom(), place(c)),
            here,
            flows: vec![c.refer()],
            pods: client.into_iter().chain(server).collect(),
            node: None,
        }
    };
    all.iter().take(NAMED).enumerate().map(line).collect()
}

fn here(known: &Known<'_, '_>, candidate: &Candidate) -> String {
    let (facts, ways) = (known.facts, &known.ways);
    if let Some(answers) = candidate.stray {
        return strays::text(candidate.server, answers);
    }
    let path = walk(candidate);
    if left(candidate) {
        if let Some(sizes) = clues::sizes(facts, candidate) {
            return sizes.text(candidate);
        }
        if let Some(question) = known
            .owed
            .question(candidate)
            .filter(|_| !ways.doubtful(candidate))
        {
            let by = candidate.last.as_ref().map_or("", |h| h.interface.as_str());
            return t!(
                "left this node by {by}, and {question}: {path}, and watch at the other end too"
            );
        }
        let way = ways.name(candidate);
        let entry = ways.permanent(candidate);
        let entry = entry.map_or_else(String::new, |e| t!(" ({e})"));
        let bare = clues::bare(facts, candidate);
        let bare = bare.map_or_else(String::new, |bare| t!("{bare}; "));
        return t!(
            "nobody behind {way} answers anybody{entry}; {bare}this node, the way or the other end: \
             {path}, and watch at the other end too"
        );
    }
    let seen = match &candidate.last {
        Some(hop) => t!(
            "last seen at {} ({})",
            hop.interface,
            overlay::way(hop.egress())
        ),
        None => t!("seen at no hop").to_owned(),
    };
    let dropped = candidate.dropped.as_ref();
    let dropped = dropped.map_or_else(String::new, |d| t!(", dropped ({d})"));
    if let Some(link) = &candidate.circles {
        let next = ways.name(candidate);
        let get = shell!("ip route get {}", candidate.far());
        let get = get.told_or(t!("the way that it takes"));
        return t!(
            "it comes back by {link}, by which it left{dropped}: a routing loop with {next}; {path}, \
             {get} and the routes there tell who is wrong"
        );
    }
    if let Some(finding) = known.findings.iter().find(|f| is_about(f, candidate)) {
        return t!(
            "{seen}{dropped}; {} names who drops it, and nothing says that this is meant: {path}",
            finding.cause
        );
    }
    if let Some(off) = clues::switched_off(facts, candidate) {
        return t!("{seen}{dropped}; {off}");
    }
    let closed = clues::closed_here(facts, candidate).filter(|_| candidate.leg.is_none());
    if let Some(closed) = closed {
        return t!("{seen}; {closed}");
    }
    if let Some(rule) = clues::uncomputed(facts, candidate) {
        return t!("{seen}{dropped}; {rule}");
    }
    t!("{seen}{dropped}; no cause explains it: {path}")
}

fn elsewhere(known: &Known<'_, '_>, candidate: &Candidate) -> String {
    let (facts, ways) = (known.facts, &known.ways);
    if let Some(answers) = candidate.stray {
        return strays::text(candidate.server, answers);
    }
    let by = candidate.last.as_ref().map_or("", |h| h.interface.as_str());
    let others = match ways.answers(candidate) {
        true => t!(", where others are answered"),
        false => "",
    };
    let said = clues::refusal(facts, candidate).or_else(|| clues::bare(facts, candidate));
    let said = said.map_or_else(String::new, |said| t!("{said}; "));
    t!(
        "left this node by {by}{others}: the network's or the other end's, not this node's; \
         {said}{}",
        walk(candidate)
    )
}

fn walk(candidate: &Candidate) -> String {
    let target = match candidate.port {
        0 => candidate.server.to_string(),
        port => endpoint(candidate.server, port),
    };
    let path = shell!("netdiag path {} {}", candidate.client, target);
    t!("{} walks the way", path.told_or(t!("netdiag's path")))
}

#[cfg(test)]
mod tests;
