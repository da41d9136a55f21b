//! # Symptom
//! Pods reach each other but nothing outside the cluster: connections time out. The node itself reaches
//! the outside.
//!
//! # Mechanism
//! No host outside has a route to the pods' addresses, so outgoing packets must get the node's address.
//! The rule that does it (masquerade, SNAT) is missing: flanneld was started without `--ip-masq`,
//! Calico's IPPool has `natOutgoing: false`, the CNI's bridge plugin has no `ipMasq`, ip-masq-agent
//! excludes that destination, or somebody flushed the rules.
//!
//! # Signals
//! Observed: packets leave an uplink by the default route with pods' own addresses and get no answer,
//! while the same gateway answers the node's own address. Gathered: no postrouting rule of nftables or
//! iptables translates such a packet; one whose selectors netdiag does not understand counts as one that
//! does. Confirmed if the same destinations answer the node: two of them, or one if the CNI's own file
//! says that pods are masqueraded. Otherwise two silent destinations make it a suspicion.
//!
//! # Look-alikes
//! The network routes the pods' addresses: some of their untranslated packets are answered, and there is
//! no finding. The same holds if an eBPF program translates behind netdiag's hook. A single silent
//! destination may be the far end's fault. `pod-route-missing`, `kube-proxy-missing`: the destination
//! belongs to the cluster; a private address counts as outside only if it answers the node.
//!
//! # By hand
//! `tcpdump -nni UPLINK src host POD` shows packets leave with the pod's own address. `iptables-save -t
//! nat | grep -e MASQUERADE -e SNAT` and `nft list ruleset | grep -e masquerade -e snat` show no rule for
//! them.
//!
//! # Fix
//! Let the responsible daemon set the rule again. Until then, one rule masquerades what pods send out by
//! that uplink to anything but pods.
mod fix;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netdiag_common::hop::ACK;
use netdiag_lang::{mark, t};

use crate::{
    model::{
        address::is_private,
        flow::{self, TCP},
        gather::Want,
        journal::Translates,
        roles::Role,
        source_nat::{Leaving, SourceNat},
        total::Total,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity},
    },
    need::{Need, Sufferer},
    pipeline::facts::{Data, Facts, HopFlow},
    shared::{losses::PATTERN, overlay, pod_networks},
    shell,
};

pub const ID: &str = "masquerade-missing";
pub const TITLE: &str =
    mark!("pods' addresses leave the cluster untranslated, and nothing comes back");

/// A client that gives up at once has sent its SYN twice by then (1 s, RFC 6298).
const SILENCE: u64 = 2_000_000_000;
/// One destination that is silent is everyday.
const DESTINATIONS: usize = 2;
/// Destinations that a finding names.
const TOLD: usize = 5;

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let Some(case) = Case::of(facts) else {
        return Vec::new();
    };
    let sufferer = |ask: &&HopFlow| {
        let (flow, (client, server)) = (ask.flow(), flow::ends(ask.flow()));
        let server = (server, flow.destination_port);
        Sufferer::flow(flow.protocol, client, server, overlay::asked(ask))
    };
    let sufferers = case.lost.values().flatten().map(sufferer);
    vec![
        Need::of(Want::SourceNat(case.packet()), sufferers.collect()),
        Need::detail(Want::PodNetworks),
    ]
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let case = Case::of(facts)?;
    let rules = facts.gathered.source_nat(&case.packet())?;
    if rules.rule.is_some() {
        return None;
    }
    let sure = case.is_sure(rules);
    let (severity, confidence) = match sure {
        true => (Severity::Critical, Confidence::Confirmed),
        false => (Severity::Warning, Confidence::Suspected),
    };
    let asks: Vec<&HopFlow> = case.lost.values().flatten().copied().collect();
    let worst = asks.first()?;
    let who = facts.pod(flow::ends(worst.flow()).0, PodRole::Source);
    let who = who.map_or_else(
        || t!("pods").to_owned(),
        |pod| crate::model::pod::label(&pod),
    );
    let summary = t!(
        "packets of {who} leave {} with the pod's own address and no answer comes from {}: no rule of \
         this node masquerades them",
        case.link,
        case.names(),
    );
    let mut finding = Finding::new(ID, severity, confidence, summary);
    finding.evidence = case.evidence(facts, rules);
    overlay::tell(&mut finding, facts, &asks);
    finding.about = case.lost.keys().copied().collect();
    finding.fix = fix::fix(facts, &case.packet(), rules);
    finding.first_seen = facts.clock.text(asks.iter().map(|h| h.hop.first).min()?);
    finding.last_seen = facts.clock.text(asks.iter().map(|h| h.hop.last).max()?);
    Some(finding)
}

/// What such a packet comes to, and what to do; nothing where nobody says that it is to be translated.
pub fn foretold(facts: &Facts<'_>, packet: &Leaving) -> Option<(String, Fix)> {
    let rules = facts.gathered.source_nat(packet)?;
    let keeper = rules.keeper.as_ref().filter(|k| k.told == Some(true))?;
    if rules.rule.is_some() || Way::to(facts, packet.destination).is_none() {
        return None;
    }
    let what = t!(
        "it leaves by {} with the pod's own address {}, which is to be masqueraded as {} says",
        packet.link,
        packet.source,
        keeper.file
    );
    Some((what, fix::fix(facts, packet, rules)))
}

/// A next hop, and by what it is told apart what answers say: the network may route pods' addresses
/// within itself and nowhere else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    link: u32,
    gateway: Option<IpAddr>,
    private: bool,
}

impl Way {
    /// By which packets for somebody outside leave: nothing for what a route of its own leads to, or
    /// what is known to be the cluster's.
    fn to(facts: &Facts<'_>, destination: IpAddr) -> Option<Self> {
        let route = facts.way(&facts.from_node(destination));
        let route = route.filter(|route| facts.leads_out(route))?;
        let cluster = facts.cluster;
        let node = cluster
            .nodes
            .iter()
            .any(|n| n.addresses.contains(&destination));
        let own = node
            || cluster.at(destination).is_some()
            || pod_networks::pod_address(facts, destination).is_some();
        let known = facts.gathered.services();
        let service = known.is_some_and(|s| s.evidence(destination).is_some());
        (!own && !service).then_some(Self {
            link: route.oif?,
            gateway: route.gateway,
            private: is_private(destination),
        })
    }
}

/// What of pods' packets is lost by one next hop.
struct Case<'a> {
    way: Way,
    link: &'a str,
    lost: BTreeMap<IpAddr, Vec<&'a HopFlow>>,
    /// Those outside who answer the node's own address, since.
    answering: BTreeMap<IpAddr, &'a HopFlow>,
}

impl<'a> Case<'a> {
    fn of(facts: &'a Facts<'_>) -> Option<Self> {
        let mut ways: BTreeMap<Way, BTreeMap<IpAddr, Vec<&HopFlow>>> = BTreeMap::new();
        // Where a program translates behind this hook, answers are not seen: that one came is told by
        // the acknowledgements of TCP alone; where those are not kept, that it asks again.
        let tells = |h: &HopFlow| facts.data == Data::Kept || h.hop.syns > 1;
        let silent = |h: &HopFlow| h.hop.flags & ACK == 0 && h.flow().protocol == TCP && tells(h);
        for ask in overlay::unanswered(facts, |h| is_pods(facts, h) && silent(h)) {
            let to = flow::ends(ask.flow()).1;
            if let Some(way) = Way::to(facts, to).filter(|way| way.link == ask.key.ifindex) {
                ways.entry(way)
                    .or_default()
                    .entry(to)
                    .or_default()
                    .push(ask);
            }
        }
        let mut cases = ways.into_iter();
        cases.find_map(|(way, lost)| Self::by(facts, way, lost))
    }

    fn by(
        facts: &'a Facts<'_>,
        way: Way,
        mut lost: BTreeMap<IpAddr, Vec<&'a HopFlow>>,
    ) -> Option<Self> {
        lost.retain(|_, asks| {
            let asked = asks.iter().map(|h| overlay::asked(h)).total();
            let since = asks.iter().map(|h| h.hop.first).min().unwrap_or(0);
            asked >= PATTERN && facts.now.saturating_sub(since) > SILENCE
        });
        let since = lost.values().flatten().map(|h| h.hop.first).min()?;
        let link = &lost.values().flatten().next()?.interface;
        if comes_back(facts, way) {
            return None;
        }
        let answering = answering(facts, way, since);
        let same = lost.keys().any(|to| answering.contains_key(to));
        if !same && way.private {
            return None;
        }
        let enough = same || lost.len() >= DESTINATIONS && !answering.is_empty();
        enough.then_some(Self {
            way,
            link,
            lost,
            answering,
        })
    }

    /// The first that was lost stands for all: it stays the same in the next reading.
    fn packet(&self) -> Leaving {
        let all = self.lost.values().flatten();
        let first = all.min_by_key(|h| (h.hop.first, h.key.flow));
        let ends = first.map(|h| flow::ends(h.flow()));
        let none = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let (source, destination) = ends.unwrap_or((none, none));
        Leaving {
            source,
            destination,
            link: self.link.to_owned(),
        }
    }

    fn is_sure(&self, rules: &SourceNat) -> bool {
        let same = self
            .lost
            .keys()
            .filter(|to| self.answering.contains_key(to));
        let told = rules.keeper.as_ref().and_then(|k| k.told) == Some(true);
        match same.count() {
            0 => false,
            1 => told,
            _ => true,
        }
    }

    fn names(&self) -> String {
        let told: Vec<_> = self.lost.keys().take(TOLD).map(IpAddr::to_string).collect();
        let more = match self.lost.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => t!(" and {more} more"),
        };
        told.join(t!(", ")) + &more
    }

    fn via(&self) -> String {
        let gateway = self.way.gateway;
        gateway.map_or_else(String::new, |gateway| t!(" via {gateway}"))
    }

    fn evidence(&self, facts: &Facts<'_>, rules: &SourceNat) -> Vec<Evidence> {
        let packet = self.packet();
        let asks = || self.lost.values().flatten();
        let asked = asks().map(|h| overlay::asked(h)).total();
        let sources: BTreeSet<IpAddr> = asks().map(|h| flow::ends(h.flow()).0).collect();
        let sources: Vec<_> = sources.iter().take(TOLD).map(IpAddr::to_string).collect();
        let text = t!(
            "{asked} requests left {}{} with pods' own addresses ({}), none answered",
            self.link,
            self.via(),
            sources.join(t!(", ")),
        );
        let mut sent = Evidence::new(EvidenceKind::Route, Origin::Observed, text);
        sent.at = Some(self.link.to_owned());
        sent.direction = Some("egress".into());
        sent.packets = Some(asked);
        sent.confirm = Some(shell!(
            "timeout 10 tcpdump -c 5 -lnni {v} src host {}",
            self.link,
            packet.source
        ));
        let mut all = vec![sent];
        all.extend(self.answers());
        all.push(rule_evidence(&packet, rules));
        all.extend(rules.keeper.as_ref().map(fix::keeper));
        let route = facts.way(&facts.from_to(packet.source, packet.destination));
        let route = route.map(|route| {
            #[expect(clippy::disallowed_methods, reason = "what the route is called")]
            let text = match route.destination.is_anywhere() {
                true => t!(
                    "{} is routed by the default route{}",
                    packet.destination,
                    self.via()
                ),
                false => t!(
                    "{} is routed by {}{}, which is the way of the default route",
                    packet.destination,
                    route.destination,
                    self.via()
                ),
            };
            let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
            line.confirm = Some(shell!("ip route get {}", packet.destination));
            line
        });
        all.extend(route);
        all
    }

    /// Who answers the node: one who is silent towards pods, if there is any.
    fn answers(&self) -> Option<Evidence> {
        let same = self.lost.keys().find_map(|to| self.answering.get(to));
        let answer = same.or_else(|| self.answering.values().next())?;
        let (from, own) = flow::ends(answer.flow());
        let text = t!(
            "{from} answers this node's own address {own} by the same way{}",
            self.via()
        );
        let mut line = Evidence::new(EvidenceKind::Route, Origin::Observed, text);
        line.at = Some(answer.interface.clone());
        line.direction = Some(answer.direction().to_owned());
        line.packets = Some(answer.hop.packets);
        line.confirm = Some(shell!(
            "timeout 10 tcpdump -c 5 -lnni {v} host {} and host {}",
            self.link,
            from,
            own
        ));
        Some(line)
    }
}

/// A pod's own packet, as it leaves an uplink.
fn is_pods(facts: &Facts<'_>, hop: &HopFlow) -> bool {
    let (source, _) = flow::ends(hop.flow());
    hop.plain()
        && hop.egress()
        && hop.role == Some(Role::Uplink)
        && !facts.owns(source)
        && facts.is_local_pod(source)
}

/// Whether anybody out there answers pods by their own addresses: then the network routes them, or
/// something behind this hook translates. A client that acknowledges was answered, whoever saw it; and
/// an error found its way back as well.
fn comes_back(facts: &Facts<'_>, way: Way) -> bool {
    let journeys = facts.journeys();
    let mut errors = BTreeSet::new();
    for (key, _) in facts.icmp_errors {
        if !facts.owns(crate::model::address::from_wire(key.sender)) {
            errors.insert(key.about);
        }
    }
    let answered = |h: &HopFlow| {
        let acknowledges = h.flow().protocol == TCP && h.hop.flags & ACK != 0;
        acknowledges || journeys.contains_key(&h.flow().reversed()) || errors.contains(h.flow())
    };
    let same = |h: &HopFlow| Way::to(facts, flow::ends(h.flow()).1) == Some(way);
    let mut pods = facts.flows.iter().filter(|h| is_pods(facts, h));
    pods.any(|h| answered(h) && same(h))
}

/// Answers of those behind the next hop to an address of the node's own.
fn answering<'a>(facts: &'a Facts<'_>, way: Way, since: u64) -> BTreeMap<IpAddr, &'a HopFlow> {
    let journeys = facts.journeys();
    let asked = |h: &HopFlow| {
        let there = journeys.get(&h.flow().reversed());
        there.is_some_and(|j| j.hops.iter().any(|h| h.egress()))
    };
    let mut all = BTreeMap::new();
    for hop in facts.flows {
        let (from, to) = flow::ends(hop.flow());
        let comes = hop.plain() && !hop.egress() && hop.key.ifindex == way.link;
        if comes
            && hop.hop.last > since
            && facts.owns(to)
            && asked(hop)
            && Way::to(facts, from) == Some(way)
        {
            all.entry(from).or_insert(hop);
        }
    }
    all
}

fn rule_evidence(packet: &Leaving, rules: &SourceNat) -> Evidence {
    let others = match rules.others {
        0 => String::new(),
        1 => t!("; the one that is there is for other packets").to_owned(),
        n => t!("; the {n} that are there are for other packets"),
    };
    let text = t!(
        "no rule masquerades {} on its way out by {}{others}",
        packet.source,
        packet.link
    );
    let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, text);
    let nft = shell!("nft list ruleset").pipe(shell!("grep -n -e masquerade -e snat"));
    let save = match packet.source {
        IpAddr::V4(_) => shell!("iptables-save -t nat"),
        IpAddr::V6(_) => shell!("ip6tables-save -t nat"),
    };
    let save = save.pipe(shell!("grep -e MASQUERADE -e SNAT"));
    let listed = nft.then(save);
    line.confirm = Some(match rules.others {
        0 => listed.showing_nothing(),
        _ => listed.showing(&["masquerade", "snat", "MASQUERADE", "SNAT"]),
    });
    line.lacks = Some((packet.source.is_ipv6(), Translates::Source));
    line
}

#[cfg(test)]
mod tests;
