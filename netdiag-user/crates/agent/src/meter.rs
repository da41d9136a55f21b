//! Counters of what was seen, each of which only grows: what a reading has beyond the one before is
//! added, whatever became of the kernel's rows and of the pods since.
//!
//! A dropped packet is counted once: where the kernel freed it (the tracepoint kfree_skb), by the
//! reason that the kernel gives. What hops see of packets is counted apart, by hop.
use crate::{
    baseline::Baseline,
    diagnosis::causes::vxlan_source_mismatch::mismatches,
    model::{
        observation::Observation,
        pod::PodIndex,
        roles::Role,
        total::add,
        verdict::{PodRef, PodRole},
    },
    pipeline::{
        facts::{Facts, Loss, Question, direction},
        names,
        scene::Scene,
    },
    series::{Bounded, Series, Workload, alive, label},
};

/// Who could make room for others is looked for this often at most, ns.
const SWEEP: u64 = 60 * 1_000_000_000;

/// Reason and hop of a drop.
pub type Death = (String, &'static str);

#[derive(Debug)]
pub struct Meter {
    last: Baseline,
    /// When it was looked last who could make room.
    swept: Option<u64>,
    /// Packets and bytes.
    pub drops: Series<Death, 2>,
    /// Drops of every healthy node: multicast that nobody listens to, and the like.
    pub harmless: u64,
    pub retransmits: Series<(), 1>,
    /// By hop and direction.
    pub oversize: Series<(&'static str, &'static str), 1>,
    pub mismatches: Series<(), 1>,
    pub dns_queries: Series<(), 1>,
    /// By the answer's code.
    pub dns_answers: Series<&'static str, 1>,
}

impl Meter {
    /// With so many series in each family.
    pub fn new(most: usize) -> Self {
        Self {
            last: Baseline::default(),
            swept: None,
            drops: Series::new(most),
            harmless: 0,
            retransmits: Series::new(most),
            oversize: Series::new(most),
            mismatches: Series::new(most),
            dns_queries: Series::new(most),
            dns_answers: Series::new(most),
        }
    }

    /// Counts what `reading` has beyond the one before, and shows it to whoever counts the same;
    /// tells to how many rows of flows and drops something was added.
    pub fn read(
        &mut self,
        scene: &Scene,
        reading: &Observation,
        also: impl FnOnce(&Facts<'_>),
    ) -> usize {
        self.make_room(&scene.pods, reading.now);
        let gained = self.last.since(reading);
        self.last = Baseline::new(reading);
        let rows = scene.rows(&gained);
        let facts = scene.facts(&rows);
        self.count(&facts);
        also(&facts);
        gained.flows.len() + gained.drops.len()
    }

    /// Counts what these facts are of.
    fn count(&mut self, facts: &Facts<'_>) {
        self.count_drops(facts);
        self.count_retransmits(facts);
        self.count_oversize(facts);
        self.count_mismatches(facts);
        self.count_dns(facts);
    }

    /// These rows were taken out of the kernel's table.
    pub fn forget(&mut self, gone: &[netdiag_common::loss::DropKey]) {
        self.last.forget(gone);
    }

    /// Before the places are all taken, those go whose workload is no more.
    fn make_room(&mut self, pods: &PodIndex, now: u64) {
        let rests = self.swept.is_some_and(|at| now.saturating_sub(at) < SWEEP);
        let mut families = self.each_mut();
        families.iter_mut().for_each(|it| it.at(now));
        if rests || !families.iter().any(|it| it.is_tight()) {
            return;
        }
        let alive = alive(pods);
        for family in families.into_iter().filter(|it| it.is_tight()) {
            family.retire(&alive);
        }
        self.swept = Some(now);
    }

    fn each_mut(&mut self) -> [&mut dyn Bounded; 6] {
        [
            &mut self.dns_answers,
            &mut self.dns_queries,
            &mut self.drops,
            &mut self.mismatches,
            &mut self.oversize,
            &mut self.retransmits,
        ]
    }

    /// Families by their names.
    pub fn families(&self) -> [(&'static str, &dyn Bounded); 6] {
        [
            ("netdiag_dns_answers", &self.dns_answers),
            ("netdiag_dns_queries", &self.dns_queries),
            ("netdiag_drops", &self.drops),
            ("netdiag_outer_address_mismatches", &self.mismatches),
            ("netdiag_oversize_packets", &self.oversize),
            ("netdiag_retransmits", &self.retransmits),
        ]
    }

    fn count_drops(&mut self, facts: &Facts<'_>) {
        for loss in facts.losses {
            let dropped = &loss.dropped;
            if loss.harmless {
                add(&mut self.harmless, dropped.packets);
                continue;
            }
            let death = (label(&loss.reason), hop_of(facts, loss));
            let who = victim(facts, loss)
                .as_ref()
                .map(Workload::of)
                .unwrap_or_default();
            self.drops.add(death, who, [dropped.packets, dropped.bytes]);
        }
    }

    fn count_retransmits(&mut self, facts: &Facts<'_>) {
        for (key, again) in facts.retransmits {
            let inside = facts.pods.by_netns_at(key.netns, again.last);
            let who = match inside {
                Some(pod) => Workload::of(&pod.refer(None, None)),
                None => whose(&facts.pods_of_at(&key.flow, Some(again.last))),
            };
            self.retransmits.add((), who, [again.packets]);
        }
    }

    fn count_oversize(&mut self, facts: &Facts<'_>) {
        for flow in facts.flows.iter().filter(|flow| flow.hop.oversize > 0) {
            let hop = (role(flow.role), direction(flow.key.direction));
            let who = whose(&facts.pods_of_at(flow.flow(), Some(flow.hop.last)));
            self.oversize.add(hop, who, [flow.hop.oversize]);
        }
    }

    fn count_mismatches(&mut self, facts: &Facts<'_>) {
        for wrong in mismatches(facts) {
            let pairs = facts.outers.iter().filter(|pair| {
                pair.source == wrong.source
                    && pair.destination == wrong.destination
                    && pair.key.vni == wrong.vni
            });
            for pair in pairs {
                let who = whose(&facts.pods_of_at(&pair.outer.inner, Some(pair.outer.last)));
                self.mismatches.add((), who, [pair.outer.packets]);
            }
        }
    }

    /// Each question at the link of the pod that asks: behind a translation it is the same question
    /// once more.
    fn count_dns(&mut self, facts: &Facts<'_>) {
        for question in names::first_hops(facts.dns) {
            let asking = facts.pod_side_of(question.client);
            let link = facts.link(question.key.ifindex);
            let own =
                asking.is_some_and(|side| link.is_some_and(|l| l.peer_netns == Some(side.netns)));
            if !own {
                continue;
            }
            let flow = crate::model::dns::flow(&question.key);
            let who = whose(&facts.pods_of_at(&flow, Some(question.dns.last_query)));
            self.dns_queries
                .add((), who.clone(), [question.dns.queries]);
            for (code, count) in answers(question)
                .into_iter()
                .filter(|(_, count)| *count > 0)
            {
                self.dns_answers.add(code, who.clone(), [count]);
            }
        }
    }
}

fn answers(question: &Question) -> [(&'static str, u64); 5] {
    let dns = &question.dns;
    [
        ("noerror", dns.noerror),
        ("nxdomain", dns.nxdomain),
        ("servfail", dns.servfail),
        ("refused", dns.refused),
        ("error", dns.other),
    ]
}

/// The sender where it is known, else whoever is.
fn whose(pods: &[PodRef]) -> Workload {
    sender(pods).map(Workload::of).unwrap_or_default()
}

fn sender(pods: &[PodRef]) -> Option<&PodRef> {
    let source = pods.iter().find(|pod| pod.role == Some(PodRole::Source));
    source.or(pods.first())
}

/// The pod that a death is counted for: the one in whose namespace it was, else the sender.
pub fn victim(facts: &Facts<'_>, loss: &Loss) -> Option<PodRef> {
    match &loss.inside {
        Some(pod) => Some(pod.refer(None, None)),
        None => sender(&facts.pods_of_loss(loss)).cloned(),
    }
}

/// What the place is for where a packet died: a link's role, inside a pod, or elsewhere on the node.
pub fn hop_of(facts: &Facts<'_>, loss: &Loss) -> &'static str {
    if loss.key.netns != facts.node.netns {
        return match loss.inside.is_some() || facts.node.pod_side(loss.key.netns).is_some() {
            true => "inside-pod",
            false => "unknown",
        };
    }
    role(
        facts
            .link(loss.key.ifindex)
            .and_then(|link| facts.role(link)),
    )
}

fn role(role: Option<Role>) -> &'static str {
    role.map_or("node", Role::name)
}

#[cfg(test)]
mod tests;
