//! # Symptom
//! Packets of a pod or of this node die on this node, again and again, and none of the causes that have a name explains
//! it: no rule of netfilter's, no missing route, no limit.
//!
//! # Mechanism
//! The kernel decides at each step of a packet's way: by a policy rule, a route, an address, a neighbour, a bridge's port,
//! a sysctl. At one of them it says no. It often says so nowhere: a packet whose source is an address of the node itself
//! is thrown away as forged, a frame of a VLAN that a port is not in is thrown away without a word.
//!
//! Or it lets the packet go by another way than who waits for it expects: an answer by the uplink of the default route,
//! though the question came by a second one, or a packet by one uplink with the address of another. Routers that filter
//! by source, and firewalls that track connections, drop those.
//!
//! # Signals
//! Gathered: the state of the network namespaces that the packets come from, pass and are for. The packets' way is
//! computed from it, as the kernel goes. Observed: drops for a reason and in a function that belong to the station where
//! that way ends, in the namespace where it ends, at least three packets over two seconds, and nothing of them got
//! through or was seen any further. Of a neighbour that does not answer: whoever has its address hears the question and
//! may not answer it.
//!
//! Observed of what comes to whom it is for and is not answered: no packet of an answer. The answer's way is computed, and
//! where it ends at one step within his namespace (no route, one that refuses, a policy rule), that is told: the kernel
//! makes no packet for it, and drops none.
//!
//! Observed of what left unlike others: the same server answers what leaves by another link, and nothing that leaves by this
//! one; a source that this node gave it and that no link has; an address that is translated here for others alone.
//!
//! Observed of what left with a source of that link's own network, though its sender is behind this node: nobody is
//! answered so, and this node, as computed, does not answer who asks on that link for the sender. The same of what leaves by a
//! link for an address of this very node: who sits on a link of it (macvlan, ipvlan) does not reach the host below.
//!
//! Observed of frames: all of them come to somebody whom they are not for, or go back to the bridge's port that they came in
//! by; of a pod whose gateway does not answer: as computed, the answers do. Configured: the entry of the bridge's table that
//! leads them there, or a port that takes nothing that is flooded.
//!
//! Observed of what is of a connection and goes as it was sent, though the rules, as computed, translate whoever begins such a
//! one: connection tracking has let go of it, or an entry of it is older than the rules; it ends at this node, on a link where
//! nobody has that address, or out there. So are answers that reach a pod untranslated, and connections that an entry still
//! leads to somebody who is gone, here or beyond, though the rules lead new ones to others.
//!
//! Observed of connections of others: this node leads them on to a host beyond, out by the link that they came in by, with
//! their own source, and nobody who is led so is answered: the answers go past this node.
//!
//! Observed of answers: they leave with the address of whom this node led the question on to, and nothing translates them back.
//! Configured: a rule gives one direction another zone of connection tracking, or leaves it untracked.
//!
//! Observed of a tunnel: nothing comes in from behind a next hop. Configured: its entry leads to the same node as that of
//! another next hop.
//!
//! Observed of a drop with the reason XFRM_POLICY: a policy of IPsec blocks, or wants what came as it is to have come encrypted.
//!
//! Observed of a next hop: nobody behind it answers anybody. Configured: its neighbour entry is one that somebody made, so
//! that this node asks no more whose it is.
//!
//! Observed of large segments: three connections to one address that open and repeat them, while none as large is acknowledged
//! there, and nobody tells of a smaller MTU.
//!
//! Observed of questions by ARP and neighbour discovery: one asker repeats his for the same address, five times in some
//! seconds, nobody says here that he has it, and nothing comes for it. Configured: this node has it on no link, and its rules
//! lead it to pods. Whoever announced a load balancer's address there may be gone; another node's answer is not seen here, so
//! that it is told as info.
//!
//! The same of an address that the very link has where it is asked for. Configured: as computed, this node keeps silent
//! (`arp_ignore`, `arp_filter`, a link without ARP).
//!
//! Observed of what left by another uplink: the question at the one, the answer at the other, at least three questions
//! over three seconds, and nobody who was answered so went on.
//!
//! Observed of datagrams: answers of an address that the client did not ask, which no socket takes. Of what leaves as it
//! is: the rules lead other ports of that address on, and not this one. Of what dies at the next hop, as that says, with
//! its hops used up: a rule of this node sets them; of what a pod sends and this node ends, as they are used up here: the
//! pod's own namespace gives so few. Of what leaves by a route by which nobody is heard: another one is behind it, a second
//! default route or a wider network that works. Of what this node asks at its loopback: `route_localnet` of the link by
//! which it would leave. Of conversations by a route with several next hops: a part loses its first packet behind the link,
//! again and again, and the rest at the same time does not.
//!
//! Where other packets pass that very step although they should not, as computed, the step is not believed, and nothing is
//! told of it.
//!
//! # Look-alikes
//! Whatever has a name of its own is told by that: `no-route`, `rp-filter-drop`, `forwarding-disabled`,
//! `neighbour-failed`, `link-failure`, `firewall-drop`. Two hosts with one address on the same link are a
//! `duplicate-address`.
//!
//! # By hand
//! `ip route get DESTINATION from SOURCE iif LINK` asks the kernel for its decision. `ip address show to ADDRESS` tells
//! whether an address is this node's. `bridge -d link show` and `bridge vlan show` tell what ports let through.
//!
//! # Fix
//! The finding names the one thing at which the way ends, and the smallest change to it. Find out who set it.
mod by_hand;
mod few_hops;
mod forgotten;
mod from_another;
mod hidden;
#[cfg(test)]
mod leading;
mod led_past;
mod narrow;
mod not_back;
mod old_entry;
mod one_of_several;
mod one_vtep;
mod own_not_answered;
mod own_remote;
mod short_lived;
mod silent;
mod story;
mod turned;
mod unlike;
mod vip_not_answered;
mod wanted;

use netdiag_lang::{mark, t};

use crate::{
    model::{
        gather::{Answer, Want},
        verdict::{Finding, Severity},
    },
    need::{Need, Strength},
    pipeline::{
        difference::{died_in, is_rerouted},
        facts::{Facts, Loss},
    },
    shared::{
        dead_end::{self, Told},
        losses::{self, DropGroup, Standing},
        pod_gateway_silent,
        story::{Story, dropped},
        too_wide,
    },
    unexplained::{Symptoms, grouped},
};

pub const ID: &str = "path-broken";
pub const TITLE: &str =
    mark!("packets end at a step of their way that the state explains and no other cause names");

/// Whatever nobody has a name for is as bad as this.
const AS_BAD: (&str, Severity) = (ID, Severity::Warning);
/// Patterns of a reading that are held against their ways, the busiest first.
const PATTERNS: usize = 16;
/// Losses of each, the busiest first.
const LOSSES: usize = 4;
/// What is over sooner is over before anybody looks at it.
const SPAN_NS: u64 = 2_000_000_000;

/// Findings about what these leave untold.
pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &mut Vec<Finding>) {
    // That a name server is silent, or a tunnel, names no step.
    let names = |f: &&Finding| super::strength(f).is_some();
    let mut named: Vec<Finding> = findings.iter().filter(names).cloned().collect();
    let known = named.len();
    named.extend(forgotten::evaluate(facts));
    named.extend(old_entry::evaluate(facts));
    let ended = left(facts, symptoms, &named).into_iter();
    let ended = grouped(ended.filter_map(|pattern| Some((told(facts, &pattern)?, pattern))));
    let ended = ended.into_iter();
    named.extend(ended.map(|(told, patterns)| finding(facts, told, &patterns)));
    // What one of them tells is not told by those after it.
    type Rest = fn(&Facts<'_>, &Symptoms<'_>, &[Finding]) -> Vec<Finding>;
    const RESTS: [Rest; 17] = [
        own_not_answered::evaluate,
        silent::evaluate,
        old_entry::beyond,
        not_back::evaluate,
        from_another::evaluate,
        led_past::evaluate,
        turned::evaluate,
        unlike::evaluate,
        short_lived::evaluate,
        few_hops::evaluate,
        hidden::evaluate,
        one_of_several::evaluate,
        own_remote::evaluate,
        one_vtep::evaluate,
        by_hand::evaluate,
        narrow::evaluate,
        vip_not_answered::evaluate,
    ];
    for rest in RESTS {
        let told = rest(facts, symptoms, &named);
        named.extend(told);
    }
    findings.extend(named.drain(known..));
}

/// What tells of addresses that somebody asks for in vain.
pub fn wants(facts: &Facts<'_>) -> impl Iterator<Item = Want> {
    let own = own_not_answered::wants(facts).into_iter();
    own.chain(vip_not_answered::wants(facts))
        .chain(short_lived::wants(facts))
        .chain(few_hops::wants(facts))
}

/// What the state would tell of the rest of them, where it is not there yet.
pub fn needs(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Need> {
    let mut all = Vec::new();
    for pattern in left(facts, symptoms, findings) {
        let lost = pattern.losses.first().map(|loss| died_in(facts, loss));
        let asked = [Some(facts.node.netns), lost];
        let missing = asked.into_iter().flatten().map(Want::Stack);
        let missing = missing.filter(|want| {
            let answer = facts.gathered.answer(want);
            !matches!(answer, Answer::Known | Answer::Absent)
        });
        all.extend(missing.take(1).map(|want| Need {
            at_best: Some(Strength::Acted),
            ..Need::of(want, vec![pattern.sufferer()])
        }));
    }
    all
}

/// Patterns that no finding says more of than the kernel does.
fn left<'f>(
    facts: &Facts<'_>,
    symptoms: &Symptoms<'f>,
    findings: &[Finding],
) -> Vec<DropGroup<'f>> {
    let left = symptoms.dropped.iter().filter(|p| {
        let lasts = p.last().saturating_sub(p.first()) >= SPAN_NS;
        lasts && is_missed(facts, p) && !is_told(facts, findings, p) && may_end_so(facts, p)
    });
    left.take(PATTERNS).cloned().collect()
}

fn is_missed(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    matches!(
        losses::standing(facts, pattern),
        Some(Standing::Ours | Standing::Published)
    )
}

fn is_told(facts: &Facts<'_>, findings: &[Finding], pattern: &DropGroup<'_>) -> bool {
    let (client, server) = match pattern.reply {
        true => (pattern.destination, pattern.source),
        false => (pattern.source, pattern.destination),
    };
    let silent = pattern
        .losses
        .iter()
        .any(|l| pod_gateway_silent::is_unexplained(facts, l));
    let strong = |f: &&Finding| super::strength(f) >= Some(Strength::Fits) && f.cause != ID;
    let has = |f: &Finding| {
        f.scope
            .has(pattern.protocol, client, (server, pattern.port))
    };
    !silent && findings.iter().filter(strong).any(has)
}

/// What sockets, sizes and rules of netfilter's take has causes of its own, and those ask for more than a way.
fn may_end_so(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let silent = |l: &Loss| {
        let unexplained = || pod_gateway_silent::is_unexplained(facts, l);
        losses::nobody_answered(l) && (unexplained() || too_wide::told(facts, l).is_some())
    };
    let fits = |l: &Loss| dead_end::STATIONS.iter().any(|at| l.is_at(*at));
    let anew = |l: &Loss| is_rerouted(facts, l);
    pattern
        .losses
        .iter()
        .any(|l| silent(l) || fits(l) || anew(l))
}

/// The one step at which these end.
fn told(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Option<Told> {
    let mut losses = pattern.losses.clone();
    losses.sort_by_key(|l| std::cmp::Reverse(l.dropped.packets));
    let mut ends = losses
        .iter()
        .take(LOSSES)
        .filter_map(|l| too_wide::told(facts, l).or_else(|| dead_end::of_loss(facts, l)));
    let first = ends.next()?;
    ends.all(|other| other == first).then_some(first)
}

fn finding(facts: &Facts<'_>, told: Told, patterns: &[DropGroup<'_>]) -> Finding {
    let worst = &patterns[0];
    let summary = t!(
        "{}; {} from {}: {} packets, none got through",
        told.what,
        worst.target(),
        worst.sender(facts),
        worst.packets(),
    );
    dropped(facts, AS_BAD, patterns, Story::of(told, summary))
}

#[cfg(test)]
mod tests;
