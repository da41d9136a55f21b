use super::*;
use crate::model::verdict::{
    Confidence, Evidence, EvidenceKind, Fix, FlowRef, Origin, Severity, Subject, Suffers,
};

fn finding(cause: &str, node: &str, about: &str) -> Finding {
    let summary = format!("seen on {node}");
    let mut it = Finding::new(cause, Severity::Warning, Confidence::Confirmed, summary);
    it.node = Some(node.to_owned());
    it.nodes = vec![node.to_owned()];
    it.about = vec![about.parse().expect("an address")];
    it.fix = Fix {
        summary: format!("mend {node}"),
        commands: Vec::new(),
    };
    it
}

fn incident(findings: Vec<Finding>) -> Vec<Finding> {
    one_incident(findings, &|_, _| true)
}

#[test]
fn one_thing_that_two_nodes_see_is_one_finding() {
    let mut worse = finding("a", "n2", "10.0.0.1");
    worse.severity = Severity::Critical;
    let all = incident(vec![finding("a", "n1", "10.0.0.1"), worse]);
    let [one] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert_eq!(one.node.as_deref(), Some("n2"));
    assert_eq!(one.nodes, ["n2", "n1"]);
    assert_eq!(one.fix.summary, "mend n2");
    assert_eq!(one.other_fixes[0].node, "n1");
}

#[test]
fn the_same_cause_of_different_things_stays_two() {
    let all = incident(vec![
        finding("a", "n1", "10.0.0.1"),
        finding("a", "n2", "10.0.0.2"),
    ]);
    assert_eq!(all.len(), 2);
}

#[test]
fn no_word_makes_two_one() {
    let mut all = ["n1", "n2"].map(|node| finding("a", node, "10.0.0.1"));
    all[1].about = vec!["10.0.0.2".parse().expect("an address")];
    all[1].summary = all[0].summary.clone();
    assert_eq!(incident(all.to_vec()).len(), 2);
    for it in &mut all {
        it.fix.commands = vec![crate::shell!("sysctl -w net.ipv4.ip_forward=1")];
    }
    assert_eq!(incident(all.into()).len(), 1, "one thing to do on both");
}

#[test]
fn a_rule_is_itself_on_every_node_and_no_other() {
    let rule = |node, text: &str| {
        let mut it = finding("a", node, "10.0.0.1");
        it.blames(Subject::Rule {
            place: "inet filter forward".into(),
            text: text.into(),
        });
        it
    };
    let two = vec![rule("n1", "drop"), rule("n1", "ip saddr 10.0.0.1 drop")];
    assert_eq!(incident(two.clone()).len(), 2, "of one node");
    let mut all = two;
    all.push(rule("n2", "drop"));
    let all = incident(all);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].nodes, ["n1", "n2"]);
}

#[test]
fn two_that_tell_of_each_other_or_of_one_flow_are_one() {
    let mut pair = ["n1", "n2"].map(|node| finding("a", node, "10.0.0.1"));
    pair[1].about = vec!["10.0.0.2".parse().expect("an address")];
    let mut each_other = pair.clone();
    each_other[0].nodes.push("n2".into());
    each_other[1].nodes.push("n1".into());
    assert_eq!(incident(each_other.into()).len(), 1);
    let flow = |source: &str, destination: &str| FlowRef {
        protocol: "tcp".into(),
        source: source.into(),
        destination: destination.into(),
        packets: 1,
        retransmits: 0,
        last_seen_at: None,
        ..FlowRef::default()
    };
    pair[0].flows = vec![flow("10.1.0.1:1", "10.1.0.2:2")];
    pair[1].flows = vec![flow("10.1.0.2:2", "10.1.0.1:1")];
    assert_eq!(incident(pair.into()).len(), 1);
}

#[test]
fn a_root_on_one_node_explains_what_another_has_where_they_met() {
    let both = || {
        let mut silence = finding("overlay-blocked", "n2", "10.0.0.1");
        silence.ties.suffers = Some(Suffers::OtherNode);
        vec![silence, finding("pod-route-missing", "n1", "10.0.0.1")]
    };
    let all = incident(both());
    assert_eq!(all[0].consequence_of.as_deref(), Some("pod-route-missing"));
    let strangers = one_incident(both(), &|_, _| false);
    assert_eq!(strangers[0].consequence_of, None);
}

#[test]
fn what_drops_the_packets_on_the_other_node_explains_the_silence() {
    let drop = |reason: &str| {
        let text = "7 packets dropped";
        let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
        line.node = Some("n2".into());
        line.reason = Some(reason.into());
        line
    };
    let mut silence = finding("overlay-blocked", "n1", "10.0.0.2");
    silence.ties.suffers = Some(Suffers::OtherNode);
    silence.evidence = vec![drop("NETFILTER_DROP")];
    for (reason, root) in [
        ("NETFILTER_DROP", Some("firewall-drop")),
        ("UDP_CSUM", None),
    ] {
        let mut there = finding("firewall-drop", "n2", "10.0.0.1");
        there.evidence = vec![drop(reason)];
        let all = incident(vec![silence.clone(), there]);
        assert_eq!(all[0].consequence_of.as_deref(), root);
    }
}
