//! Whom a rule is for, and what becomes of a finding about it.
use super::*;
use crate::model::{command::Command, services::Published};

/// As Calico, kube-router and Weave name their chains: what they left behind is nobody's policy.
#[test]
fn policies_deny_as_they_are_meant_to_while_somebody_carries_them_out() {
    let judged = |chain: &str, runs: Option<&str>| {
        let rule = rule(["ip", "filter", chain], "-j DROP");
        let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
        let observation = Observation {
            drops: vec![died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)],
            ..Observation::default()
        };
        let command = |name: &str| Command {
            pid: 7,
            arguments: vec![name.into()],
            unit: None,
        };
        let mut pieces = vec![(Want::Rules(NETNS), Ok(Piece::Rules(vec![rule])))];
        pieces.extend(runs.map(|name| {
            let commands = Piece::Commands(vec![command(name)]);
            (Want::Commands(name.into()), Ok(commands))
        }));
        let node = overlay_node(1450, 1450, 1500);
        let found = with_gathered(&node, &observation, pieces, one).expect("a finding");
        (found.severity, found.meant)
    };
    let meant = (Severity::Info, true);
    let doubted = (Severity::Warning, false);
    assert_eq!(judged("cali-tw-cali1", Some("calico-node")), meant);
    assert_eq!(judged("KUBE-POD-FW-AB", Some("kube-router")), meant);
    assert_eq!(judged("cali-tw-cali1", None), doubted, "left behind");
    assert_eq!(judged("cali-tw-cali1", Some("weave-npc")), doubted);
    assert_eq!(judged("FORWARD", Some("calico-node")), doubted);
}

/// What a rule does with a stranger's connections to a port of the node's, where nothing, a socket or a
/// translation takes them.
fn stranger(text: &str, pieces: Vec<(Want, Piece)>) -> Option<(Severity, bool)> {
    let rule = rule(["netdev", "edge", "in"], text);
    let flow = tcp("203.0.113.9", "192.0.2.1", 30_080);
    let observation = Observation {
        drops: vec![died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)],
        ..Observation::default()
    };
    let own = [(Want::Rules(NETNS), Ok(Piece::Rules(vec![rule])))];
    let pieces = pieces.into_iter().map(|(want, piece)| (want, Ok(piece)));
    let node = overlay_node(1450, 1450, 1500);
    let found = with_gathered(&node, &observation, own.into_iter().chain(pieces), one);
    found.map(|found| (found.severity, found.meant))
}

#[test]
fn what_is_published_is_missed_unless_the_rule_says_for_whom_it_is() {
    let listens = || {
        vec![(
            Want::Listeners(NETNS),
            Piece::Listeners(vec![listener("0.0.0.0", 30_080)]),
        )]
    };
    let published = || {
        let services = Services {
            published: vec![Published {
                address: None,
                ipv6: false,
                protocol: 6,
                ports: (30_000, 30_100),
            }],
            ..Services::default()
        };
        vec![(Want::Services, Piece::Services(services))]
    };
    let plain = "tcp dport 30080 counter drop";
    let range = "ip saddr != 10.0.0.0/8 tcp dport 30080 counter drop";
    let banned = "ip saddr 203.0.113.9 counter drop";
    assert_eq!(stranger(plain, Vec::new()), None, "a scan");
    assert_eq!(
        stranger(plain, published()),
        Some((Severity::Warning, false))
    );
    assert_eq!(stranger(range, published()), Some((Severity::Info, true)));
    assert_eq!(
        stranger(banned, published()),
        Some((Severity::Warning, false))
    );
    // A firewall before what the node itself serves is everyday, and may be meant or not.
    assert_eq!(stranger(plain, listens()), Some((Severity::Info, false)));
    assert_eq!(stranger(range, listens()), Some((Severity::Info, true)));
    assert_eq!(stranger(banned, listens()), Some((Severity::Info, true)));
}
