//! # Symptom
//! Backends on one other node cannot be reached from this one: connections time out, or some of the
//! requests to a Service hang. Nothing on this node reports an error.
//!
//! # Mechanism
//! The route to the other node's pod network is gone: flannel's was deleted, BGP does not advertise the
//! block, the cloud's route table lost it. Packets for these pods follow the default route to a gateway
//! that has no route to them either.
//!
//! # Signals
//! Observed: packets for a pod's address leave an uplink without encapsulation and get no answer.
//! Configured: the route look-up ends at the default route, although the address is a pod's: a tunnel
//! still has that node's neighbour entry, a source of pod names has it, or flannel's or Calico's
//! configuration assigns the network to pods. If only the routes to the other nodes surround the address,
//! the finding is a suspicion: a deleted pod leaves such an address behind. Without any of these there is
//! no finding. A recording of the pod's own node, replayed with this one's, shows that the pod exists and
//! which packets reached it.
//!
//! # Look-alikes
//! `overlay-blocked`: the packets do enter the tunnel. `neighbour-failed`: the route exists, its gateway
//! does not answer. A removed node's pod that is still a backend of a Service.
//!
//! # By hand
//! `ip route get POD` on the node: the route to another node's pod uses `dev flannel.1`, `dev tunl0` or
//! that node's address, not the default gateway.
//!
//! # Fix
//! Restore the route; for a pod of this node, the route to its link. For another node's pod restart the
//! node's CNI daemon (flanneld, calico-node), advertise the block, or move the pod to a node whose
//! network is routed.
mod other_node;

use std::{collections::BTreeMap, net::IpAddr};

use netdiag_common::{flow::FlowKey, hop::ACK};
use netdiag_lang::{mark, t};

use crate::{
    model::{
        address::is_link_local,
        flow::{self, TCP},
        gather::{Want, Whom},
        node::{Link, Route, RouteKind},
        roles::Role,
        total::Total,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    need::{Need, Sufferer},
    pipeline::{
        facts::{Facts, HopFlow},
        owed::Spared,
    },
    shared::{
        daemon, local_pod_route,
        losses::PATTERN,
        overlay,
        pod_networks::{self, PodAddress},
    },
    shell,
};

pub use other_node::complete;

pub const ID: &str = "pod-route-missing";
pub const TITLE: &str = mark!("packets for other nodes' pods leave by the default route");

/// A client that gives up at once has sent its SYN twice by then (1 s, RFC 6298).
const SILENCE: u64 = 2_000_000_000;

/// Pods that a finding names; more of them tell nothing new.
const TOLD: usize = 5;

/// A pod's address that is not routed to a pod.
struct Lost<'a> {
    pod: IpAddr,
    known: PodAddress,
    asks: Vec<&'a HopFlow>,
}

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let all: Vec<_> = by_default_route(facts).into_values().flatten().collect();
    let any = !all.is_empty();
    let need = || {
        Need::of(
            Want::PodNetworks,
            all.iter().map(|ask| sufferer(ask)).collect(),
        )
    };
    any.then(need).into_iter().collect()
}

fn sufferer(ask: &HopFlow) -> Sufferer {
    let (flow, (client, server)) = (ask.flow(), flow::ends(ask.flow()));
    let server = (server, flow.destination_port);
    Sufferer::flow(flow.protocol, client, server, overlay::asked(ask))
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let mut lost = lost(facts);
    lost.sort_by_key(|l| (l.known.guessed, std::cmp::Reverse(l.asks.len())));
    let worst = lost.first()?;
    let asks: Vec<&HopFlow> = lost.iter().flat_map(|l| l.asks.iter().copied()).collect();
    let uplink = &worst.asks.first()?.interface;
    let sure = lost.iter().any(|l| is_sure(facts, l));
    let (what, severity, confidence) = match worst.known.guessed {
        false if sure => (t!("the pods"), Severity::Critical, Confidence::Confirmed),
        // A network may route pods by itself, and these may be silent on their own.
        false => (t!("the pods"), Severity::Warning, Confidence::Suspected),
        // Pods that are gone leave such addresses behind too.
        true => (
            t!("what seem to be pods,"),
            Severity::Warning,
            Confidence::Suspected,
        ),
    };
    let summary = t!(
        "there is no route to {what} {}: packets for them leave {uplink} by the default route, \
         and nothing comes back",
        names(&lost)
    );
    let mut finding = Finding::new(ID, severity, confidence, summary);
    let told = lost.iter().take(TOLD);
    finding.evidence = told.flat_map(|l| evidence(facts, l)).collect();
    finding.evidence.extend(down(facts).map(down_evidence));
    overlay::tell(&mut finding, facts, &asks);
    finding.fix = fix(facts, worst);
    finding.about = lost.iter().map(|l| l.pod).collect();
    finding.scope.add_hosts(&finding.about);
    finding.first_seen = facts.clock.text(asks.iter().map(|h| h.hop.first).min()?);
    finding.last_seen = facts.clock.text(asks.iter().map(|h| h.hop.last).max()?);
    Some(finding)
}

/// What a pod's packet for that address comes to, and what to do; nothing where it may be right that it leaves so.
pub fn foretold(facts: &Facts<'_>, pod: IpAddr) -> Option<(String, Fix)> {
    let default = facts.way(&facts.from_node(pod)).is_some_and(is_default);
    let known = || here(facts, pod).or_else(|| pod_networks::pod_address(facts, pod));
    let known = default.then(known).flatten().filter(|it| !it.guessed)?;
    let lost = Lost {
        pod,
        known,
        asks: Vec::new(),
    };
    is_sure(facts, &lost).then(|| (routed(facts, &lost), fix(facts, &lost)))
}

fn names(lost: &[Lost<'_>]) -> String {
    let told: Vec<_> = lost.iter().take(TOLD).map(|l| l.pod.to_string()).collect();
    let more = match lost.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => t!(" and {more} more"),
    };
    told.join(t!(", ")) + &more
}

#[expect(
    clippy::disallowed_methods,
    reason = "this cause is that nothing else leads there"
)]
fn is_default(route: &Route) -> bool {
    route.kind == RouteKind::Unicast && route.destination.is_anywhere()
}

/// Requests of this node's pods or its own, or for one of them, that leave by the default route,
/// unanswered and again and again, by whom they are for.
fn by_default_route<'a>(facts: &'a Facts<'_>) -> BTreeMap<IpAddr, Vec<&'a HopFlow>> {
    let ours = |h: &HopFlow| {
        let (source, destination) = flow::ends(h.flow());
        let back = || local_pod_route::missing(facts, destination).is_some();
        facts.is_local_pod(source) || facts.owns(source) || back()
    };
    let out = |h: &HopFlow| h.plain() && h.egress() && h.role == Some(Role::Uplink) && ours(h);
    let mut lost: BTreeMap<IpAddr, Vec<&HopFlow>> = BTreeMap::new();
    for ask in overlay::unanswered(facts, out) {
        lost.entry(flow::ends(ask.flow()).1).or_default().push(ask);
    }
    lost.retain(|destination, asks| {
        let route = facts.way(&facts.from_node(*destination));
        let asked: u64 = asks.iter().map(|h| overlay::asked(h)).total();
        let since = asks.iter().map(|h| h.hop.first).min().unwrap_or(0);
        let lasts = facts.now.saturating_sub(since) > SILENCE;
        route.is_some_and(is_default) && asked >= PATTERN && lasts
    });
    lost
}

fn lost<'a>(facts: &'a Facts<'_>) -> Vec<Lost<'a>> {
    let pods = by_default_route(facts).into_iter();
    let gone = |pod| facts.pods.by_address(pod).is_some_and(|p| p.gone.is_some());
    let pods = pods.filter_map(|(pod, asks)| {
        let known = here(facts, pod)
            .or_else(|| pod_networks::pod_address(facts, pod))
            .or_else(|| excepted(facts, &asks))?;
        Some(Lost { pod, known, asks })
    });
    let mut lost: Vec<_> = pods.filter(|l| !gone(l.pod)).collect();
    if !lost.iter().all(|l| is_proven(facts, l)) && others_answer(facts) {
        lost.retain(|l| is_proven(facts, l));
    }
    lost
}

/// It has a better route when the run began, or something of one is there still.
fn is_proven(facts: &Facts<'_>, lost: &Lost<'_>) -> bool {
    let before = facts.way_before(&facts.from_node(lost.pod));
    lost.known.lost.is_some()
        || before.is_some_and(|r| r.kind == RouteKind::Unicast && !is_default(r))
        || local_pod_route::missing(facts, lost.pod).is_some()
}

/// Where nothing leads to pods but the default route, that may be how the network has it: a cloud's
/// routers know where pods are.
fn is_sure(facts: &Facts<'_>, lost: &Lost<'_>) -> bool {
    let onward = |r: &&Route| {
        let tunnel = r
            .oif
            .and_then(|i| facts.link(i))
            .is_some_and(Link::is_tunnel);
        let to = r.destination.address;
        let near = is_link_local(to) || to.is_multicast();
        r.kind == RouteKind::Unicast
            && !is_default(r)
            && to.is_ipv4() == lost.pod.is_ipv4()
            && !near
            && (tunnel || r.gateway.is_some())
    };
    let onward = || facts.node.routes.iter().any(|r| onward(&r));
    is_proven(facts, lost) || down(facts).is_some() || has_overlay(facts) || onward()
}

/// Whether a tunnel has a pods' address, as flannel.1 and tunl0 have: nodes that send to each other's pods
/// through it do not leave that to routers.
fn has_overlay(facts: &Facts<'_>) -> bool {
    let pods = |address| {
        pod_networks::own_network(facts, address).is_some()
            || pod_networks::pod_address(facts, address).is_some_and(|p| !p.guessed)
    };
    let mut tunnels = facts.node.links.iter().filter(|l| l.is_tunnel() && l.up);
    tunnels.any(|l| {
        let mut own = l.addresses.iter().filter(|a| !a.link_local);
        own.any(|a| pods(a.prefix.address))
    })
}

/// Whether other nodes' pods, to which nothing but the default route leads, answer by it.
fn others_answer(facts: &Facts<'_>) -> bool {
    let mut flows = facts.flows.iter();
    flows.any(|h| {
        let from = flow::ends(h.flow()).0;
        let came = h.plain() && !h.egress() && h.role == Some(Role::Uplink);
        let answers = came && h.flow().protocol == TCP && h.hop.flags & ACK != 0;
        let default = || facts.way(&facts.from_node(from)).is_some_and(is_default);
        let pod = || pod_networks::pod_address(facts, from).is_some_and(|p| !p.guessed);
        answers && default() && pod()
    })
}

/// What pods send out by that link is translated here, and the rules leave out what they send to this one: whoever wrote them takes
/// it for somebody who knows pods' addresses, by a range in which pods are here, too, or by how the rule that translates is written.
fn excepted(facts: &Facts<'_>, asks: &[&HopFlow]) -> Option<PodAddress> {
    let pods = |flow: &FlowKey| facts.is_local_pod(flow::ends(flow).0);
    let by = asks.first()?.key.ifindex;
    let mut tries = facts.attempts().iter().flat_map(|all| all.tries.iter());
    let translated = tries.any(|tried| {
        let origin = facts.legs().origin(&tried.flow);
        let named = |asked: FlowKey| flow::ends(&asked).0 != flow::ends(&tried.flow).0;
        let there = tried
            .requests
            .iter()
            .any(|hop| hop.egress() && hop.key.ifindex == by);
        tried.opened() && there && origin.is_some_and(|(asked, _)| pods(&asked) && named(asked))
    });
    let sides = &facts.node.pod_sides;
    let near = |whom: Whom| {
        let mut own = sides.iter().flat_map(|side| &side.addresses);
        own.any(|address| whom.may_be(*address))
    };
    let as_pods = |ask: &&HopFlow| match facts.stays_as_sent(ask.flow()) {
        Some(Spared::By(_, whom)) => near(whom),
        Some(Spared::Nobody) => true,
        Some(Spared::Untracked(_)) | None => false,
    };
    let mut of_pods = asks.iter().filter(|ask| pods(ask.flow()));
    let left_out = translated && of_pods.any(as_pods);
    // Whoever answers this node itself by that way has a network there that no tunnel leads to.
    let to = asks
        .first()
        .map(|ask| (flow::ends(ask.flow()).1, ask.key.ifindex));
    let heard = |h: &HopFlow| {
        let (from, by) = flow::ends(h.flow());
        to == Some((from, h.key.ifindex)) && facts.owns(by) && !h.egress()
    };
    let left_out = left_out && !facts.flows.iter().any(heard);
    left_out.then(|| PodAddress {
        why: t!("the rules that translate what pods send out leave it out").into(),
        lost: None,
        guessed: true,
    })
}

/// A pod of this node: what is for it goes out, and comes back by the router until it is dropped.
fn here(facts: &Facts<'_>, pod: IpAddr) -> Option<PodAddress> {
    let link = local_pod_route::missing(facts, pod)?;
    Some(PodAddress {
        why: local_pod_route::tell(pod, link),
        lost: None,
        guessed: false,
    })
}

fn routed(facts: &Facts<'_>, lost: &Lost<'_>) -> String {
    let pod = lost.pod;
    let gateway = facts.way(&facts.from_node(pod)).and_then(|r| r.gateway);
    let via = gateway.map_or_else(String::new, |gateway| t!(" via {gateway}"));
    t!(
        "{pod} is routed by the default route{via}; {}",
        lost.known.why
    )
}

fn evidence(facts: &Facts<'_>, lost: &Lost<'_>) -> Vec<Evidence> {
    let pod = lost.pod;
    let at = lost.asks.first().map(|h| h.interface.clone());
    let text = routed(facts, lost);
    let mut route = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
    route.confirm = Some(shell!("ip route get {}", pod));
    let asked: u64 = lost.asks.iter().map(|h| overlay::asked(h)).total();
    let text = t!("{asked} requests for {pod} left there outside of any tunnel, none answered");
    let mut sent = Evidence::new(EvidenceKind::Route, Origin::Observed, text);
    sent.packets = Some(asked);
    sent.direction = Some("egress".into());
    sent.confirm = at
        .as_ref()
        .map(|at| shell!("timeout 10 tcpdump -c 5 -lnni {v} host {}", at, pod));
    route.at.clone_from(&at);
    sent.at = at;
    vec![route, sent]
}

/// A tunnel that somebody set up and that is down now: its routes went with it. The kernel's fallback
/// devices are down too, and have neither addresses nor entries.
fn down<'a>(facts: &Facts<'a>) -> Option<&'a Link> {
    let node = facts.node;
    let peers = |l: &Link| node.fdb.iter().any(|f| f.ifindex == l.index);
    let mut tunnels = node.links.iter().filter(|l| l.is_tunnel() && !l.up);
    tunnels.find(|l| l.addresses.iter().any(|a| !a.link_local) || peers(l))
}

fn down_evidence(tunnel: &Link) -> Evidence {
    let name = &tunnel.name;
    let text = t!("{name} is down, and a link that goes down loses its routes");
    let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
    line.at = Some(name.clone());
    line.confirm = Some(shell!("ip -d link show {}", name));
    line
}

fn fix(facts: &Facts<'_>, lost: &Lost<'_>) -> Fix {
    if let Some(link) = local_pod_route::missing(facts, lost.pod) {
        return local_pod_route::lead(facts, lost.pod, link);
    }
    let summary = t!(
        "restart the CNI daemon of this node (flanneld, calico-node), which puts the route back, or \
         advertise the other node's pod network (BGP, the cloud's route table); until then let the \
         Service's pods run on nodes that are routed"
    );
    let mut commands = vec![shell!("ip route get {}", lost.pod)];
    let up = down(facts).map(|tunnel| shell!("ip link set dev {} up", tunnel.name));
    commands.extend(up);
    if let Some((network, index)) = lost.known.lost {
        let (via, device) = (network.address, facts.node.link_name(index));
        let add = shell!("ip route add {} via {} dev {} onlink", network, via, device);
        commands.push(add.of_family(lost.pod.is_ipv6()));
    }
    commands.extend(daemon::of_network(facts).map(|it| it.restart(facts)));
    let summary = match lost.known.guessed {
        false => summary.to_owned(),
        true => {
            commands.push(shell!("kubectl get pods -A -o wide"));
            t!(
                "see whether any pod has {}: if none, find out who still asks for it; if one has, \
                 {summary}",
                lost.pod
            )
        }
    };
    Fix { summary, commands }
}
