//! Events from two readings: what each table's entry gained since the one before. Counts are
//! exact; the sum of all events of an entry is its total.
//!
//! A new pod's flow may wait for its name (`name_grace_period`): its events come with a later reading.
mod places;

use std::collections::HashMap;

use netdiag_common::{
    config::counter,
    dns::DnsKey,
    event::{Event, WIRE_RETRANSMIT},
    flow::FlowKey,
    hop::{FlowHopKey, GSO, IcmpErrorKey, OVERSIZE_DF, OVERSIZE_GSO, OuterKey},
    loss::RetransmitKey,
};

use super::name_grace_period::NameGracePeriod;
use crate::{
    causes::{cni_daemon_oom::name as comm, vxlan_source_mismatch},
    model::{
        address::from_wire,
        dns,
        event::{Detail, DropRelation, HopTotal, LiveEvent},
        flow,
        limits::LimitFrom,
        observation::Observation,
        pod::Pod,
        total::add,
        verdict::{Finding, PodRef, PodRole},
    },
    pipeline::{
        facts::{Facts, HopFlow, Loss, Question, direction},
        names, translation,
    },
};

/// Counts of the reading before.
#[derive(Default)]
pub struct EventDiff {
    oversize: HashMap<FlowHopKey, u64>,
    retransmits: HashMap<FlowHopKey, u64>,
    fragments: HashMap<FlowHopKey, u64>,
    drops: places::Told,
    sockets: HashMap<RetransmitKey, u64>,
    outers: HashMap<OuterKey, u64>,
    icmp: HashMap<IcmpErrorKey, u64>,
    dns: [HashMap<DnsKey, u64>; 4],
    oom_kills: HashMap<u32, u64>,
    foreign: u64,
    findings: HashMap<String, String>,
    /// Who waits for a pod's name.
    pub(super) patience: NameGracePeriod,
}

/// What an entry gained since `seen`. One that was evicted and came back starts anew: its count is
/// smaller than before, and all of it is new.
fn gain<K: std::hash::Hash + Eq>(seen: &HashMap<K, u64>, key: &K, now: u64) -> u64 {
    let before = seen.get(key).copied().unwrap_or(0);
    if now >= before { now - before } else { now }
}

/// Forgets what is not there any more, once that is much.
fn keep<K: std::hash::Hash + Eq>(
    seen: &mut HashMap<K, u64>,
    rows: impl ExactSizeIterator<Item = K>,
) {
    if seen.len() > rows.len() + 1024 {
        let present: std::collections::HashSet<K> = rows.collect();
        seen.retain(|k, _| present.contains(k));
    }
}

/// What `key` gained, remembering its new count.
fn gained<K: std::hash::Hash + Eq + Copy>(seen: &mut HashMap<K, u64>, key: &K, now: u64) -> u64 {
    let count = gain(seen, key, now);
    seen.insert(*key, now);
    count
}

/// The event of what `key` gained; it is remembered once it is told.
fn told<K: std::hash::Hash + Eq + Copy>(
    seen: &mut HashMap<K, u64>,
    patience: &mut NameGracePeriod,
    flow: &FlowKey,
    (key, now): (&K, u64),
    event: impl FnOnce(u64) -> LiveEvent,
) -> Option<LiveEvent> {
    // Most entries never have any.
    let count = if now == 0 { 0 } else { gain(seen, key, now) };
    if count == 0 {
        return None;
    }
    let event = event(count);
    if patience.keeps(flow, &event.pods) {
        return None;
    }
    seen.insert(*key, now);
    Some(event)
}

/// Who takes events, one by one: a flood has thousands at a time.
pub type Tell<'t> = dyn FnMut(LiveEvent) + 't;

impl EventDiff {
    pub fn events(
        &mut self,
        facts: &Facts<'_>,
        observation: &Observation,
        findings: &[Finding],
        tell: &mut Tell<'_>,
    ) {
        self.traffic(facts, observation, tell);
        self.mismatch_events(facts, tell);
        self.icmp_events(facts, tell);
        self.dns_events(facts, tell);
        self.oom_events(facts, tell);
        self.foreign_event(facts, observation, tell);
        self.finding_events(facts, findings, tell);
        self.forget(observation);
    }

    /// What was kept back for lack of a name, and will get none.
    pub fn closing(&mut self, facts: &Facts<'_>, observation: &Observation, tell: &mut Tell<'_>) {
        self.patience.end();
        self.traffic(facts, observation, tell);
    }

    /// What happened to flows that may be a new pod's.
    fn traffic(&mut self, facts: &Facts<'_>, observation: &Observation, tell: &mut Tell<'_>) {
        for hop in facts.flows {
            self.flow_events(facts, hop, &observation.events, tell);
        }
        self.drop_events(facts, tell);
        self.socket_events(facts, tell);
    }

    fn drop_events(&mut self, facts: &Facts<'_>, tell: &mut Tell<'_>) {
        for (loss, count) in self.drops.news(facts.losses) {
            let event = drop_event(facts, loss, count);
            if !self.patience.keeps(loss.flow(), &event.pods) {
                self.drops.tell(loss, count);
                tell(event);
            }
        }
    }

    fn flow_events(
        &mut self,
        facts: &Facts<'_>,
        hop: &HopFlow,
        samples: &[Event],
        tell: &mut Tell<'_>,
    ) {
        let (patience, flow) = (&mut self.patience, hop.flow());
        let entry = (&hop.key, hop.hop.oversize);
        let event = |count| hop_event(facts, hop, count, oversize(hop));
        told(&mut self.oversize, patience, flow, entry, event)
            .into_iter()
            .for_each(&mut *tell);
        let entry = (&hop.key, hop.hop.retransmits);
        let event = |count| hop_event(facts, hop, count, retransmit(hop, samples));
        told(&mut self.retransmits, patience, flow, entry, event)
            .into_iter()
            .for_each(&mut *tell);
        let entry = (&hop.key, hop.hop.fragments);
        let later = hop.hop.later_fragments;
        let event = |count| hop_event(facts, hop, count, Detail::Fragment { later });
        told(&mut self.fragments, patience, flow, entry, event)
            .into_iter()
            .for_each(&mut *tell);
    }

    fn socket_events(&mut self, facts: &Facts<'_>, tell: &mut Tell<'_>) {
        for (key, value) in facts.retransmits {
            let make = |count| {
                let detail = Detail::Retransmit {
                    sequence: Some(value.sequence),
                    payload: Some(value.payload),
                    seen: "socket",
                    drop: Some(relation(facts, &key.flow, value.sequence)),
                };
                let mut event = event(facts, &key.flow, value.last, count, detail);
                event.netns = Some(key.netns);
                let inside = facts.pods.by_netns_at(key.netns, value.last);
                event.pod = inside.map(|p| own(facts, p, &key.flow)).or(event.pod);
                event
            };
            let (seen, patience) = (&mut self.sockets, &mut self.patience);
            told(seen, patience, &key.flow, (key, value.packets), make)
                .into_iter()
                .for_each(&mut *tell);
        }
    }

    fn mismatch_events(&mut self, facts: &Facts<'_>, tell: &mut Tell<'_>) {
        for m in vxlan_source_mismatch::mismatches(facts) {
            let of = |o: &&crate::pipeline::facts::OuterPair| {
                o.source == m.source && o.destination == m.destination && o.key.vni == m.vni
            };
            for pair in facts.outers.iter().filter(of) {
                let count = gained(&mut self.outers, &pair.key, pair.outer.packets);
                if count == 0 {
                    continue;
                }
                let detail = Detail::VxlanSourceMismatch {
                    outer_source: m.source.to_string(),
                    outer_destination: m.destination.to_string(),
                    expected: vec![m.expected.to_string()],
                    expected_from: m.expected_from,
                    vni: m.vni,
                    port: m.port,
                };
                let mut event = event(facts, &pair.outer.inner, pair.outer.last, count, detail);
                event.interface = Some(pair.interface.clone());
                event.direction = Some(direction(pair.key.direction));
                tell(event);
            }
        }
    }

    fn icmp_events(&mut self, facts: &Facts<'_>, tell: &mut Tell<'_>) {
        for (key, value) in facts.icmp_errors {
            let count = gained(&mut self.icmp, key, value.packets);
            if count == 0 {
                continue;
            }
            let too_big = matches!(
                (key.about.family, key.kind, key.code),
                (4, 3, 4) | (6, 2, _)
            );
            let detail = Detail::Unreachable {
                icmp_type: key.kind,
                icmp_code: key.code,
                sender: from_wire(key.sender).to_string(),
                mtu: too_big.then_some(value.mtu),
            };
            let mut event = event(facts, &key.about, value.last, count, detail);
            event.interface = Some(facts.node.link_name(key.ifindex));
            event.direction = Some(direction(key.direction));
            tell(event);
        }
    }

    fn oom_events(&mut self, facts: &Facts<'_>, tell: &mut Tell<'_>) {
        for (pid, kill) in facts.oom_kills {
            if gained(&mut self.oom_kills, pid, kill.time) == 0 {
                continue;
            }
            let cgroup = facts.gathered.memory_cgroup(kill.cgroup);
            let detail = Detail::Oom {
                pid: *pid,
                comm: Some(comm(kill)).filter(|comm| !comm.is_empty()),
                cgroup: cgroup.map(|c| c.path.clone()),
            };
            let mut event = bare(facts, 1, detail);
            event.time = facts.clock.text(kill.time);
            event.netns = Some(kill.netns).filter(|netns| *netns != 0);
            let pod = facts.pods.by_netns_at(kill.netns, kill.time);
            event.pod = pod.map(|pod| pod.refer(None, Some(PodRole::Victim)));
            tell(event);
        }
    }

    /// One event a question, server and problem, at the link where the client's query came in.
    fn dns_events(&mut self, facts: &Facts<'_>, tell: &mut Tell<'_>) {
        for question in names::first_hops(facts.dns) {
            for (told, (problem, total)) in self.dns.iter_mut().zip(problems(facts, question)) {
                let count = gained(told, &question.key, total);
                if count == 0 {
                    continue;
                }
                let detail = Detail::Dns {
                    problem,
                    name: question.name.clone(),
                    query_type: dns::kind(question.key.kind),
                    server: question.server.to_string(),
                };
                let (flow, last) = (dns::flow(&question.key), &question.dns);
                let time = last.last_answer.max(last.last_query);
                let mut event = event(facts, &flow, time, count, detail);
                event.interface = Some(question.interface.clone());
                tell(event);
            }
        }
    }

    fn foreign_event(&mut self, facts: &Facts<'_>, observation: &Observation, tell: &mut Tell<'_>) {
        let now = observation.counter(counter::FOREIGN);
        let count = now.saturating_sub(self.foreign);
        self.foreign = now;
        if count > 0 {
            tell(bare(facts, count, Detail::Foreign));
        }
    }

    /// A finding is told when it is new, and again when what it says has changed in kind.
    fn finding_events(&mut self, facts: &Facts<'_>, findings: &[Finding], tell: &mut Tell<'_>) {
        for finding in findings {
            let state = format!("{:?} {:?}", finding.severity, finding.confidence);
            let before = self.findings.insert(finding.id.clone(), state.clone());
            if before.as_ref() != Some(&state) {
                let finding = Box::new(finding.clone());
                tell(bare(facts, 1, Detail::Finding { finding }));
            }
        }
    }

    /// Entries that left the tables need not be remembered.
    fn forget(&mut self, observation: &Observation) {
        let flows = || observation.flows.iter().map(|(key, _)| *key);
        keep(&mut self.oversize, flows());
        keep(&mut self.retransmits, flows());
        keep(&mut self.fragments, flows());
        self.drops.forget(&observation.drops);
        keep(
            &mut self.sockets,
            observation.retransmits.iter().map(|(key, _)| *key),
        );
        keep(
            &mut self.outers,
            observation.outers.iter().map(|(key, _)| *key),
        );
        keep(
            &mut self.icmp,
            observation.icmp_errors.iter().map(|(key, _)| *key),
        );
        keep(
            &mut self.oom_kills,
            observation.oom_kills.iter().map(|(key, _)| *key),
        );
        for told in &mut self.dns {
            keep(told, observation.dns.iter().map(|(key, _)| *key));
        }
    }
}

/// What is wrong with a question's answers, counted. NXDOMAIN is not: search lists make several
/// of each name.
fn problems(facts: &Facts<'_>, question: &Question) -> [(&'static str, u64); 4] {
    let dns = &question.dns;
    let silent = match facts.now.saturating_sub(dns.silent_since) >= names::ANSWER_WAIT {
        true => u64::from(dns.unanswered),
        false => 0,
    };
    [
        ("unanswered", silent),
        ("servfail", dns.servfail),
        ("refused", dns.refused),
        ("error", dns.other),
    ]
}

fn retransmit(hop: &HopFlow, samples: &[Event]) -> Detail {
    let of = |e: &&Event| {
        e.kind == WIRE_RETRANSMIT
            && e.flow == *hop.flow()
            && e.ifindex == hop.key.ifindex
            && e.direction == hop.key.direction
    };
    Detail::Retransmit {
        sequence: samples.iter().rfind(of).map(|e| e.sequence),
        payload: None,
        seen: "wire",
        drop: None,
    }
}

fn oversize(hop: &HopFlow) -> Detail {
    Detail::Oversize {
        largest: hop.hop.oversize_largest,
        limit: hop.hop.limit,
        limit_from: hop.limit_from().map(LimitFrom::name),
        gso: hop.hop.flags & (OVERSIZE_GSO | GSO) == OVERSIZE_GSO | GSO,
        df: hop.hop.flags & OVERSIZE_DF != 0,
    }
}

/// The drop that explains a retransmit, as far as one was seen on this node.
fn relation(facts: &Facts<'_>, flow: &FlowKey, sequence: u32) -> DropRelation {
    let mut relation = DropRelation::NoneSeen;
    // Behind a translation it has other addresses, and the same sequence numbers.
    let leg = facts.legs().translated(flow).map(|(leg, _)| leg);
    let of = |l: &&Loss| !l.harmless && (l.flow() == flow || Some(l.flow()) == leg.as_ref());
    for loss in facts.losses.iter().filter(of) {
        if loss.dropped.sequence == sequence {
            return DropRelation::SamePacket;
        }
        relation = DropRelation::SameFlow;
    }
    relation
}

fn own(facts: &Facts<'_>, pod: &Pod, flow: &FlowKey) -> PodRef {
    let (source, _) = flow::ends(flow);
    let address = facts.pods.by_address(source).map(|_| source);
    pod.refer(address, Some(PodRole::Source))
}

fn drop_event(facts: &Facts<'_>, loss: &Loss, count: u64) -> LiveEvent {
    let detail = Detail::Drop {
        reason: loss.reason.clone(),
        location: loss.location.clone(),
        bytes: loss.dropped.bytes,
        harmless: loss.harmless,
    };
    let mut event = event(facts, loss.flow(), loss.dropped.last, count, detail);
    event.interface.clone_from(&loss.interface);
    event.netns = (loss.interface.is_none() && loss.key.netns != 0).then_some(loss.key.netns);
    if loss.flow().family != 0 {
        event.pods = facts.pods_of_loss(loss);
        event.pod = event.pods.first().cloned();
    }
    if event.pod.is_none() {
        event.pod = loss.inside.as_ref().map(|p| p.refer(None, None));
    }
    event
}

fn hop_event(facts: &Facts<'_>, hop: &HopFlow, count: u64, detail: Detail) -> LiveEvent {
    let mut event = event(facts, hop.flow(), hop.hop.last, count, detail);
    event.interface = Some(hop.interface.clone());
    event.direction = Some(hop.direction());
    event.role = hop.role;
    event
}

fn event(facts: &Facts<'_>, flow: &FlowKey, time: u64, count: u64, detail: Detail) -> LiveEvent {
    let known = flow.family != 0;
    let pods = if known {
        facts.pods_of_at(flow, Some(time))
    } else {
        Vec::new()
    };
    LiveEvent {
        time: facts.clock.text(time),
        node: None,
        interface: None,
        direction: None,
        role: None,
        netns: None,
        flow: known.then(|| translation::event_flow(facts, flow)),
        pod: pods.first().cloned(),
        pods,
        count,
        detail,
    }
}

/// An event without a place or a flow.
pub fn bare(facts: &Facts<'_>, count: u64, detail: Detail) -> LiveEvent {
    LiveEvent::bare(facts.clock.text(facts.now), count, detail)
}

/// Totals per hop and direction, for `stats`.
pub fn hop_totals(facts: &Facts<'_>) -> Vec<HopTotal> {
    let mut totals: Vec<HopTotal> = Vec::new();
    for hop in facts.flows {
        let Some(role) = hop.role else { continue };
        let same =
            |t: &&mut HopTotal| t.interface == hop.interface && t.direction == hop.direction();
        match totals.iter_mut().find(same) {
            Some(total) => {
                add(&mut total.packets, hop.hop.packets);
                add(&mut total.bytes, hop.hop.bytes);
            }
            None => totals.push(HopTotal {
                interface: hop.interface.clone(),
                direction: hop.direction(),
                role: role.name(),
                packets: hop.hop.packets,
                bytes: hop.hop.bytes,
            }),
        }
    }
    totals.sort_by(|a, b| (&a.interface, a.direction).cmp(&(&b.interface, b.direction)));
    totals
}
