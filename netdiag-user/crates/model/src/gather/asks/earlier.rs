//! The same of recordings that have a rule's words alone, in nft's spelling or iptables'.
use super::{Asks, Whom};
use crate::{address::Prefix, flow, world::ruleset::Hook};

const NAMES: [(&str, Hook); 7] = [
    ("prerouting", Hook::Prerouting),
    ("input", Hook::Input),
    ("forward", Hook::Forward),
    ("output", Hook::Output),
    ("postrouting", Hook::Postrouting),
    ("ingress", Hook::Ingress),
    ("egress", Hook::Egress),
];

/// Whether a rule of iptables refuses what it takes.
pub fn refuses(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let refuses = |pair: &[&str]| pair[0] == "-j" && matches!(pair[1], "DROP" | "REJECT");
    words.windows(2).any(refuses)
}

pub fn asks(text: &str) -> Asks {
    // What a comment says selects nothing.
    let bare: String = text.split('"').step_by(2).collect();
    let words: Vec<&str> = bare.split_whitespace().collect();
    let lower = bare.to_lowercase();
    let mut asks = Asks {
        rejects: lower.contains("reject"),
        policy: policy(&words),
        ..Asks::default()
    };
    for (at, pair) in words.windows(2).enumerate() {
        let before = at.checked_sub(1).map(|at| words[at]);
        let other = before == Some("!") || pair[1] == "!=";
        let value = match words.get(at + 2) {
            Some(value) if pair[1] == "!=" => value,
            _ => pair[1],
        };
        one(&mut asks, (before, other), (pair[0], value));
        if pair[0] == "--match-set" {
            // A set of ports is for everybody.
            match words.get(at + 2).and_then(|way| way.split(',').next()) {
                Some("src") => asks.sources = Some(Whom::Some),
                Some("dst") => asks.destinations = Some(Whom::Some),
                _ => {}
            }
        }
    }
    asks
}

fn one(asks: &mut Asks, (before, other): (Option<&str>, bool), (name, value): (&str, &str)) {
    match name {
        "saddr" | "-s" | "--source" => asks.sources = whom(value, other),
        "daddr" | "-d" | "--destination" => asks.destinations = whom(value, other),
        "--src-range" => asks.sources = Some(Whom::Some),
        "--dst-range" => asks.destinations = Some(Whom::Some),
        _ if other => asks.negated = true,
        "-p" | "protocol" | "l4proto" | "nexthdr" => asks.protocol = protocol(value),
        "sport" | "--sport" => asks.source_ports = ports(value),
        "dport" | "--dport" => asks.ports = ports(value),
        "type" if matches!(before, Some("icmp" | "icmpv6")) => {
            asks.protocol = before.and_then(protocol);
            asks.icmp = icmp(value);
        }
        "--icmp-type" | "--icmpv6-type" => asks.icmp = icmp(value),
        "state" | "--ctstate" | "--state" => asks.invalid = value.eq_ignore_ascii_case("invalid"),
        _ => {}
    }
    if matches!(value, "dport" | "sport") {
        asks.protocol = asks.protocol.or_else(|| protocol(name));
    }
}

/// `hook forward priority filter; policy drop;`
fn policy(words: &[&str]) -> Option<Hook> {
    let behind = |word: &str| {
        let at = words.iter().position(|one| *one == word)?;
        words.get(at + 1).copied()
    };
    let drops = behind("policy")?.trim_end_matches(';');
    let hook = behind("hook").filter(|_| drops.eq_ignore_ascii_case("drop"))?;
    let known = NAMES.iter().find(|(name, _)| *name == hook);
    known.map(|(_, hook)| *hook)
}

/// Nothing for what is everybody.
fn whom(value: &str, other: bool) -> Option<Whom> {
    match value.parse::<Prefix>() {
        Ok(prefix) if prefix.length == 0 => None,
        Ok(prefix) if other => Some(Whom::AllBut(prefix)),
        Ok(prefix) => Some(Whom::These(prefix)),
        Err(_) => Some(Whom::Some),
    }
}

fn protocol(name: &str) -> Option<u8> {
    match name {
        "icmp" => Some(1),
        "ipv6-icmp" | "icmpv6" => Some(58),
        name => flow::number(name),
    }
}

fn ports(value: &str) -> Option<(u16, u16)> {
    let (first, last) = value.split_once([':', '-']).unwrap_or((value, value));
    first.parse().ok().zip(last.parse().ok())
}

fn icmp(value: &str) -> Option<u8> {
    const KINDS: [(&str, u8); 8] = [
        ("destination-unreachable", 3),
        ("echo-reply", 0),
        ("echo-request", 8),
        ("fragmentation-needed", 3),
        ("packet-too-big", 2),
        ("parameter-problem", 12),
        ("port-unreachable", 3),
        ("time-exceeded", 11),
    ];
    let known = KINDS.iter().find(|(name, _)| *name == value);
    known.map(|(_, kind)| *kind).or_else(|| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_for_whom_a_rule_is() {
        let net = |text: &str| text.parse::<Prefix>().expect("a prefix");
        for (text, wanted) in [
            (
                "ip saddr 203.0.113.0/24 drop",
                Some(Whom::These(net("203.0.113.0/24"))),
            ),
            ("ip saddr @banned drop", Some(Whom::Some)),
            ("ip6 saddr { fd00::/8, ::1 } drop", Some(Whom::Some)),
            (
                "! -s 10.0.0.1/32 -p tcp -j DROP",
                Some(Whom::AllBut(net("10.0.0.1"))),
            ),
            (
                "-m set --match-set f2b-sshd src -j REJECT",
                Some(Whom::Some),
            ),
            (
                "-m iprange --src-range 10.0.0.1-10.0.0.9 -j DROP",
                Some(Whom::Some),
            ),
            (
                "-s 198.51.100.7/32 -j DROP",
                Some(Whom::These(net("198.51.100.7"))),
            ),
            (
                "tcp dport 22 drop comment \"not for ip saddr 10.0.0.0/8\"",
                None,
            ),
            ("-m set --match-set services dst -j DROP", None),
            ("ether saddr", None),
            ("ip saddr 0.0.0.0/0 drop", None),
        ] {
            assert_eq!(asks(text).sources, wanted, "{text}");
        }
        let to = asks("-d 198.51.100.7 -p udp -m udp --dport 53 -j REJECT");
        assert!(to.destinations.is_some_and(|whom| whom.is_one()));
        assert_eq!(
            (to.protocol, to.ports, to.rejects),
            (Some(17), Some((53, 53)), true)
        );
    }

    #[test]
    fn words_say_what_is_asked_beside() {
        let of = |text| {
            let asks = asks(text);
            (asks.protocol, asks.icmp, asks.invalid, asks.negated)
        };
        assert_eq!(
            of("icmp type echo-request counter drop"),
            (Some(1), Some(8), false, false)
        );
        assert_eq!(
            of("icmpv6 type packet-too-big drop"),
            (Some(58), Some(2), false, false)
        );
        assert_eq!(of("! -p icmp -j DROP"), (None, None, false, true));
        assert_eq!(of("ct state invalid drop"), (None, None, true, false));
        assert_eq!(
            of("-m conntrack --ctstate INVALID -j DROP"),
            (None, None, true, false)
        );
        assert_eq!(asks("tcp sport 1-9 drop").source_ports, Some((1, 9)));
    }

    #[test]
    fn a_policy_says_where_it_drops() {
        let of = |text| asks(text).policy;
        assert_eq!(
            of("type filter hook forward priority filter; policy drop;"),
            Some(Hook::Forward)
        );
        assert_eq!(
            of("type filter hook input priority filter; policy accept;"),
            None
        );
        assert_eq!(of("tcp dport 80 drop"), None);
    }
}
