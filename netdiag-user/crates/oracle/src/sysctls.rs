//! Sysctls of a set's namespaces.

/// What is set on every namespace before its devices are made: no packet but ours.
pub const QUIET: [(&str, &str); 7] = [
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/default/mldv2_unsolicited_report_interval", "1"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];

/// Where they are there (br_netfilter): what a bridge carries goes past netfilter, which would cut it to its ports' sizes
/// (`br_nf_dev_queue_xmit`).
pub const PAST_NETFILTER: [&str; 2] = [
    "bridge/bridge-nf-call-iptables",
    "bridge/bridge-nf-call-ip6tables",
];

/// And of each device's neighbours: one question, and no waiting.
pub const ASKED: [(&str, &str); 2] = [("mcast_solicit", "1"), ("proxy_delay", "0")];
/// Those of IPv6 that worlds change.
pub const SETTINGS6: [(&str, &str); 3] = [
    ("proxy_ndp", "0"),
    ("ignore_routes_with_linkdown", "0"),
    ("use_oif_addrs_only", "0"),
];

/// Sysctls that worlds change, and what they are otherwise: of `all`, and of each device.
pub const SETTINGS: [(&str, &str); 13] = [
    ("forwarding", "1"),
    ("rp_filter", "0"),
    ("accept_local", "0"),
    ("src_valid_mark", "0"),
    ("route_localnet", "0"),
    ("arp_ignore", "0"),
    ("arp_announce", "0"),
    ("arp_filter", "0"),
    ("proxy_arp", "0"),
    ("proxy_arp_pvlan", "0"),
    ("send_redirects", "0"),
    ("ignore_routes_with_linkdown", "0"),
    ("bc_forwarding", "0"),
];
