//! What a drop means on a kernel that gives no reasons (before 5.17): the function that freed the packet
//! tells, where it drops for one reason alone. Read in Linux 5.10's source. What several causes share
//! (`ip_error`, `ip_forward`, `tcp_v4_rcv`) stays unspecified; their rules ask routes and counters.

/// Functions, by how their names begin, and the reason that later kernels give there.
const PLACES: [(&str, &[&str]); 9] = [
    (
        "NETFILTER_DROP",
        &["nf_hook_slow", "nf_queue", "nf_reinject"],
    ),
    // Martian sources end there, too: its rule asks for the sysctl and the route back.
    ("IP_RPFILTER", &["ip_rcv_finish_core"]),
    (
        "NEIGH_FAILED",
        &[
            "__neigh_event_send",
            "arp_error_report",
            "ndisc_error_report",
            "neigh_",
        ],
    ),
    ("CPU_BACKLOG", &["enqueue_to_backlog"]),
    ("XDP", &["do_xdp_generic", "veth_xdp_"]),
    ("NO_SOCKET", &["__udp4_lib_rcv", "__udp6_lib_rcv"]),
    (
        "SOCKET_RCVBUFF",
        &["__udp_queue_rcv_skb", "udp_queue_rcv_one_skb"],
    ),
    ("TC_EGRESS", &["__dev_queue_xmit"]),
    (
        "PKT_TOO_BIG",
        &[
            "ip_fragment",
            "ip_do_fragment",
            "ip_finish_output_gso",
            "ip6_fragment",
        ],
    ),
];

/// The reason of a drop at `location` (`symbol+0x1c3`).
pub fn by_place(location: &str) -> Option<&'static str> {
    let symbol = location.split('+').next().unwrap_or(location);
    // The compiler names what it made of one: ip_fragment.constprop.0.
    let name = symbol.split('.').next().unwrap_or(symbol);
    let is = |at: &&str| match at.ends_with('_') {
        true => name.starts_with(*at),
        false => name == *at,
    };
    let found = PLACES.iter().find(|(_, all)| all.iter().any(is));
    found.map(|(reason, _)| *reason)
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
            ("0xffffffff81000000", None),
            ("", None),
        ] {
            assert_eq!(by_place(location), reason, "{location}");
        }
    }
}
