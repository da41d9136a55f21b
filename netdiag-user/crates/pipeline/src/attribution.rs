//! Whose an address is, at the time that is asked about: pods follow each other.
use std::{collections::HashMap, net::IpAddr};

use netdiag_common::flow::FlowKey;

use super::facts::{Facts, Loss};
use crate::model::{
    flow,
    roles::Role,
    verdict::{PodRef, PodRole},
};

/// When flows and addresses were last seen: asked for only where pods have followed each other.
#[derive(Default)]
pub struct Activity {
    flows: HashMap<FlowKey, u64>,
    addresses: HashMap<IpAddr, u64>,
}

impl Activity {
    fn new(facts: &Facts<'_>) -> Self {
        let mut activity = Self::default();
        let passed = facts.flows.iter().map(|h| (h.flow(), h.hop.last));
        let lost = facts.losses.iter().map(|l| (l.flow(), l.dropped.last));
        for (flow, last) in passed.chain(lost) {
            let (source, destination) = flow::ends(flow);
            let seen = activity.flows.entry(*flow).or_default();
            *seen = last.max(*seen);
            for address in [source, destination] {
                let seen = activity.addresses.entry(address).or_default();
                *seen = last.max(*seen);
            }
        }
        activity
    }
}

impl Facts<'_> {
    /// The pod that owns an address, or did when it was last seen in traffic: as a source says,
    /// else the one whose namespace has it.
    pub fn pod(&self, address: IpAddr, as_role: PodRole) -> Option<PodRef> {
        let time = match self.pods.has_turns(address) {
            true => self.activity().addresses.get(&address).copied(),
            false => None,
        };
        self.pod_at(address, as_role, time)
    }

    /// The same at a time (`CLOCK_MONOTONIC` ns).
    pub fn pod_at(&self, address: IpAddr, as_role: PodRole, time: Option<u64>) -> Option<PodRef> {
        let last = || self.pods.by_address(address);
        let owner = match time.filter(|_| self.pods.has_turns(address)) {
            // Before the last one that is known went, somebody else's namespace says nothing.
            Some(time) if last().is_none_or(|pod| pod.gone.is_none_or(|gone| gone >= time)) => {
                Some(self.pods.by_address_at(address, time)?)
            }
            Some(time) => self.pods.by_address_at(address, time),
            None => last(),
        };
        match owner {
            Some(pod) => Some(pod.refer(Some(address), Some(as_role))),
            None => self.nameless(address, as_role),
        }
    }

    fn nameless(&self, address: IpAddr, as_role: PodRole) -> Option<PodRef> {
        let linkless = || {
            let mut sides = self.node.linkless.iter();
            sides.find(|s| s.addresses.contains(&address))
        };
        let side = self.pod_side_of(address).or_else(linkless)?;
        let mut links = self.node.links.iter();
        let link = links.find(|l| l.peer_netns == Some(side.netns));
        Some(PodRef {
            linkless: link.is_none(),
            ip: Some(address.to_string()),
            interface: link.map(|l| l.name.clone()),
            role: Some(as_role),
            ..PodRef::default()
        })
    }

    /// Whether `address` belongs to a pod of this node.
    pub fn is_local_pod(&self, address: IpAddr) -> bool {
        let here = |pod: &crate::model::pod::Pod| pod.interface.is_some() && pod.gone.is_none();
        let linkless = || {
            let mut sides = self.node.linkless.iter();
            sides.any(|s| s.addresses.contains(&address))
        };
        let known = self.pods.by_address(address).is_some_and(here);
        known || self.pod_side_of(address).is_some() || linkless()
    }

    /// Whether the node itself leads to `address` by a bridge, a tunnel or a link of a pod's: a guest of its own, or
    /// another node's pod whose way out it is.
    pub fn is_behind_us(&self, address: IpAddr) -> bool {
        let route = self.way(&self.from_node(address));
        let Some(route) = route.filter(|route| !self.leads_out(route)) else {
            return false;
        };
        let link = route.oif.and_then(|oif| self.link(oif));
        let role = link.and_then(|link| self.role(link));
        role.is_some_and(|role| matches!(role, Role::Pod | Role::Bridge | Role::Tunnel))
    }

    /// The pods at both ends of a flow when it was last seen, as far as they are known.
    ///
    /// Of a flow that the node translates, those that really talk to each other.
    pub fn pods_of(&self, flow: &FlowKey) -> Vec<PodRef> {
        let (source, destination) = self.talkers(flow);
        let turns = self.pods.has_turns(source) || self.pods.has_turns(destination);
        let time = match turns {
            true => self.activity().flows.get(flow).copied(),
            false => None,
        };
        self.pods_of_at(flow, time)
    }

    /// The same at a time.
    pub fn pods_of_at(&self, flow: &FlowKey, time: Option<u64>) -> Vec<PodRef> {
        let (source, destination) = self.talkers(flow);
        let ends = [
            self.pod_at(source, PodRole::Source, time),
            self.pod_at(destination, PodRole::Destination, time),
        ];
        ends.into_iter().flatten().collect()
    }

    /// The pods of a loss. Its namespace and its link are one pod's alone for as long as they are
    /// there, an address can be the next one's already: they say who it was where it fits.
    pub fn pods_of_loss(&self, loss: &Loss) -> Vec<PodRef> {
        let time = loss.dropped.last;
        let mut ends = self.pods_of_at(loss.flow(), Some(time));
        let here = loss.key.netns == self.node.netns;
        let by_link = || {
            self.pods
                .by_link_at(loss.key.ifindex, time)
                .filter(|_| here)
        };
        let Some(pod) = loss.inside.as_deref().or_else(by_link) else {
            return ends;
        };
        let (source, destination) = flow::ends(loss.flow());
        let roles = [
            (source, PodRole::Source),
            (destination, PodRole::Destination),
        ];
        for (address, role) in roles {
            if pod.addresses.contains(&address) {
                ends.retain(|end| end.role != Some(role));
                ends.push(pod.refer(Some(address), Some(role)));
            }
        }
        ends.sort_by_key(|end| end.role);
        ends
    }

    fn talkers(&self, flow: &FlowKey) -> (IpAddr, IpAddr) {
        let (mut source, mut destination) = flow::ends(flow);
        if let Some((asked, _)) = self.legs().origin(flow) {
            source = flow::ends(&asked).0;
        }
        if let Some((leg, _)) = self.legs().translated(flow) {
            destination = flow::ends(&leg).1;
        }
        (source, destination)
    }

    fn activity(&self) -> &Activity {
        self.activity.get_or_init(|| Activity::new(self))
    }
}
