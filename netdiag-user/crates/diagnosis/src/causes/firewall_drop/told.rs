//! What is told of a rule that takes packets, and of what brings them through.
use netdiag_common::{dns::PORT as DNS, hop};
use netdiag_lang::t;

use super::{
    RULES, fix,
    meant::{self, Overlap},
    open, shown,
    taken::{Taken, pass_all_rules},
    too_big::{self, TooBig},
};
use crate::{
    model::{
        gather::Rule,
        pod::label,
        verdict::{Confidence, Evidence, Fix, PodRole, Severity, Subject},
    },
    pipeline::facts::{Facts, Loss},
    shared::{
        losses::{self, DropGroup},
        matching_rules::{is_untracked, takes_invalid},
        rule_evidence,
        service_ports::Other,
        story::Story,
    },
};

/// What one rule took, and what is known of it.
pub struct Case<'c, 'a> {
    facts: &'c Facts<'a>,
    taken: &'c Taken<'c>,
    /// The one that is told by name.
    worst: &'c DropGroup<'c>,
    /// Those that may have done it, the likeliest first.
    rules: Vec<&'c Rule>,
    /// They tell senders of a smaller MTU.
    error: Option<TooBig>,
    /// Such lookups are among what a network policy denies.
    lookups: bool,
    /// Somebody wants them to be kept out, or nobody misses them.
    meant: bool,
    pub severity: Severity,
}

impl<'c, 'a> Case<'c, 'a> {
    /// Nothing where the kernel drops them without a rule, or nobody knows that a rule keeps out what this node serves.
    pub fn of(facts: &'c Facts<'a>, taken: &'c Taken<'c>) -> Option<Self> {
        let (patterns, no_rule) = (&taken.patterns, taken.candidates.rules.is_empty());
        let published = |p: &DropGroup<'_>| losses::is_published(facts, p);
        if no_rule && (pass_all_rules(facts, patterns) || patterns.iter().all(published)) {
            return None;
        }
        let here = taken.netns == facts.node.netns;
        let culprit = taken.culprit().filter(|_| here);
        // A policy that denies is meant to; but whoever writes one for what a pod may ask has forgotten its
        // name server, where that is among it: then that is told, and not what is denied on purpose.
        let policys = culprit.and_then(meant::engine).is_some();
        let lookup = { patterns.iter() }.find(|p| policys && p.port == DNS && !p.reply);
        let standing = patterns.iter().filter_map(|p| losses::standing(facts, p));
        let standing = standing.max()?;
        let meant = culprit.is_some_and(|rule| meant::is_meant(facts, rule, standing, patterns))
            || patterns.iter().all(|p| losses::is_for_nobody(facts, p));
        let worst = lookup.or_else(|| patterns.first())?;
        let error = too_big::of(facts, worst);
        let severity = patterns.iter().filter_map(|p| losses::severity(facts, p));
        let mut case = Self {
            facts,
            taken,
            worst,
            rules: taken.rules(),
            meant: meant && lookup.is_none(),
            lookups: policys,
            severity: severity.max()?,
            error,
        };
        case.rules.truncate(RULES);
        if case.meant {
            case.severity = Severity::Info;
        }
        // Nobody keeps out on purpose what a pod's own packets are answered with.
        if case.error.is_some() {
            case.severity = case.severity.max(Severity::Warning);
        }
        Some(case)
    }

    /// That the rule does what it is for.
    pub fn is_meant(&self) -> bool {
        self.meant && self.error.is_none()
    }

    pub fn tell(&self) -> Story {
        let taken = self.taken;
        // Others pass where these ways end: what a counter does not tell may be another's doing.
        let doubted = taken.candidates.doubted && taken.culprit().is_none();
        let blames = taken.culprit().map(|rule| {
            let (place, text) = (rule.place.clone(), rule.written());
            (Subject::Rule { place, text }, None)
        });
        Story {
            confidence: match doubted {
                true => Confidence::Suspected,
                false => Confidence::Confirmed,
            },
            summary: self.summary(),
            evidence: self.evidence(),
            blames,
            fix: self.fix(),
        }
    }

    fn is_here(&self) -> bool {
        self.taken.netns == self.facts.node.netns
    }

    /// The rule that did it, in the node's own namespace.
    fn culprit(&self) -> Option<&'c Rule> {
        self.taken.culprit().filter(|_| self.is_here())
    }

    /// They are for a Service, by a port that it does not have.
    fn other(&self) -> Option<Other<'c>> {
        Other::of(self.facts, self.worst).filter(|_| self.is_here())
    }

    fn summary(&self) -> String {
        let (facts, worst) = (self.facts, self.worst);
        let (what, then) = match &self.error {
            Some(error) => (error.to_string(), error.harm()),
            None => (worst.target(), String::new()),
        };
        let (at, sender) = (place(facts, self.taken.netns), worst.sender(facts));
        let packets = worst.packets();
        match (self.taken.queued, is_cut_off(facts, worst)) {
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
        }
    }

    fn evidence(&self) -> Vec<Evidence> {
        let (facts, netns, candidates) = (self.facts, self.taken.netns, &self.taken.candidates);
        let found = rule_evidence::Found {
            computed: candidates.computed,
            alone: self.rules.len() == 1,
        };
        let error = self.error.as_ref().map(TooBig::evidence);
        let rules = self.rules.iter();
        let rules = rules.map(|rule| rule_evidence::rule(facts, netns, (rule, found)));
        let other = self.other().and_then(|other| other.evidence(facts));
        let untracked = candidates.untracked.as_ref().map(shown::untracked);
        let overlap = self.overlap().map(|(_, overlap)| shown::overlap(overlap));
        error
            .into_iter()
            .chain(rules)
            .chain(other)
            .chain(untracked)
            .chain(overlap)
            .collect()
    }

    /// What brings them through, by what is known of the rule.
    fn fix(&self) -> Fix {
        let (facts, taken) = (self.facts, self.taken);
        if let Some(fix) = self.opening() {
            return fix;
        }
        let mut fix = self.otherwise();
        // A pod's own rules are listed and deleted in its namespace: the node has handles of its own.
        for command in &mut fix.commands {
            *command = facts.node.inside(taken.netns, std::mem::take(command));
        }
        fix
    }

    /// Nothing where the rule is right as it is, or nobody knows which one it is.
    fn opening(&self) -> Option<Fix> {
        let (facts, worst, taken) = (self.facts, self.worst, self.taken);
        let rule = self.rules.first().copied()?;
        let known = rule.counted || self.rules.len() == 1;
        let right = self.error.is_some()
            || taken.candidates.untracked.is_some()
            || self.severity == Severity::Info
            || self.overlap().is_some();
        if right {
            return None;
        }
        if rule.asks.policy.is_some() && known {
            return Some(open::policy(facts, taken, (worst, rule)));
        }
        let untracked = is_untracked(facts, worst) || is_cut_off(facts, worst);
        let meant = takes_invalid(rule) && untracked || self.lookups;
        let known = known || taken.candidates.computed;
        (known && !meant).then(|| open::rule(facts, taken, (worst, rule)))
    }

    fn otherwise(&self) -> Fix {
        let (facts, worst, taken) = (self.facts, self.worst, self.taken);
        if let Some(error) = &self.error {
            return error.fix(&self.rules);
        }
        let Some(rule) = self.rules.first().copied() else {
            return match self.other() {
                _ if taken.queued => fix::queue(worst),
                Some(other) => other.fix(facts, &worst.target()),
                None => fix::find(worst),
            };
        };
        if let Some(untracked) = &taken.candidates.untracked {
            return fix::untracked(worst, rule, untracked);
        }
        if let Some((culprit, overlap)) = self.overlap() {
            return fix::apart(overlap, culprit);
        }
        match takes_invalid(rule) {
            _ if self.severity == Severity::Info => fix::kept_out(worst, rule),
            true if is_cut_off(facts, worst) => fix::forgotten(worst, rule),
            true if is_untracked(facts, worst) && passes_both_ways(facts, worst) => {
                fix::forgotten(worst, rule)
            }
            true if is_untracked(facts, worst) => fix::way_back(worst, rule),
            _ if self.lookups => fix::policys(worst, rule),
            _ => fix::one_of(worst, &self.rules),
        }
    }

    /// The rule is right, and a network lies where none was to be.
    fn overlap(&self) -> Option<(&'c Rule, Overlap<'a>)> {
        let rule = self.culprit()?;
        let overlap = meant::overlap(self.facts, rule, &self.taken.patterns)?;
        Some((rule, overlap))
    }
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

/// Whether these connections worked until their data was dropped.
fn is_cut_off(facts: &Facts<'_>, worst: &DropGroup<'_>) -> bool {
    worst.losses.iter().all(|l| facts.is_cut_off(l))
}

/// Answers were seen here, so that connection tracking saw them, too.
fn passes_both_ways(facts: &Facts<'_>, worst: &DropGroup<'_>) -> bool {
    let acknowledged = |loss: &&Loss| {
        let back = facts.journeys().get(&loss.flow().reversed());
        let mut hops = back.into_iter().flat_map(|j| j.hops.iter());
        hops.any(|h| h.hop.flags & hop::ACK != 0)
    };
    worst.losses.iter().any(acknowledged)
}
