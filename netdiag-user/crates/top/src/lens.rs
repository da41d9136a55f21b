//! From what was judged to a reading that is kept.
use std::{
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use super::{
    causes::{Ways, causes},
    counts::Counts,
    losses::{Losses, losses},
    reading::{Head, Label, Reading, Row, Table},
};
use crate::{
    diagnosis::diagnoser::Look,
    model::{
        hash::{Keyed, Map, Set},
        pod::label,
        roles::Role,
        total::{Total, add},
        verdict::{NotChecked, PodRef},
    },
    pipeline::facts::{Facts, HopFlow},
};

/// What was counted of a flow at a hop when it was seen last: the kernel forgets flows, and what they
/// were stays counted.
struct Seen {
    first: u64,
    counts: [u64; 4],
}

/// A flow whose last packet is so much older than the reading before has nothing new: the clock that
/// packets are dated by goes in ticks.
const SETTLED_NS: u64 = 1_000_000_000;

/// A link with what passed it.
struct Link {
    name: String,
    role: Option<Role>,
    counts: Counts,
}

/// Remembers what was counted by then, and what rows are called.
#[derive(Default)]
pub struct Lens {
    flows: Map<u64, Seen>,
    /// When the reading before was made.
    read: u64,
    links: Map<u32, Link>,
    labels: Map<u64, Arc<Label>>,
    not_checked: Arc<[NotChecked]>,
}

/// Flows that are kept in any case.
const FEW: usize = 4096;

/// Names that are kept for rows that may come again.
const LABELS: usize = 16_384;

impl Lens {
    /// The reading, after the one `before`.
    pub fn read(
        &mut self,
        look: &Look<'_, '_, '_>,
        ways: &Ways,
        before: Option<&Reading>,
    ) -> Reading {
        let facts = look.shown;
        self.count(facts);
        let lost = losses(facts);
        let run = &look.scene.run;
        if *self.not_checked != *run.not_checked {
            self.not_checked = run.not_checked.clone().into();
        }
        let head = self.head(look, &lost);
        Reading {
            now: facts.now,
            time: facts.clock.time(facts.now),
            head,
            pods: self.pods(facts, &lost),
            hops: self.hops(&lost),
            causes: causes(look, ways, before),
            cannot_tell: look.cannot_tell.to_vec().into(),
            not_checked: Arc::clone(&self.not_checked),
            reasons: self.reasons(lost),
        }
    }

    /// Adds what each flow has beyond the reading before to its link's counts.
    fn count(&mut self, facts: &Facts<'_>) {
        let settled = self.read.saturating_sub(SETTLED_NS);
        for flow in facts.flows.iter().filter(|flow| flow.hop.last >= settled) {
            let gained = self.gained(flow);
            self.links
                .entry(flow.key.ifindex)
                .and_modify(|link| link.follow(flow))
                .or_insert_with(|| Link::new(flow))
                .add(flow.egress(), gained);
        }
        self.read = facts.now;
        if self.flows.len() > FEW.max(2 * facts.flows.len()) {
            self.forget(facts);
        }
    }

    fn gained(&mut self, flow: &HopFlow) -> [u64; 4] {
        let hop = &flow.hop;
        let now = [hop.packets, hop.bytes, hop.retransmits, hop.oversize];
        let seen = Seen {
            first: hop.first,
            counts: now,
        };
        let number = Keyed::default().hash_one(flow.key);
        let old = self.flows.insert(number, seen);
        // Its place may have gone to another meanwhile, and it came anew.
        let old = old.filter(|old| old.first == hop.first && old.counts[0] <= now[0]);
        let old = old.map_or([0; 4], |old| old.counts);
        [0, 1, 2, 3].map(|n: usize| now[n].saturating_sub(old[n]))
    }

    /// Leaves those that the kernel still has.
    fn forget(&mut self, facts: &Facts<'_>) {
        let number = |flow: &HopFlow| Keyed::default().hash_one(flow.key);
        let known: Set<u64> = facts.flows.iter().map(number).collect();
        self.flows.retain(|number, _| known.contains(number));
    }

    fn head(&self, look: &Look<'_, '_, '_>, lost: &Losses) -> Head {
        let (facts, run, seen) = (look.shown, &look.scene.run, look.observation);
        let mut total = Counts::default();
        self.links.values().for_each(|link| total.add(&link.counts));
        for reason in &lost.reasons {
            total.add(&reason.counts);
        }
        // Sockets count what they send again once, hops each for itself.
        let again = facts.retransmits.iter().map(|(_, again)| again.packets);
        total.retransmits = again.total();
        Head {
            node: facts.node.name.clone(),
            kernel: facts.node.kernel.clone(),
            level: run.level,
            hooks: run.hooks,
            started: run.started,
            total,
            flows: facts.flows.len(),
            lost: seen.lost().saturating_sub(seen.samples_not_kept()),
            samples_not_kept: seen.samples_not_kept(),
            overflowed: seen.evicted_flows,
            without_pod: lost.without_pod,
        }
    }

    fn hops(&mut self, lost: &Losses) -> Table {
        let links = std::mem::take(&mut self.links);
        let rows = links.iter().map(|(index, link)| {
            let mut counts = link.counts;
            if let Some(drops) = lost.links.get(index) {
                counts.add(drops);
            }
            let label = Label {
                name: link.name.clone(),
                second: link.role.map_or("", Role::name).to_owned(),
                link: String::new(),
            };
            self.row(("hop", index, &link.name), label, counts)
        });
        let table = Table::new(rows.collect());
        self.links = links;
        table
    }

    /// The pods of this node's links, and those that lost packets elsewhere.
    fn pods(&mut self, facts: &Facts<'_>, lost: &Losses) -> Table {
        let mut pods: Map<String, (PodRef, Counts)> = Map::default();
        for pod in facts
            .pods
            .iter()
            .filter(|p| p.is_local() && p.gone.is_none())
        {
            let address = pod.addresses.first().copied();
            let refer = pod.refer(address, None);
            pods.entry(label(&refer))
                .or_insert((refer, Counts::default()));
        }
        for (index, link) in &self.links {
            if link.role == Some(Role::Pod) {
                let pod = behind(facts, *index, &link.name);
                let entry = pods.entry(label(&pod));
                let (_, counts) = entry.or_insert((pod, Counts::default()));
                counts.add(&link.counts);
            }
        }
        for (pod, drops) in &lost.pods {
            let entry = pods.entry(label(pod));
            let (_, counts) = entry.or_insert((pod.clone(), Counts::default()));
            counts.add(drops);
        }
        let rows = pods.into_iter().map(|(name, (pod, counts))| {
            let label = Label {
                name: name.clone(),
                second: pod.ip.unwrap_or_default(),
                link: pod.interface.unwrap_or_default(),
            };
            self.row(("pod", name), label, counts)
        });
        Table::new(rows.collect())
    }

    fn reasons(&mut self, lost: Losses) -> Table {
        let rows = lost.reasons.into_iter().map(|it| {
            let label = &it.label;
            let key = ("reason", &label.name, &label.second, &label.link);
            let row = self.row(key, it.label.clone(), it.counts);
            Row {
                victims: it.victims,
                ..row
            }
        });
        Table::new(rows.collect())
    }

    fn row(&mut self, key: impl Hash, label: Label, counts: Counts) -> Row {
        let key = Keyed::default().hash_one(key);
        if self.labels.len() >= LABELS {
            self.labels.clear();
        }
        let known = self.labels.entry(key).or_default();
        if **known != label {
            *known = Arc::new(label);
        }
        Row {
            key,
            label: Arc::clone(known),
            counts,
            victims: Arc::default(),
        }
    }
}

/// The pod that a link of this node leads to; nameless where nobody knows it.
fn behind(facts: &Facts<'_>, index: u32, name: &str) -> PodRef {
    let pods = facts.pods;
    let known = pods.by_link_at(index, facts.now);
    if let Some(pod) = known.or_else(|| pods.by_interface(name)) {
        return pod.refer(pod.addresses.first().copied(), None);
    }
    let inside = facts.link(index).and_then(|link| link.peer_netns);
    let side = inside.and_then(|netns| facts.node.pod_side(netns));
    let address = side.and_then(|side| side.addresses.first());
    PodRef {
        ip: address.map(ToString::to_string),
        interface: Some(name.to_owned()),
        ..PodRef::default()
    }
}

impl Link {
    fn new(flow: &HopFlow) -> Self {
        Self {
            name: flow.interface.clone(),
            role: flow.role,
            counts: Counts::default(),
        }
    }

    /// It can be renamed, and given another use.
    fn follow(&mut self, flow: &HopFlow) {
        if self.name != flow.interface {
            self.name.clone_from(&flow.interface);
        }
        self.role = flow.role.or(self.role);
    }

    fn add(&mut self, egress: bool, [packets, bytes, retransmits, oversize]: [u64; 4]) {
        let counts = &mut self.counts;
        let (to_packets, to_bytes) = match egress {
            true => (&mut counts.out_packets, &mut counts.out_bytes),
            false => (&mut counts.in_packets, &mut counts.in_bytes),
        };
        add(to_packets, packets);
        add(to_bytes, bytes);
        add(&mut counts.retransmits, retransmits);
        add(&mut counts.oversize, oversize);
    }
}
