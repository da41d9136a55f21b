//! Where all rules of a namespace are known, the one at which the packets' way ends did it.
use super::*;
use crate::{
    model::world::{
        Known,
        device::Mac,
        of_node,
        ruleset::{
            Base, BaseChain, Bytes, ChainKind, Compare, Data, Expression, Hook, Load, Meta, Reg,
            Rule as Whole, Ruleset, Table, Verdict,
        },
        station::Station,
    },
    pipeline::agreement::Feature,
    testing::{POD, from_pod, with_doubts},
};

const UDP: u8 = 17;
const TCP: u8 = 6;

/// It takes a protocol's packets.
fn takes(protocol: u8, handle: u64, counts: Option<u64>) -> Whole {
    const TO: Reg = Reg(16);
    let counter = counts.map(|packets| Expression::Counter { packets });
    let mut expressions = vec![
        Expression::Load(Load::Meta(Meta::L4Protocol), TO),
        Expression::Compare {
            how: Compare::Equal,
            reg: TO,
            with: Bytes::from(vec![protocol]),
        },
    ];
    expressions.extend(counter);
    expressions.push(Expression::Sets(Data::Verdict(Verdict::Drop), Reg(0)));
    Whole {
        handle,
        expressions,
        comment: None,
    }
}

fn ruleset(rules: Vec<Whole>) -> Ruleset {
    let base = BaseChain {
        hook: Hook::Prerouting,
        priority: 0,
        kind: ChainKind::Filter,
        accepts: true,
        devices: Vec::new(),
    };
    let led = Whole {
        handle: 2,
        expressions: vec![Expression::Sets(
            Data::Verdict(Verdict::Goto("pre".into())),
            Reg(0),
        )],
        comment: None,
    };
    let chain = |name: &str, base, rules| crate::model::world::ruleset::Chain {
        name: name.into(),
        handle: 1,
        base,
        rules,
    };
    let table = Table {
        family: Family::Ip,
        name: "filter".into(),
        legacy: false,
        dormant: false,
        chains: vec![
            chain("base", Some(base), vec![led]),
            chain("pre", None, rules),
        ],
        sets: Vec::new(),
    };
    Ruleset {
        tables: vec![table],
        ..Ruleset::default()
    }
}

fn listed(handle: u64, counted: bool) -> Rule {
    Rule {
        place: "ip filter pre".into(),
        text: format!("meta l4proto @list{handle} drop"),
        packets: u64::from(counted),
        origin: nft(Family::Ip, "pre", Some(handle)),
        counted,
        asks: Default::default(),
    }
}

fn judged(rules: Vec<Whole>, listed: Vec<Rule>) -> Finding {
    doubting(rules, listed, &[])
}

fn doubting(rules: Vec<Whole>, listed: Vec<Rule>, distrusted: &[Feature]) -> Finding {
    let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
    let mut lost = died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5);
    lost.1.tcp_flags = 2;
    let observation = Observation {
        drops: vec![lost],
        flows: vec![from_pod(flow, |_| ())],
        ..Observation::default()
    };
    let node = overlay_node(1450, 1450, 1500);
    let mut stack = of_node::stack(&node);
    if let Known::Is(devices) = &mut stack.devices {
        devices.get_mut(&POD).expect("the pod's link").mac = Some(Mac([2, 0, 0, 0, 0, 1]));
    }
    stack.ruleset = Known::Is(ruleset(rules).into());
    let pieces = [
        (Want::Rules(NETNS), Ok(Piece::Rules(listed))),
        (Want::Stack(NETNS), Ok(Piece::Stack(Box::new(stack)))),
    ];
    with_doubts(&node, &observation, pieces, distrusted, one).expect("a finding")
}

/// What its fix changes.
fn changes(found: &Finding) -> Vec<String> {
    let commands = found.fix.commands.iter().map(ToString::to_string);
    commands.filter(|it| !it.contains(" list ")).collect()
}

/// What takes a whole protocol's packets stays, and lets these pass.
fn let_pass(handle: u64) -> Vec<String> {
    let words = "ip saddr 172.20.1.5 ip daddr 172.20.2.9 tcp dport 5432 accept";
    vec![format!(
        "nft insert rule ip filter pre handle {handle} {words}"
    )]
}

#[test]
fn of_rules_that_count_nothing_it_is_the_one_that_takes_them() {
    let rules = vec![takes(UDP, 7, None), takes(TCP, 8, None)];
    let found = judged(rules, vec![listed(7, false), listed(8, false)]);
    assert_eq!(changes(&found), let_pass(8));
    let told = found.evidence.iter().any(|line| {
        let text = line.text.to_string();
        text.starts_with("of all rules as they are this one of ip filter pre takes them:")
    });
    assert!(told, "{:?}", found.evidence);
}

#[test]
fn another_one_that_counts_more_did_not() {
    let rules = vec![takes(UDP, 7, Some(900)), takes(TCP, 8, Some(5))];
    let found = judged(rules, vec![listed(7, true), listed(8, true)]);
    assert_eq!(changes(&found), let_pass(8));
}

#[test]
fn one_that_has_counted_nothing_did_not_either() {
    let rules = vec![takes(TCP, 8, Some(0)), takes(UDP, 7, None)];
    let found = judged(rules, vec![listed(7, true)]);
    assert_eq!(
        changes(&found),
        ["nft delete rule ip filter pre handle 7"],
        "as by its words: the state is another than it was"
    );
}

#[test]
fn one_whose_words_nobody_asked_for_is_named_by_its_handle() {
    let found = judged(vec![takes(TCP, 8, None)], vec![listed(7, true)]);
    assert_eq!(changes(&found), let_pass(8));
}

/// For that port alone.
fn for_port(port: u16, handle: u64) -> Whole {
    const TO: Reg = Reg(16);
    let mut rule = takes(TCP, handle, None);
    let destination = Load::Payload {
        base: Base::Transport,
        offset: 2,
        length: 2,
    };
    let asks = [
        Expression::Load(destination, TO),
        Expression::Compare {
            how: Compare::Equal,
            reg: TO,
            with: Bytes::from(port.to_be_bytes().to_vec()),
        },
    ];
    rule.expressions.splice(2..2, asks);
    rule
}

#[test]
fn one_that_is_for_nothing_else_is_taken_away() {
    let found = judged(vec![for_port(5432, 8)], vec![listed(8, false)]);
    assert_eq!(changes(&found), ["nft delete rule ip filter pre handle 8"]);
}

/// Others like them pass: what such a rule does is not known after all, unless its counter tells. What was seen in
/// another namespace tells nothing of this one.
#[test]
fn one_that_others_pass_may_have_done_it() {
    let doubt = |netns| Feature {
        netns,
        station: Station::Hook,
        what: "rule 8 of ip filter pre".into(),
    };
    let told = |counts: Option<u64>, netns| {
        let listed = vec![listed(8, counts.is_some())];
        let found = doubting(vec![takes(TCP, 8, counts)], listed, &[doubt(netns)]);
        (found.confidence, found.subject.is_some())
    };
    assert_eq!(told(None, NETNS), (Confidence::Suspected, false));
    assert_eq!(told(Some(5), NETNS), (Confidence::Confirmed, true));
    assert_eq!(told(None, POD_NETNS), (Confidence::Confirmed, true));
}
