use super::*;
use crate::{
    gather::rulesets::{json, saved::Lines},
    model::netfilter::Iptables,
};

fn packet(source: &str, destination: &str) -> Leaving {
    Leaving {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        link: "eth0".into(),
    }
}

/// Whether the packet may be translated by iptables' table nat, and rules for others.
fn saved_for(packet: &Leaving, program: Iptables, rules: &str) -> (bool, u64) {
    let text = format!("*filter\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n*nat\n{rules}\nCOMMIT\n");
    let mut from = text.as_bytes();
    let mut found = Rules::new(packet);
    iptables::read(&mut Lines::new(&mut from), program, &mut found).expect("lines");
    let rule = found.translates().expect("few");
    (rule.is_some(), found.others)
}

fn saved(rules: &str) -> (bool, u64) {
    saved_for(
        &packet("10.244.1.5", "203.0.113.9"),
        Iptables::Legacy4,
        rules,
    )
}

/// The same of one base chain of nftables.
fn nft(rules: &str) -> (bool, u64) {
    let packet = packet("10.244.1.5", "203.0.113.9");
    let text = format!(
        r#"{{"nftables": [
        {{"chain": {{"family": "ip", "table": "t", "name": "post", "type": "nat", "hook": "postrouting"}}}},
        {{"chain": {{"family": "ip", "table": "t", "name": "sub"}}}},
        {{"chain": {{"family": "ip", "table": "t", "name": "pre", "type": "nat", "hook": "prerouting"}}}},
        {rules}]}}"#
    );
    let mut found = Rules::new(&packet);
    json::read(text.as_bytes(), &mut found).expect("JSON");
    let rule = found.translates().expect("few");
    (rule.is_some(), found.others)
}

fn rule(chain: &str, expressions: &str) -> String {
    format!(
        r#"{{"rule": {{"family": "ip", "table": "t", "chain": "{chain}", "expr": [{expressions}]}}}}"#
    )
}

fn matches(left: &str, op: &str, right: &str) -> String {
    format!(r#"{{"match": {{"left": {left}, "op": "{op}", "right": {right}}}}}"#)
}

const MASQUERADE: &str = r#"{"counter": {"packets": 0, "bytes": 0}}, {"masquerade": null}"#;
const SADDR: &str = r#"{"payload": {"protocol": "ip", "field": "saddr"}}"#;
const MARK: &str = r#"{"&": [{"meta": {"key": "mark"}}, 16384]}"#;

#[test]
fn flannels_rule_masquerades_what_leaves_the_cluster() {
    let rules = |all: &str| {
        format!(
            "-A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG\n\
             -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN\n\
             -A FLANNEL-POSTRTG -s {all} -d {all} -j RETURN\n\
             -A FLANNEL-POSTRTG -s {all} ! -d 224.0.0.0/4 -j MASQUERADE --random-fully"
        )
    };
    assert_eq!(saved(&rules("10.244.0.0/16")), (true, 0));
    assert_eq!(saved(&rules("10.42.0.0/16")), (false, 1), "others' pods");
}

#[test]
fn kube_proxys_and_dockers_rules_are_for_other_packets() {
    let kube = "-A POSTROUTING -j KUBE-POSTROUTING\n\
                -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
                -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n\
                -A KUBE-POSTROUTING -j MASQUERADE --random-fully\n\
                -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n\
                -A POSTROUTING -m addrtype --src-type LOCAL -o eth+ -j SNAT --to-source 192.0.2.1";
    assert_eq!(saved(kube), (false, 2));
}

#[test]
fn what_is_spared_is_not_translated() {
    let agent = |spared: &str| {
        format!(
            "-A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT\n\
             -A IP-MASQ-AGENT -d {spared} -j RETURN\n-A IP-MASQ-AGENT -j MASQUERADE"
        )
    };
    assert_eq!(saved(&agent("10.0.0.0/8")), (true, 0));
    assert_eq!(saved(&agent("203.0.113.0/24")), (false, 0));
    let accepted = "-A POSTROUTING -o eth+ -j ACCEPT\n-A POSTROUTING -j MASQUERADE";
    assert_eq!(saved(accepted), (false, 0));
    let other = "-A POSTROUTING ! -o eth0 -j ACCEPT\n-A POSTROUTING -j MASQUERADE";
    assert_eq!(saved(other), (true, 0));
}

#[test]
fn what_is_not_understood_may_match() {
    let set = "-A POSTROUTING -m set --match-set cali40masq-ipam-pools src -j MASQUERADE";
    assert_eq!(saved(set), (true, 0));
    let spared = "-A POSTROUTING -m set --match-set local dst -j RETURN\n\
                  -A POSTROUTING -j MASQUERADE";
    assert_eq!(saved(spared), (true, 0));
    let circle = "-A POSTROUTING -j A\n-A A -j A\n-A A -j A";
    let packet = packet("10.244.1.5", "203.0.113.9");
    let text = format!("*nat\n{circle}\n");
    let mut from = text.as_bytes();
    let mut rules = Rules::new(&packet);
    iptables::read(&mut Lines::new(&mut from), Iptables::Nft4, &mut rules).expect("lines");
    assert_eq!(rules.translates().ok(), Some(None), "it ends");
}

#[test]
fn rules_are_of_one_family() {
    let rule = "-A POSTROUTING -j MASQUERADE";
    let six = packet("fd00::5", "2001:db8::1");
    assert_eq!(saved_for(&six, Iptables::Nft4, rule), (false, 0));
    assert_eq!(saved_for(&six, Iptables::Nft6, rule), (true, 0));
    let four = packet("10.244.1.5", "203.0.113.9");
    assert_eq!(saved_for(&four, Iptables::Legacy6, rule), (false, 0));
}

#[test]
fn nftables_rules_are_walked_as_well() {
    let prefix = r#"{"prefix": {"addr": "10.244.0.0", "len": 16}}"#;
    let of = |op: &str, right: &str| {
        let expressions = format!("{}, {MASQUERADE}", matches(SADDR, op, right));
        nft(&rule("post", &expressions))
    };
    assert_eq!(of("==", prefix), (true, 0));
    assert_eq!(of("!=", prefix), (false, 1));
    assert_eq!(of("==", "\"10.244.1.6\""), (false, 1));
    assert_eq!(
        of("==", r#"{"range": ["10.244.1.0", "10.244.1.9"]}"#),
        (true, 0)
    );
    let set = format!(r#"{{"set": ["10.9.9.9", {prefix}]}}"#);
    assert_eq!((of("==", &set), of("!=", &set)), ((true, 0), (false, 1)));
    assert_eq!(of("==", "\"@pods\""), (true, 0), "its elements are unknown");
    let link = |name: &str| {
        let test = matches(r#"{"meta": {"key": "oifname"}}"#, "==", name);
        nft(&rule("post", &format!("{test}, {MASQUERADE}"))).0
    };
    assert!(link("\"eth*\"") && !link("\"docker0\"") && link(r#"{"set": ["a", "eth0"]}"#));
}

#[test]
fn kube_proxys_chain_of_nftables_is_for_marked_packets() {
    let jump = rule("post", r#"{"jump": {"target": "sub"}}"#);
    let unmarked = format!("{}, {{\"return\": null}}", matches(MARK, "==", "0"));
    let rules = [
        jump.clone(),
        rule("sub", &unmarked),
        rule("sub", MASQUERADE),
    ];
    assert_eq!(nft(&rules.join(",")), (false, 0));
    let marked = format!("{}, {{\"return\": null}}", matches(MARK, "!=", "0"));
    let rules = [jump, rule("sub", &marked), rule("sub", MASQUERADE)];
    assert_eq!(nft(&rules.join(",")), (true, 0));
    assert_eq!(nft(&rule("pre", MASQUERADE)), (false, 0), "another hook");
    let xt = rule("post", r#"{"xt": null}, {"masquerade": null}"#);
    assert_eq!(nft(&xt), (false, 0), "iptables lists it");
}
