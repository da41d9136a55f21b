use super::*;
use crate::{
    model::{
        journal::{Doer, Translates},
        netfilter::{Chain, Family},
        node::Node,
        observation::Observation,
        verdict::{Confidence, Origin},
    },
    testing::{POD, died, overlay_node, tcp, with_facts},
};

const LOST: u64 = 5_000_000_000;

fn change(at: u64, of: Thing, how: How) -> Change {
    Change {
        at,
        of,
        how,
        by: None,
        translates: None,
    }
}

fn route(to: &str) -> Thing {
    Thing::Route {
        to: to.parse().expect("a prefix"),
        table: 254,
    }
}

/// What is told of a finding with that line of evidence.
fn told(changes: Vec<Change>, line: Evidence) -> Vec<String> {
    told_of(LOST, changes, line)
}

/// The same where its first packet was lost then.
fn told_of(first: u64, changes: Vec<Change>, line: Evidence) -> Vec<String> {
    let flow = tcp("172.20.1.5", "172.20.2.9", 443);
    let mut lost = died(flow, ("IP_INNOROUTES", "ip_error"), POD, 4);
    (lost.1.first, lost.1.last) = (first, first + 1_000_000_000);
    let observation = Observation {
        drops: vec![lost],
        now: first + 4_000_000_000,
        ..Observation::default()
    };
    let node = Node {
        changes,
        ..overlay_node(1450, 1450, 1500)
    };
    let mut finding = Finding::new(
        "no-route",
        Severity::Warning,
        Confidence::Confirmed,
        String::new(),
    );
    finding.evidence.push(line);
    finding.scope.add_key(&flow);
    with_facts(&node, &observation, |facts| {
        tell(facts, std::slice::from_mut(&mut finding));
    });
    let lines = finding.evidence.iter().skip(1);
    lines.map(|line| line.text.clone()).collect()
}

fn line(kind: EvidenceKind) -> Evidence {
    Evidence::new(kind, Origin::Configured, "")
}

#[test]
fn the_last_change_of_what_packets_go_by_is_told() {
    let vanished = |at, to| change(at, route(to), How::Vanished);
    let changes = vec![
        vanished(1_000_000_000, "172.20.2.0/24"),
        vanished(3_000_000_000, "172.20.2.0/24"),
        vanished(3_500_000_000, "172.20.3.0/24"),
        vanished(7_000_000_000, "172.20.0.0/16"),
    ];
    let told = told(changes.clone(), line(EvidenceKind::Route));
    let [one] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(one.contains("172.20.2.0/24 of table 254 vanished"), "{one}");
    assert!(one.ends_with("2.0 s before the first loss"), "{one}");
    assert!(self::told(changes, line(EvidenceKind::Socket)).is_empty());
}

#[test]
fn whoever_set_a_rule_is_told() {
    let chain = || Chain {
        family: Family::Inet,
        table: "filter".into(),
        chain: "forward".into(),
    };
    let rule = |handle| Thing::Rule {
        chain: chain(),
        handle,
    };
    let mut set = change(4_000_000_000, rule(7), How::Appeared);
    set.by = Some(Doer {
        name: "fire\u{1b}walld".into(),
        pid: 812,
    });
    let shown = |thing| told(vec![set.clone()], line(EvidenceKind::Rule).of([thing]));
    let told = shown(rule(7));
    assert!(
        told[0].contains("rule 7 of inet filter forward appeared"),
        "{told:?}"
    );
    assert!(told[0].contains("(process 812), 1.0 s before"), "{told:?}");
    assert!(!told[0].contains('\u{1b}'), "{told:?}");
    assert_eq!(shown(Thing::Chain { chain: chain() }).len(), 1);
    assert!(shown(rule(8)).is_empty());
}

#[test]
fn a_link_that_is_beside_is_none() {
    let down = |name: &str| {
        let of = Thing::Link { name: name.into() };
        vec![change(4_000_000_000, of, How::Down)]
    };
    let mut shown = line(EvidenceKind::Link);
    shown.at = Some("eth0".into());
    assert_eq!(told(down("eth0"), shown.clone()).len(), 1);
    assert!(told(down("eth1"), shown).is_empty());
    let mut lost = line(EvidenceKind::Drop);
    lost.at = Some("eth0".into());
    assert!(told(down("eth0"), lost).is_empty(), "where it died");
}

fn rule(table: &str, handle: u64) -> Thing {
    let chain = Chain {
        family: Family::Ip,
        table: table.into(),
        chain: "services".into(),
    };
    Thing::Rule { chain, handle }
}

#[test]
fn rules_of_a_table_that_is_shown_are_told_as_one_where_they_are_many() {
    let many =
        (1..9).map(|handle| change(4_900_000_000, rule("kube-proxy", handle), How::Appeared));
    let of = |table: &str| Thing::Table {
        family: Family::Ip,
        table: table.into(),
    };
    let shown = |table| line(EvidenceKind::Rule).of([of(table)]);
    let told = told(many.clone().collect(), shown("kube-proxy"));
    let [one] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(
        one.starts_with("the table ip kube-proxy was changed"),
        "{one}"
    );
    assert!(self::told(many.clone().collect(), shown("other")).is_empty());
    let gone = many.chain([change(4_900_000_000, of("kube-proxy"), How::Vanished)]);
    let told = self::told(gone.collect(), shown("kube-proxy"));
    assert!(
        told[0].starts_with("the table ip kube-proxy vanished"),
        "{told:?}"
    );
    let one = || vec![change(4_000_000_000, rule("kube-proxy", 1), How::Appeared)];
    let lost = |first| told_of(first, one(), shown("kube-proxy")).len();
    assert_eq!(lost(4_000_000_000 + NEAR_NS), 1);
    assert_eq!(lost(4_000_000_001 + NEAR_NS), 0, "long ago");
    let another = line(EvidenceKind::Rule).of([rule("kube-proxy", 2)]);
    assert!(self::told(one(), another).is_empty(), "another rule");
}

#[test]
fn a_rule_that_is_gone_did_what_none_does_now() {
    let mut lacking = line(EvidenceKind::Rule);
    lacking.lacks = Some((false, Translates::Source));
    let gone = |translates, how| {
        let mut gone = change(4_000_000_000, rule("egress", 7), how);
        gone.translates = translates;
        told(vec![gone], lacking.clone()).len()
    };
    assert_eq!(gone(Some(Translates::Source), How::Vanished), 1);
    assert_eq!(gone(Some(Translates::Source), How::Appeared), 0);
    assert_eq!(gone(Some(Translates::Destination), How::Vanished), 0);
    assert_eq!(gone(None, How::Vanished), 0);
}
