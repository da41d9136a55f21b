//! # Symptom
//! One kind of connection of one pod gets no answer, while no firewall rule counts anything and all
//! routes are right.
//!
//! # Mechanism
//! Before netfilter, and after it, a link's packets pass tc filters (on a clsact or ingress qdisc), eBPF
//! programs at tcx, and XDP (net/core/dev.c, sch_handle_ingress, sch_handle_egress, do_xdp_generic). A
//! filter or program that a bandwidth plugin, a chaos experiment, a security agent or an old CNI left
//! there drops packets silently.
//!
//! # Signals
//! Observed: drops with the reason TC_INGRESS, TC_EGRESS or XDP (Linux 5.18), or without one in the
//! functions that run filters and XDP, again and again for the same destination, and no answer ever. Gathered: the
//! filters and programs on that side of the link, who loaded and who holds them; netdiag's own pass every
//! packet and are left out. A filter whose actions count drops is at fault if its counter moves, and is
//! not if it does not. Programs count nothing: a single program did it, of several one did.
//!
//! # Look-alikes
//! Programs of Cilium, Calico's eBPF dataplane and the AWS network policy agent on the node's links
//! implement NetworkPolicies, and lose packets by their own faults too: the finding is a suspicion and says
//! where to ask them which it is. `lsm-denied`: programs on
//! cgroups. `nic-queue-full`: a qdisc drops what it has no room for (QDISC_DROP). XDP in a NIC's driver
//! drops packets before the kernel sees them: they are missing on the uplink, without a drop.
//!
//! # By hand
//! `tc -s filter show dev LINK ingress`, `tc -s filter show dev LINK egress`; `bpftool net show dev
//! LINK`; `ip -d link show dev LINK` (xdp, xdpgeneric).
//!
//! # Fix
//! Change the policy of the agent that set the filter, or delete that one filter by its preference and
//! handle. Never delete its qdisc: other filters hang on it.
use std::collections::BTreeMap;

use netdiag_lang::{mark, t};

use crate::{
    model::{
        gather::Want,
        link_filters::{Dataplane, LinkFilter, LinkHook},
        pod::label,
        shell::CommandLine,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRef, PodRole, Severity,
            Subject,
        },
    },
    need::{Need, Sufferer},
    pipeline::facts::{Facts, Loss},
    shared::losses::{self, DropGroup},
    shell,
};

pub const ID: &str = "tc-drop";
pub const TITLE: &str = mark!("a tc filter or an XDP program at a link drops pods' packets");

/// Filters that a finding names at most.
const FILTERS: usize = 3;
/// Within which a link's filters are read, or they are not waited for.
const ANSWERED_NS: u64 = 8_000_000_000;

/// Links whose filters a finding lists at most.
const LINKS: usize = 10;

/// Where packets are shown to filters: a link of a namespace, and on which side.
type Place = (u32, u32, LinkHook);

/// One side of a link at which packets died.
struct Spot<'a> {
    place: Place,
    /// Those that may have done it, the likeliest first.
    filters: Vec<&'a LinkFilter>,
}

/// What one culprit took: the same program may hang on many links.
struct Taken<'a> {
    /// The busiest first.
    spots: Vec<Spot<'a>>,
    patterns: Vec<DropGroup<'a>>,
    /// Whether what hangs there could be read.
    known: bool,
}

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let mut by_netns: BTreeMap<u32, Vec<Sufferer>> = BTreeMap::new();
    for pattern in patterns(facts) {
        let Some((netns, ..)) = pattern.losses.first().and_then(|l| place(l)) else {
            continue;
        };
        let all = by_netns.entry(netns).or_default();
        let bad = losses::severity(facts, &pattern) > Some(Severity::Info);
        all.extend(bad.then(|| pattern.sufferer()));
    }
    let need = |(netns, sufferers): (u32, Vec<Sufferer>)| match sufferers.is_empty() {
        true => Need::detail(Want::LinkFilters(netns)),
        false => Need::of(Want::LinkFilters(netns), sufferers),
    };
    by_netns.into_iter().map(need).collect()
}

pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    let taken = taken(facts);
    let settled = taken
        .iter()
        .filter(|t| !t.is_pending(facts) && t.is_a_filters());
    settled.filter_map(|t| t.told(facts)).collect()
}

fn place(loss: &Loss) -> Option<Place> {
    let hook = LinkHook::of_drop(&loss.reason, loss.symbol())?;
    let (netns, link) = (loss.key.netns, loss.key.ifindex);
    (netns != 0 && link != 0).then_some((netns, link, hook))
}

fn patterns<'a>(facts: &'a Facts<'_>) -> Vec<DropGroup<'a>> {
    let mut patterns = losses::patterns(facts, |l| place(l).is_some());
    patterns.retain(|p| losses::severity(facts, p).is_some());
    patterns
}

fn taken<'a>(facts: &'a Facts<'_>) -> Vec<Taken<'a>> {
    let mut all: Vec<Taken<'a>> = Vec::new();
    for pattern in patterns(facts) {
        let Some(place) = pattern.losses.first().and_then(|l| place(l)) else {
            continue;
        };
        let known = facts.gathered.link_filters(place.0);
        let spot = Spot {
            place,
            filters: suspects(known.unwrap_or_default(), place),
        };
        match all.iter_mut().find(|t| t.did(&spot)) {
            Some(taken) => {
                taken.patterns.push(pattern);
                if !taken.spots.iter().any(|s| s.place == place) {
                    taken.spots.push(spot);
                }
            }
            None => all.push(Taken {
                spots: vec![spot],
                patterns: vec![pattern],
                known: known.is_some(),
            }),
        }
    }
    all
}

/// Those that may drop there: the one that counts it, else those that count nothing.
fn suspects(all: &[LinkFilter], (_, link, hook): Place) -> Vec<&LinkFilter> {
    let here = || all.iter().filter(|f| f.link == link && f.hook == hook);
    match here().filter(|f| f.moved > 0).max_by_key(|f| f.moved) {
        Some(counted) => vec![counted],
        // Between two looks may be less than between two tries: only one that never dropped did not.
        None => here().filter(|f| f.dropped != Some(0)).collect(),
    }
}

impl<'a> Spot<'a> {
    fn culprit(&self) -> Option<&'a LinkFilter> {
        match self.filters.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Whose policy it is, where nobody else's filter was seen to drop: many a program beside it only
    /// looks on.
    fn dataplane(&self) -> Option<Dataplane> {
        let of = |f: &&LinkFilter| f.program.as_ref().and_then(|p| p.dataplane);
        let seen = self.filters.iter().find(|f| f.moved > 0);
        match seen {
            Some(filter) => of(filter),
            None => self.filters.iter().find_map(of),
        }
    }

    /// The link's name, where it is one of this node's or of a pod's that is known.
    fn link(&self, facts: &Facts<'_>) -> String {
        let (netns, link, _) = self.place;
        if netns == facts.node.netns {
            return facts.node.link_name(link);
        }
        let side = facts.node.pod_side(netns);
        let mut links = side.into_iter().flat_map(|s| &s.links);
        let own = links.find(|(index, _)| *index == link);
        own.map_or_else(|| format!("ifindex {link}"), |(_, name)| name.clone())
    }

    fn pod(&self, facts: &Facts<'_>) -> Option<PodRef> {
        let side = facts.node.pod_side(self.place.0);
        let mut addresses = side.into_iter().flat_map(|s| &s.addresses);
        addresses.find_map(|a| facts.pod(*a, PodRole::Source))
    }

    /// With the pod that it is inside of.
    fn name(&self, facts: &Facts<'_>) -> String {
        let link = self.link(facts);
        match self.pod(facts) {
            _ if self.place.0 == facts.node.netns => link,
            Some(pod) => t!("{link} inside the pod {}", label(&pod)),
            None => t!("{link} inside a pod"),
        }
    }

    /// The same in English, whichever language was chosen: findings are told apart by it.
    fn key(&self, facts: &Facts<'_>) -> String {
        let link = self.link(facts);
        match self.pod(facts) {
            _ if self.place.0 == facts.node.netns => link,
            Some(pod) => format!("{link} inside the pod {}", label(&pod)),
            None => format!("{link} inside a pod"),
        }
    }

    fn who(&self, facts: &Facts<'_>) -> String {
        let (place, hook) = (self.name(facts), self.place.2);
        match (self.filters.len(), hook) {
            (0, LinkHook::Xdp) => t!("XDP of {place}"),
            (0, _) => t!("tc {} of {place}", hook.side()),
            (1, _) => self.filters[0].describe(&place),
            (n, _) => t!(
                "one of {n} filters and programs at {} of {place}",
                hook.side()
            ),
        }
    }

    fn evidence(&self, facts: &Facts<'_>, filter: &LinkFilter) -> Evidence {
        let link = self.link(facts);
        let (what, owner) = (filter.describe(&link), owner(filter));
        let (origin, text) = match (filter.moved, self.culprit()) {
            (0, Some(_)) => (
                Origin::Configured,
                t!("{what} is the only one there that may drop{owner}"),
            ),
            (0, None) => (
                Origin::Configured,
                t!("{what} may drop, and counts nothing{owner}"),
            ),
            (moved, _) => (
                Origin::Observed,
                t!("{what} dropped {moved} packets while it was watched{owner}"),
            ),
        };
        let mut line = Evidence::new(EvidenceKind::Rule, origin, text);
        line.packets = (filter.moved > 0).then_some(filter.moved);
        line.at = Some(link.clone());
        line.confirm = Some(self.inside(facts, filter.list(&link)));
        line
    }

    /// A pod's own are listed and deleted in its namespace.
    fn inside(&self, facts: &Facts<'_>, command: CommandLine) -> CommandLine {
        facts.node.inside(self.place.0, command)
    }

    /// What is there, whoever did it.
    fn lists(&self, facts: &Facts<'_>) -> Vec<CommandLine> {
        let link = self.link(facts);
        let mut lists: Vec<_> = self.filters.iter().map(|f| f.list(&link)).collect();
        lists.truncate(FILTERS);
        lists.push(self.place.2.list(&link));
        lists.push(shell!("bpftool net show dev {}", link));
        lists.dedup();
        lists
            .into_iter()
            .map(|list| self.inside(facts, list))
            .collect()
    }
}

impl<'a> Taken<'a> {
    /// At the same place, by the same program or for the same dataplane.
    fn did(&self, spot: &Spot<'_>) -> bool {
        let first = &self.spots[0];
        let program = |s: &Spot<'_>| Some(s.culprit()?.program.as_ref()?.id);
        let same = |one: Option<u32>| one.is_some() && one == program(spot);
        let policy = first.dataplane().is_some() && first.dataplane() == spot.dataplane();
        let there = self.spots.iter().any(|s| s.place == spot.place);
        there || first.place.0 == spot.place.0 && (policy || same(program(first)))
    }

    /// Who did it is asked for and not known yet.
    fn is_pending(&self, facts: &Facts<'_>) -> bool {
        let first = self.patterns.iter().map(DropGroup::first).min();
        let young = facts.now.saturating_sub(first.unwrap_or(0)) < ANSWERED_NS;
        young
            && !facts
                .gathered
                .has(&Want::LinkFilters(self.spots[0].place.0))
    }

    /// The reason says so, or something hangs there: veth runs the same functions without a program, and in
    /// that of ingress protocols end that nobody takes.
    fn is_a_filters(&self) -> bool {
        let mut losses = self.patterns.iter().flat_map(|p| &p.losses);
        !self.spots[0].filters.is_empty() || losses.any(|l| l.reason != "NOT_SPECIFIED")
    }

    fn told(&self, facts: &Facts<'_>) -> Option<Finding> {
        let (spot, worst) = (self.spots.first()?, self.patterns.first()?);
        let severities = self.patterns.iter().map(|p| losses::severity(facts, p));
        // Whether a policy denies it, nobody here can tell.
        let severity = severities.flatten().max()?;
        let severity = match spot.dataplane() {
            Some(_) => severity.max(Severity::Warning),
            None => severity,
        };
        let more = match self.spots.len() {
            1 => String::new(),
            2 => t!(" (and of 1 other link)").into(),
            n => t!(" (and of {} other links)", n - 1),
        };
        let summary = t!(
            "{}{more} drops {} from {}: {} packets, none got through",
            spot.who(facts),
            worst.target(),
            worst.sender(facts),
            self.patterns.iter().map(DropGroup::packets).total(),
        );
        let summary = match spot.dataplane() {
            Some(dataplane) => t!("{summary}: a policy, or a fault of {}", dataplane.name()),
            None => summary,
        };
        let mut finding = losses::finding(facts, ID, severity, &self.patterns, summary);
        if spot.culprit().is_none() || spot.dataplane().is_some() {
            finding.confidence = Confidence::Suspected;
        }
        finding.blames(self.subject(facts, spot));
        let told = spot.filters.iter().take(FILTERS);
        finding
            .evidence
            .extend(told.map(|f| spot.evidence(facts, f)));
        finding.fix = self.fix(facts, spot, worst);
        Some(finding)
    }

    fn subject(&self, facts: &Facts<'_>, spot: &Spot<'_>) -> Subject {
        let link = spot.key(facts);
        let text = match (spot.dataplane(), spot.culprit()) {
            (Some(dataplane), _) => dataplane.name().to_owned(),
            (None, Some(culprit)) => culprit.describe(&link),
            (None, None) => spot.place.2.side().to_owned(),
        };
        Subject::Filter { link, text }
    }

    fn fix(&self, facts: &Facts<'_>, spot: &Spot<'_>, worst: &DropGroup<'_>) -> Fix {
        let target = worst.target();
        if let Some(dataplane) = spot.dataplane() {
            return by_policy(dataplane, &target);
        }
        let Some(culprit) = spot.culprit() else {
            let found = match (spot.filters.is_empty(), self.known) {
                (false, _) => t!("these count nothing"),
                (true, true) => t!("none is there now that could have"),
                (true, false) => t!("they could not be read"),
            };
            return Fix {
                summary: t!("find out what drops {target} there: {found}"),
                commands: spot.lists(facts),
            };
        };
        let mut commands = vec![spot.inside(facts, culprit.list(&spot.link(facts)))];
        let deletes = self.spots.iter().filter_map(|s| {
            let delete = s.culprit()?.delete(&s.link(facts))?;
            Some(s.inside(facts, delete))
        });
        commands.extend(deletes.take(LINKS));
        let holder = holder(culprit);
        let summary = match commands.len() {
            1 => t!(
                "let {target} pass in whatever attached this program{holder}: without a bpf link no \
                 command takes it away alone"
            ),
            _ => t!(
                "let {target} pass in whatever set this filter{holder}, or take away this one alone"
            ),
        };
        Fix { summary, commands }
    }
}

/// Who loaded and who holds it.
fn owner(filter: &LinkFilter) -> String {
    let Some(program) = &filter.program else {
        return String::new();
    };
    let held = match program.holders.as_slice() {
        [] => t!("no process holds it").to_owned(),
        holders => t!("held by {}", holders.join(t!(", "))),
    };
    t!("; loaded by uid {}, {held}", program.user)
}

fn holder(filter: &LinkFilter) -> String {
    let holders = filter.program.as_ref().map_or(&[][..], |p| &p.holders);
    holders
        .first()
        .map_or_else(String::new, |one| t!(" ({one} holds it)"))
}

/// What the dataplane itself says of its drops tells a policy from a fault.
fn by_policy(dataplane: Dataplane, target: &str) -> Fix {
    let name = dataplane.name();
    let commands = match dataplane {
        Dataplane::Cilium => vec![shell!(
            "kubectl -n kube-system exec ds/cilium -c cilium-agent -- cilium-dbg monitor --type drop"
        )],
        Dataplane::Calico => vec![shell!(
            "kubectl -n calico-system exec ds/calico-node -- calico-node -bpf counters dump"
        )],
        Dataplane::AwsNetworkPolicy => vec![shell!(
            "tail -n 50 /var/log/aws-routed-eni/network-policy-agent.log"
        )],
    };
    let says = match dataplane {
        Dataplane::Cilium => "\"Policy denied\"",
        Dataplane::Calico => "\"Dropped by policy\"",
        Dataplane::AwsNetworkPolicy => "DENY",
    };
    Fix {
        summary: t!(
            "ask {name} why it drops {target}: where it says {says}, a NetworkPolicy keeps it out \
             (allow it there, or leave it so); any other reason is a fault of {name}, to be looked for \
             in its agent's log and state on this node"
        ),
        commands,
    }
}

#[cfg(test)]
mod tests;
