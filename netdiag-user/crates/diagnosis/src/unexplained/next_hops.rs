//! Whether the way by which a stuck flow left works for anybody.
//!
//! One dead server says nothing of the way to it. Two dead ones behind one gateway, and not a
//! single answer by it, are the way's fault or this node's: a wrong entry for the gateway, a link
//! that sends into the void. A tunnel's other end is one node of the cluster: silence of all who
//! are asked there is worth a look from one server on.
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use netdiag_common::{flow::FlowKey, hop::INGRESS};
use netdiag_lang::t;

use super::{Symptom, left};
use crate::{
    model::{
        address::mac,
        flow::ends,
        node::{Link, Neighbour, Route, RouteKind},
    },
    pipeline::facts::{Facts, HopFlow},
    shell,
};

/// A link and the gateway behind it, and whether it is IPv4: neighbours are found for each family.
type Way = (u32, Option<IpAddr>, bool);

pub struct Ways<'f, 'a> {
    facts: &'f Facts<'a>,
    /// When something came by that way last.
    heard: HashMap<Way, u64>,
    silent: HashMap<Way, BTreeSet<IpAddr>>,
}

impl<'f, 'a> Ways<'f, 'a> {
    pub fn new<'s>(facts: &'f Facts<'a>, all: impl Iterator<Item = &'s Symptom>) -> Self {
        let mut ways = Self {
            facts,
            heard: HashMap::new(),
            silent: HashMap::new(),
        };
        for symptom in all.filter(|c| left(c)) {
            if let Some(way) = ways.by(symptom) {
                ways.silent.entry(way).or_default().insert(symptom.far());
            }
        }
        if !ways.silent.is_empty() {
            ways.listen(facts);
            ways.hear_errors(facts);
        }
        ways
    }

    fn listen(&mut self, facts: &Facts<'_>) {
        for journey in facts.journeys().values() {
            let Some(hop) = journey.hops.first().filter(|h| !h.egress()) else {
                continue;
            };
            let (source, _) = ends(&journey.flow);
            let way = match hop.plain() {
                true => self.at(hop.key.ifindex, source),
                false => self.of(source),
            };
            if let Some(way) = way {
                let last = self.heard.entry(way).or_default();
                *last = hop.hop.last.max(*last);
            }
            self.hear_itself(facts, &journey.flow, hop);
        }
    }

    /// The next hop answers for itself: what it sends on is another matter.
    fn hear_itself(&mut self, facts: &Facts<'_>, flow: &FlowKey, hop: &HopFlow) {
        let (source, _) = ends(flow);
        let mut silent = self.silent.keys();
        let own = |way: &&Way| way.1 == Some(source) && way.0 == hop.key.ifindex;
        let Some(way) = silent.find(own).copied() else {
            return;
        };
        if facts.direction().is_answer(flow) && facts.journeys().contains_key(&flow.reversed()) {
            let last = self.heard.entry(way).or_default();
            *last = hop.hop.last.max(*last);
        }
    }

    /// A router that says why it sends nothing on was reached, and its word came back.
    fn hear_errors(&mut self, facts: &Facts<'_>) {
        let came = facts.icmp_errors.iter();
        for (key, error) in came.filter(|(key, _)| key.direction == INGRESS) {
            let (_, far) = ends(&key.about);
            if let Some(way) = self.at(key.ifindex, far) {
                let last = self.heard.entry(way).or_default();
                *last = error.last.max(*last);
            }
        }
    }

    fn route(&self, far: IpAddr) -> Option<&'a Route> {
        self.facts.way(&self.facts.from_node(far))
    }

    /// That of the link which saw it last, whichever of several next hops it took.
    fn by(&self, symptom: &Symptom) -> Option<Way> {
        let last = symptom.last.as_ref().filter(|last| last.plain());
        let way = last.and_then(|last| self.at(last.key.ifindex, symptom.far()));
        way.or_else(|| self.of(symptom.far()))
    }

    /// By that link, where a route of any table leads there by it.
    fn at(&self, link: u32, far: IpAddr) -> Option<Way> {
        // Most take the first, which is looked up and not searched for.
        if let Some(way) = self.of(far).filter(|way| way.0 == link) {
            return Some(way);
        }
        let leads = |route: &&Route| {
            let here = route.kind == RouteKind::Unicast && route.oif == Some(link);
            here && route.destination.contains(far)
        };
        let routes = self.facts.node.routes.iter().filter(leads);
        let route = routes.max_by_key(|route| route.destination.length)?;
        let by_hand = || self.by_hand(link, far).map(|_| far);
        Some((link, route.gateway.or_else(by_hand), far.is_ipv4()))
    }

    fn of(&self, far: IpAddr) -> Option<Way> {
        let route = self.route(far)?;
        let oif = route.oif?;
        // Whoever has an entry of his own by hand is reached by that alone.
        let by_hand = || self.by_hand(oif, far).map(|_| far);
        Some((oif, route.gateway.or_else(by_hand), far.is_ipv4()))
    }

    /// The entry that somebody made; on a tunnel the CNI's agent did.
    fn by_hand(&self, oif: u32, address: IpAddr) -> Option<&'a Neighbour> {
        let tunnel = self.facts.node.link(oif).is_some_and(Link::is_tunnel);
        let entries = self.facts.node.neighbours.iter();
        let mut entries = entries.filter(|n| n.permanent && !tunnel);
        entries.find(|n| n.ifindex == oif && n.address == address)
    }

    pub fn answers(&self, symptom: &Symptom) -> bool {
        let heard = self.by(symptom).and_then(|way| self.heard.get(&way));
        heard.is_some_and(|last| *last > symptom.first)
    }

    /// Links by which somebody is heard.
    pub fn heard_by(&self) -> BTreeSet<u32> {
        self.heard.keys().map(|way| way.0).collect()
    }

    /// Nobody answers by the way that it left by.
    pub fn doubtful(&self, symptom: &Symptom) -> bool {
        let far = symptom.far();
        let silent = self.by(symptom).and_then(|way| self.silent.get(&way));
        let silent = silent.map_or(0, BTreeSet::len);
        let route = self.route(far);
        let one_node = route.is_some_and(|r| r.gateway.is_some() && !self.facts.leads_out(r));
        // What somebody entered by hand nobody asks for any more.
        let enough = match one_node || self.permanent(symptom).is_some() {
            true => 1,
            false => 2,
        };
        silent >= enough && !self.answers(symptom)
    }

    /// An entry that somebody made by hand may be wrong; on a tunnel the CNI's agent made it.
    pub fn permanent(&self, symptom: &Symptom) -> Option<&'a Neighbour> {
        let (oif, gateway, _) = self.by(symptom)?;
        self.by_hand(oif, gateway.unwrap_or_else(|| symptom.far()))
    }

    pub fn entry(&self, symptom: &Symptom) -> Option<String> {
        let entry = self.permanent(symptom)?;
        let lladdr = mac(entry.lladdr.as_deref()?);
        let link = self.facts.node.link_name(entry.ifindex);
        let delete = shell!("ip neighbour del {} dev {}", entry.address, link);
        let delete = delete.told_or("ip neighbour del");
        Some(t!(
            "its neighbour entry is permanent: {lladdr}; {delete} lets this node ask whose it is"
        ))
    }

    /// `192.0.2.254 (eth0)`
    pub fn name(&self, symptom: &Symptom) -> String {
        match self.by(symptom) {
            Some((oif, Some(gateway), _)) => {
                format!("{gateway} ({})", self.facts.node.link_name(oif))
            }
            Some((oif, None, _)) => self.facts.node.link_name(oif),
            None => t!("that hop").into(),
        }
    }
}
