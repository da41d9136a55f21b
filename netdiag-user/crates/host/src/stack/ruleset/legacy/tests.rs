use fastrand::Rng;
use nix::sched::{CloneFlags, unshare};

use super::{
    entries::{self, Info},
    tables,
};
use crate::{
    model::{
        netfilter::Family,
        world::ruleset::{Chain, ChainKind, Data, Expression, Hook, Table, Verdict},
    },
    stack::ruleset::bodies,
    sys::program::Program,
};

const RULES: &str = "*filter
:INPUT DROP
:own -
-A INPUT -s 10.0.0.0/8 ! -i eth+ -p udp -m multiport ! --dports 53,67 -j own
-A INPUT -f -g own
-A FORWARD
-A own -j REJECT
-A own -m mark --mark 1 -j RETURN
COMMIT
*nat
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
*mangle
-A OUTPUT -j MARK --set-mark 7
COMMIT
";

/// Those of the rules above, and of nothing, in a namespace of their own; nothing where this kernel has no such tables.
fn read_back(ipv6: bool, rules: &'static str) -> Option<(Vec<Table>, bool)> {
    if netdiag_tests::require::missing(&["iptables-legacy-restore"]) {
        return None;
    }
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        if !rules.is_empty() {
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            std::io::Write::write_all(&mut file, rules.as_bytes()).expect("written");
            let path = file.path().display().to_string();
            let restored = Program::new("iptables-legacy-restore").text(&[&path]);
            if let Err(error) = restored {
                netdiag_tests::require::say(&format!("tables of iptables' own: {error}"));
                return None;
            }
        }
        Some(tables(ipv6, &mut 1000, false).expect("readable"))
    };
    std::thread::spawn(inside).join().expect("no panic")
}

fn tables_of(mut most: usize) -> (Vec<Table>, bool) {
    tables(false, &mut most, false).expect("readable")
}

fn table<'t>(tables: &'t [Table], name: &str) -> &'t Table {
    let found = tables.iter().find(|table| table.name == name);
    found.unwrap_or_else(|| panic!("{name} is missing"))
}

fn verdict(chain: &Chain, rule: usize) -> Option<&Verdict> {
    match chain.rules[rule].expressions.last()? {
        Expression::Sets(Data::Verdict(verdict), _) => Some(verdict),
        _ => None,
    }
}

#[test]
fn chains_are_read_with_their_policies_and_where_rules_lead() {
    let Some((tables, whole)) = read_back(false, RULES) else {
        return;
    };
    assert!(whole && tables.iter().all(|it| it.legacy && it.family == Family::Ip));
    let filter = table(&tables, "filter");
    let names: Vec<&str> = filter.chains.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["INPUT", "FORWARD", "OUTPUT", "own"]);
    let input = &filter.chains[0];
    let base = input.base.as_ref().expect("a base chain");
    assert_eq!(
        (base.hook, base.priority, base.accepts),
        (Hook::Input, 0, false)
    );
    assert_eq!(verdict(input, 0), Some(&Verdict::Jump("own".into())));
    assert_eq!(verdict(input, 1), Some(&Verdict::Goto("own".into())));
    let forward = &filter.chains[1];
    assert!(forward.base.as_ref().is_some_and(|base| base.accepts));
    // It only counts.
    assert_eq!(forward.rules[0].packets(), Some(0));
    assert_eq!(forward.rules[0].expressions.len(), 1);
    let own = &filter.chains[3];
    assert_eq!(own.base, None);
    let refuses = own.rules[0].expressions.last();
    assert!(
        matches!(refuses, Some(Expression::Xtables { target: true, name, .. }) if name == "REJECT")
    );
    assert_eq!(verdict(own, 1), Some(&Verdict::Return));
    // What every chain ends with.
    assert_eq!(
        (own.rules.len(), verdict(own, 2)),
        (3, Some(&Verdict::Return))
    );
}

#[test]
fn tables_are_asked_at_their_own_priorities() {
    let Some((tables, _)) = read_back(false, RULES) else {
        return;
    };
    let of = |name: &str, hook: Hook| {
        let chains = table(&tables, name).chains.iter();
        let mut bases = chains.filter_map(|chain| chain.base.as_ref());
        let base = bases.find(|base| base.hook == hook).expect("a base chain");
        (base.priority, base.kind)
    };
    assert_eq!(of("nat", Hook::Postrouting), (100, ChainKind::Nat));
    assert_eq!(of("nat", Hook::Prerouting), (-100, ChainKind::Nat));
    assert_eq!(of("mangle", Hook::Output), (-150, ChainKind::Route));
    assert_eq!(of("mangle", Hook::Forward), (-150, ChainKind::Filter));
}

#[test]
fn asking_makes_no_table() {
    for ipv6 in [false, true] {
        if let Some((tables, whole)) = read_back(ipv6, "") {
            assert!(tables.is_empty() && whole);
        }
    }
}

#[test]
fn more_rules_than_wanted_are_not_read() {
    if let Some((tables, _)) = read_back(false, RULES) {
        assert_eq!(tables.len(), 3);
        let whole = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            let rule = ["-A", "INPUT", "-j", "DROP"];
            for _ in 0..3 {
                Program::new("iptables-legacy").text(&rule).expect("a rule");
            }
            [tables_of(2), tables_of(3)]
        });
        let [(none, some), (one, all)] = whole.join().expect("no panic");
        assert!(none.is_empty() && !some, "three are more than two");
        assert!(one.len() == 1 && all, "policies are no rules");
    }
    let few = Info::of(&[0; Info::SIZE]).expect("long enough");
    assert_eq!((few.entries, few.size), (0, 0));
    assert!(Info::of(&[0; Info::SIZE - 1]).is_none());
}

/// Whatever bytes there are, it ends, and what does not hold together is nothing.
#[test]
fn bytes_of_no_table_are_none() {
    let mut rng = Rng::with_seed(7);
    let mut made = 0;
    for _ in 0..20_000 {
        let length = rng.usize(0..600);
        let mut bytes: Vec<u8> = (0..length).map(|_| rng.u8(0..4)).collect();
        // Where an entry says how long it and its parts are.
        for (at, value) in [
            (88, 112),
            (90, 144 + rng.u16(0..9)),
            (112, 32 + rng.u16(0..9)),
        ] {
            if rng.u8(0..4) > 0 && at + 2 <= bytes.len() {
                bytes[at..at + 2].copy_from_slice(&u16::to_ne_bytes(value));
            }
        }
        let about: Vec<u8> = (0..Info::SIZE).map(|_| rng.u8(0..3)).collect();
        let info = Info::of(&about).expect("long enough");
        let ipv6 = rng.bool();
        bodies::legacy(&[about, bytes.clone()].concat());
        made += usize::from(entries::table(ipv6, "filter", &info, &bytes).is_some());
    }
    assert!(made > 0, "nothing was ever a table");
}
