//! Everything that a cause may look at: readings with names, beside the node and its pods.
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use netdiag_common::{
    claim::{NeighbourAnnouncement, NeighbourAnnouncementKey},
    dns::{Dns, DnsKey},
    flow::FlowKey,
    hop::{EGRESS, FlowHop, FlowHopKey, IcmpError, IcmpErrorKey, Outer, OuterKey, PLAIN},
    loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
    oom::OomKill,
};
use netdiag_forwarding::Prepared;

use super::{
    agreement::Feature,
    attribution::Activity,
    clock::Clock,
    connection_groups,
    direction::Direction,
    forged::forged,
    journey::Journeys,
    legs::Legs,
    picture::Picture,
    success::{GivenUp, Success},
    taker,
    ways::{States, Ways},
};
use crate::model::{
    address::from_wire,
    cluster::Cluster,
    dns, flow,
    gather::Gathered,
    index::NodeIndex,
    limits::LimitFrom,
    node::{Link, Node, PodSide},
    observation::Observation,
    path::Followed,
    pod::{Pod, PodIndex},
    reason::{self, Reasons, by_place},
    roles::{Role, Roles},
    world::station::Station,
};

/// One flow at one hop.
#[derive(Clone, Debug)]
pub struct HopFlow {
    pub key: FlowHopKey,
    pub hop: FlowHop,
    pub interface: String,
    pub role: Option<Role>,
}

impl HopFlow {
    pub fn flow(&self) -> &FlowKey {
        &self.key.flow
    }

    pub fn egress(&self) -> bool {
        self.key.direction == EGRESS
    }

    pub fn direction(&self) -> &'static str {
        direction(self.key.direction)
    }

    pub fn plain(&self) -> bool {
        self.key.carried == PLAIN
    }

    pub fn limit_from(&self) -> Option<LimitFrom> {
        LimitFrom::from_wire(self.hop.limit_from)
    }
}

pub fn direction(direction: u8) -> &'static str {
    if direction == EGRESS {
        "egress"
    } else {
        "ingress"
    }
}

/// Packets of one flow that died at one place for one reason.
#[derive(Clone, Debug)]
pub struct Loss {
    pub key: DropKey,
    pub dropped: Dropped,
    pub reason: String,
    /// `symbol+0x1c3`.
    pub location: String,
    /// In this node's own namespace only; a pod's indexes mean other links.
    pub interface: Option<String>,
    /// The pod in whose namespace it happened.
    pub inside: Option<Arc<Pod>>,
    pub harmless: bool,
    /// The link of a pod that sent it in another's name.
    pub forged: Option<u32>,
}

impl Loss {
    pub fn flow(&self) -> &FlowKey {
        &self.key.flow
    }

    /// The function that dropped it.
    pub fn symbol(&self) -> &str {
        self.location.split('+').next().unwrap_or(&self.location)
    }

    /// Whether its way can have ended at that station, by the kernel's reason and function.
    pub fn is_at(&self, station: Station) -> bool {
        by_place::stations(&self.reason, &self.location).contains(&station)
    }

    /// Whether it was dropped where that function's row of the table of drop places has it.
    pub fn is_beside(&self, function: &str) -> bool {
        let row = by_place::place_of(&self.location);
        row.is_some() && row == by_place::place_of(function)
    }
}

/// A pair of outer addresses on an uplink.
#[derive(Clone, Debug)]
pub struct OuterPair {
    pub key: OuterKey,
    pub outer: Outer,
    pub interface: String,
    pub source: IpAddr,
    pub destination: IpAddr,
}

impl OuterPair {
    pub fn egress(&self) -> bool {
        self.key.direction == EGRESS
    }
}

/// One question of a client to a server, at one link.
#[derive(Clone, Debug)]
pub struct Question {
    pub key: DnsKey,
    pub dns: Dns,
    pub client: IpAddr,
    pub server: IpAddr,
    /// In lower case, see [`dns::name`].
    pub name: String,
    pub interface: String,
    pub role: Option<Role>,
}

impl Question {
    /// For the same order every time.
    pub fn key_order(&self) -> (u64, IpAddr, IpAddr, &str, u16) {
        let first = self.dns.first_query;
        (first, self.client, self.server, &self.name, self.key.kind)
    }
}

/// One reading, with names for what the kernel numbers.
pub struct Rows {
    pub now: u64,
    /// Flows that pods sent in another's name, which are left out.
    pub forged: usize,
    pub flows: Vec<HopFlow>,
    pub losses: Vec<Loss>,
    pub outers: Vec<OuterPair>,
    pub icmp_errors: Vec<(IcmpErrorKey, IcmpError)>,
    pub dns: Vec<Question>,
    pub claims: Vec<(NeighbourAnnouncementKey, NeighbourAnnouncement)>,
    pub neighbour_questions: Vec<(NeighbourAnnouncementKey, NeighbourAnnouncement)>,
    pub retransmits: Vec<(RetransmitKey, Retransmitted)>,
    pub oom_kills: Vec<(u32, OomKill)>,
    states: States,
}

/// What is kept of packets that only carry data, and of acknowledgements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Data {
    #[default]
    Kept,
    /// Since something looked wrong: of connections that are older, their opening may be all.
    Lately,
    /// That none was seen means nothing.
    NotKept,
}

/// What rules are asked with. What several of them group alike is grouped once.
pub struct Facts<'a> {
    pub node: &'a Node,
    /// The same when the run began: what counters are compared with.
    pub start: &'a Node,
    pub pods: &'a PodIndex,
    /// What the Kubernetes API says; empty where it is not asked.
    pub cluster: &'a Cluster,
    /// What rules asked for beside the readings.
    pub gathered: &'a Gathered,
    pub clock: Clock,
    pub now: u64,
    /// What is kept of data packets.
    pub data: Data,
    /// Nobody asked for some links or packets only, and no hook that should be there is missing: what a link
    /// carries is seen there.
    pub all_watched: bool,
    /// When all hooks were there, `CLOCK_MONOTONIC` ns; 0 where nobody tells.
    pub hooked: u64,
    /// Flows that are not among these, for a pod sent them in another's name.
    pub forged: usize,
    /// What packets were seen to pass otherwise than computed.
    pub distrusted: BTreeSet<Feature>,
    pub flows: &'a [HopFlow],
    pub losses: &'a [Loss],
    pub outers: &'a [OuterPair],
    pub icmp_errors: &'a [(IcmpErrorKey, IcmpError)],
    pub dns: &'a [Question],
    pub claims: &'a [(NeighbourAnnouncementKey, NeighbourAnnouncement)],
    pub neighbour_questions: &'a [(NeighbourAnnouncementKey, NeighbourAnnouncement)],
    pub retransmits: &'a [(RetransmitKey, Retransmitted)],
    pub oom_kills: &'a [(u32, OomKill)],
    index: NodeIndex<'a>,
    pub(super) states: &'a States,
    pub(super) ways: OnceCell<Ways<'a>>,
    pub(super) ways_before: OnceCell<Ways<'a>>,
    pub(super) prepared: OnceCell<Prepared<'a>>,
    pub(super) takers: taker::Known,
    pub(super) journeys: OnceCell<Journeys<'a>>,
    pub(super) attempts: OnceCell<connection_groups::Known<'a>>,
    pub(super) legs: OnceCell<Legs>,
    pub(super) success: OnceCell<Success>,
    pub(super) given_up: OnceCell<GivenUp>,
    pub(super) direction: OnceCell<Direction>,
    pub(super) picture: OnceCell<Picture<'a>>,
    pub(super) activity: OnceCell<Activity>,
    followed: OnceCell<Followed>,
}

/// Ethertypes (include/uapi/linux/if_ether.h); zero where none was read.
const ETH_P_IP: u32 = 0x0800;
const ETH_P_ARP: u32 = 0x0806;
const ETH_P_IPV6: u32 = 0x86dd;
const UNKNOWN: u32 = 0;

/// Names for what the kernel numbers.
pub trait Names {
    fn symbol(&self, address: u64) -> String;
    fn reasons(&self) -> &Reasons;
}

/// Names that were written down before, none at first.
#[derive(Clone, Default)]
pub struct KnownNames {
    pub symbols: BTreeMap<u64, String>,
    pub reasons: Reasons,
}

impl Names for KnownNames {
    fn symbol(&self, address: u64) -> String {
        let known = self.symbols.get(&address).cloned();
        known.unwrap_or_else(|| format!("{address:#x}"))
    }

    fn reasons(&self) -> &Reasons {
        &self.reasons
    }
}

/// What is known beside the readings.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub node: &'a Node,
    pub start: &'a Node,
    pub pods: &'a PodIndex,
    pub cluster: &'a Cluster,
    pub gathered: &'a Gathered,
    pub names: &'a dyn Names,
    pub clock: Clock,
}

impl Rows {
    pub fn new(known: &Known<'_>, observation: &Observation) -> Self {
        let Known {
            node, pods, names, ..
        } = *known;
        let mut links = Links::new(node);
        let flows = observation.flows.iter();
        let losses = observation.drops.iter();
        let outers = observation.outers.iter();
        let dns = observation.dns.iter();
        let claims = observation.claims.iter().copied();
        let (claims, neighbour_questions) = claims.partition(|(key, _)| key.asked == 0);
        let flows = flows.map(|(key, hop)| hop_flow(&mut links, key, hop));
        let mut flows: Vec<HopFlow> = flows.collect();
        let losses = losses.map(|(key, dropped)| loss(node, pods, names, key, dropped));
        let mut losses: Vec<Loss> = losses.collect();
        let forged = forged(node, pods, &flows);
        if !forged.is_empty() {
            flows.retain(|hop| !forged.contains_key(hop.flow()));
            for loss in &mut losses {
                loss.forged = forged.get(loss.flow()).copied();
                loss.harmless |= loss.forged.is_some();
            }
        }
        Self {
            now: observation.now,
            forged: forged.len(),
            flows,
            losses,
            outers: outers.map(|pair| outer_pair(&mut links, pair)).collect(),
            icmp_errors: observation.icmp_errors.clone(),
            dns: dns.map(|q| question(&mut links, q)).collect(),
            claims,
            neighbour_questions,
            retransmits: observation.retransmits.clone(),
            oom_kills: observation.oom_kills.clone(),
            states: States::default(),
        }
    }
}

impl<'a> Facts<'a> {
    pub fn new(known: &Known<'a>, rows: &'a Rows) -> Self {
        Self {
            node: known.node,
            start: known.start,
            pods: known.pods,
            cluster: known.cluster,
            gathered: known.gathered,
            clock: known.clock,
            now: rows.now,
            data: Data::default(),
            all_watched: true,
            hooked: 0,
            forged: rows.forged,
            distrusted: BTreeSet::new(),
            flows: &rows.flows,
            losses: &rows.losses,
            outers: &rows.outers,
            icmp_errors: &rows.icmp_errors,
            dns: &rows.dns,
            claims: &rows.claims,
            neighbour_questions: &rows.neighbour_questions,
            retransmits: &rows.retransmits,
            oom_kills: &rows.oom_kills,
            index: NodeIndex::new(known.node),
            states: &rows.states,
            ways: OnceCell::new(),
            ways_before: OnceCell::new(),
            prepared: OnceCell::new(),
            takers: taker::Known::default(),
            journeys: OnceCell::new(),
            attempts: OnceCell::new(),
            legs: OnceCell::new(),
            success: OnceCell::new(),
            given_up: OnceCell::new(),
            direction: OnceCell::new(),
            picture: OnceCell::new(),
            activity: OnceCell::new(),
            followed: OnceCell::new(),
        }
    }

    /// Somebody asks about these connections; before the rules are asked, which then tell of them what is
    /// no pattern yet.
    pub fn follow(&self, followed: Followed) {
        // The same reading is asked about one pair of ends.
        let _ = self.followed.set(followed);
    }

    pub fn followed(&self) -> Option<&Followed> {
        self.followed.get()
    }

    /// What a counter of a namespace gained during the run; nothing where this kernel has no such
    /// counter, or the namespace is younger than the run.
    pub fn moved(&self, netns: u32, counter: &str) -> Option<u64> {
        let before = self.start.counter(netns, counter)?;
        let now = self.node.counter(netns, counter)?;
        Some(now.saturating_sub(before))
    }

    /// Whether the address is the node's own.
    pub fn owns(&self, address: IpAddr) -> bool {
        self.index.owns(address)
    }

    /// As [`NodeIndex::is_broadcast`].
    pub fn is_broadcast(&self, address: IpAddr) -> bool {
        self.index.is_broadcast(address)
    }

    /// The pod on a link of this node that has the address in its namespace.
    pub fn pod_side_of(&self, address: IpAddr) -> Option<&'a PodSide> {
        self.index.pod_side_of(address)
    }

    pub fn link(&self, index: u32) -> Option<&'a Link> {
        self.index.link(index)
    }

    /// What a link of this node is for.
    pub fn role(&self, link: &Link) -> Option<Role> {
        self.index.role(link)
    }
}

/// What is known of the links that a reading names: a role asks all routes, and ten thousand flows
/// pass the same few links.
struct Links<'a> {
    node: &'a Node,
    roles: Roles<'a>,
    known: HashMap<u32, (String, Option<Role>)>,
}

impl<'a> Links<'a> {
    fn new(node: &'a Node) -> Self {
        Self {
            node,
            roles: Roles::new(node),
            known: HashMap::new(),
        }
    }

    fn get(&mut self, index: u32) -> (String, Option<Role>) {
        let (node, roles) = (self.node, &self.roles);
        let look = || {
            let role = node.link(index).and_then(|l| roles.of(l));
            (node.link_name(index), role)
        };
        self.known.entry(index).or_insert_with(look).clone()
    }
}

fn question(links: &mut Links<'_>, (key, dns): &(DnsKey, Dns)) -> Question {
    let (interface, role) = links.get(key.ifindex);
    Question {
        key: *key,
        dns: *dns,
        client: from_wire(key.client),
        server: from_wire(key.server),
        name: dns::name(&key.name),
        interface,
        role,
    }
}

fn outer_pair(links: &mut Links<'_>, (key, outer): &(OuterKey, Outer)) -> OuterPair {
    let (interface, _) = links.get(key.ifindex);
    OuterPair {
        key: *key,
        outer: *outer,
        interface,
        source: from_wire(key.source),
        destination: from_wire(key.destination),
    }
}

fn hop_flow(links: &mut Links<'_>, key: &FlowHopKey, hop: &FlowHop) -> HopFlow {
    let (interface, role) = links.get(key.ifindex);
    HopFlow {
        key: *key,
        hop: *hop,
        interface,
        role,
    }
}

/// What hosts tell each other all day, and most of them drop: spanning trees, LLDP and whatever else
/// is neither IP nor ARP, multicast and broadcast.
fn is_to_nobody(key: &DropKey, dropped: &Dropped) -> bool {
    if key.flow.family == 0 {
        return ![ETH_P_IP, ETH_P_ARP, ETH_P_IPV6, UNKNOWN].contains(&dropped.ethertype);
    }
    match flow::ends(&key.flow).1 {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

fn loss(node: &Node, pods: &PodIndex, names: &dyn Names, key: &DropKey, dropped: &Dropped) -> Loss {
    let location = names.symbol(key.location);
    let reason = names.reasons().name_at(key.reason, &location);
    let own = key.netns == node.netns && key.ifindex != 0;
    // Neither a namespace nor a flow: nobody can say that it was a packet of this node's.
    let nobodys = key.netns == 0 && key.flow.family == 0;
    let to_nobody = is_to_nobody(key, dropped);
    Loss {
        key: *key,
        dropped: *dropped,
        forged: None,
        harmless: nobodys || to_nobody || reason::harmless(&reason, &location),
        reason,
        location,
        interface: own.then(|| node.link_name(key.ifindex)),
        inside: pods.shared_by_netns_at(key.netns, dropped.last).cloned(),
    }
}
