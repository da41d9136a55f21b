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
//! Change or remove the rule. If it implements a NetworkPolicy, allow the traffic in the policy.
mod fix;
mod meant;
mod shown;
mod too_big;

use netdiag_common::dns::PORT as DNS;
use netdiag_lang::{mark, t};

use crate::{
    model::{
        gather::{Rule, Want},
        pod::label,
        services::Service,
        total::Total,
        verdict::{Confidence, Finding, PodRole, Severity, Subject},
    },
    need::Need,
    pipeline::{
        difference::{self, Difference},
        facts::{Facts, Loss},
    },
    shared::{
        conntrack,
        losses::{self, DropGroup},
        matching_rules::{Candidates, is_untracked, matching_rules, takes_errors, takes_invalid},
        published, rule_evidence,
        service_ports::Other,
        services, traffic_policy,
    },
};

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
    taken.iter().filter_map(|t| told(facts, t)).collect()
}

/// A rule that is written for them counts.
fn is_counted(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let rules = facts.gathered.rules(netns(facts, pattern));
    let mut rules = matching_rules(facts, rules, pattern).rules.into_iter();
    rules.any(|rule| rule.counted && takes_errors(&rule, pattern.protocol))
}

/// Patterns that one rule took, as far as can be told, the busiest first.
struct Taken<'a> {
    netns: u32,
    /// It handed them to a program, and none took them.
    queued: bool,
    patterns: Vec<DropGroup<'a>>,
    candidates: Candidates<'a>,
}

impl<'a> Taken<'a> {
    /// Those that may have done it, the likeliest first.
    fn rules(&self) -> Vec<&Rule> {
        self.candidates.rules.iter().map(AsRef::as_ref).collect()
    }

    /// The one rule that did it: it counts, or is where the packets' ways end.
    fn culprit(&self) -> Option<&Rule> {
        let first = self.candidates.rules.first().map(AsRef::as_ref);
        first.filter(|r: &&Rule| r.counted || self.candidates.computed)
    }

    /// Whether a rule counts them, or more were dropped than connection tracking refused.
    fn is_a_rules(&self, facts: &Facts<'_>) -> bool {
        let by_the_hook = |l: &&&Loss| l.symbol() == "nf_hook_slow";
        let losses = || self.patterns.iter().flat_map(|p| &p.losses);
        let packets = |l: &&Loss| l.dropped.packets;
        let refusable = losses().filter(by_the_hook).map(packets).total();
        let all = losses().map(packets).total();
        let refused = conntrack::refused(facts, self.netns).min(refusable);
        self.culprit().is_some() || all - refused >= losses::PATTERN
    }

    /// Whether the rule that took these may have taken those too.
    fn may_have(&self, netns: u32, of: &Candidates<'_>) -> bool {
        let mut rules = of.rules.iter().map(AsRef::as_ref);
        let same = match self.culprit() {
            Some(culprit) => rules.any(|rule| rule == culprit),
            None => !of.computed && !rules.any(|r: &Rule| r.counted),
        };
        same && self.netns == netns
    }
}

/// As few rules as explain all.
fn by_culprit<'a>(facts: &'a Facts<'_>, patterns: Vec<DropGroup<'a>>) -> Vec<Taken<'a>> {
    let mut all: Vec<Taken<'a>> = Vec::new();
    for pattern in patterns {
        let netns = netns(facts, &pattern);
        let queued = pattern.losses.iter().all(|l| queued(l));
        let refusing = match queued {
            true => &[],
            false => facts.gathered.rules(netns),
        };
        let mut candidates = matching_rules(facts, refusing, &pattern);
        // kube-proxy's own rules count nothing, and one of them it is.
        let others = netns == facts.node.netns && Other::of(facts, &pattern).is_some();
        candidates.rules.retain(|r| r.counted || !others);
        candidates.computed &= !candidates.rules.is_empty();
        let mut same = all.iter_mut().filter(|t| t.queued == queued);
        match same.find(|t| t.may_have(netns, &candidates)) {
            Some(taken) => taken.patterns.push(pattern),
            None => all.push(Taken {
                netns,
                queued,
                patterns: vec![pattern],
                candidates,
            }),
        }
    }
    all
}

fn told(facts: &Facts<'_>, taken: &Taken<'_>) -> Option<Finding> {
    let (netns, patterns) = (taken.netns, &taken.patterns);
    if taken.candidates.rules.is_empty() && pass_all_rules(facts, patterns) {
        return None;
    }
    // A policy that denies is meant to; but whoever writes one for what a pod may ask has forgotten its
    // name server, where that is among it: then that is told, and not what is denied on purpose.
    let here = netns == facts.node.netns;
    let policys = here && taken.culprit().and_then(meant::engine).is_some();
    let standing = patterns
        .iter()
        .filter_map(|p| losses::standing(facts, p))
        .max()?;
    let culprit = taken.culprit().filter(|_| here);
    let meant = culprit.is_some_and(|rule| meant::is_meant(facts, rule, standing, patterns));
    let mut lookups = patterns.iter().filter(|p| p.port == DNS && !p.reply);
    let lookup = lookups.next().filter(|_| policys);
    let worst = lookup.or_else(|| patterns.first())?;
    let severity = patterns
        .iter()
        .filter_map(|p| losses::severity(facts, p))
        .max()?;
    // What the node keeps out of its own ports is told with the rule that says so, or not as meant.
    if taken.candidates.rules.is_empty() && patterns.iter().all(|p| losses::is_published(facts, p))
    {
        return None;
    }
    let error = too_big::of(facts, worst);
    let (what, then) = match &error {
        Some(error) => (error.to_string(), error.harm()),
        None => (worst.target(), String::new()),
    };
    let (at, sender, packets) = (place(facts, netns), worst.sender(facts), worst.packets());
    let summary = match (taken.queued, is_cut_off(facts, worst)) {
        (true, _) => t!(
            "netfilter {at} hands {what} from {sender} to a program that does not take it (NFQUEUE): \
             {packets} packets dropped, none got through"
        ),
        (_, true) => t!(
            "netfilter {at} drops data of established connections to {what} from {sender}: {packets} \
             packets, none got through"
        ),
        _ if worst.losses.iter().any(|l| facts.succeeds(l)) => t!(
            "netfilter {at} drops {what} from {sender}: {packets} packets of connections that come to \
             nothing, beside others that are served{then}"
        ),
        _ => t!(
            "netfilter {at} drops {what} from {sender}: {packets} packets, none got through{then}"
        ),
    };
    let for_nobody = patterns.iter().all(|p| losses::is_for_nobody(facts, p));
    let meant = (meant || for_nobody) && lookup.is_none();
    let severity = match meant {
        true => Severity::Info,
        false => severity,
    };
    // Nobody keeps out on purpose what a pod's own packets are answered with.
    let severity = match error {
        Some(_) => severity.max(Severity::Warning),
        None => severity,
    };
    let mut finding = losses::finding(facts, ID, severity, patterns, summary);
    finding.meant = meant && error.is_none();
    // Others pass where these ways end: what a counter does not tell may be another's doing.
    if taken.candidates.doubted && taken.culprit().is_none() {
        finding.confidence = Confidence::Suspected;
    }
    finding
        .evidence
        .extend(error.as_ref().map(too_big::TooBig::evidence));
    if let Some(rule) = taken.culprit() {
        let (place, text) = (rule.place.clone(), rule.written());
        finding.blames(Subject::Rule { place, text });
    }
    let other = Other::of(facts, worst).filter(|_| netns == facts.node.netns);
    let computed = taken.candidates.computed;
    let mut rules = taken.rules();
    rules.truncate(RULES);
    let found = rule_evidence::Found {
        computed,
        alone: rules.len() == 1,
    };
    let evidence = rules
        .iter()
        .map(|r| rule_evidence::rule(facts, netns, (r, found)));
    finding.evidence.extend(evidence);
    let evidence = other.as_ref().and_then(|other| other.evidence(facts));
    finding.evidence.extend(evidence);
    let untracked = taken.candidates.untracked.as_ref();
    finding.evidence.extend(untracked.map(shown::untracked));
    let overlap = culprit.and_then(|rule| meant::overlap(facts, rule, patterns));
    finding.evidence.extend(overlap.map(shown::overlap));
    let apart = overlap.and_then(|overlap| Some(fix::apart(overlap, culprit?)));
    finding.fix = match (rules.as_slice(), other) {
        ([rule, ..], _) if severity == Severity::Info => fix::kept_out(worst, rule),
        ([rule, ..], _) if rule.asks.policy.is_some() && (rule.counted || rules.len() == 1) => {
            fix::policy(worst, rule)
        }
        ([rule, ..], _) if takes_invalid(rule) && is_untracked(facts, worst) => {
            fix::way_back(worst, rule)
        }
        ([rule, ..], _) if takes_invalid(rule) && is_cut_off(facts, worst) => {
            fix::forgotten(worst, rule)
        }
        ([rule, ..], _) if policys => fix::policys(worst, rule),
        ([rule], _) => fix::rule(worst, rule),
        ([rule, ..], _) if rule.counted || computed => fix::rule(worst, rule),
        _ if taken.queued => fix::queue(worst),
        ([], Some(other)) => other.fix(facts, &worst.target()),
        ([], None) => fix::find(worst),
        _ => fix::one_of(worst, &rules),
    };
    if let Some(apart) = apart {
        finding.fix = apart;
    }
    if let (Some(untracked), [rule, ..]) = (untracked, rules.as_slice()) {
        finding.fix = fix::untracked(worst, rule, untracked);
    }
    if let Some(error) = &error {
        finding.fix = error.fix(&rules);
    }
    // A pod's own rules are listed and deleted in its namespace: the node has handles of its own.
    for command in &mut finding.fix.commands {
        *command = facts.node.inside(netns, std::mem::take(command));
    }
    Some(finding)
}

/// All rules let them pass, as they are: translation drops by itself, too, where the way out of a connection changes
/// under a masquerade (`nf_nat_oif_changed`).
fn pass_all_rules(facts: &Facts<'_>, patterns: &[DropGroup<'_>]) -> bool {
    let passes = |loss: &&Loss| {
        let difference = difference::of(facts, facts.prepared(), loss);
        matches!(difference, Difference::Otherwise(_))
    };
    let busiest = patterns.first();
    busiest.is_some_and(|p| p.losses.iter().take(WALKED).copied().all(|l| passes(&l)))
}

/// The namespace whose rules took the packets; drops without one are told as the node's.
fn netns(facts: &Facts<'_>, worst: &DropGroup<'_>) -> u32 {
    let died = worst.losses.first().map(|l| l.key.netns);
    died.filter(|netns| *netns != 0).unwrap_or(facts.node.netns)
}

fn place(facts: &Facts<'_>, netns: u32) -> String {
    if netns == facts.node.netns {
        return t!("on this node").into();
    }
    let side = facts.node.pod_side(netns);
    let mut addresses = side.into_iter().flat_map(|s| &s.addresses);
    match addresses.find_map(|a| facts.pod(*a, PodRole::Source)) {
        Some(pod) => t!("inside the pod {}", label(&pod)),
        None => t!("inside a pod").into(),
    }
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

/// Whether these connections worked until their data was dropped.
fn is_cut_off(facts: &Facts<'_>, worst: &DropGroup<'_>) -> bool {
    worst.losses.iter().all(|l| facts.is_cut_off(l))
}

#[cfg(test)]
mod tests;
