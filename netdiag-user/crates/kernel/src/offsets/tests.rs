//! The kernels that are told by their types, with the types that they have.
use super::*;
use crate::{btf::built::Built, model::reason::Reasons};

/// What netdiag reads of packets and devices, alike in all of them.
const OF_PACKETS: [&str; 10] = [
    "dev",
    "sk",
    "len",
    "head",
    "end",
    "tail",
    "protocol",
    "network_header",
    "cb",
    "mark",
];
const OF_SOCKETS: [&str; 7] = [
    "skc_family",
    "skc_rcv_saddr",
    "skc_daddr",
    "skc_v6_rcv_saddr",
    "skc_v6_daddr",
    "skc_num",
    "skc_dport",
];
/// All that Linux 5.15.58 and 5.17 have.
const FIVE: [&str; 6] = [
    "SKB_DROP_REASON_NOT_SPECIFIED",
    "SKB_DROP_REASON_NO_SOCKET",
    "SKB_DROP_REASON_PKT_TOO_SMALL",
    "SKB_DROP_REASON_TCP_CSUM",
    "SKB_DROP_REASON_SOCKET_FILTER",
    "SKB_DROP_REASON_UDP_CSUM",
];

/// A kernel whose kfree_skb and mark_victim have so many arguments.
fn kernel(of_drops: usize, of_victims: usize, reasons: &[&str]) -> Btf {
    const INT: u32 = 1;
    let mut built = Built::new();
    let net = built.structure("", &[("net", INT)]);
    let namespace = built.structure("ns_common", &[("inum", INT)]);
    let plain = |names: &[&'static str]| names.iter().map(|it| (*it, INT)).collect::<Vec<_>>();
    built.structure("sk_buff", &plain(&OF_PACKETS));
    built.structure("skb_shared_info", &plain(&["gso_size", "gso_segs"]));
    built.structure("net_device", &[("ifindex", INT), ("nd_net", net)]);
    built.structure("net", &[("count", INT), ("ns", namespace)]);
    let of_sockets = [&plain(&OF_SOCKETS)[..], &[("skc_net", net)]].concat();
    built.structure("sock_common", &of_sockets);
    built.structure("tcp_skb_cb", &plain(&["seq", "end_seq"]));
    built.tracepoint("kfree_skb", of_drops);
    built.tracepoint("mark_victim", of_victims);
    if !reasons.is_empty() {
        built.enumeration("skb_drop_reason", reasons);
    }
    Btf::parse(built.bytes()).expect("well formed")
}

/// Whether the program takes a reason and the receiving socket, and what the kernel calls its reasons.
fn told(btf: &Btf) -> ((u32, u32), Reasons) {
    let offsets = offsets(btf, false).expect("all that is needed");
    let reasons = btf.enumeration("skb_drop_reason").unwrap_or_default();
    let which = (offsets.has_reason, offsets.has_rx_sk);
    (which, Reasons::new(reasons))
}

#[test]
fn a_kernel_without_reasons_is_not_asked_for_one() {
    // 5.10, 5.14, 5.15 before 5.15.58, and Red Hat's 9.0 and 9.1.
    let (which, reasons) = told(&kernel(2, 1, &[]));
    assert_eq!(which, (0, 0));
    assert!(reasons.is_empty());
    assert_eq!(
        reasons.name_at(netdiag_common::loss::NO_REASON, "nf_hook_slow"),
        "NETFILTER_DROP"
    );
}

#[test]
fn linux_5_15_58_has_few_reasons_and_places_tell_the_others() {
    let (which, reasons) = told(&kernel(3, 2, &FIVE));
    assert_eq!(which, (1, 0));
    assert_eq!(reasons.name_at(0, "nf_hook_slow+0x9a"), "NETFILTER_DROP");
    assert_eq!(reasons.name_at(1, "tcp_v4_rcv+0x1"), "NO_SOCKET");
}

#[test]
fn red_hat_9_2_has_all_reasons() {
    let more = [
        &FIVE[..],
        &[
            "SKB_DROP_REASON_NETFILTER_DROP",
            "SKB_DROP_REASON_IP_RPFILTER",
        ],
    ];
    let (which, reasons) = told(&kernel(3, 1, &more.concat()));
    assert_eq!(which, (1, 0));
    assert_eq!(reasons.name_at(7, "ip_rcv_finish_core"), "IP_RPFILTER");
    // A martian's place is the same, and the kernel says that it is another matter.
    assert_eq!(reasons.name_at(0, "ip_rcv_finish_core"), "NOT_SPECIFIED");
}

#[test]
fn the_receiving_socket_comes_with_a_fourth_argument() {
    assert_eq!(told(&kernel(4, 2, &FIVE)).0, (1, 1));
}

#[test]
fn a_victim_is_a_pid_or_a_task() {
    for (arguments, is_task) in [(1, 0), (2, 1)] {
        let found = offsets(&kernel(2, arguments, &[]), false).expect("all that is needed");
        assert_eq!(found.victim_is_task, is_task);
    }
}

#[test]
fn members_are_found_inside_of_others() {
    let found = offsets(&kernel(2, 1, &[]), false).expect("all that is needed");
    assert_eq!((found.dev_net, found.net_inum, found.sock_net), (8, 8, 56));
    assert_eq!((found.task_tgid, found.kn_id), (ABSENT, ABSENT));
}

#[test]
fn a_kernel_without_a_member_is_told_by_its_name() {
    let empty = Btf::parse(Built::new().bytes()).expect("well formed");
    let why = offsets(&empty, true).expect_err("nothing is there");
    assert!(why.to_string().contains("dev in struct sk_buff"), "{why}");
}
