//! Which rule took which packets: as few rules as explain all.
use super::{WALKED, queued};
use crate::{
    model::{gather::Rule, total::Total},
    pipeline::{
        difference::{self, Difference},
        facts::{Facts, Loss},
    },
    shared::{
        conntrack,
        losses::{self, DropGroup},
        matching_rules::{Candidates, matching_rules},
        service_ports::Other,
    },
};

/// Patterns that one rule took, as far as can be told, the busiest first.
pub struct Taken<'a> {
    pub netns: u32,
    /// It handed them to a program, and none took them.
    pub queued: bool,
    pub patterns: Vec<DropGroup<'a>>,
    pub candidates: Candidates<'a>,
}

impl<'a> Taken<'a> {
    /// Those that may have done it, the likeliest first.
    pub fn rules(&self) -> Vec<&Rule> {
        self.candidates.rules.iter().map(AsRef::as_ref).collect()
    }

    /// The one rule that did it: it counts, or is where the packets' ways end.
    pub fn culprit(&self) -> Option<&Rule> {
        let first = self.candidates.rules.first().map(AsRef::as_ref);
        first.filter(|r: &&Rule| r.counted || self.candidates.computed)
    }

    /// Whether a rule counts them, or more were dropped than connection tracking refused.
    pub fn is_a_rules(&self, facts: &Facts<'_>) -> bool {
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
pub fn by_culprit<'a>(facts: &'a Facts<'_>, patterns: Vec<DropGroup<'a>>) -> Vec<Taken<'a>> {
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

/// All rules let them pass, as they are: translation drops by itself, too, where the way out of a connection changes
/// under a masquerade (`nf_nat_oif_changed`).
pub fn pass_all_rules(facts: &Facts<'_>, patterns: &[DropGroup<'_>]) -> bool {
    let passes = |loss: &&Loss| {
        let difference = difference::of(facts, facts.prepared(), loss);
        matches!(difference, Difference::Otherwise(_))
    };
    let busiest = patterns.first();
    busiest.is_some_and(|p| p.losses.iter().take(WALKED).copied().all(|l| passes(&l)))
}

/// The namespace whose rules took the packets; drops without one are told as the node's.
pub fn netns(facts: &Facts<'_>, worst: &DropGroup<'_>) -> u32 {
    let died = worst.losses.first().map(|l| l.key.netns);
    died.filter(|netns| *netns != 0).unwrap_or(facts.node.netns)
}
