use super::*;
use crate::{
    model::verdict::{Confidence, FlowRef, Origin, Subject},
    need::Strength,
};

fn finding(cause: &str) -> Finding {
    Finding::new(
        cause,
        Severity::Warning,
        Confidence::Confirmed,
        String::new(),
    )
}

fn of(cause: &str, node: &str) -> Finding {
    let mut finding = finding(cause);
    finding.node = Some(node.into());
    finding
}

fn link(name: &str) -> Subject {
    Subject::Link { name: name.into() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Each is at fault for the next one.
fn chain<const N: usize>(causes: [&str; N]) -> [Finding; N] {
    let mut findings = causes.map(finding);
    for at in 0..N {
        let (own, before) = (at.to_string(), at.checked_sub(1));
        let because = format!("{} did it", causes[at]);
        findings[at].ties.blame(link(&own), because);
        if let Some(before) = before {
            findings[at].ties.rest_on(link(&before.to_string()));
        }
    }
    findings
}

#[test]
fn chains_are_joined_and_circles_are_not() {
    for first in 0..3 {
        let mut findings = chain(["a", "b", "c"]);
        findings[0].ties.rest_on(link("2"));
        // Whatever comes first, one of them has to stay.
        findings.rotate_left(first);
        join(&mut findings);
        let roots = findings.iter().filter(|f| f.consequence_of.is_none());
        assert_eq!(roots.count(), 1, "{first}");
    }
    let mut findings = chain(["a", "b", "c"]);
    join(&mut findings);
    let above = findings.each_ref().map(|f| f.consequence_of.as_deref());
    assert_eq!(above, [None, Some("a"), Some("b")]);
    assert_eq!(findings[1].because.as_deref(), Some("a did it"));
    assert_eq!(findings[2].root.as_deref(), Some(&*findings[1].id));
}

#[test]
fn one_cause_can_stand_above_another_of_itself() {
    let mut findings = chain(["a", "a"]);
    join(&mut findings);
    let above = findings.each_ref().map(|f| f.consequence_of.as_deref());
    assert_eq!(above, [None, Some("a")]);
}

#[test]
fn a_root_is_as_bad_as_what_hangs_below_it() {
    let mut findings = chain(["a", "b", "c"]).to_vec();
    findings.push(finding("d"));
    findings[2].severity = Severity::Critical;
    join(&mut findings);
    let severities: Vec<_> = findings.iter().map(|f| f.severity).collect();
    let (bad, same) = (Severity::Critical, Severity::Warning);
    assert_eq!(severities, [bad, bad, bad, same]);
}

#[test]
fn what_is_intended_explains_nothing() {
    let mut findings = chain(["a", "b"]);
    findings[0].severity = Severity::Info;
    join(&mut findings);
    assert_eq!(findings[1].consequence_of, None);
}

#[test]
fn the_same_finding_of_another_node_is_not_lifted() {
    let [a, mut b] = chain(["a", "b"]);
    b.severity = Severity::Critical;
    let mut findings = [a.clone(), b, a];
    for (finding, node) in findings.iter_mut().zip(["one", "one", "two"]) {
        finding.node = Some(node.into());
    }
    join_related(&mut findings, &|one, other| one.node == other.node);
    // Again, as when the nodes' verdicts are united.
    join_related(&mut findings, &|_, _| true);
    let severities = findings.each_ref().map(|f| f.severity);
    let (bad, same) = (Severity::Critical, Severity::Warning);
    assert_eq!(severities, [bad, bad, same]);
}

fn asks(server: &str, by: &[&str]) -> Finding {
    let mut effect = finding("lookups");
    effect.ties.suffers = Some(Suffers::Lookups {
        servers: vec![ip(server)],
        by: by.iter().map(|a| ip(a)).collect(),
    });
    effect
}

#[test]
fn who_takes_the_lookups_is_above_who_is_only_on_their_way() {
    let mut taking = finding("taking");
    let server = (ip("10.0.0.10"), PORT);
    taking.scope.add(UDP, (ip("10.1.0.5"), 4711), server);
    let mut near = finding("near");
    near.about = vec![ip("192.0.2.1")];
    let effect = asks("10.0.0.10", &["10.0.0.10", "192.0.2.1"]);
    let mut findings = [near.clone(), taking, effect.clone()];
    join(&mut findings);
    assert_eq!(findings[2].consequence_of.as_deref(), Some("taking"));
    let because = findings[2].because.as_deref().unwrap_or_default();
    assert!(because.contains("10.1.0.5 → 10.0.0.10:53"), "{because}");
    let mut findings = [near, effect.clone()];
    join(&mut findings);
    assert_eq!(findings[1].consequence_of.as_deref(), Some("near"));
    // Other packets to that host are no lookups.
    let mut web = finding("web");
    web.scope
        .add(UDP, (ip("10.1.0.5"), 4711), (ip("10.0.0.10"), 80));
    let mut findings = [web, effect];
    join(&mut findings);
    assert_eq!(findings[1].consequence_of, None);
}

#[test]
fn two_that_suffer_alike_do_not_explain_each_other() {
    let mut other = asks("10.0.0.10", &["10.0.0.10"]);
    other.about = vec![ip("10.0.0.10")];
    let mut findings = [other, asks("10.0.0.10", &["10.0.0.10"])];
    join(&mut findings);
    assert!(findings.iter().all(|f| f.consequence_of.is_none()));
}

#[test]
fn a_proxy_waits_for_whom_another_finding_is_about() {
    let mut blocked = finding("proxy");
    let waits_for = vec![ip("10.0.0.10")];
    blocked.ties.suffers = Some(Suffers::Proxy { waits_for });
    // The pod's own address is no reason.
    blocked.about = vec![ip("10.1.0.5")];
    let about = |address: &str| {
        let mut root = finding("root");
        root.about = vec![ip(address)];
        let mut findings = [root, blocked.clone()];
        join(&mut findings);
        findings[1].consequence_of.is_some()
    };
    assert!(about("10.0.0.10"));
    assert!(!about("10.1.0.5"));
}

fn drop_at(reason: &str, node: Option<&str>) -> Evidence {
    let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, "7 packets dropped");
    line.node = node.map(str::to_owned);
    line.reason = Some(reason.into());
    line
}

#[test]
fn what_dies_at_the_same_place_dies_of_the_same() {
    for (reason, root) in [("NETFILTER_DROP", Some("rule")), ("UDP_CSUM", None)] {
        let mut effect = asks("10.0.0.10", &[]);
        effect.evidence = vec![drop_at("NETFILTER_DROP", None)];
        let mut rule = finding("rule");
        rule.evidence = vec![drop_at(reason, None)];
        let mut findings = [rule, effect];
        join(&mut findings);
        assert_eq!(findings[1].consequence_of.as_deref(), root);
    }
}

#[test]
fn another_nodes_fault_explains_its_silence() {
    let mut silence = of("silence", "n1");
    silence.ties.suffers = Some(Suffers::OtherNode);
    silence.about = vec![ip("10.0.0.1")];
    let mut there = of("route", "n2");
    there.about = vec![ip("10.0.0.1")];
    let mut findings = [silence.clone(), there.clone()];
    join(&mut findings);
    assert_eq!(findings[0].consequence_of.as_deref(), Some("route"));
    // What is wrong here is no reason for what the other does not send.
    there.node = Some("n1".into());
    let mut findings = [silence, there];
    join(&mut findings);
    assert_eq!(findings[0].consequence_of, None);
}

/// Findings of these causes about one conversation, told apart by how close they come.
fn about_one(causes: &[&str]) -> Vec<Finding> {
    let flow = FlowRef {
        protocol: "tcp".into(),
        source: "10.0.0.1".into(),
        destination: "10.0.0.2:80".into(),
        ..FlowRef::default()
    };
    let of = |cause: &&str| {
        let mut finding = finding(cause);
        finding.scope.add_flow(&flow);
        finding.flows.push(flow.clone());
        finding
    };
    causes.iter().map(of).collect()
}

fn close(finding: &Finding) -> Option<Strength> {
    match finding.cause.as_str() {
        "culprit" => Some(Strength::Acted),
        "class" => Some(Strength::Mechanism),
        _ => None,
    }
}

fn chosen(mut findings: Vec<Finding>) -> Vec<String> {
    choose(&mut findings, &close);
    findings.into_iter().map(|f| f.cause).collect()
}

#[test]
fn of_two_roots_the_one_with_a_culprit_is_told() {
    assert_eq!(chosen(about_one(&["class", "culprit"])), ["culprit"]);
    assert_eq!(chosen(about_one(&["effect", "culprit"])).len(), 2);
    assert_eq!(chosen(about_one(&["class", "class"])).len(), 2);
    let mut more = about_one(&["class", "culprit"]);
    let mut other = more[0].flows[0].clone();
    other.destination = "10.0.0.3:80".into();
    more[0].flows.push(other);
    assert_eq!(chosen(more).len(), 2, "it explains more than that");
    let mut harmless = about_one(&["class", "culprit"]);
    harmless[1].severity = Severity::Info;
    assert_eq!(chosen(harmless).len(), 2, "nothing is wrong with that one");
    let mut root = about_one(&["class", "culprit"]);
    let mut below = finding("effect");
    below.root = Some(root[0].id.clone());
    root.push(below);
    assert_eq!(chosen(root).len(), 3);
}
