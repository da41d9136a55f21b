//! Where the kernel drops packets: the functions that free them, and the stations of a packet's way that
//! these stand for.
//!
//! On a kernel that gives no reason (before 5.18) the function alone tells what a drop means. Where it drops
//! for one reason alone, that is the reason. What several causes share (`ip_error`, `ip_forward`,
//! `tcp_v4_rcv`) stays unspecified; their rules ask routes and counters. Read in Linux 5.10's source, names of
//! later ones beside.
use netdiag_lang::mark;
use serde::Serialize;

use crate::world::station::Station::{self, *};

/// Functions in which packets end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Their names; one that ends with `_` stands for all that begin so.
    pub functions: &'static [&'static str],
    /// Which stations of a packet's way are there; none for what is no loss of a packet on its way.
    pub stations: &'static [Station],
    /// The reason that later kernels give there, where it is one.
    pub reason: Option<&'static str>,
    /// What a drop there means.
    pub means: &'static str,
    /// Which counter or state decides, where it means several things.
    pub decides: &'static str,
}

const fn place(
    functions: &'static [&'static str],
    stations: &'static [Station],
    reason: Option<&'static str>,
    means: &'static str,
    decides: &'static str,
) -> Place {
    Place {
        functions,
        stations,
        reason,
        means,
        decides,
    }
}

pub const PLACES: [Place; 23] = [
    place(
        &["nf_hook_slow", "nf_queue", "nf_reinject"],
        &[Hook],
        Some("NETFILTER_DROP"),
        mark!("a rule, conntrack or NAT took it"),
        mark!("the rules' counters; drop and insert_failed of conntrack -S"),
    ),
    place(
        &["ip_rcv_finish_core"],
        &[ReversePath],
        // Martian sources end there, too: its rule asks for the sysctl and the route back.
        Some("IP_RPFILTER"),
        mark!("the reverse path filter, else a martian address"),
        mark!("TcpExt IPReversePathFilter"),
    ),
    place(
        &[
            "ip_error",
            "ip6_pkt_drop",
            "ip6_pkt_discard",
            "ip6_pkt_prohibit",
            "dst_discard",
            "dst_discard_out",
        ],
        &[Route, Forward],
        None,
        mark!("no route, a route that refuses, or forwarding is off"),
        mark!("Ip InNoRoutes and OutNoRoutes, ip_forward"),
    ),
    place(
        &["ip_forward", "ip6_forward"],
        &[Ttl, Size, Forward],
        None,
        mark!("too large and not to be fragmented, or its hops are used up"),
        mark!("Ip FragFails, InHdrErrors"),
    ),
    place(
        &[
            "ip_fragment",
            "ip_do_fragment",
            "ip_finish_output_gso",
            "ip6_fragment",
        ],
        &[Size],
        Some("PKT_TOO_BIG"),
        mark!("larger than the MTU of the way out"),
        mark!("Ip FragFails"),
    ),
    place(
        &["ip_finish_output"],
        &[Program],
        None,
        mark!("a BPF program of the cgroup"),
        mark!("bpftool cgroup tree"),
    ),
    place(
        &["ip_finish_output2", "ip6_finish_output2"],
        &[Neighbour],
        None,
        mark!("no neighbour entry could be made"),
        mark!("table_fulls in /proc/net/stat/arp_cache"),
    ),
    place(
        &[
            "__neigh_event_send",
            "arp_error_report",
            "ndisc_error_report",
            "neigh_",
        ],
        &[Neighbour],
        Some("NEIGH_FAILED"),
        mark!("the next hop did not answer, or too many waited for it"),
        mark!("the neighbour's state"),
    ),
    place(
        &["__netif_receive_skb_core"],
        &[Program, Link],
        None,
        mark!("tc at ingress, or nobody takes that protocol"),
        mark!("clsact's dropped (tc -s qdisc), the ethertype"),
    ),
    place(
        &["__dev_queue_xmit"],
        &[Program, Queue],
        Some("TC_EGRESS"),
        mark!("tc at egress"),
        mark!("clsact's dropped (tc -s qdisc)"),
    ),
    place(
        &["kfree_skb_list", "sch_", "__qdisc_run"],
        &[Queue],
        None,
        mark!("a helper that frees for others, mostly for a full queue of a link"),
        mark!("the queue's dropped (tc -s qdisc)"),
    ),
    place(
        &["enqueue_to_backlog"],
        &[Queue],
        Some("CPU_BACKLOG"),
        mark!("a CPU's backlog is full"),
        mark!("/proc/net/softnet_stat, second column"),
    ),
    place(
        // veth runs them without a program, too: the rule asks what hangs there.
        &["do_xdp_generic", "veth_xdp_"],
        &[Program],
        None,
        mark!("an XDP program"),
        mark!("ip -d link show"),
    ),
    place(
        &["__dev_forward_skb", "__dev_forward_skb2", "veth_xmit"],
        &[Link],
        None,
        mark!("larger than the peer's MTU, or the peer is down"),
        mark!("the link's dropped"),
    ),
    place(
        &["tcp_v4_rcv", "tcp_v6_rcv"],
        &[Socket],
        None,
        mark!("no socket, a full backlog, a wrong checksum or a policy"),
        mark!("Tcp OutRsts and InCsumErrors, TcpExt TCPBacklogDrop"),
    ),
    place(
        &["__udp4_lib_rcv", "__udp6_lib_rcv"],
        &[Socket],
        Some("NO_SOCKET"),
        mark!("no socket, else a wrong checksum"),
        mark!("Udp NoPorts, InCsumErrors"),
    ),
    place(
        &[
            "__udp_queue_rcv_skb",
            "udp_queue_rcv_one_skb",
            "__udpv6_queue_rcv_skb",
            "udpv6_queue_rcv_one_skb",
        ],
        &[Socket],
        Some("SOCKET_RCVBUFF"),
        mark!("the socket's buffer is full, else a filter or policy"),
        mark!("Udp RcvbufErrors, Udp6 RcvbufErrors"),
    ),
    place(
        &["sock_queue_rcv_skb", "packet_rcv", "tpacket_rcv"],
        &[],
        None,
        mark!("a sniffer's copy, which is no loss"),
        "",
    ),
    place(
        &["ip_protocol_deliver_rcu", "ip_rcv_core", "ip6_rcv_core"],
        &[Link, Socket],
        None,
        mark!("no such protocol, a policy, or a bad header"),
        mark!("Ip InUnknownProtos, InHdrErrors"),
    ),
    place(
        &["ip_expire", "ip_frag_queue", "inet_frag_"],
        &[],
        None,
        mark!("fragments that never became a whole packet"),
        mark!("Ip ReasmFails"),
    ),
    place(
        &["vxlan_", "geneve_", "ip_tunnel_xmit", "ip_tunnel_rcv"],
        &[Encap],
        None,
        mark!("a tunnel: no remote end, its MTU, or an unknown network identifier"),
        mark!("the link's errors"),
    ),
    place(
        &["br_", "__br_"],
        &[Bridge],
        None,
        mark!("a bridge: a port's state, hairpin, or VLAN"),
        mark!("bridge -d link show, bridge vlan show"),
    ),
    place(
        &[
            "ovs_dp_process_packet",
            "do_execute_actions",
            "ovs_vport_send",
        ],
        &[Program],
        None,
        mark!("Open vSwitch: a lost upcall, an action's error, or too long"),
        mark!("ovs-dpctl show: lost"),
    ),
];

/// Stations of the reasons that tell one wherever they are given (include/net/dropreason-core.h).
const REASONS: [(&str, &[Station]); 33] = [
    ("BPF_CGROUP_EGRESS", &[Program]),
    ("BRIDGE_INGRESS_STP_STATE", &[Bridge]),
    ("BRIDGE_NON_FORWARDING_STATE", &[Bridge]),
    ("CPU_BACKLOG", &[Queue]),
    ("DEV_READY", &[Link]),
    ("FULL_RING", &[Link]),
    ("IP_INADDRERRORS", &[Forward]),
    ("IP_INNOROUTES", &[Route]),
    ("IP_INVALID_DEST", &[ReversePath]),
    ("IP_INVALID_SOURCE", &[ReversePath]),
    ("IP_LOCALNET", &[ReversePath]),
    ("IP_LOCAL_SOURCE", &[ReversePath]),
    ("IP_OUTNOROUTES", &[Route]),
    ("IP_RPFILTER", &[ReversePath]),
    ("NEIGH_CREATEFAIL", &[Neighbour]),
    ("NEIGH_DEAD", &[Neighbour]),
    ("NEIGH_FAILED", &[Neighbour]),
    ("NEIGH_QUEUEFULL", &[Neighbour]),
    ("NETFILTER_DROP", &[Hook]),
    ("NO_SOCKET", &[Socket]),
    ("OTHERHOST", &[Link]),
    ("PKT_TOO_BIG", &[Size]),
    ("QDISC_DROP", &[Queue]),
    ("SOCKET_BACKLOG", &[Socket]),
    ("SOCKET_FILTER", &[Socket]),
    ("SOCKET_RCVBUFF", &[Socket]),
    ("TC_EGRESS", &[Program]),
    ("TC_INGRESS", &[Program]),
    ("UNHANDLED_PROTO", &[Link]),
    ("VXLAN_NO_REMOTE", &[Encap]),
    ("VXLAN_VNI_NOT_FOUND", &[Encap]),
    ("XDP", &[Program]),
    ("XFRM_POLICY", &[Xfrm]),
];

/// The stations at which a packet can have been dropped for that reason at `location` (`symbol+0x1c3`); none
/// where nothing tells.
pub fn stations(reason: &str, location: &str) -> &'static [Station] {
    let by_reason = REASONS.iter().find(|(name, _)| *name == reason);
    let by_place = || place_of(location).map(|row| row.stations);
    let found = by_reason.map(|(_, stations)| *stations).or_else(by_place);
    found.unwrap_or_default()
}

/// The reason of a drop at `location` (`symbol+0x1c3`).
pub fn by_place(location: &str) -> Option<&'static str> {
    place_of(location).and_then(|it| it.reason)
}

/// The row of a function, with or without an offset.
pub fn place_of(location: &str) -> Option<&'static Place> {
    let symbol = location.split('+').next().unwrap_or(location);
    // The compiler names what it made of one: ip_fragment.constprop.0.
    let name = symbol.split('.').next().unwrap_or(symbol);
    let is = |at: &&str| match at.ends_with('_') {
        true => name.starts_with(*at),
        false => name == *at,
    };
    PLACES.iter().find(|row| row.functions.iter().any(is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_tells_the_station_before_the_function_does() {
        for (reason, location, found) in [
            ("NOT_SPECIFIED", "ip_forward+0x1", &[Ttl, Size, Forward][..]),
            ("PKT_TOO_BIG", "ip_forward+0x1", &[Size]),
            ("IP_INHDR", "ip_forward+0x1", &[Ttl, Size, Forward]),
            ("NOT_SPECIFIED", "neigh_invalidate+0x7e", &[Neighbour]),
            ("QUEUE_PURGE", "skb_release_data+0x1", &[]),
            ("NOT_SPECIFIED", "dst_discard_out+0x5", &[Route, Forward]),
        ] {
            assert_eq!(stations(reason, location), found, "{reason} {location}");
        }
        assert!(REASONS.is_sorted_by_key(|(name, _)| name));
    }

    #[test]
    fn a_place_of_one_reason_tells_it() {
        for (location, reason) in [
            ("nf_hook_slow+0x9a", Some("NETFILTER_DROP")),
            ("ip_rcv_finish_core.constprop.0+0x1ab", Some("IP_RPFILTER")),
            ("neigh_invalidate+0x8", Some("NEIGH_FAILED")),
            ("udp_queue_rcv_one_skb+0x1", Some("SOCKET_RCVBUFF")),
            ("ip_fragment.constprop.0+0x1", Some("PKT_TOO_BIG")),
            ("ip_forward+0x1", None),
            ("ip_error+0x1", None),
            ("tcp_v4_rcv+0x1", None),
            ("nf_hook_slower+0x1", None),
            ("veth_xdp_rcv_skb+0x1", None),
            ("0xffffffff81000000", None),
            ("", None),
        ] {
            assert_eq!(by_place(location), reason, "{location}");
        }
    }
}
