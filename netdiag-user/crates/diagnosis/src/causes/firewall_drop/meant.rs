//! Whether somebody is known to want a rule to keep packets out: then it is no fault. A rule says so by
//! the sources that it names; one of an agent's by the agent, where that runs.
use crate::{
    model::{
        address::is_link_local,
        gather::{Rule, Want},
    },
    pipeline::facts::Facts,
    shared::losses::{DropGroup, Standing},
    unexplained,
};

/// Whose chains begin so, and the processes that keep them. In the node's own namespace only root makes
/// chains, but what an agent left behind when it was taken away is nobody's policy any more.
const POLICIES: [(&str, &str); 4] = [
    ("cali-", "calico-node"),
    ("KUBE-POD-FW-", "kube-router"),
    ("KUBE-NWPLCY-", "kube-router"),
    ("WEAVE-NPC", "weave-npc"),
];

/// kube-proxy's for balancers' addresses with loadBalancerSourceRanges, by iptables and by nftables, there
/// in a table of its own.
const SOURCE_RANGES: [&str; 2] = ["KUBE-PROXY-FIREWALL", "KUBE-FW-"];
const NFT_TABLE: &str = "kube-proxy";
const NFT_SOURCE_RANGES: &str = "firewall-";

/// Who sets the rule of a network policy, as far as its chain tells.
pub fn engine(rule: &Rule) -> Option<&'static str> {
    let mut words = words(&rule.place);
    let found = words.find_map(|word| {
        let mut all = POLICIES.iter();
        all.find(|(start, _)| word.starts_with(start))
    });
    let (_, engine) = found.filter(|_| rule.policy_at().is_none())?;
    Some(engine)
}

/// What tells whether that agent runs.
pub fn want(rule: &Rule) -> Option<Want> {
    engine(rule).map(|engine| Want::Commands(engine.to_owned()))
}

/// Known to mean it: by its own words, or by whose it is.
pub fn is_meant(
    facts: &Facts<'_>,
    rule: &Rule,
    standing: Standing,
    patterns: &[DropGroup<'_>],
) -> bool {
    let runs = |engine: &str| !facts.gathered.commands(engine).is_empty();
    engine(rule).is_some_and(runs)
        || is_source_range(facts, rule)
        || keeps_away(facts, rule, patterns)
        || match named(rule, &SOURCES) {
            Some(Named::Many) => standing < Standing::Ours,
            // One address that is banned from what this node serves; of what is published for
            // everybody it may be the balancer's.
            Some(Named::One) => standing == Standing::Stranger,
            None => false,
        }
}

/// A rule for a range of the world's, where nobody of the cluster is, or for a link-local address that this
/// node does not have (a cloud's metadata): nothing that is owed to pods.
fn keeps_away(facts: &Facts<'_>, rule: &Rule, patterns: &[DropGroup<'_>]) -> bool {
    let named = named(rule, &DESTINATIONS);
    let away = |p: &DropGroup<'_>| {
        let narrow = is_link_local(p.destination) && named == Some(Named::One);
        let outside = !p.reply && !unexplained::is_clusters(facts, p.destination);
        outside && (narrow || named == Some(Named::Many))
    };
    patterns.iter().all(away)
}

fn is_source_range(facts: &Facts<'_>, rule: &Rule) -> bool {
    let services = facts.gathered.services();
    let runs = services.is_some_and(|known| !known.proxies.is_empty());
    let has = |start: &str| words(&rule.place).any(|word| word.starts_with(start));
    let by_nft = || words(&rule.place).any(|w| w == NFT_TABLE) && has(NFT_SOURCE_RANGES);
    runs && (SOURCE_RANGES.iter().any(|start| has(start)) || by_nft())
}

fn words(place: &str) -> impl Iterator<Item = &str> {
    place.split_whitespace().map(|word| word.trim_matches('"'))
}

/// How a rule names whom packets are from or for.
struct Ends {
    addresses: [&'static str; 3],
    range: &'static str,
    set: &'static str,
}

const SOURCES: Ends = Ends {
    addresses: ["saddr", "-s", "--source"],
    range: "--src-range",
    set: "src",
};
const DESTINATIONS: Ends = Ends {
    addresses: ["daddr", "-d", "--destination"],
    range: "--dst-range",
    set: "dst",
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    One,
    /// A range, a set, or all but some.
    Many,
}

/// For whom it is, as it is written. What a comment says selects nothing.
fn named(rule: &Rule, ends: &Ends) -> Option<Named> {
    let bare: String = rule.text.split('"').step_by(2).collect();
    let words: Vec<&str> = bare.split_whitespace().collect();
    let named = |at: usize| {
        let (before, word) = (at.checked_sub(1).map(|at| words[at]), words[at]);
        let value = words.get(at + 1).copied()?;
        match word {
            word if ends.addresses.contains(&word) => {
                if before == Some("!") || value == "!=" {
                    return Some(Named::Many);
                }
                of_length(value)
            }
            word if word == ends.range => Some(Named::Many),
            "--match-set" => {
                let way = words.get(at + 2)?;
                // A set of ports is for everybody.
                way.split(',').next().filter(|way| *way == ends.set)?;
                Some(Named::Many)
            }
            _ => None,
        }
    };
    (0..words.len()).find_map(named)
}

/// An address, a range, or a set of them; nothing for what is everybody.
fn of_length(value: &str) -> Option<Named> {
    let everybody = value.ends_with("/0");
    (!everybody).then(|| match is_one(value) {
        true => Named::One,
        false => Named::Many,
    })
}

fn is_one(value: &str) -> bool {
    let (address, length) = value.split_once('/').unwrap_or((value, ""));
    let address: Result<std::net::IpAddr, _> = address.parse();
    address.is_ok_and(|address| {
        let whole = if address.is_ipv4() { "32" } else { "128" };
        length.is_empty() || length == whole
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(place: &str, text: &str) -> Rule {
        Rule {
            place: place.into(),
            text: text.into(),
            packets: 9,
            origin: Default::default(),
            counted: true,
        }
    }

    #[test]
    fn rules_say_for_whom_they_are() {
        let for_whom = |text| named(&rule("ip filter INPUT", text), &SOURCES);
        let many = [
            "ip saddr != 10.0.0.0/8 tcp dport 6443 counter drop",
            "ip saddr 203.0.113.0/24 drop",
            "ip saddr @banned drop",
            "ip6 saddr { fd00::/8, ::1 } drop",
            "! -s 10.0.0.1/32 -p tcp -j DROP",
            "-m set --match-set f2b-sshd src -j REJECT",
            "-m iprange --src-range 10.0.0.1-10.0.0.9 -j DROP",
        ];
        for text in many {
            assert_eq!(for_whom(text), Some(Named::Many), "{text}");
        }
        for text in ["ip saddr 198.51.100.7 drop", "-s 198.51.100.7/32 -j DROP"] {
            assert_eq!(for_whom(text), Some(Named::One), "{text}");
        }
        let nobody = [
            "tcp dport 30080 counter drop",
            "-p tcp -m tcp --dport 30080 -j DROP",
            "tcp dport 22 drop comment \"not for ip saddr 10.0.0.0/8\"",
            "-m set --match-set services dst -j DROP",
            "ether saddr",
            "ip saddr 0.0.0.0/0 drop",
        ];
        for text in nobody {
            assert_eq!(for_whom(text), None, "{text}");
        }
    }

    #[test]
    fn rules_say_whom_they_keep_away_from() {
        let from_whom = |text| named(&rule("ip filter FORWARD", text), &DESTINATIONS);
        let many = [
            "ip daddr 198.51.100.0/24 counter drop comment \"no partners\"",
            "-d 198.51.100.0/24 -j DROP",
            "-m set --match-set miners dst -j DROP",
        ];
        for text in many {
            assert_eq!(from_whom(text), Some(Named::Many), "{text}");
        }
        assert_eq!(from_whom("-d 198.51.100.7 -j DROP"), Some(Named::One));
        for text in [
            "tcp dport 443 drop",
            "ip daddr 0.0.0.0/0 drop",
            "-m set --match-set banned src -j DROP",
        ] {
            assert_eq!(from_whom(text), None, "{text}");
        }
    }

    #[test]
    fn engines_are_known_by_their_chains_and_never_by_a_policy_of_the_chain() {
        let of = |place| engine(&rule(place, "drop"));
        assert_eq!(of("ip filter cali-tw-cali1234"), Some("calico-node"));
        assert_eq!(of("ip filter \"KUBE-POD-FW-X\""), Some("kube-router"));
        assert_eq!(of("ip filter FORWARD"), None);
    }
}
