//! Readings for unit tests, built like sentences.
use netdiag_common::{
    dns::{Dns, DnsKey},
    flow::FlowKey,
    hop::{EGRESS, FlowHop, FlowHopKey, INGRESS, PLAIN},
    loss::{DropKey, Dropped},
};

use crate::{
    agreement::Feature,
    clock::Clock,
    facts::{Data, Facts, Known, Names, Rows},
    model::{
        address::to_wire,
        cluster::Cluster,
        dns,
        flow::TCP,
        gather::{Gathered, Piece, Want},
        node::Node,
        observation::Observation,
        pod::PodIndex,
        reason::Reasons,
    },
};

pub use netdiag_model::testing::*;

pub fn tcp(source: &str, destination: &str, port: u16) -> FlowKey {
    FlowKey {
        source: to_wire(ip(source)),
        destination: to_wire(ip(destination)),
        source_port: 40_000,
        destination_port: port,
        protocol: TCP,
        family: 4,
        padding: [0; 2],
    }
}

/// A flow at a hop; `change` fills in its counts.
pub fn at(
    flow: FlowKey,
    ifindex: u32,
    egress: bool,
    carried: u8,
    change: impl FnOnce(&mut FlowHop),
) -> (FlowHopKey, FlowHop) {
    let direction = if egress { EGRESS } else { INGRESS };
    let key = FlowHopKey {
        flow,
        ifindex,
        direction,
        carried,
        padding: [0; 2],
    };
    let mut hop = FlowHop {
        packets: 10,
        bytes: 10_000,
        first: 1,
        last: 2,
        ..FlowHop::default()
    };
    change(&mut hop);
    (key, hop)
}

/// A flow that leaves the pod.
pub fn from_pod(flow: FlowKey, change: impl FnOnce(&mut FlowHop)) -> (FlowHopKey, FlowHop) {
    at(flow, POD, false, PLAIN, change)
}

/// Questions for the addresses of a name at a link; `change` fills in what came of them.
pub fn question(
    client: &str,
    server: &str,
    name: &str,
    ifindex: u32,
    change: impl FnOnce(&mut Dns),
) -> (DnsKey, Dns) {
    let key = DnsKey {
        client: to_wire(ip(client)),
        server: to_wire(ip(server)),
        name: dns::wire(name),
        ifindex,
        kind: 1,
        family: if ip(client).is_ipv4() { 4 } else { 6 },
        carried: PLAIN,
    };
    let mut dns = Dns {
        queries: 4,
        first_query: 1_000_000_000 + u64::from(ifindex),
        last_query: 4_000_000_000 + u64::from(ifindex),
        ..Dns::default()
    };
    change(&mut dns);
    (key, dns)
}

/// No answer to the last four queries.
pub fn silent(dns: &mut Dns) {
    dns.unanswered = 4;
    dns.silent_since = dns.first_query;
}

/// All of them answered with records.
pub fn resolved(dns: &mut Dns) {
    (dns.answers, dns.noerror) = (4, 4);
    dns.last_answer = dns.last_query + 1;
    dns.last_good = dns.last_answer;
}

/// Drops of a flow on `ifindex` for the reason of that number in [`TestNames`].
pub fn lost(
    flow: FlowKey,
    reason: u32,
    ifindex: u32,
    packets: u64,
    flags: u32,
) -> (DropKey, Dropped) {
    let key = DropKey {
        flow,
        location: LOCATION,
        reason,
        netns: NETNS,
        ifindex,
        padding: 0,
    };
    let dropped = Dropped {
        packets,
        bytes: packets * 60,
        first: 1,
        last: 2_000_000_000,
        tcp_flags: flags,
        ..Dropped::default()
    };
    (key, dropped)
}

/// The same for a reason and a function of these names.
pub fn died(
    flow: FlowKey,
    (reason, symbol): (&str, &str),
    ifindex: u32,
    packets: u64,
) -> (DropKey, Dropped) {
    let number = REASONS.iter().position(|name| *name == reason);
    let place = SYMBOLS.iter().position(|name| *name == symbol);
    let number = number.expect("a reason of the test's kernel") as u32;
    let (mut key, dropped) = lost(flow, number, ifindex, packets, 2);
    key.location = LOCATION + place.expect("a function of the test's kernel") as u64;
    (key, dropped)
}

pub const NETFILTER_DROP: u32 = 0;
pub const IP_RPFILTER: u32 = 1;
const REASONS: [&str; 24] = [
    "NETFILTER_DROP",
    "IP_RPFILTER",
    "NOT_SPECIFIED",
    "NO_SOCKET",
    "IP_CSUM",
    "TCP_CSUM",
    "UDP_CSUM",
    "IP_INNOROUTES",
    "IP_OUTNOROUTES",
    "IP_INADDRERRORS",
    "NEIGH_FAILED",
    "SOCKET_RCVBUFF",
    "QDISC_DROP",
    "CPU_BACKLOG",
    "VXLAN_VNI_NOT_FOUND",
    "BPF_CGROUP_EGRESS",
    "SECURITY_HOOK",
    "SOCKET_FILTER",
    "NEIGH_CREATEFAIL",
    "OTHERHOST",
    "TC_INGRESS",
    "TC_EGRESS",
    "XDP",
    "IP_LOCAL_SOURCE",
];
const SYMBOLS: [&str; 23] = [
    "nft_do_chain",
    "nf_hook_slow",
    "ip_error",
    "ip6_forward",
    "ip6_pkt_drop",
    "neigh_invalidate",
    "vxlan_xmit",
    "vxlan_rcv",
    "__dev_queue_xmit",
    "__udp4_lib_rcv",
    "tcp_v4_rcv",
    "ip_finish_output2",
    "ip_forward",
    "ip_rcv_core",
    "br_forward",
    "veth_xdp_rcv_skb",
    "__dev_forward_skb2",
    "nf_queue",
    "kfree_skb_list",
    "tcp_rcv_established",
    "__netif_receive_skb_core",
    "ip_rcv_finish_core",
    "udp_queue_rcv_one_skb",
];
const LOCATION: u64 = 0x100;

pub struct TestNames(Reasons);

impl Default for TestNames {
    fn default() -> Self {
        let name = |(n, name): (usize, &&str)| (n as u32, format!("SKB_DROP_REASON_{name}"));
        Self(Reasons::new(REASONS.iter().enumerate().map(name)))
    }
}

impl Names for TestNames {
    fn symbol(&self, address: u64) -> String {
        let name = SYMBOLS[(address - LOCATION) as usize];
        format!("{name}+0x1")
    }

    fn reasons(&self) -> &Reasons {
        &self.0
    }
}

/// What was found out, or why it was not.
pub type Found = [(Want, Result<Piece, String>)];

/// All that facts are made of.
#[derive(Clone, Copy)]
pub struct Built<'a> {
    pub start: &'a Node,
    pub node: &'a Node,
    pub observation: &'a Observation,
    pub found: &'a Found,
    /// Questions that have no answer yet.
    pub open: &'a [Want],
    pub pods: &'a PodIndex,
    pub cluster: &'a Cluster,
    pub data: Data,
    /// What was seen to pass otherwise than computed.
    pub distrusted: &'a [Feature],
}

impl Built<'_> {
    /// Handed to `judge` once `look` has seen what they are made of.
    pub fn judge<T>(
        self,
        look: impl FnOnce(&Known<'_>, &Observation, &Found),
        judge: impl FnOnce(&Facts<'_>) -> T,
    ) -> T {
        let names = TestNames::default();
        let mut gathered = Gathered::default();
        gathered.ask(self.open);
        for (want, piece) in self.found {
            gathered.insert(want.clone(), piece.clone());
        }
        let clock = Clock {
            monotonic: 0,
            wall: jiff::Timestamp::UNIX_EPOCH,
        };
        let known = Known {
            node: self.node,
            start: self.start,
            pods: self.pods,
            cluster: self.cluster,
            gathered: &gathered,
            names: &names,
            clock,
        };
        look(&known, self.observation, self.found);
        let rows = Rows::new(&known, self.observation);
        let mut facts = Facts::new(&known, &rows);
        facts.data = self.data;
        facts.distrusted = self.distrusted.iter().cloned().collect();
        judge(&facts)
    }
}

/// Facts of one reading, handed to `judge`.
pub fn with_facts<T>(
    node: &Node,
    observation: &Observation,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    with_gathered(node, observation, [], judge)
}

/// The same, with what the rules asked for.
pub fn with_gathered<T>(
    node: &Node,
    observation: &Observation,
    pieces: impl IntoIterator<Item = (Want, Result<Piece, String>)>,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let found: Vec<_> = pieces.into_iter().collect();
    let built = Built {
        start: node,
        node,
        observation,
        found: &found,
        open: &[],
        pods: &PodIndex::default(),
        cluster: &Cluster::default(),
        data: Data::default(),
        distrusted: &[],
    };
    built.judge(|_, _, _| (), judge)
}

/// The same, where so much is kept of data packets.
pub fn with_data<T>(
    data: Data,
    node: &Node,
    observation: &Observation,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let built = Built {
        start: node,
        node,
        observation,
        found: &[],
        open: &[],
        pods: &PodIndex::default(),
        cluster: &Cluster::default(),
        data,
        distrusted: &[],
    };
    built.judge(|_, _, _| (), judge)
}
