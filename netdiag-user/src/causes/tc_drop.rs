//! # Symptom
//! One kind of connection of one pod gets no answer, while no firewall rule counts anything and all
//! routes are right.
//!
//! # Mechanism
//! Before netfilter, and after it, packets of a link are shown to filters of tc (on a clsact or
//! ingress qdisc), to programs of eBPF at tcx, and to XDP (net/core/dev.c, sch_handle_ingress,
//! sch_handle_egress, do_xdp_generic). One that a bandwidth plugin, a chaos experiment, a security
//! agent or an old CNI left there drops packets, and tells nobody.
//!
//! # Signals
//! Observed: drops with the reason TC_INGRESS, TC_EGRESS or XDP (Linux 5.18), or without one in the
//! functions that run XDP, again and again for the same destination, with no answer ever seen. Gathered: the filters and programs at that side of the
//! link, who loaded and who holds them; netdiag's own let everything pass and are left out. A filter
//! whose actions count drops is the one if its counter moves, and is not if it does not; programs
//! count nothing: one that is there alone did it, of several it is one.
//!
//! # Look-alikes
//! Programs of Cilium, Calico's eBPF dataplane and the AWS network policy agent on the node's links are
//! how these implement NetworkPolicies: told as info, with where to ask them. `lsm-denied`: programs on
//! cgroups. `nic-queue-full`: a qdisc that drops what it has no room for (QDISC_DROP). XDP in a NIC's
//! driver drops packets before the kernel has any: they are missing on the uplink, without a drop.
//!
//! # By hand
//! `tc -s filter show dev LINK ingress`, the same with `egress`; `bpftool net show dev LINK`;
//! `ip -d link show dev LINK` (xdp, xdpgeneric).
//!
//! # Fix
//! Change the policy of whoever set the filter, or take away that one: by its preference and handle,
//! never with its qdisc, on which others hang.
use super::losses::{self, Pattern};
use crate::{
    model::{
        gather::Want,
        link_filters::{Attachment, Dataplane, LinkFilter, LinkHook},
        pod::label,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity, Subject,
        },
    },
    pipeline::facts::{Facts, Loss},
    shell,
};

pub const ID: &str = "tc-drop";
pub const TITLE: &str = "a tc filter or an XDP program at a link drops pods' packets";

/// Filters that a finding names at most.
const FILTERS: usize = 3;
/// Within which a link's filters are read, or they are not waited for.
const ANSWERED_NS: u64 = 8_000_000_000;

/// Where packets are shown to filters: a link of a namespace, and on which side.
type Place = (u32, u32, LinkHook);

/// What died at one place.
struct Taken<'a> {
    place: Place,
    patterns: Vec<Pattern<'a>>,
    /// Those that may have done it, the likeliest first.
    filters: Vec<&'a LinkFilter>,
    /// Whether that is all that hangs there; else nobody could look.
    known: bool,
}

pub fn wants(facts: &Facts<'_>) -> Vec<Want> {
    let patterns = patterns(facts);
    let died = patterns.iter().filter_map(|p| place(p.losses.first()?));
    died.map(|(netns, link, _)| Want::LinkFilters { netns, link })
        .collect()
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

fn patterns<'a>(facts: &'a Facts<'_>) -> Vec<Pattern<'a>> {
    let mut patterns = losses::patterns(facts, |l| place(l).is_some());
    patterns.retain(|p| losses::severity(facts, p).is_some());
    patterns
}

/// The busiest place first.
fn taken<'a>(facts: &'a Facts<'_>) -> Vec<Taken<'a>> {
    let mut all: Vec<Taken<'a>> = Vec::new();
    for pattern in patterns(facts) {
        let Some(place) = pattern.losses.first().and_then(|l| place(l)) else {
            continue;
        };
        if let Some(taken) = all.iter_mut().find(|t| t.place == place) {
            taken.patterns.push(pattern);
            continue;
        }
        let known = facts.gathered.link_filters(place.0, place.1);
        all.push(Taken {
            place,
            patterns: vec![pattern],
            filters: suspects(known.unwrap_or_default(), place.2),
            known: known.is_some(),
        });
    }
    all
}

/// Those that may drop at that hook: the one that counts it, else those that count nothing.
fn suspects(all: &[LinkFilter], hook: LinkHook) -> Vec<&LinkFilter> {
    let here = || all.iter().filter(|f| f.hook == hook);
    match here().filter(|f| f.moved > 0).max_by_key(|f| f.moved) {
        Some(counted) => vec![counted],
        None => here().filter(|f| f.dropped.is_none()).collect(),
    }
}

impl Taken<'_> {
    /// Who did it is asked for and not known yet.
    fn is_pending(&self, facts: &Facts<'_>) -> bool {
        let (netns, link, _) = self.place;
        let first = self.patterns.iter().map(Pattern::first).min();
        let young = facts.now.saturating_sub(first.unwrap_or(0)) < ANSWERED_NS;
        young && !facts.gathered.has(&Want::LinkFilters { netns, link })
    }

    /// The reason says so, or something hangs there: veth runs the same functions without a program.
    fn is_a_filters(&self) -> bool {
        let mut losses = self.patterns.iter().flat_map(|p| &p.losses);
        !self.filters.is_empty() || losses.any(|l| l.reason != "NOT_SPECIFIED")
    }

    fn culprit(&self) -> Option<&LinkFilter> {
        match self.filters.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Whose policy it is, where nobody else's filter may have done it.
    fn dataplane(&self) -> Option<Dataplane> {
        let mut of = self.filters.iter().map(|f| f.program.as_ref()?.dataplane);
        let first = of.next()??;
        of.all(|other| other == Some(first)).then_some(first)
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

    /// With the pod that it is inside of.
    fn place_name(&self, facts: &Facts<'_>) -> String {
        let link = self.link(facts);
        if self.place.0 == facts.node.netns {
            return link;
        }
        let side = facts.node.pod_side(self.place.0);
        let mut addresses = side.into_iter().flat_map(|s| &s.addresses);
        match addresses.find_map(|a| facts.pod(*a, PodRole::Source)) {
            Some(pod) => format!("{link} inside the pod {}", label(&pod)),
            None => format!("{link} inside a pod"),
        }
    }

    fn told(&self, facts: &Facts<'_>) -> Option<Finding> {
        let worst = self.patterns.first()?;
        let severities = self.patterns.iter().map(|p| losses::severity(facts, p));
        let severity = match self.dataplane() {
            Some(_) => Severity::Info,
            None => severities.flatten().max()?,
        };
        let summary = format!(
            "{} drops {} from {}: {} packets, none got through",
            self.who(facts),
            worst.target(),
            worst.sender(facts),
            self.patterns.iter().map(Pattern::packets).total(),
        );
        let mut finding = losses::finding(facts, ID, severity, &self.patterns, summary);
        if self.culprit().is_none() {
            finding.confidence = Confidence::Suspected;
        }
        let at = self.place_name(facts);
        finding.blames(Subject::Filter {
            link: at,
            text: self.culprit().map_or_else(
                || self.place.2.side().to_owned(),
                |filter| filter.describe(&self.link(facts)),
            ),
        });
        let told = self.filters.iter().take(FILTERS);
        finding.evidence.extend(told.map(|f| self.hangs(facts, f)));
        finding.fix = self.fix(facts, worst);
        // A pod's own are listed and deleted in its namespace.
        for command in &mut finding.fix.commands {
            *command = facts.node.inside(self.place.0, std::mem::take(command));
        }
        Some(finding)
    }

    fn who(&self, facts: &Facts<'_>) -> String {
        let (place, hook) = (self.place_name(facts), self.place.2);
        match (self.filters.as_slice(), hook) {
            ([one], _) => one.describe(&place),
            ([_, _, ..], LinkHook::Xdp) => format!("one of the XDP programs of {place}"),
            ([several @ ..], _) if several.len() > 1 => format!(
                "one of {} filters and programs at {} of {place}",
                several.len(),
                hook.side()
            ),
            (_, LinkHook::Xdp) => format!("XDP of {place}"),
            _ => format!("tc {} of {place}", hook.side()),
        }
    }

    fn hangs(&self, facts: &Facts<'_>, filter: &LinkFilter) -> Evidence {
        let link = self.link(facts);
        let what = filter.describe(&link);
        let (origin, text) = match filter.moved {
            0 => (
                Origin::Configured,
                match self.culprit() {
                    Some(_) => format!(
                        "{what} is the only one there that may drop{}",
                        owner(filter)
                    ),
                    None => format!("{what} may drop, and counts nothing{}", owner(filter)),
                },
            ),
            moved => (
                Origin::Observed,
                format!(
                    "{what} dropped {moved} packets while it was watched{}",
                    owner(filter)
                ),
            ),
        };
        let mut line = Evidence::new(EvidenceKind::Rule, origin, text);
        line.packets = (filter.moved > 0).then_some(filter.moved);
        line.at = Some(link.clone());
        line.confirm = Some(facts.node.inside(self.place.0, filter.list(&link)));
        line
    }

    fn fix(&self, facts: &Facts<'_>, worst: &Pattern<'_>) -> Fix {
        let (link, target) = (self.link(facts), worst.target());
        if let Some(dataplane) = self.dataplane() {
            return by_policy(dataplane, &target);
        }
        let Some(culprit) = self.culprit() else {
            let lists = self.filters.iter().map(|f| f.list(&link));
            let mut commands: Vec<_> = lists.take(FILTERS).collect();
            commands.push(self.place.2.list(&link));
            commands.push(shell!("bpftool net show dev {}", link));
            commands.dedup();
            let found = match (self.filters.is_empty(), self.known) {
                (false, _) => "these count nothing",
                (true, true) => "none is there now that could have",
                (true, false) => "they could not be read",
            };
            return Fix {
                summary: format!("find out what drops {target} there: {found}"),
                commands,
            };
        };
        let delete = culprit.delete(&link);
        let summary = match (&delete, &culprit.at) {
            (Some(_), _) => format!(
                "let {target} pass in whatever set this filter{}, or take away this one alone",
                holder(culprit)
            ),
            (None, Attachment::Tcx { .. }) => format!(
                "let {target} pass in whatever attached this program{}: without a bpf link no \
                 command takes it away alone",
                holder(culprit)
            ),
            (None, _) => format!("let {target} pass in whatever set this filter"),
        };
        let commands = std::iter::once(culprit.list(&link)).chain(delete);
        Fix {
            summary,
            commands: commands.collect(),
        }
    }
}

/// Who loaded and who holds it.
fn owner(filter: &LinkFilter) -> String {
    let Some(program) = &filter.program else {
        return String::new();
    };
    let held = match program.holders.as_slice() {
        [] => "no process holds it".to_owned(),
        holders => format!("held by {}", holders.join(", ")),
    };
    format!("; loaded by uid {}, {held}", program.user)
}

fn holder(filter: &LinkFilter) -> String {
    let holders = filter.program.as_ref().map_or(&[][..], |p| &p.holders);
    holders
        .first()
        .map_or_else(String::new, |one| format!(" ({one} holds it)"))
}

/// What is meant to be dropped.
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
    Fix {
        summary: format!(
            "nothing, where a policy is to keep {target} out; else allow it in the NetworkPolicy that \
             {name} implements"
        ),
        commands,
    }
}

#[cfg(test)]
mod tests;
