use netdiag_common::filter::TESTS;
use proptest::prelude::*;

use super::{
    expression::{Expression, Side},
    *,
};
use crate::address::{Prefix, from_wire, to_wire};

/// `tcp 10.0.0.1:1 10.0.0.2:2`
fn flow(text: &str) -> FlowKey {
    let mut words = text.split(' ');
    let protocol = match words.next().expect("a protocol") {
        "icmp" => 1,
        "icmp6" => 58,
        name => crate::flow::number(name).expect("known"),
    };
    let mut end = || {
        let word = words.next().expect("an end");
        let (address, port) = word.rsplit_once('/').unwrap_or((word, "0"));
        let address: std::net::IpAddr = address.parse().expect("an address");
        (address, port.parse().expect("a port"))
    };
    let ((source, source_port), (destination, destination_port)) = (end(), end());
    FlowKey {
        source: to_wire(source),
        destination: to_wire(destination),
        source_port,
        destination_port,
        protocol,
        family: if source.is_ipv4() { 4 } else { 6 },
        padding: [0; 2],
    }
}

/// Expressions, flows that match, flows that do not.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    (
        "host 10.0.0.1",
        &["tcp 10.0.0.1/1 10.0.0.2/2", "udp 10.0.0.2/1 10.0.0.1/2"],
        &["tcp 10.0.0.2/1 10.0.0.3/2", "tcp fd00::1/1 fd00::2/2"],
    ),
    (
        "src host 10.0.0.1 or net fd00::/8",
        &["tcp 10.0.0.1/1 10.0.0.2/2", "tcp 2001:db8::1/1 fd00::1/2"],
        &["tcp 10.0.0.2/1 10.0.0.1/2"],
    ),
    (
        "host 10.0.0.1 or 10.0.0.3",
        &["tcp 10.0.0.3/1 10.0.0.2/2"],
        &["tcp 10.0.0.2/1 10.0.0.4/2"],
    ),
    (
        "host (10.0.0.1 or 10.0.0.3) and not port 22",
        &["tcp 10.0.0.3/1 10.0.0.2/2", "icmp 10.0.0.3 10.0.0.2"],
        &["tcp 10.0.0.2/1 10.0.0.3/22", "tcp 10.0.0.5/1 10.0.0.6/2"],
    ),
    (
        "src 10.0.0.1 and dst 10.0.0.2",
        &["tcp 10.0.0.1/1 10.0.0.2/2"],
        &["tcp 10.0.0.2/2 10.0.0.1/1"],
    ),
    (
        "src or dst port 80",
        &["tcp 10.0.0.1/80 10.0.0.2/2", "tcp 10.0.0.1/2 10.0.0.2/80"],
        &["tcp 10.0.0.1/2 10.0.0.2/3"],
    ),
    (
        "src and dst net 10.1",
        &["tcp 10.1.0.1/1 10.1.9.9/2"],
        &["tcp 10.1.0.1/1 10.2.0.1/2"],
    ),
    (
        "net 10.1.0.0 mask 255.255.0.0",
        &["tcp 10.1.7.1/1 10.2.0.1/2"],
        &["tcp 10.3.0.1/1 10.2.0.1/2"],
    ),
    (
        "net 10",
        &["tcp 10.9.7.1/1 1.2.0.1/2"],
        &["tcp 11.3.0.1/1 1.2.0.1/2"],
    ),
    (
        "net 10.1/16",
        &["tcp 10.1.7.1/1 1.2.0.1/2"],
        &["tcp 10.3.0.1/1 1.2.0.1/2"],
    ),
    (
        "net ::/0",
        &["tcp fd00::1/1 fd00::2/2"],
        &["tcp 10.3.0.1/1 1.2.0.1/2"],
    ),
    (
        "net 0.0.0.0/0",
        &["tcp 10.3.0.1/1 1.2.0.1/2"],
        &["tcp fd00::1/1 fd00::2/2"],
    ),
    (
        "tcp port 80 or 443",
        &["tcp 1.1.1.1/9 2.2.2.2/443", "tcp 1.1.1.1/80 2.2.2.2/9"],
        &["udp 1.1.1.1/9 2.2.2.2/443", "tcp 1.1.1.1/9 2.2.2.2/444"],
    ),
    (
        "tcp dst portrange 8000-8080",
        &["tcp 1.1.1.1/9 2.2.2.2/8000", "tcp 1.1.1.1/9 2.2.2.2/8080"],
        &["tcp 1.1.1.1/8000 2.2.2.2/9", "udp 1.1.1.1/9 2.2.2.2/8000"],
    ),
    (
        "port domain",
        &["udp 1.1.1.1/9 2.2.2.2/53", "sctp 1.1.1.1/53 2.2.2.2/1"],
        // An echo's identifier is no port, and neither is a fragment's 0.
        &["icmp 1.1.1.1/53 2.2.2.2/53", "udp 1.1.1.1 2.2.2.2"],
    ),
    (
        "portrange 0-100",
        &["udp 1.1.1.1/9 2.2.2.2/7000"],
        &["udp 1.1.1.1 2.2.2.2"],
    ),
    (
        "icmp",
        &["icmp 1.1.1.1 2.2.2.2"],
        &["icmp6 fd00::1 fd00::2", "udp 1.1.1.1/1 2.2.2.2/2"],
    ),
    (
        "icmp6 or icmp",
        &["icmp6 fd00::1 fd00::2", "icmp 1.1.1.1 2.2.2.2"],
        &["tcp 1.1.1.1/1 1.1.1.2/2"],
    ),
    (
        "ip6 and udp",
        &["udp fd00::1/1 fd00::2/2"],
        &["udp 1.1.1.1/1 2.2.2.2/2"],
    ),
    (
        "ip proto 6",
        &["tcp 1.1.1.1/1 2.2.2.2/2"],
        &["tcp fd00::1/1 fd00::2/2"],
    ),
    (
        "proto \\tcp",
        &["tcp 1.1.1.1/1 2.2.2.2/2"],
        &["udp 1.1.1.1/1 2.2.2.2/2"],
    ),
    (
        "proto 47",
        &["47 1.1.1.1 2.2.2.2"],
        &["udp 1.1.1.1/1 2.2.2.2/2"],
    ),
    // From the left, as pcap has it: (tcp or udp) and port 53.
    (
        "tcp || udp && port 53",
        &["tcp 1.1.1.1/1 2.2.2.2/53"],
        &["tcp 1.1.1.1/1 2.2.2.2/54"],
    ),
    (
        "!(tcp or icmp)and!port 53",
        &["udp 1.1.1.1/1 2.2.2.2/54"],
        &["tcp 1.1.1.1/1 2.2.2.2/54", "udp 1.1.1.1/1 2.2.2.2/53"],
    ),
    (
        "not not host 10.0.0.1 and not 10.0.0.2",
        &["tcp 10.0.0.1/1 10.0.0.3/2"],
        &["tcp 10.0.0.1/1 10.0.0.2/2"],
    ),
    (
        "10.0.0.1",
        &["tcp 10.0.0.1/1 10.0.0.3/2"],
        &["tcp 10.0.0.4/1 10.0.0.2/2"],
    ),
];

#[test]
fn expressions_mean_what_tcpdump_takes_them_for() {
    for (text, matching, others) in TABLE {
        let filter: Filter = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        for it in *matching {
            assert!(filter.matches(&flow(it)), "'{text}' and {it}");
        }
        for it in *others {
            assert!(!filter.matches(&flow(it)), "'{text}' and {it}");
        }
    }
}

#[test]
fn what_is_not_known_is_said_with_its_place() {
    for (text, said) in [
        (
            "",
            "it ends where a term should be; known are: [src|dst] host",
        ),
        ("host", "it ends where an address should be"),
        ("host x", "'x' at character 6 is no address"),
        (
            "tcp and prot 80",
            "'prot' at character 9 is not known; known are",
        ),
        (
            "host 10.0.0.0/8",
            "'10.0.0.0/8' at character 6 is a prefix, which 'net' takes",
        ),
        (
            "tcp 80",
            "'80' at character 5 needs 'host', 'net' or 'port' before it",
        ),
        ("80", "'80' at character 1 needs 'host'"),
        ("port 65536", "'65536' at character 6 is no port"),
        ("port 80-90", "'portrange' takes a range"),
        ("portrange 90-80", "no range of ports"),
        (
            "net 10.1.0.0 mask 255.0.255.0",
            "'255.0.255.0' at character 19 is no netmask",
        ),
        ("net 10.0.0.0/33", "no prefix"),
        ("net 10.0.0.0.0", "no prefix"),
        ("proto 256", "no protocol"),
        ("src tcp", "'tcp' at character 5"),
        ("(tcp or udp", "a closing parenthesis"),
        ("tcp)", "')' at character 4 closes nothing"),
        (
            "tcp host 10.0.0.1 port 80",
            "'port' at character 19 follows without 'and' or 'or'",
        ),
        ("arp", "ARP belongs to no flow"),
        ("vlan 5", "without their VLAN tag"),
        ("ether host 1:2:3:4:5:6", "'ether' at character 1 is pcap's"),
        ("tcp[13] & 2 != 0", "bytes of a packet"),
        ("host 10.0.0.1 & tcp", "'&' at character 15"),
        ("host ü or host é", "'ü' at character 6"),
    ] {
        let why = text.parse::<Filter>().expect_err(text);
        assert!(
            why.starts_with("filter: ") && why.contains(said),
            "{text}: {why}"
        );
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let hosts = |n: usize| {
        let all: Vec<_> = (0..n).map(|i| format!("10.0.0.{i}")).collect();
        format!("host {}", all.join(" or "))
    };
    assert!(hosts(TESTS / 2).parse::<Filter>().is_ok());
    let why = hosts(TESTS / 2 + 1)
        .parse::<Filter>()
        .expect_err("too large");
    assert!(why.contains("more than 64 tests"), "{why}");
    assert!("(".repeat(100_000).parse::<Filter>().is_err());
    assert!("not ".repeat(100_000).parse::<Filter>().is_err());
}

#[test]
fn answers_are_counted_with_what_one_direction_asks_for() {
    let filter: Filter = "src host 10.0.0.1 and dst port 80".parse().expect("valid");
    let request = flow("tcp 10.0.0.1/1 10.0.0.2/80");
    assert!(filter.one_way() && filter.matches(&request));
    assert!(filter.counts(&request.reversed()) && !filter.matches(&request.reversed()));
    assert!(!filter.counts(&flow("tcp 10.0.0.2/1 10.0.0.1/80")));
    let filter: Filter = "host 10.0.0.1 and port 80".parse().expect("valid");
    assert!(!filter.one_way());
}

#[test]
fn what_has_no_flow_is_taken_by_none() {
    let filter: Filter = "not tcp".parse().expect("valid");
    assert!(!filter.counts(&FlowKey::EMPTY));
}

#[test]
fn globs() {
    assert!(glob("veth*", "veth12ab"));
    assert!(glob("*", ""));
    assert!(!glob("eth?", "eth"));
    assert!(!glob("eth0", "eth01"));
}

/// What an expression means, straight from its words.
fn means(expression: &Expression, flow: &FlowKey) -> bool {
    let ends = |side: &Side, of: &dyn Fn(bool) -> bool| match side {
        Side::Source => of(true),
        Side::Destination => of(false),
        Side::Either => of(true) || of(false),
        Side::Both => of(true) && of(false),
    };
    match expression {
        Expression::Address(side, prefix) => ends(side, &|source| {
            let address = if source {
                flow.source
            } else {
                flow.destination
            };
            prefix.contains(from_wire(address))
        }),
        Expression::Port(side, low, high) => ends(side, &|source| {
            let port = if source {
                flow.source_port
            } else {
                flow.destination_port
            };
            [6, 17, 132].contains(&flow.protocol)
                && (flow.source_port, flow.destination_port) != (0, 0)
                && (*low..=*high).contains(&port)
        }),
        Expression::Protocol(number) => flow.protocol == *number,
        Expression::Family(family) => flow.family == *family,
        Expression::Not(inner) => !means(inner, flow),
        Expression::And(a, b) => means(a, flow) && means(b, flow),
        Expression::Or(a, b) => means(a, flow) || means(b, flow),
    }
}

/// Few values each, so that flows and expressions meet.
fn address() -> impl Strategy<Value = std::net::IpAddr> {
    let text = [
        "10.0.0.1", "10.0.0.2", "10.1.0.1", "fd00::1", "fd00::2", "::5",
    ];
    prop::sample::select(text.to_vec()).prop_map(|t| t.parse().expect("valid"))
}

fn any_flow() -> impl Strategy<Value = FlowKey> {
    let protocol = prop::sample::select(vec![1u8, 6, 17, 47, 58, 132]);
    let pair =
        (address(), address()).prop_filter("of one family", |(a, b)| a.is_ipv4() == b.is_ipv4());
    (pair, 0u16..4, 0u16..4, protocol).prop_map(|((from, to), one, other, protocol)| FlowKey {
        source: to_wire(from),
        destination: to_wire(to),
        source_port: one,
        destination_port: other,
        protocol,
        family: if from.is_ipv4() { 4 } else { 6 },
        padding: [0; 2],
    })
}

fn any_expression() -> impl Strategy<Value = Expression> {
    let side = || {
        let sides = vec![Side::Either, Side::Both, Side::Source, Side::Destination];
        prop::sample::select(sides)
    };
    let prefix = (address(), 0u8..=128).prop_map(|(address, length)| Prefix {
        address,
        length: length.min(Prefix::host(address).length),
    });
    let leaf = prop_oneof![
        (side(), prefix).prop_map(|(side, prefix)| Expression::Address(side, prefix)),
        (side(), 0u16..4, 0u16..4).prop_map(|(s, a, b)| Expression::Port(s, a.min(b), a.max(b))),
        prop::sample::select(vec![1u8, 6, 17, 58]).prop_map(Expression::Protocol),
        prop::sample::select(vec![4u8, 6]).prop_map(Expression::Family),
    ];
    leaf.prop_recursive(5, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(Expression::not),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a.and(b)),
            (inner.clone(), inner).prop_map(|(a, b)| a.or(b)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The tests with jumps, which the kernel runs, say what the expression says.
    #[test]
    fn jumps_mean_what_words_mean(expression in any_expression(), flows in prop::collection::vec(any_flow(), 20)) {
        if let Ok(rules) = compile::rules(&expression) {
            for flow in flows {
                prop_assert_eq!(rules.take(&flow), means(&expression, &flow), "{:?}", flow);
            }
        }
    }

    #[test]
    fn nothing_that_is_typed_panics(text in "[a-z0-9 ()!&|./:-]{0,40}") {
        let _ = text.parse::<Filter>();
    }

    #[test]
    fn words_of_the_language_in_any_order_do_not_panic(words in prop::collection::vec(prop::sample::select(vec![
        "src", "dst", "host", "net", "port", "portrange", "tcp", "ip6", "proto", "and", "or", "not",
        "(", ")", "!", "&&", "10.0.0.1", "10.1", "80", "1-2", "mask", "255.0.0.0", "fd00::/8",
    ]), 0..12)) {
        let _ = words.join(" ").parse::<Filter>();
    }
}
