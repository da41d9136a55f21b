//! What the user side tells the programs before they are loaded, and what they count back.
use crate::wire;

/// VXLAN ports that one node can have.
pub const MAX_VXLAN_PORTS: usize = 4;

/// Offsets in bytes within the running kernel's structs, from its BTF.
/// [`ABSENT`] where this kernel has no such member.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub skb_dev: u32,
    pub skb_sk: u32,
    pub skb_len: u32,
    pub skb_head: u32,
    pub skb_end: u32,
    pub skb_protocol: u32,
    pub skb_network_header: u32,
    pub skb_cb: u32,
    pub shinfo_gso_size: u32,
    pub shinfo_gso_segs: u32,
    pub dev_ifindex: u32,
    pub dev_net: u32,
    pub net_inum: u32,
    pub sock_net: u32,
    pub sock_family: u32,
    pub sock_source4: u32,
    pub sock_destination4: u32,
    pub sock_source6: u32,
    pub sock_destination6: u32,
    pub sock_source_port: u32,
    pub sock_destination_port: u32,
    pub tcp_cb_seq: u32,
    pub tcp_cb_end_seq: u32,
    /// 1 when `kfree_skb` passes the receiving socket as its fourth argument.
    pub has_rx_sk: u32,
    pub skb_tail: u32,
    pub task_tgid: u32,
    pub task_comm: u32,
    pub task_nsproxy: u32,
    pub nsproxy_net: u32,
    pub task_cgroups: u32,
    /// The memory controller's slot of `css_set.subsys`.
    pub css_set_memory: u32,
    pub css_cgroup: u32,
    pub cgroup_kn: u32,
    pub kn_id: u32,
    /// 1 when `mark_victim` passes the task, and not its pid.
    pub victim_is_task: u32,
    /// 1 when `kfree_skb` passes the reason as its third argument.
    pub has_reason: u32,
    pub skb_mark: u32,
    /// 1 when members of structs may be read by plain loads.
    pub plain_loads: u32,
}
wire!(Offsets, 152);

/// A struct member that the running kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Settings of the hop programs that may change while running.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HopSettings {
    /// The smallest limit of any route: a packet up to it is never looked up.
    pub smallest_limit: u32,
    /// UDP ports of the node's VXLAN devices, 0 where unused.
    pub vxlan_ports: [u16; MAX_VXLAN_PORTS],
    /// [`FULL`], [`FLOWS`] or [`LIGHT`].
    pub level: u32,
}
wire!(HopSettings, 16);

/// How much is kept of what passes a hop. Everything, TCP's sequences at each of them.
pub const FULL: u32 = 0;
/// Every flow; TCP's sequences at pods' links and uplinks.
pub const FLOWS: u32 = 1;
/// What opens and ends connections, DNS, ICMP, fragments, and what is larger than its route takes.
pub const LIGHT: u32 = 2;

/// Links whose sequences are followed at [`FLOWS`], by the last bits of their number.
pub const FOLLOWED: u32 = 1024;

/// Slots of the marks that hooks leave where they run, see [`ran_slot`].
pub const RAN: u32 = 4096;

/// The slot of one side of a link. Two links may share it: then one that runs hides that the other's does
/// not, and nothing is told that is not so.
pub const fn ran_slot(ifindex: u32, direction: u8) -> u32 {
    (ifindex.wrapping_mul(2) + direction as u32) % RAN
}

/// Network namespaces that belong to this node: value of the namespace map.
pub const NETNS_NODE: u8 = 1;
pub const NETNS_POD: u8 = 2;

/// Mark of the packets that an agent drops in a network namespace of its own (`skb->mark`): in no
/// namespace of a node or a pod does it mean anything.
pub const CANARY_MARK: u32 = 0x6e64_6961;

/// Drop reasons above this are never ignored by number (subsystem reasons have high bits set).
pub const REASONS: u32 = 256;

/// Indexes of the per-CPU counters.
pub mod counter {
    /// Records that the ring had no room for.
    pub const RING_FULL: u32 = 0;
    /// New flows put into the table; those that are in it no more were evicted.
    pub const FLOWS_ADDED: u32 = 1;
    pub const FLOWS_REFUSED: u32 = 2;
    pub const DROPS_ADDED: u32 = 3;
    pub const DROPS_REFUSED: u32 = 4;
    pub const RETRANSMITS_ADDED: u32 = 5;
    pub const RETRANSMITS_REFUSED: u32 = 6;
    pub const OUTERS_ADDED: u32 = 7;
    pub const OUTERS_REFUSED: u32 = 8;
    pub const ICMP_ADDED: u32 = 9;
    pub const ICMP_REFUSED: u32 = 10;
    /// Drops in namespaces of other owners.
    pub const FOREIGN: u32 = 11;
    /// Drops whose namespace could not be told.
    pub const NETNS_UNKNOWN: u32 = 12;
    /// Packets whose headers were cut short or malformed.
    pub const UNPARSED: u32 = 13;
    /// Later fragments whose first one was not seen.
    pub const FRAGMENTS_UNMATCHED: u32 = 14;
    /// All packets that passed a hop.
    pub const HOP_PACKETS: u32 = 15;
    /// All drops that were recorded.
    pub const DROPS: u32 = 16;
    pub const DNS_ADDED: u32 = 17;
    pub const DNS_REFUSED: u32 = 18;
    /// Packets at hops that a filter left out.
    pub const HOPS_LEFT: u32 = 19;
    /// Drops that a filter left out.
    pub const DROPS_LEFT: u32 = 20;
    /// Drops that no filter can judge: no addresses could be read.
    pub const DROPS_UNJUDGED: u32 = 21;
    /// Packets at hops whose flows were new when too many were.
    pub const HOPS_UNKEPT: u32 = 22;
    /// Records that were due: each is delivered, or counted in `RING_FULL`.
    pub const RECORDS: u32 = 23;
    /// What was freed for a reason that is no loss; one each, nobody looks inside.
    pub const DROPS_IGNORED: u32 = 24;
    /// Dropped packets that the table had no row for.
    pub const DROPS_UNSTORED: u32 = 25;
    /// Retransmits among `FOREIGN`.
    pub const RETRANSMITS_FOREIGN: u32 = 26;
    /// Packets that an agent of netdiag's dropped to see whether drops are seen, this one's or another's.
    pub const CANARIES: u32 = 27;
    pub const COUNT: u32 = 28;
}
