//! What a drop means on a kernel that gives no reason for it (before 5.18): the function that freed the packet.
//! Where it drops for one reason alone, that is the reason. What several causes share (`ip_error`,
//! `ip_forward`, `tcp_v4_rcv`) stays unspecified; their rules ask routes and counters. Read in Linux 5.10's
//! source.
use netdiag_lang::mark;
use serde::Serialize;

/// Functions in which packets end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Their names; one that ends with `_` stands for all that begin so.
    pub functions: &'static [&'static str],
    /// The reason that later kernels give there, where it is one.
    pub reason: Option<&'static str>,
    /// What a drop there means.
    pub means: &'static str,
    /// Which counter or state decides, where it means several things.
    pub decides: &'static str,
}

const fn place(
    functions: &'static [&'static str],
    reason: Option<&'static str>,
    means: &'static str,
    decides: &'static str,
) -> Place {
    Place {
        functions,
        reason,
        means,
        decides,
    }
}

pub const PLACES: [Place; 23] = [
    place(
        &["nf_hook_slow", "nf_queue", "nf_reinject"],
        Some("NETFILTER_DROP"),
        mark!("a rule, conntrack or NAT took it"),
        mark!("the rules' counters; drop and insert_failed of conntrack -S"),
    ),
    place(
        &["ip_rcv_finish_core"],
        // Martian sources end there, too: its rule asks for the sysctl and the route back.
        Some("IP_RPFILTER"),
        mark!("the reverse path filter, else a martian address"),
        mark!("TcpExt IPReversePathFilter"),
    ),
    place(
        &["ip_error", "ip6_pkt_drop"],
        None,
        mark!("no route, a route that refuses, or forwarding is off"),
        mark!("Ip InNoRoutes and OutNoRoutes, ip_forward"),
    ),
    place(
        &["ip_forward", "ip6_forward"],
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
        Some("PKT_TOO_BIG"),
        mark!("larger than the MTU of the way out"),
        mark!("Ip FragFails"),
    ),
    place(
        &["ip_finish_output"],
        None,
        mark!("a BPF program of the cgroup"),
        mark!("bpftool cgroup tree"),
    ),
    place(
        &["ip_finish_output2", "ip6_finish_output2"],
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
        Some("NEIGH_FAILED"),
        mark!("the next hop did not answer, or too many waited for it"),
        mark!("the neighbour's state"),
    ),
    place(
        &["__netif_receive_skb_core"],
        None,
        mark!("tc at ingress, or nobody takes that protocol"),
        mark!("clsact's dropped (tc -s qdisc), the ethertype"),
    ),
    place(
        &["__dev_queue_xmit"],
        Some("TC_EGRESS"),
        mark!("tc at egress"),
        mark!("clsact's dropped (tc -s qdisc)"),
    ),
    place(
        &["kfree_skb_list", "sch_", "__qdisc_run"],
        None,
        mark!("a helper that frees for others, mostly for a full queue of a link"),
        mark!("the queue's dropped (tc -s qdisc)"),
    ),
    place(
        &["enqueue_to_backlog"],
        Some("CPU_BACKLOG"),
        mark!("a CPU's backlog is full"),
        mark!("/proc/net/softnet_stat, second column"),
    ),
    place(
        // veth runs them without a program, too: the rule asks what hangs there.
        &["do_xdp_generic", "veth_xdp_"],
        None,
        mark!("an XDP program"),
        mark!("ip -d link show"),
    ),
    place(
        &["__dev_forward_skb", "veth_xmit"],
        None,
        mark!("larger than the peer's MTU, or the peer is down"),
        mark!("the link's dropped"),
    ),
    place(
        &["tcp_v4_rcv", "tcp_v6_rcv"],
        None,
        mark!("no socket, a full backlog, a wrong checksum or a policy"),
        mark!("Tcp OutRsts and InCsumErrors, TcpExt TCPBacklogDrop"),
    ),
    place(
        &["__udp4_lib_rcv", "__udp6_lib_rcv"],
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
        Some("SOCKET_RCVBUFF"),
        mark!("the socket's buffer is full, else a filter or policy"),
        mark!("Udp RcvbufErrors, Udp6 RcvbufErrors"),
    ),
    place(
        &["sock_queue_rcv_skb", "packet_rcv", "tpacket_rcv"],
        None,
        mark!("a sniffer's copy, which is no loss"),
        "",
    ),
    place(
        &["ip_protocol_deliver_rcu", "ip_rcv_core", "ip6_rcv_core"],
        None,
        mark!("no such protocol, a policy, or a bad header"),
        mark!("Ip InUnknownProtos, InHdrErrors"),
    ),
    place(
        &["ip_expire", "ip_frag_queue", "inet_frag_"],
        None,
        mark!("fragments that never became a whole packet"),
        mark!("Ip ReasmFails"),
    ),
    place(
        &["vxlan_", "geneve_", "ip_tunnel_xmit", "ip_tunnel_rcv"],
        None,
        mark!("a tunnel: no remote end, its MTU, or an unknown network identifier"),
        mark!("the link's errors"),
    ),
    place(
        &[
            "br_forward",
            "__br_forward",
            "br_flood",
            "br_handle_frame",
            "br_handle_frame_finish",
        ],
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
        None,
        mark!("Open vSwitch: a lost upcall, an action's error, or too long"),
        mark!("ovs-dpctl show: lost"),
    ),
];

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
