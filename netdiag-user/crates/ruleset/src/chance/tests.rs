use netdiag_model::world::ruleset::{
    Bytes, Compare, Data, Element, Expression, Load, Reg, Rule, Set, Store, Table, Verdict,
};

use crate::{
    Byte, Index, Loaded, Packet, Said, Stored, run,
    tests::{chain, table as made},
};

/// One of whom nothing is known, and the ways that it takes.
struct Taking(Vec<usize>);

impl Packet for Taking {
    fn load(&self, _: &Load) -> Loaded {
        Loaded::Unknown
    }

    fn store(&mut self, _: &Store, _: &[Byte]) -> Stored {
        Stored::Done
    }

    fn untrack(&mut self) -> Stored {
        Stored::Done
    }

    fn choice(&mut self, ways: usize) -> Option<usize> {
        let way = (!self.0.is_empty()).then(|| self.0.remove(0));
        way.inspect(|way| assert!(*way < ways))
    }
}

const WORD: Reg = Reg(0);

fn numgen(of: u32) -> Expression {
    let least = 0;
    let to = WORD;
    Expression::Chooses { to, least, of }
}

fn below(number: u32) -> [Expression; 2] {
    let order = netdiag_model::world::ruleset::Order {
        from: WORD,
        to: WORD,
        length: 4,
        size: 4,
    };
    let with = Bytes::from(number.to_be_bytes().to_vec());
    [
        Expression::Orders(order),
        Expression::Compare {
            how: Compare::Less,
            reg: WORD,
            with,
        },
    ]
}

fn drops() -> Expression {
    Expression::Sets(Data::Verdict(Verdict::Drop), WORD)
}

fn table(expressions: Vec<Expression>, sets: Vec<Set>) -> Table {
    let rule = Rule {
        handle: 1,
        expressions,
        comment: None,
    };
    made(vec![chain("b", Some(true), vec![rule])], sets)
}

fn said(table: &Table, ways: &[usize]) -> Said {
    let name = &table.chains[0].name;
    run(&Index::new(table), name, &mut Taking(ways.to_vec()), None).said
}

#[test]
fn numbers_that_lead_to_one_end_are_one_way() {
    let [order, less] = below(3);
    let table = table(vec![numgen(10), order, less, drops()], Vec::new());
    let shares = vec![65536 * 3 / 10, 65536 * 7 / 10];
    assert_eq!(said(&table, &[]), Said::Chooses(shares));
    assert_eq!(said(&table, &[0]), Said::Drops);
    assert_eq!(said(&table, &[1]), Said::Accepts);
}

#[test]
fn what_ends_anyway_is_no_choice() {
    const OTHER: Reg = Reg(16);
    let sets = |byte| Expression::Sets(Data::Value(Bytes::from(vec![byte; 4])), OTHER);
    let ones = || Expression::Compare {
        how: Compare::Equal,
        reg: OTHER,
        with: Bytes::from(vec![1; 4]),
    };
    let of = |rest: Vec<Expression>| {
        let [order, less] = below(3);
        let before = vec![numgen(10), order, less];
        table([before, rest, vec![drops()]].concat(), Vec::new())
    };
    let counter = Expression::Counter { packets: 0 };
    assert_eq!(said(&of(vec![sets(2), ones()]), &[]), Said::Accepts);
    let chooses = |rest| matches!(said(&of(rest), &[]), Said::Chooses(_));
    assert!(chooses(vec![sets(1), ones()]));
    // Whom the number takes is counted before.
    assert!(chooses(vec![counter, sets(2), ones()]));
}

#[test]
fn each_element_of_a_map_is_a_way_and_so_is_none() {
    let element = |number: u32, verdict| Element {
        key: Some(Bytes::from(number.to_ne_bytes().to_vec())),
        end: None,
        gap: false,
        data: Some(Data::Verdict(verdict)),
        expressions: Vec::new(),
        comment: None,
    };
    let map = Set {
        name: "m".into(),
        intervals: false,
        parts: vec![4],
        dynamic: false,
        map: true,
        elements: vec![element(0, Verdict::Drop), element(1, Verdict::Accept)],
        partly: false,
    };
    let lookup = Expression::Lookup {
        set: "m".into(),
        reg: WORD,
        to: None,
        invert: false,
    };
    let table = table(vec![numgen(4), lookup], vec![map]);
    let quarter = 65536 / 4;
    assert_eq!(
        said(&table, &[]),
        Said::Chooses(vec![quarter, quarter, 2 * quarter])
    );
    assert_eq!(said(&table, &[0]), Said::Drops);
    assert_eq!(said(&table, &[2]), Said::Accepts, "it is in none");
}

#[test]
fn nothing_is_chosen_where_nothing_follows() {
    let [order, less] = below(3);
    let counter = Expression::Counter { packets: 0 };
    let quiet = table(vec![numgen(10), order, less, counter], Vec::new());
    assert_eq!(said(&quiet, &[]), Said::Accepts);
    // Of so many numbers nobody tries each.
    let [order, less] = below(3);
    let many = table(vec![numgen(u32::MAX), order, less, drops()], Vec::new());
    assert_eq!(said(&many, &[]), Said::Either);
}

/// `-m statistic`: the mode, whether it is inverted, and a number.
fn statistic(mode: u16, inverts: u16, number: u32) -> Expression {
    let mut info = [mode.to_ne_bytes(), inverts.to_ne_bytes()].concat();
    info.extend(number.to_ne_bytes());
    info.extend([0; 16]);
    Expression::Xtables {
        target: false,
        name: "statistic".into(),
        revision: 0,
        info: Bytes::from(info),
    }
}

#[test]
fn statistic_holds_so_many_times() {
    let of = |one: Expression| said(&table(vec![one, drops()], Vec::new()), &[]);
    let quarter = 65536 / 4;
    let random = 1 << 29;
    assert_eq!(
        of(statistic(0, 0, random)),
        Said::Chooses(vec![quarter, 3 * quarter])
    );
    assert_eq!(
        of(statistic(0, 1, random)),
        Said::Chooses(vec![3 * quarter, quarter])
    );
    assert_eq!(
        of(statistic(1, 0, 3)),
        Said::Chooses(vec![quarter, 3 * quarter])
    );
    assert_eq!(of(statistic(0, 0, 1 << 31)), Said::Drops, "always");
    assert_eq!(of(statistic(0, 0, 0)), Said::Accepts, "never");
    assert_eq!(of(statistic(7, 0, 0)), Said::Either, "of tomorrow");
}

#[test]
fn what_nobody_can_tell_holds_or_does_not() {
    let limited = || Expression::Opaque("limit".into());
    let counter = Expression::Counter { packets: 0 };
    let rules = table(vec![limited(), counter, drops()], Vec::new());
    assert_eq!(said(&rules, &[]), Said::Either);
    assert_eq!(said(&rules, &[0]), Said::Drops);
    assert_eq!(said(&rules, &[1]), Said::Accepts);
    // Who only writes of it does nothing to it.
    let log = Expression::Xtables {
        target: true,
        name: "LOG".into(),
        revision: 0,
        info: Bytes::from(vec![0; 32]),
    };
    let told = table(vec![limited(), log], Vec::new());
    assert_eq!(said(&told, &[]), Said::Accepts);
}
