//! Drop reasons: numbers of the running kernel to names, and which of them are no loss.
pub mod by_place;

use std::collections::BTreeMap;

use netdiag_common::loss::NO_REASON;
use serde::{Deserialize, Serialize};

/// Reasons that mean a packet came to its normal end, in any kernel that has them
/// (include/net/dropreason-core.h).
const NORMAL: [&str; 4] = [
    "CONSUMED",
    "SKB_CONSUMED",
    "NOT_DROPPED_YET",
    "SOCKET_CLOSE",
];

/// What is said where a kernel gives no reason.
const UNSPECIFIED: &str = "NOT_SPECIFIED";

/// The kernel's `enum skb_drop_reason`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasons {
    names: BTreeMap<u32, String>,
}

impl Reasons {
    /// From the enum's members as BTF has them, with their common prefix.
    pub fn new(members: impl IntoIterator<Item = (u32, String)>) -> Self {
        let strip = |name: String| {
            name.strip_prefix("SKB_DROP_REASON_")
                .or_else(|| name.strip_prefix("SKB_"))
                .map(str::to_owned)
                .unwrap_or(name)
        };
        // The enum's end and its mask are no reasons (include/net/dropreason-core.h).
        let bounds = ["SKB_DROP_REASON_MAX", "SKB_DROP_REASON_SUBSYS_MASK"];
        let names = members
            .into_iter()
            .filter(|(_, name)| !bounds.contains(&name.as_str()))
            .map(|(n, name)| (n, strip(name)))
            .collect();
        Self { names }
    }

    /// The reason's name as the kernel spells it, its number in hex for reasons of subsystems
    /// that the enum does not hold. A kernel that gives no reasons has specified none.
    pub fn name(&self, reason: u32) -> String {
        if reason == NO_REASON {
            return UNSPECIFIED.to_owned();
        }
        self.names
            .get(&reason)
            .cloned()
            .unwrap_or_else(|| format!("{reason:#x}"))
    }

    /// The same of a drop at `location` (`symbol+0x1c3`): where the kernel specifies none, what the place
    /// tells. A kernel that has that reason on its list and did not give it means something else.
    pub fn name_at(&self, reason: u32, location: &str) -> String {
        let name = self.name(reason);
        if name != UNSPECIFIED {
            return name;
        }
        let given = |it: &&str| reason != NO_REASON && self.gives(it);
        let told = by_place::by_place(location).filter(|it| !given(it));
        told.map_or(name, str::to_owned)
    }

    /// Linux 5.15.58 and 5.17 have five reasons, later ones a few more each.
    fn gives(&self, name: &str) -> bool {
        self.names.values().any(|it| it == name)
    }

    /// Numbers that are no loss.
    pub fn normal(&self) -> impl Iterator<Item = u32> + '_ {
        self.names
            .iter()
            .filter(|(_, name)| NORMAL.contains(&name.as_str()))
            .map(|(n, _)| *n)
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.names.iter().map(|(n, name)| (*n, name.as_str()))
    }
}

/// Ends of packets that every healthy node shows, by reason and the function where: ping replies
/// that no socket wants any more, queues of closed sockets, multicast nobody joined, data that
/// was there before.
const HARMLESS: [(&str, &str); 22] = [
    ("NO_SOCKET", "ping_rcv"),
    ("NO_SOCKET", "icmp_rcv"),
    ("NO_SOCKET", "icmpv6_rcv"),
    ("QUEUE_PURGE", ""),
    // The same where the kernel has no name for it yet (before 6.4).
    ("NOT_SPECIFIED", "skb_queue_purge"),
    ("NOT_SPECIFIED", "sk_stream_kill_queues"),
    ("TCP_OLD_DATA", ""),
    ("TCP_OLD_SEQUENCE", ""),
    ("TCP_OLD_ACK", ""),
    ("TCP_ZEROWINDOW", ""),
    ("TCP_INVALID_SEQUENCE", ""),
    ("OTHERHOST", ""),
    ("UNICAST_IN_L2_MULTICAST", ""),
    ("NOT_SPECIFIED", "ip6_mc_input"),
    // Fragments freed after their packet was put together.
    ("NOT_SPECIFIED", "skb_release_data"),
    // Segments for sockets that are closing.
    ("NOT_SPECIFIED", "tcp_v4_rcv"),
    ("NOT_SPECIFIED", "tcp_v6_rcv"),
    // Datagrams that a program had not read when it closed its socket.
    ("NOT_SPECIFIED", "udp_destruct_"),
    // Data for an application that has closed its socket, and says RST.
    ("TCP_ABORT_ON_DATA", ""),
    ("TCP_ABORT_ON_CLOSE", ""),
    ("TCP_OFOMERGE", ""),
    ("TCP_RFC7323_PAWS", ""),
];

/// Whether a drop at `location` (`symbol+0x1c3`) is part of a healthy node's day.
pub fn harmless(reason: &str, location: &str) -> bool {
    let symbol = location.split('+').next().unwrap_or(location);
    HARMLESS
        .iter()
        .any(|(r, at)| *r == reason && (at.is_empty() || symbol.starts_with(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_the_prefix_and_unknown_numbers_stay_numbers() {
        let reasons = Reasons::new([
            (2, "SKB_DROP_REASON_NOT_SPECIFIED".to_owned()),
            (1, "SKB_CONSUMED".to_owned()),
        ]);
        assert_eq!(reasons.name(2), "NOT_SPECIFIED");
        assert_eq!(reasons.name(0x30001), "0x30001");
        assert_eq!(Reasons::default().name(NO_REASON), "NOT_SPECIFIED");
        assert_eq!(reasons.normal().collect::<Vec<_>>(), [1]);
    }

    fn list(names: &[&str]) -> Reasons {
        let members = (1..).zip(names);
        Reasons::new(members.map(|(n, name)| (n, format!("SKB_DROP_REASON_{name}"))))
    }

    #[test]
    fn the_place_tells_where_the_kernel_cannot() {
        let place = "nf_hook_slow+0x9a";
        // Linux 5.10, and 5.15 before 5.15.58.
        let none = Reasons::default();
        assert_eq!(none.name_at(NO_REASON, place), "NETFILTER_DROP");
        assert_eq!(none.name_at(NO_REASON, "ip_error"), "NOT_SPECIFIED");
        // 5.15.58 and 5.17.
        let five = [
            "NOT_SPECIFIED",
            "NO_SOCKET",
            "PKT_TOO_SMALL",
            "TCP_CSUM",
            "SOCKET_FILTER",
            "UDP_CSUM",
        ];
        let few = list(&five);
        assert_eq!(few.name_at(1, place), "NETFILTER_DROP");
        assert_eq!(few.name_at(1, "ip_error"), "NOT_SPECIFIED");
        assert_eq!(few.name_at(1, "__udp4_lib_rcv"), "NOT_SPECIFIED");
        assert_eq!(few.name_at(2, "__udp4_lib_rcv"), "NO_SOCKET");
        // Red Hat's 9.2, and all since 5.18.
        let more = list(&[&five[..], &["NETFILTER_DROP"]].concat());
        assert_eq!(more.name_at(1, place), "NOT_SPECIFIED");
        assert_eq!(more.name_at(7, place), "NETFILTER_DROP");
    }

    #[test]
    fn a_ping_reply_is_harmless_and_a_closed_port_is_not() {
        assert!(harmless("NO_SOCKET", "ping_rcv+0x11"));
        assert!(!harmless("NO_SOCKET", "tcp_v4_rcv+0x11"));
        assert!(harmless("NOT_SPECIFIED", "udp_destruct_common+0xb9"));
    }
}
