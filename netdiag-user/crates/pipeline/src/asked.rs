//! What somebody asked for; everything where nobody asked.
use netdiag_common::{
    config::counter,
    filter::{EXPRESSION, SELECTION},
    flow::FlowKey,
};
use netdiag_lang::{english, mark};

use super::scene::Scene;
use crate::model::{
    dns,
    filter::{Filter, glob},
    flow,
    observation::Observation,
    selection::{Selection, Served},
    total::Total,
    verdict::NotChecked,
};

#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub filter: Option<Filter>,
    pub pods: Selection,
    /// Globs of links' names.
    pub links: Vec<String>,
    /// Causes that are judged, by their IDs.
    pub causes: Vec<String>,
}

impl Asked {
    /// What the programs in the kernel have to ask of a packet.
    pub fn of_packets(&self) -> u32 {
        let expression = if self.filter.is_some() { EXPRESSION } else { 0 };
        let selection = if self.pods.is_empty() { 0 } else { SELECTION };
        expression | selection
    }

    /// Whether some packets are left out.
    pub fn partly(&self) -> bool {
        self.of_packets() != 0 || !self.links.is_empty()
    }

    /// What of a reading is to be shown; nothing where that is all of it.
    pub fn shown(&self, observation: &Observation) -> Option<Observation> {
        let filter = self.filter.as_ref().filter(|f| f.one_way())?;
        let mut shown = observation.clone();
        by_filter(&mut shown, |flow| filter.matches(flow));
        Some(shown)
    }

    /// The verdict's words for what was left out.
    pub fn not_checked(&self, unjudged: u64) -> Vec<NotChecked> {
        let mut rows = Vec::new();
        if let Some(filter) = &self.filter {
            let what = english!("packets other than '{}'", filter.text());
            rows.push(NotChecked::new(what, mark!("--filter leaves them out")));
        }
        if !self.pods.is_empty() {
            let what = english!("packets of other pods than those of {}", self.pods);
            rows.push(NotChecked::new(what, mark!("they were not asked for")));
        }
        if !self.links.is_empty() {
            let what = english!("packets at other links than {}", self.links.join(", "));
            rows.push(NotChecked::new(what, mark!("--iface leaves them out")));
        }
        if !self.causes.is_empty() {
            let what = english!("causes other than {}", self.causes.join(", "));
            rows.push(NotChecked::new(what, mark!("--cause leaves them out")));
        }
        if unjudged > 0 {
            let what = english!("{unjudged} dropped packets without readable addresses");
            rows.push(NotChecked::new(what, mark!("no filter can judge them")));
        }
        rows
    }
}

/// Takes out of a reading that was made without filters what they would not have counted. The
/// outer pairs of tunnels stay: which flows they carried was not counted apart.
pub fn count_only(scene: &Scene, observation: &mut Observation) {
    let asked = &scene.asked;
    if !asked.partly() {
        return;
    }
    let drops = |o: &Observation| -> u64 { o.drops.iter().map(|(_, d)| d.packets).total() };
    let before = drops(observation);
    if !asked.pods.is_empty() {
        by_pods(scene, observation);
    }
    if let Some(filter) = &asked.filter {
        let without = observation.drops.iter().filter(|(k, _)| k.flow.family == 0);
        let without = without.map(|(_, d)| d.packets).total();
        observation.counters[counter::DROPS_UNJUDGED as usize] = without;
        by_filter(observation, |flow| filter.counts(flow));
    }
    if !asked.links.is_empty() {
        by_link(scene, observation);
    }
    let left = before.saturating_sub(drops(observation));
    let all = &mut observation.counters[counter::DROPS as usize];
    *all = all.saturating_sub(left);
}

fn by_filter(observation: &mut Observation, keep: impl Fn(&FlowKey) -> bool) {
    let o = observation;
    o.flows.retain(|(k, _)| keep(&k.flow));
    o.drops.retain(|(k, _)| keep(&k.flow));
    o.retransmits.retain(|(k, _)| keep(&k.flow));
    o.icmp_errors.retain(|(k, _)| keep(&k.about));
    o.dns.retain(|(k, _)| keep(&dns::flow(k)));
    o.events.retain(|e| keep(&e.flow));
}

/// By the links that were watched: drops and retransmits are seen elsewhere.
fn by_link(scene: &Scene, o: &mut Observation) {
    let named = |ifindex: u32| {
        let link = scene.node.link(ifindex);
        link.is_some_and(|l| scene.asked.links.iter().any(|p| glob(p, &l.name)))
    };
    o.flows.retain(|(k, _)| named(k.ifindex));
    o.outers.retain(|(k, _)| named(k.ifindex));
    o.icmp_errors.retain(|(k, _)| named(k.ifindex));
    o.dns.retain(|(k, _)| named(k.ifindex));
    o.claims.retain(|(k, _)| named(k.ifindex));
}

/// By who owned the addresses, the link or the namespace at the time.
fn by_pods(scene: &Scene, o: &mut Observation) {
    let whose = Whose {
        served: scene
            .asked
            .pods
            .served(&scene.cluster, scene.gathered.services()),
        scene,
    };
    let flow = |key: &FlowKey, time| whose.flow(key, time);
    let netns = |inode, time| whose.netns(inode, time);
    let link = |ifindex, time| whose.link(ifindex, time);
    o.flows
        .retain(|(k, v)| flow(&k.flow, v.last) || link(k.ifindex, v.last));
    o.drops
        .retain(|(k, v)| flow(&k.flow, v.last) || netns(k.netns, v.last));
    o.retransmits
        .retain(|(k, v)| flow(&k.flow, v.last) || netns(k.netns, v.last));
    o.icmp_errors.retain(|(k, v)| flow(&k.about, v.last));
    let asked = |v: &netdiag_common::dns::Dns| v.last_query.max(v.last_answer);
    o.dns.retain(|(k, v)| flow(&dns::flow(k), asked(v)));
    o.events
        .retain(|e| flow(&e.flow, e.time) || netns(e.netns, e.time));
}

struct Whose<'a> {
    scene: &'a Scene,
    served: Served,
}

impl Whose<'_> {
    fn flow(&self, key: &FlowKey, time: u64) -> bool {
        let (pods, asked) = (&self.scene.pods, &self.scene.asked.pods);
        let (source, destination) = flow::ends(key);
        let has = |address| asked.has(address, time, pods, &self.served);
        has(source) || has(destination)
    }

    fn netns(&self, inode: u32, time: u64) -> bool {
        let pod = self.scene.pods.by_netns_at(inode, time);
        pod.is_some_and(|pod| self.scene.asked.pods.takes(pod, &self.served))
    }

    fn link(&self, ifindex: u32, time: u64) -> bool {
        let pod = self.scene.pods.by_link_at(ifindex, time);
        pod.is_some_and(|pod| self.scene.asked.pods.takes(pod, &self.served))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_nobody_asked_for_are_told() {
        let asked = Asked {
            links: vec!["veth*".into(), "eth0".into()],
            ..Asked::default()
        };
        let rows = asked.not_checked(0);
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0].what, "packets at other links than veth*, eth0");
        assert!(Asked::default().not_checked(0).is_empty());
    }
}
