//! What the MTU causes share: oversize packets grouped by the tunnel that they head for, and
//! how the flows that sent them fare.
use crate::model::shell::CommandLine;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use netdiag_common::flow::FlowKey;
use netdiag_lang::{mark, say, t};

pub use super::mtu_running::{lower, running};
use super::stall;
use crate::{
    model::{
        flow,
        limits::{self, LimitFrom},
        node::{Link, LinkKind, Node, PodSide, RouteKind},
        pod::label,
        roles::{Role, Roles},
        text::counted,
        total::{Total, add},
        verdict::{Evidence, EvidenceKind, FlowRef, Origin, PodRef, PodRole},
    },
    pipeline::facts::{Facts, HopFlow},
    shell,
};

/// Flows named in a finding: enough to see the pattern.
const MOST_FLOWS: usize = 10;

/// So many packets are more than one and what TCP sends after it.
const GOES_ON: u64 = 3;

/// Oversize packets towards one device.
pub struct Oversize<'a> {
    pub link: &'a Link,
    pub hops: Vec<&'a HopFlow>,
}

impl Oversize<'_> {
    pub fn largest(&self) -> u32 {
        self.hops
            .iter()
            .map(|h| h.hop.oversize_largest)
            .max()
            .unwrap_or(0)
    }

    /// The smallest limit that was exceeded.
    pub fn limit(&self) -> u32 {
        self.hops.iter().map(|h| h.hop.limit).min().unwrap_or(0)
    }

    /// Packets at that one of the wanted hops which saw the most.
    fn at_most(&self, wanted: impl Fn(&HopFlow) -> bool) -> u64 {
        let mut places: BTreeMap<(u32, u8), u64> = BTreeMap::new();
        for hop in self.hops.iter().filter(|hop| wanted(hop)) {
            let place = places.entry((hop.key.ifindex, hop.key.direction));
            add(place.or_default(), hop.hop.oversize);
        }
        places.into_values().max().unwrap_or(0)
    }

    pub fn first(&self) -> u64 {
        self.hops.iter().map(|h| h.hop.first).min().unwrap_or(0)
    }

    pub fn last(&self) -> u64 {
        self.hops.iter().map(|h| h.hop.last).max().unwrap_or(0)
    }
}

/// Oversize flows whose limit comes from `from`, by the device their destination is routed to.
pub fn oversize<'a>(
    facts: &'a Facts<'_>,
    from: LimitFrom,
    wanted: impl Fn(&Link) -> bool,
) -> Vec<Oversize<'a>> {
    let mut groups: BTreeMap<u32, Oversize<'a>> = BTreeMap::new();
    let reassembled = reassembled(facts);
    for hop in facts
        .flows
        .iter()
        .filter(|h| h.hop.oversize > 0 && h.limit_from() == Some(from))
    {
        if reassembled(hop.flow()) {
            continue;
        }
        let link = facts.link_by(&facts.packet_of(hop.flow()));
        let Some(link) = link.filter(|link| wanted(link)) else {
            continue;
        };
        let new = || Oversize {
            link,
            hops: Vec::new(),
        };
        groups.entry(link.index).or_insert_with(new).hops.push(hop);
    }
    groups.into_values().collect()
}

/// Tells flows of this node's pods whose packets were not large where they left the pod: what is
/// larger behind it was put together on this node (conntrack reassembles fragments, and the node
/// fragments again). Says no where no pod's link is watched.
fn reassembled<'a>(facts: &'a Facts<'_>) -> impl Fn(&FlowKey) -> bool + 'a {
    let at_pod = |h: &&HopFlow| h.role == Some(Role::Pod) && !h.egress();
    let watched = facts.flows.iter().any(|h| at_pod(&h));
    let large = facts
        .flows
        .iter()
        .filter(at_pod)
        .filter(|h| h.hop.oversize > 0);
    let large: BTreeSet<FlowKey> = large.map(|h| *h.flow()).collect();
    move |flow| watched && facts.is_local_pod(flow::ends(flow).0) && !large.contains(flow)
}

/// One line of evidence per hop where oversize packets passed, the device itself first.
pub fn oversize_evidence(group: &Oversize<'_>) -> Vec<Evidence> {
    type Row = (u64, u32, u32, Option<LimitFrom>);
    let mut rows: BTreeMap<(bool, String, &'static str), Row> = BTreeMap::new();
    for hop in &group.hops {
        let other = hop.key.ifindex != group.link.index;
        let key = (other, hop.interface.clone(), hop.direction());
        let row = rows
            .entry(key)
            .or_insert((0, 0, u32::MAX, hop.limit_from()));
        add(&mut row.0, hop.hop.oversize);
        row.1 = row.1.max(hop.hop.oversize_largest);
        row.2 = row.2.min(hop.hop.limit);
    }
    let most = rows.values().map(|row| row.0).max().unwrap_or(0);
    let line = |((_, at, direction), (packets, largest, limit, from)): (_, Row)| {
        let at: String = at;
        let why = from.map_or_else(String::new, |from| t!(" ({})", say(from.name())));
        let packets_are = counted(packets, mark!("oversize packet"));
        let text = match direction {
            "ingress" => {
                t!("{packets_are} came in by {at}: largest {largest} B, limit {limit} B{why}")
            }
            _ => t!("{packets_are} left by {at}: largest {largest} B, limit {limit} B{why}"),
        };
        let mut line = Evidence::new(EvidenceKind::Oversize, Origin::Observed, text);
        line.confirm = goes_on(packets, most).then(|| larger_than(&at, limit));
        line.at = Some(at);
        line.direction = Some(str::to_owned(direction));
        line.packets = Some(packets);
        line.largest = Some(largest);
        line.limit = Some(limit);
        line.limit_from = from.map(|from| from.name().to_owned());
        line
    };
    rows.into_iter().map(line).collect()
}

/// Whether such packets are to be seen there again. A few may have been the last; and where most of them
/// die before, the kernel has learned of the limit since and lets no more through.
fn goes_on(packets: u64, most: u64) -> bool {
    packets >= GOES_ON && packets >= most / 2
}

/// A capture of IP packets above `limit`, whatever link header the device has.
pub fn larger_than(interface: &str, limit: u32) -> CommandLine {
    let v6 = limit.saturating_sub(40);
    shell!(
        "timeout 10 tcpdump -c 5 -lnni {v} 'ip[2:2] > {} or ip6[4:2] > {}'",
        interface,
        limit,
        v6
    )
}

/// How the oversize flows fare.
pub struct Outcome {
    pub flows: Vec<FlowRef>,
    pub pods: Vec<PodRef>,
    pub stalled: usize,
    pub retransmits: u64,
}

pub fn outcome(facts: &Facts<'_>, group: &Oversize<'_>) -> Outcome {
    let keys: BTreeSet<_> = group.hops.iter().map(|h| *h.flow()).collect();
    let all = facts.journeys();
    let mut journeys: Vec<_> = keys.iter().filter_map(|k| all.get(k)).collect();
    journeys.sort_by_key(|j| std::cmp::Reverse((j.stalled(), j.retransmits())));
    let stalled = |j: &&&crate::pipeline::journey::Journey<'_>| {
        j.hops.iter().any(|h| stall::is_stalled(&h.hop))
    };
    let mut pods = BTreeSet::new();
    for key in &keys {
        pods.extend(facts.pods_of(key));
    }
    Outcome {
        stalled: journeys.iter().filter(stalled).count(),
        retransmits: journeys.iter().map(|j| j.retransmits()).total(),
        flows: journeys
            .iter()
            .take(MOST_FLOWS)
            .map(|j| j.refer())
            .collect(),
        pods: pods.into_iter().collect(),
    }
}

/// Retransmits of the oversize flows.
pub fn retransmit_evidence(facts: &Facts<'_>, outcome: &Outcome) -> Option<Evidence> {
    (outcome.retransmits > 0).then(|| {
        let stalled = match outcome.stalled {
            0 => t!("all flows recovered").to_owned(),
            n => t!("{} stalled", counted(n as u64, mark!("flow"))),
        };
        let retransmissions = counted(outcome.retransmits, mark!("retransmission"));
        let text = t!("{retransmissions} of these flows; {stalled}");
        let mut line = Evidence::new(EvidenceKind::Retransmit, Origin::Observed, text);
        line.packets = Some(outcome.retransmits);
        line.confirm = sender(facts, outcome);
        line
    })
}

/// The sockets that send it again, where one of them is on this node: in its own namespace.
fn sender(facts: &Facts<'_>, outcome: &Outcome) -> Option<CommandLine> {
    let again = outcome.flows.iter().filter(|flow| flow.retransmits > 0);
    let mut found = again.filter_map(|flow| {
        let source: SocketAddr = flow.source.parse().ok()?;
        let destination: SocketAddr = flow.destination.parse().ok()?;
        let mut sides = facts.node.sides();
        let side = sides.find(|side| side.addresses.contains(&source.ip()))?;
        let list = match destination.ip() {
            IpAddr::V4(address) => shell!("ss -tinH dst {}", address),
            IpAddr::V6(address) => shell!("ss -tinH dst [{}]", address),
        };
        let list = list.pipe(shell!("grep -B1 retrans")).showing(&["retrans"]);
        Some(facts.node.inside(side.netns, list))
    });
    found.next()
}

/// Fragments of encapsulated packets on the uplinks, of the oversize flows.
pub fn fragment_evidence(facts: &Facts<'_>, group: &Oversize<'_>) -> Option<Evidence> {
    let of = |h: &&HopFlow| {
        !h.plain()
            && h.egress()
            && h.hop.fragments > 0
            && group.hops.iter().any(|g| g.flow() == h.flow())
    };
    let hops: Vec<_> = facts.flows.iter().filter(of).collect();
    let uplink = hops.first()?.interface.clone();
    let packets: u64 = hops.iter().map(|h| h.hop.fragments).total();
    let text = t!("{packets} fragments of the encapsulated packets left by {uplink}");
    let mut line = Evidence::new(EvidenceKind::Fragment, Origin::Observed, text);
    let passed = |hop: &HopFlow| hop.key.ifindex == group.link.index;
    let most = group.at_most(|_| true);
    let capture = || {
        shell!(
            "timeout 10 tcpdump -c 5 -lnni {v} 'ip[6:2] & 0x3fff != 0'",
            uplink
        )
    };
    line.confirm = goes_on(group.at_most(passed), most).then(capture);
    line.at = Some(uplink);
    line.direction = Some("egress".into());
    line.packets = Some(packets);
    Some(line)
}

/// Drops of the oversize flows on this node.
pub fn drop_evidence(facts: &Facts<'_>, group: &Oversize<'_>) -> Vec<Evidence> {
    let of = |l: &&crate::pipeline::facts::Loss| {
        !l.harmless && group.hops.iter().any(|g| g.flow() == l.flow())
    };
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for loss in facts.losses.iter().filter(of) {
        let sum = sums.entry((&loss.reason, loss.symbol())).or_default();
        add(sum, loss.dropped.packets);
    }
    let line = |((reason, symbol), packets): ((&str, &str), u64)| {
        let text = t!("{packets} packets of these flows dropped: {reason} in {symbol}");
        let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
        line.packets = Some(packets);
        line.reason = Some(reason.to_owned());
        line.location = Some(symbol.to_owned());
        line
    };
    sums.into_iter().map(line).collect()
}

/// How many errors said "too big" of the flows that `concerns` names, and the MTU that they told:
/// frag-needed (RFC 1191) and packet-too-big (RFC 4443). One that passes several hops counts once.
pub fn too_big(facts: &Facts<'_>, concerns: impl Fn(&FlowKey) -> bool) -> Option<(u64, u32)> {
    let mut most: BTreeMap<FlowKey, u64> = BTreeMap::new();
    let mut told = None;
    for (key, error) in facts.icmp_errors {
        let too_big = matches!(
            (key.about.family, key.kind, key.code),
            (4, 3, 4) | (6, 2, _)
        );
        if too_big && concerns(&key.about) {
            let count = most.entry(key.about).or_default();
            *count = error.packets.max(*count);
            told = told.or(Some(error.mtu));
        }
    }
    told.map(|mtu| (most.values().total(), mtu))
}

/// Errors that told the senders of the smaller MTU.
pub fn too_big_evidence(facts: &Facts<'_>, group: &Oversize<'_>) -> Option<Evidence> {
    let (packets, mtu) = too_big(facts, |flow| group.hops.iter().any(|h| h.flow() == flow))?;
    let text = t!("frag-needed or packet-too-big with MTU {mtu} was sent to the senders");
    let mut line = Evidence::new(EvidenceKind::Unreachable, Origin::Observed, text);
    line.packets = Some(packets);
    line.limit = Some(mtu);
    Some(line)
}

/// A pod whose packets may be larger than what its way out leaves.
pub struct LargePod<'a> {
    pub link: &'a Link,
    pub mtu: u32,
}

/// What a pod may send: its device's MTU, or its routes' where they say less (Cilium).
fn effective_mtu(side: &PodSide) -> u32 {
    side.route_mtu.map_or(side.mtu, |mtu| mtu.min(side.mtu))
}

/// Pods that may send more than `bytes`.
pub fn larger_pods(node: &Node, bytes: u32) -> Vec<LargePod<'_>> {
    let roles = Roles::new(node);
    let is_pods = |l: &&Link| roles.of(l) == Some(Role::Pod);
    let pods = node.links.iter().filter(is_pods);
    let mtu = |link: &&Link| {
        let side = link.peer_netns.and_then(|inode| node.pod_side(inode));
        side.map_or(link.mtu, effective_mtu)
    };
    pods.filter(|l| mtu(l) > bytes)
        .map(|link| LargePod {
            link,
            mtu: mtu(&link),
        })
        .collect()
}

/// The pods behind links, as findings name them.
pub fn refer(facts: &Facts<'_>, pods: &[LargePod<'_>]) -> Vec<PodRef> {
    let one = |pod: &LargePod<'_>| match facts.pods.by_interface(&pod.link.name) {
        Some(known) => known.refer(None, Some(PodRole::Source)),
        None => {
            let side = pod
                .link
                .peer_netns
                .and_then(|inode| facts.node.pod_side(inode));
            PodRef {
                ip: side
                    .and_then(|s| s.addresses.first())
                    .map(ToString::to_string),
                interface: Some(pod.link.name.clone()),
                role: Some(PodRole::Source),
                ..PodRef::default()
            }
        }
    };
    pods.iter().map(one).collect()
}

/// Whether the node routes anything through `link`.
pub fn routed(node: &Node, link: &Link) -> bool {
    node.routes.iter().any(|r| {
        r.kind == RouteKind::Unicast
            && r.oif == Some(link.index)
            && !r.destination.address.is_multicast()
            && !is_link_local(r.destination.address)
    })
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// A tunnel whose MTU plus overhead exceeds the MTU of its underlay.
pub struct TooLarge<'a> {
    pub link: &'a Link,
    pub left: u32,
    pub underlay: &'a Link,
    pub underlay_bytes: u32,
}

/// Tunnels of the wanted kinds, up and routed through, that leave less than their MTU says.
pub fn too_large<'a>(node: &'a Node, kinds: &[LinkKind]) -> Vec<TooLarge<'a>> {
    let tunnels = node
        .links
        .iter()
        .filter(|l| kinds.contains(&l.kind) && l.up && routed(node, l));
    tunnels
        .filter_map(|link| smallest(node, link))
        .filter(|t| t.left < t.link.mtu)
        .collect()
}

/// What `link` leaves towards the peer that it leaves least.
pub fn smallest<'a>(node: &'a Node, link: &'a Link) -> Option<TooLarge<'a>> {
    let gateways = node
        .routes
        .iter()
        .filter(|r| r.oif == Some(link.index))
        .map(|r| r.gateway);
    let one = |gateway| {
        let remote = limits::remote(node, link, gateway);
        let left = limits::tunnel_leaves(node, link, remote)?;
        let (underlay_bytes, index) = limits::underlay(node, link, remote)?;
        Some(TooLarge {
            link,
            left,
            underlay: node.link(index)?,
            underlay_bytes,
        })
    };
    gateways.filter_map(one).min_by_key(|t| t.left)
}

/// The configured MTUs behind the arithmetic.
pub fn link_evidence(tunnel: &TooLarge<'_>) -> Evidence {
    let overhead = tunnel.underlay_bytes.saturating_sub(tunnel.left);
    let text = t!(
        "{} has MTU {}, {} takes {}: {} bytes with the tunnel's {overhead}, {} are left for packets",
        tunnel.link.name,
        tunnel.link.mtu,
        tunnel.underlay.name,
        tunnel.underlay_bytes,
        tunnel.link.mtu.saturating_add(overhead),
        tunnel.left,
    );
    let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
    line.at = Some(tunnel.link.name.clone());
    line.largest = Some(tunnel.link.mtu);
    line.limit = Some(tunnel.left);
    line.limit_from = Some(LimitFrom::Overhead.name().into());
    line.confirm = Some(shell!(
        "ip -d link show {}; ip link show {}",
        tunnel.link.name,
        tunnel.underlay.name
    ));
    line
}

/// The pods' names for a sentence: three, and how many more.
pub fn names(pods: &[PodRef]) -> String {
    let local: Vec<_> = pods.iter().map(label).collect();
    match local.len() {
        0..=3 => local.join(t!(", ")),
        n => t!("{} and {} more", local[..3].join(t!(", ")), n - 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dies_before_a_hop_is_not_to_be_seen_there() {
        assert!(goes_on(29, 29) && goes_on(15, 30));
        assert!(!goes_on(5, 29), "most die before");
        assert!(!goes_on(2, 2), "they may have been the last");
    }
}
