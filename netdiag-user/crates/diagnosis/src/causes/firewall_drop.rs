//! # Symptom
//! One kind of connection times out, or is refused at once, while everything else works.
//!
//! # Mechanism
//! A netfilter rule on this node (iptables, nftables, the rules of a NetworkPolicy) drops or rejects the
//! packets.
//!
//! # Signals
//! Observed: drops with the reason NETFILTER_DROP, again and again for the same destination, and no
//! answer ever. The location names the backend: `nft_do_chain` is nftables or iptables-nft;
//! `nf_hook_slow` is iptables-legacy, and any of them on older kernels. Gathered: rules that drop or
//! reject and whose counters move during the run, with their handles. Where the namespace's whole ruleset
//! could be read, the packet's way through it is computed, and the rule where it ends is named, whether it
//! counts or not. Else rules whose selectors match other packets are left out, and if no counter moves:
//! rules without a counter, and the policies of the chains at that hook.
//!
//! One direction may bypass this node (asymmetric routing). Then the first packet of a connection passes
//! and the rest is dropped, or a reply is dropped whose request never passed this node, and a rule for
//! INVALID counts: that rule did it.
//!
//! Data of an established connection that is dropped again and again counts although others go on:
//! connection tracking has let go of it, and a rule for INVALID takes it. A drop in `nf_queue` is of a
//! rule that hands packets to a program (NFQUEUE) which does not run or is too slow.
//!
//! If the dropped packets are frag-needed or packet-too-big, the finding names the flows whose packets
//! stay too large.
//!
//! # Look-alikes
//! `service-local-only`, `service-no-endpoints`: the rule is kube-proxy's, for a Service without a usable
//! endpoint. `conntrack-full`: the same reason in `nf_hook_slow`, while the table is full. Stray packets
//! of closed connections (FIN, RST) are dropped as INVALID on healthy nodes and do not count here.
//! kube-proxy also rejects packets to a Service's address on a port that the Service does not have: the
//! finding then lists the Service's ports. A rejected ping to a Service's address is no finding.
//!
//! # By hand
//! `nft list ruleset` or `iptables-save -c`, before and after an attempt: the rule whose counter moved
//! did it. An nftables rule counts only if it has a `counter`. On a node with both iptables backends look
//! at both: `iptables-legacy-save -c`, `iptables-nft-save -c`.
//!
//! # Fix
//! Change or remove the rule. If it implements a NetworkPolicy, allow the traffic in the policy. Where the way through
//! the rules is computed, the finding prints the smallest change that lets these packets through, there and back: a rule
//! of their own before one that takes others as well, or behind a chain whose policy drops; a rule for nothing else is
//! taken away. It also says what stops them behind that.
mod fix;
mod meant;
mod open;
mod shown;
mod taken;
mod told;
mod too_big;

use netdiag_lang::mark;

use self::{
    taken::{by_culprit, netns},
    told::Case,
};
use crate::{
    model::{
        gather::Want,
        services::Service,
        verdict::{Finding, Severity},
    },
    need::Need,
    pipeline::facts::{Facts, Loss},
    shared::{
        conntrack,
        losses::{self, DropGroup},
        matching_rules::{matching_rules, takes_errors},
        published,
        service_ports::Other,
        services,
        story::dropped,
        traffic_policy,
    },
};

pub use meant::engine_of;

pub const ID: &str = "firewall-drop";
pub const TITLE: &str = mark!("a netfilter rule drops or rejects pods' or the node's packets");

/// Rules that a finding names at most.
const RULES: usize = 3;
/// Losses of a pattern that are held against the rules.
const WALKED: usize = 4;
/// Within which a node's rules for Services are read, or they are not waited for.
const ANSWERED_NS: u64 = 8_000_000_000;

fn by_netfilter(loss: &Loss) -> bool {
    loss.reason == "NETFILTER_DROP" || queued(loss)
}

/// A rule handed it to a program that does not take it (NFQUEUE): none reads that queue, or it is full.
fn queued(loss: &Loss) -> bool {
    loss.symbol() == "nf_queue"
}

pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    // No rule is behind what a full table drops.
    let full = conntrack::full(facts);
    let by_a_rule = |l: &Loss| by_netfilter(l) && !conntrack::for_want_of_room(full.as_ref(), l);
    let mut patterns = losses::with_scattered(facts, by_a_rule);
    let unanswered = unanswered(facts, &patterns);
    patterns.retain(|p| {
        losses::severity(facts, p).is_some()
            && !is_services(facts, p)
            && (!losses::is_own_error(facts, p) || is_counted(facts, p))
            && !is_ping_of_a_service(facts, p)
            && !may_be_a_services(facts, p)
            && !may_turn(facts, p, &unanswered)
    });
    let mut taken = by_culprit(facts, patterns);
    taken.retain(|t| t.is_a_rules(facts));
    let cases = taken.iter().filter_map(|taken| {
        let case = Case::of(facts, taken)?;
        let as_bad = (ID, case.severity);
        let mut finding = dropped(facts, as_bad, &taken.patterns, case.tell());
        finding.meant = case.is_meant();
        Some(finding)
    });
    cases.collect()
}

/// A rule that is written for them counts.
fn is_counted(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let rules = facts.gathered.rules(netns(facts, pattern));
    let mut rules = matching_rules(facts, rules, pattern).rules.into_iter();
    rules.any(|rule| rule.counted && takes_errors(&rule, pattern.protocol))
}

/// Which rule it is; and what is dropped may be rejected for lack of endpoints:
/// `service-no-endpoints`.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let patterns = losses::with_scattered(facts, by_netfilter);
    let mut to = patterns.iter().map(|p| p.destination);
    let services = to.any(|to| services::is_elsewhere(facts, to) || facts.owns(to));
    let undecided = patterns.iter().filter(|p| {
        let bad = losses::severity(facts, p) > Some(Severity::Info);
        bad && !p.reply && services::may_be_one(facts, p.destination)
    });
    let mut needs = services::needs(undecided.map(|p| (p.destination, p.sufferer())));
    let mut wants: Vec<_> = services.then_some(Want::Services).into_iter().collect();
    let told = patterns
        .iter()
        .filter(|p| losses::severity(facts, p).is_some());
    let died = told.filter_map(|p| Some(p.losses.first()?.key.netns));
    wants.extend(died.filter(|netns| *netns != 0).map(Want::Rules));
    let own = patterns.iter().filter(|p| !p.reply);
    let own = own.map(|p| ((p.destination, p.port), p.protocol));
    wants.extend(published::wants(facts, own));
    wants.extend(losses::who_serves(facts, &patterns));
    let rules = facts.gathered.rules(facts.node.netns).iter();
    wants.extend(rules.filter(|r| r.counted).filter_map(meant::want));
    needs.extend(wants.into_iter().map(Need::detail));
    needs
}

fn is_services(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let asked = (pattern.destination, pattern.port);
    let rule = services::refusal(facts, asked, pattern.protocol);
    // Of the node's own ports `service-no-endpoints` says nothing.
    let told = |rule: &Service| {
        !rule.address.is_unspecified() || traffic_policy::is_local_only(facts, rule)
    };
    !pattern.reply && rule.is_some_and(told)
}

/// Whether a Service's own rule refuses it is asked for and not known yet.
fn may_be_a_services(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let young = facts.now.saturating_sub(pattern.first()) < ANSWERED_NS;
    let to = pattern.destination;
    let node_port = facts.owns(to) && !pattern.reply && !losses::is_published(facts, pattern);
    young && (node_port || services::may_be_one(facts, to)) && !facts.gathered.has(&Want::Services)
}

/// What is asked and not answered yet of which ends serve; of no more than is asked.
fn unanswered(facts: &Facts<'_>, patterns: &[DropGroup<'_>]) -> Vec<Want> {
    let mut asked = losses::who_serves(facts, patterns);
    asked.retain(|want| !facts.gathered.has(want));
    asked
}

/// Whether an answer that is still to come may turn it round.
fn may_turn(facts: &Facts<'_>, pattern: &DropGroup<'_>, unanswered: &[Want]) -> bool {
    let young = facts.now.saturating_sub(pattern.first()) < ANSWERED_NS;
    let waits = |flow| {
        facts
            .who_serves(flow)
            .iter()
            .any(|w| unanswered.contains(w))
    };
    young && !unanswered.is_empty() && pattern.losses.first().is_some_and(|l| waits(l.flow()))
}

/// A Service's address answers by its ports only: kube-proxy rejects everything else.
fn is_ping_of_a_service(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    matches!(pattern.protocol, 1 | 58)
        && netns(facts, pattern) == facts.node.netns
        && Other::of(facts, pattern).is_some()
}

#[cfg(test)]
mod tests;
