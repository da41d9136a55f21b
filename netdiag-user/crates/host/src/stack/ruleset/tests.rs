use std::io::Write as _;

use fastrand::Rng;
use nix::sched::{CloneFlags, unshare};

use super::{Most, bodies, expression, read, set};
use crate::{
    gather::netlink::nla,
    model::{
        netfilter::Family,
        world::{
            Known, Why,
            ruleset::{
                Base, Bytes, ChainKind, Data, Expression, Hook, Load, Meta, Nat, NatKind, Reject,
                Ruleset, Verdict,
            },
        },
    },
    sys::program::Program,
};

const RULES: &str = r#"
add table inet t
add chain inet t refuse
add rule inet t refuse counter reject with icmpx admin-prohibited
add set inet t nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.1 }; }
add set inet t spans { type inet_service . ipv4_addr; flags interval; elements = { 80-90 . 10.0.0.0/8 }; }
add map inet t ways { type inet_service : verdict; elements = { 53 : accept, 80 : goto refuse, * : drop }; }
add chain inet t in { type filter hook input priority -5; policy drop; }
add rule inet t in ip saddr != @nets meta mark set 7
add rule inet t in udp dport . ip daddr @spans return
add rule inet t in tcp dport vmap @ways
add table ip nat
add chain ip nat post { type nat hook postrouting priority srcnat; }
add rule ip nat post oifname "eth*" masquerade
add rule ip nat post meta l4proto udp snat to 192.0.2.1:1000-2000 fully-random
add rule ip nat post numgen random mod 3 offset 5 vmap { 5 : accept, 6 : drop }
add rule ip nat post jhash ip saddr . udp dport mod 2 seed 0x1 1 accept
add table ip6 raw { flags dormant; }
"#;

const ALL: Most = Most {
    rules: 100,
    elements: 100,
    comments: false,
};

/// What is read of these rules in a namespace of their own.
fn read_back(most: Most) -> Known<std::sync::Arc<Ruleset>> {
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(RULES.as_bytes()).expect("written");
        let path = file.path().display().to_string();
        let nft = Program::new("nft").text(&["-f", &path]);
        nft.expect("rules");
        read(most)
    };
    std::thread::spawn(inside).join().expect("no panic")
}

/// Who still holds the rules of before gets the same ones again, and those of a change as they are then.
#[test]
fn elements_are_read_again_once_something_changed() {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        let nft = |words: &[&str]| Program::new("nft").text(words).expect("a change");
        nft(&[
            "add table ip t; add set ip t ports { type inet_service; }; add element ip t ports { 80 }",
        ]);
        let all = || match read(ALL) {
            Known::Is(rules) => rules,
            other => panic!("{other:?}"),
        };
        let (first, second) = (all(), all());
        assert_eq!(first, second);
        nft(&["add element ip t ports { 81 }"]);
        let third = all();
        nft(&["delete table ip t; add table ip t; add set ip t ports { type inet_service; }"]);
        [second, third, all()].map(|rules| rules.tables[0].sets[0].elements.len())
    };
    let counts = std::thread::spawn(inside).join().expect("no panic");
    assert_eq!(counts, [1, 2, 0]);
}

#[test]
fn translations_are_read_with_their_ranges() {
    let Known::Is(ruleset) = read_back(ALL) else {
        panic!("not all of it");
    };
    let post = ruleset.tables[1].chain("post").expect("a chain");
    let expressions = post.rules.iter().flat_map(|rule| &rule.expressions);
    let all: Vec<&Nat> = expressions
        .filter_map(|one| match one {
            Expression::Nat(nat) => Some(nat),
            _ => None,
        })
        .collect();
    let [masquerade, source] = all.as_slice() else {
        panic!("{all:?}");
    };
    let nothing = (NatKind::Masquerade, Family::Inet, None, None);
    let of = |nat: &Nat| (nat.kind, nat.family, nat.addresses, nat.ports);
    assert_eq!(of(masquerade), nothing);
    assert_eq!((source.kind, source.family), (NatKind::Source, Family::Ip));
    // One address, two ports, chosen at random (NF_NAT_RANGE_PROTO_RANDOM_FULLY).
    let (least, most) = source.addresses.expect("an address");
    assert_eq!(least, most);
    let (least, most) = source.ports.expect("ports");
    assert_ne!(least, most);
    assert_ne!(source.flags & 1 << 4, 0);
}

#[test]
fn what_is_chosen_is_read_with_how_many_there_are() {
    let Known::Is(ruleset) = read_back(ALL) else {
        panic!("not all of it");
    };
    let post = ruleset.tables[1].chain("post").expect("a chain");
    let expressions = post.rules.iter().flat_map(|rule| &rule.expressions);
    let all: Vec<(u32, u32)> = expressions
        .filter_map(|one| match one {
            Expression::Chooses { least, of, .. } => Some((*least, *of)),
            _ => None,
        })
        .collect();
    assert_eq!(all, [(5, 3), (0, 2)]);
}

#[test]
fn rules_are_read_as_the_kernel_has_them() {
    let Known::Is(ruleset) = read_back(ALL) else {
        panic!("not all of it");
    };
    let names: Vec<_> = ruleset.tables.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["t", "nat", "raw"]);
    assert!(ruleset.tables[2].dormant && ruleset.tables[2].family == Family::Ip6);
    let table = &ruleset.tables[0];
    let input = table.chain("in").expect("a chain");
    let base = input.base.as_ref().expect("a base chain");
    let said = (base.hook, base.priority, base.kind, base.accepts);
    assert_eq!(said, (Hook::Input, -5, ChainKind::Filter, false));
    assert_eq!(table.chain("refuse").expect("a chain").base, None);
    let opaque = |expression: &Expression| matches!(expression, Expression::Opaque(_));
    let rules = ruleset.tables.iter().flat_map(|t| &t.chains);
    let mut all = rules.flat_map(|chain| &chain.rules);
    assert!(all.all(|rule| !rule.expressions.iter().any(opaque)));

    let loads = &input.rules[1].expressions;
    let port = Load::Payload {
        base: Base::Transport,
        offset: 2,
        length: 2,
    };
    assert!(
        loads
            .iter()
            .any(|e| matches!(e, Expression::Load(l, _) if *l == port))
    );
    let spans = table.set("spans").expect("a set");
    assert_eq!(spans.parts, [2, 4]);
    let span = &spans.elements[0];
    let ends = [span.key.as_ref(), span.end.as_ref()];
    let bytes = |text: &[u8]| Bytes::from(text.to_vec());
    assert_eq!(ends[0], Some(&bytes(&[0, 80, 0, 0, 10, 0, 0, 0])));
    assert_eq!(ends[1], Some(&bytes(&[0, 90, 0, 0, 10, 255, 255, 255])));

    let ways = table.set("ways").expect("a map");
    let default = ways.elements.iter().find(|e| e.key.is_none());
    let default = default.and_then(|element| element.data.as_ref());
    assert_eq!(default, Some(&Data::Verdict(Verdict::Drop)));
    let refuse = &table.chain("refuse").expect("a chain").rules[0];
    assert_eq!(refuse.packets(), Some(0));
    let reject = Expression::Reject(Reject::UnreachableOfEither(3));
    assert!(refuse.expressions.contains(&reject));
    let nat = &ruleset.tables[1].chains[0];
    assert_eq!(nat.base.as_ref().expect("a base").kind, ChainKind::Nat);
    let name = Load::Meta(Meta::OifName);
    let loads = |e: &Expression| matches!(e, Expression::Load(l, _) if *l == name);
    assert!(nat.rules[0].expressions.iter().any(loads));
}

#[test]
fn what_is_beyond_the_bounds_is_told() {
    let few = Most { rules: 2, ..ALL };
    assert_eq!(read_back(few), Known::Not(Why::TooMany));
    let none = Most { elements: 1, ..ALL };
    assert_eq!(read_back(none), Known::Not(Why::TooMany));
}

/// Attributes as a hostile recording or a kernel of tomorrow may have them.
fn any(rng: &mut Rng, depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(0..5) {
        let kind = rng.u16(0..13);
        let value = match rng.u8(0..6) {
            0..=2 if depth > 0 => any(rng, depth - 1),
            0 => b"lookup\0".to_vec(),
            1 => b"bitwise\0".to_vec(),
            2 => b"payload\0".to_vec(),
            3 => rng.u32(0..30).to_be_bytes().to_vec(),
            _ => (0..rng.usize(0..80)).map(|_| rng.u8(..)).collect(),
        };
        bytes.extend(nla(kind, &value));
    }
    bytes.truncate(rng.usize(bytes.len() / 2..=bytes.len()));
    bytes
}

#[test]
fn no_attribute_is_too_strange() {
    const KINDS: [&str; 16] = [
        "payload",
        "meta",
        "ct",
        "cmp",
        "range",
        "bitwise",
        "byteorder",
        "immediate",
        "lookup",
        "counter",
        "reject",
        "nat",
        "fib",
        "rt",
        "match",
        "target",
    ];
    let mut rng = Rng::with_seed(27);
    for at in 0..20_000 {
        let mut name = KINDS[at % KINDS.len()].as_bytes().to_vec();
        name.push(0);
        let of = [nla(1, &name), nla(2, &any(&mut rng, 3))].concat();
        let read = expression::one(&of);
        let kept = serde_json::to_string(&read).expect("it is kept");
        let again: Expression = serde_json::from_str(&kept).expect("it is read");
        assert_eq!(again, read);
        let all = any(&mut rng, 4);
        bodies::nf_tables(&[any(&mut rng, 4), nla(1, &of)].concat());
        if let Some(mut set) = set::set(&all) {
            let mut left = 3;
            let _ = set::elements(&mut set, &any(&mut rng, 4), &mut left, true);
            assert!(set.elements.len() <= 3);
        }
    }
}

#[test]
fn no_match_or_target_is_too_strange() {
    let mut rng = Rng::with_seed(9);
    for _ in 0..20_000 {
        let length = rng.usize(0..160);
        let few = rng.bool();
        let byte = |rng: &mut Rng| if few { rng.u8(0..5) } else { rng.u8(..) };
        let mut bytes: Vec<u8> = (0..length).map(|_| byte(&mut rng)).collect();
        bytes.insert(0, rng.u8(..));
        bodies::xtables(&bytes);
    }
}
