use netdiag_model::{
    netfilter::Family,
    world::ruleset::{
        Base, BaseChain, Bytes, Chain, ChainKind, Compare, Data, Element, Expression, Hook, Load,
        Meta, Reg, Rule, Set, Store, Table, Verdict,
    },
};

use crate::{Byte, Index, Loaded, Packet, Ran, Said, Stored, index::Elements, run};

/// A packet of whose mark nobody knows, or all do.
struct Marked(Loaded);

impl Packet for Marked {
    fn load(&self, what: &Load) -> Loaded {
        match what {
            Load::Meta(Meta::Mark) => self.0.clone(),
            Load::Meta(Meta::L4Protocol) => Loaded::known(&[17]),
            Load::Payload { .. } => Loaded::None,
            _ => Loaded::Unknown,
        }
    }

    fn store(&mut self, what: &Store, bytes: &[Byte]) -> Stored {
        let Store::Meta(Meta::Mark) = what else {
            return Stored::Unknown;
        };
        self.0 = Loaded::Is(bytes.get(..4).expect("a word").to_vec());
        Stored::Done
    }

    fn untrack(&mut self) -> Stored {
        Stored::Unknown
    }

    fn choice(&mut self, _: usize) -> Option<usize> {
        None
    }
}

const WORD: Reg = Reg(0);

fn mark() -> Expression {
    Expression::Load(Load::Meta(Meta::Mark), WORD)
}

fn is(value: u32) -> Expression {
    Expression::Compare {
        how: Compare::Equal,
        reg: WORD,
        with: Bytes::from(value.to_ne_bytes().to_vec()),
    }
}

fn is_protocol(number: u8) -> [Expression; 2] {
    [
        Expression::Load(Load::Meta(Meta::L4Protocol), WORD),
        Expression::Compare {
            how: Compare::Equal,
            reg: WORD,
            with: Bytes::from(vec![number]),
        },
    ]
}

fn says(verdict: Verdict) -> Expression {
    Expression::Sets(Data::Verdict(verdict), WORD)
}

fn rule(handle: u64, expressions: &[Expression]) -> Rule {
    Rule {
        handle,
        expressions: expressions.to_vec(),
        comment: None,
    }
}

pub fn chain(name: &str, accepts: Option<bool>, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.into(),
        handle: 1,
        base: accepts.map(|accepts| BaseChain {
            hook: Hook::Input,
            priority: 0,
            kind: ChainKind::Filter,
            accepts,
            devices: Vec::new(),
        }),
        rules,
    }
}

pub fn table(chains: Vec<Chain>, sets: Vec<Set>) -> Table {
    Table {
        family: Family::Inet,
        name: "t".into(),
        legacy: false,
        dormant: false,
        chains,
        sets,
    }
}

fn asked(table: &Table, packet: &mut Marked) -> (Said, Option<u64>, Vec<u64>) {
    let Ran {
        said, by, counted, ..
    } = run(&Index::new(table), &table.chains[0].name, packet, None);
    let counted = counted.iter().map(|rule| rule.handle).collect();
    (said, by.map(|rule| rule.handle), counted)
}

const COUNTS: Expression = Expression::Counter { packets: 0 };

#[test]
fn a_goto_comes_back_to_the_policy_and_a_jump_to_the_rule_behind() {
    for (leads, came) in [
        (Verdict::Jump("c".into()), (Said::Drops, Some(2))),
        (Verdict::Goto("c".into()), (Said::Accepts, None)),
    ] {
        let base = vec![
            rule(1, &[says(leads)]),
            rule(2, &[COUNTS, says(Verdict::Drop)]),
        ];
        let other = chain("c", None, vec![rule(3, &[COUNTS])]);
        let table = table(vec![chain("b", Some(true), base), other], Vec::new());
        let (said, by, counted) = asked(&table, &mut Marked(Loaded::word(0)));
        assert_eq!((said, by), came);
        assert_eq!(counted.first(), Some(&3));
    }
}

#[test]
fn what_is_not_known_decides_where_something_else_does_not() {
    let taken = |expressions: &[Expression]| {
        let base = chain("b", Some(true), vec![rule(1, expressions)]);
        asked(&table(vec![base], Vec::new()), &mut Marked(Loaded::Unknown)).0
    };
    let drop = says(Verdict::Drop);
    assert_eq!(taken(&[mark(), is(1), drop.clone()]), Said::Either);
    let [load, tcp] = is_protocol(6);
    let never = [mark(), is(1), load, tcp, drop];
    assert_eq!(taken(&never), Said::Accepts, "it is no TCP");
    assert_eq!(taken(&[mark(), is(1)]), Said::Accepts, "it does nothing");
    let limited = Expression::Opaque("limit".into());
    assert_eq!(taken(&[limited, says(Verdict::Accept)]), Said::Either);
    let strange = Expression::Opaque("of-tomorrow".into());
    assert_eq!(taken(&[strange]), Said::Maybe, "it may do anything");
}

#[test]
fn where_nothing_can_be_loaded_the_rule_ends_negated_or_not() {
    let port = Load::Payload {
        base: Base::Transport,
        offset: 2,
        length: 2,
    };
    let differs = Expression::Compare {
        how: Compare::Unequal,
        reg: WORD,
        with: Bytes::from(vec![0, 53]),
    };
    let expressions = [Expression::Load(port, WORD), differs, says(Verdict::Drop)];
    let base = chain("b", Some(true), vec![rule(1, &expressions)]);
    let said = asked(&table(vec![base], Vec::new()), &mut Marked(Loaded::word(0)));
    assert_eq!(said, (Said::Accepts, None, vec![]));
}

#[test]
fn bits_that_are_known_are_enough_for_a_mask() {
    let bytes = [0xa1, 0, 0, 0];
    let mut word: Vec<Byte> = bytes.map(Byte::known).to_vec();
    word[1] = Byte::partly(0x20, 0xf0);
    let masked = |mask: u32| Expression::Masks {
        from: WORD,
        to: WORD,
        mask: Bytes::from(mask.to_le_bytes().to_vec()),
        xor: Bytes::from(vec![0; 4]),
    };
    let with = |mask: u32, value: u32| {
        let wanted = Expression::Compare {
            how: Compare::Equal,
            reg: WORD,
            with: Bytes::from(value.to_le_bytes().to_vec()),
        };
        let expressions = [mark(), masked(mask), wanted, says(Verdict::Drop)];
        let base = chain("b", Some(true), vec![rule(1, &expressions)]);
        let mut packet = Marked(Loaded::Is(word.clone()));
        asked(&table(vec![base], Vec::new()), &mut packet).0
    };
    assert_eq!(with(0xf000, 0x2000), Said::Drops);
    assert_eq!(with(0xf000, 0x3000), Said::Accepts);
    assert_eq!(with(0xff00, 0x2100), Said::Either);
    assert_eq!(with(0xff00, 0x3100), Said::Accepts);
}

fn element(key: &[u8], gap: bool) -> Element {
    Element {
        key: Some(Bytes::from(key.to_vec())),
        end: None,
        gap,
        data: None,
        expressions: Vec::new(),
        comment: None,
    }
}

fn set(intervals: bool, parts: &[u8], elements: Vec<Element>) -> Set {
    Set {
        name: "s".into(),
        intervals,
        parts: parts.to_vec(),
        dynamic: false,
        map: false,
        elements,
        partly: false,
    }
}

#[test]
fn a_range_ends_where_the_gap_begins() {
    let elements = vec![
        element(&[0], true),
        element(&[10], false),
        element(&[20], true),
        element(&[20], false),
        element(&[30], true),
    ];
    let ports = set(true, &[1], elements);
    let has = |value: u8| crate::lookup::find(&Elements::new(&ports), &[Byte::known(value)], None);
    let found = [9, 10, 19, 20, 29, 30].map(|value| has(value) != crate::lookup::Found::No);
    assert_eq!(found, [false, true, true, true, true, false]);
    let unknown = crate::lookup::find(&Elements::new(&ports), &[Byte::UNKNOWN], None);
    assert_eq!(unknown, crate::lookup::Found::Maybe);
}

#[test]
fn parts_of_a_concatenation_fill_words() {
    let mut one = element(&[10, 0, 0, 0, 0x27, 0, 0, 0], false);
    one.end = Some(Bytes::from(vec![10, 0, 0, 255, 0x27, 0x10, 0, 0]));
    let spans = set(true, &[4, 2], vec![one]);
    assert_eq!(crate::lookup::length(&spans), 8);
    let has = |key: [u8; 8]| {
        let found = crate::lookup::find(&Elements::new(&spans), &key.map(Byte::known), None);
        found != crate::lookup::Found::No
    };
    assert!(has([10, 0, 0, 7, 0x27, 0x0f, 0, 0]));
    assert!(!has([10, 0, 0, 7, 0x27, 0x11, 0, 0]));
    assert!(!has([10, 0, 1, 7, 0x27, 0x0f, 0, 0]));
}

#[test]
fn what_is_known_of_a_key_may_be_enough() {
    use crate::lookup::{Found, find};
    let of = |known: [u8; 4]| {
        let unknown = [Byte::UNKNOWN; 4];
        [known.map(Byte::known), unknown].concat()
    };
    let one = || element(&[10, 0, 0, 1, 0x27, 0x0f, 0, 0], false);
    let exact = set(false, &[4, 2], vec![one()]);
    let mut range = one();
    range.end = Some(Bytes::from(vec![10, 0, 0, 9, 0x27, 0x0f, 0, 0]));
    let ranges = set(true, &[4, 2], vec![range]);
    for (set, host) in [(&exact, 1), (&ranges, 7)] {
        let set = &Elements::new(set);
        assert_eq!(find(set, &of([10, 0, 0, host]), None), Found::Maybe);
        assert_eq!(find(set, &of([10, 0, 1, host]), None), Found::No);
    }
}

#[test]
fn chains_in_a_circle_end() {
    let round = |to: &str| vec![rule(1, &[says(Verdict::Goto(to.into()))])];
    let chains = vec![
        chain("b", Some(true), round("c")),
        chain("c", None, round("b")),
    ];
    let said = asked(&table(chains, Vec::new()), &mut Marked(Loaded::word(0)));
    assert_eq!(said.0, Said::TooLong);
    let nowhere = chain("b", Some(true), round("gone"));
    let said = asked(
        &table(vec![nowhere], Vec::new()),
        &mut Marked(Loaded::word(0)),
    );
    assert_eq!(said.0, Said::TooLong);
}
