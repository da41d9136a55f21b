use fastrand::Rng;
use netdiag_model::world::ruleset::{Base, Bytes, Data, Meta, Reg, Rule, Store, Verdict};

use super::*;
use crate::{
    Byte, Stored, run,
    tests::{chain, table as made},
};

const WORD: Reg = Reg(8);
const TO: Load = Load::Payload {
    base: Base::Network,
    offset: 16,
    length: 4,
};
/// Rules one behind the other that have all of these or few.
const LOADS: [Load; 3] = [Load::Meta(Meta::Mark), Load::Meta(Meta::L4Protocol), TO];

/// A packet of which each may be known, unknown or not there.
#[derive(Clone, Debug, PartialEq)]
struct Drawn([Loaded; 3]);

impl Packet for Drawn {
    fn load(&self, what: &Load) -> Loaded {
        let at = LOADS.iter().position(|load| load == what);
        at.map_or(Loaded::Unknown, |at| self.0[at].clone())
    }

    fn store(&mut self, _: &Store, bytes: &[Byte]) -> Stored {
        self.0[0] = Loaded::Is(bytes[..4].to_vec());
        Stored::Done
    }

    fn untrack(&mut self) -> Stored {
        Stored::Unknown
    }

    fn choice(&mut self, _: usize) -> Option<usize> {
        None
    }
}

/// Few, so that rules meet packets.
fn value(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[0] = rng.u8(0..6);
    bytes
}

fn length(load: &Load) -> usize {
    if *load == LOADS[1] { 1 } else { 4 }
}

fn wants(rng: &mut Rng, load: &Load) -> Vec<Expression> {
    let length = length(load);
    let mut all = vec![Expression::Load(load.clone(), WORD)];
    let mut with = value(rng, length);
    if rng.u8(0..4) == 0 {
        let mask = if rng.bool() { 0xfe } else { 0xff };
        with[0] &= mask;
        all.push(Expression::Masks {
            from: WORD,
            to: WORD,
            mask: Bytes::from(vec![mask; length]),
            xor: Bytes::from(vec![0; length]),
        });
    }
    let how = match rng.u8(0..6) {
        0 => Compare::Unequal,
        _ => Compare::Equal,
    };
    let with = Bytes::from(with);
    all.push(Expression::Compare {
        how,
        reg: WORD,
        with,
    });
    all
}

fn drawn_rule(rng: &mut Rng, handle: u64, loads: &[Load]) -> Rule {
    let mut expressions = Vec::new();
    for load in loads {
        if rng.u8(0..8) > 0 {
            expressions.extend(wants(rng, load));
        }
    }
    expressions.push(Expression::Counter { packets: 0 });
    match rng.u8(0..6) {
        0 => expressions.push(Expression::Sets(Data::Verdict(Verdict::Drop), WORD)),
        1 => {
            let mark = Bytes::from(value(rng, 4));
            expressions.push(Expression::Sets(Data::Value(mark), WORD));
            expressions.push(Expression::Store(Store::Meta(Meta::Mark), WORD));
        }
        2 => expressions.push(Expression::Sets(Data::Verdict(Verdict::Return), WORD)),
        _ => {}
    }
    Rule {
        handle,
        expressions,
        comment: None,
    }
}

fn table(rng: &mut Rng) -> Table {
    let mut rules = Vec::new();
    while rules.len() < 40 {
        let mut loads: Vec<Load> = LOADS.to_vec();
        rng.shuffle(&mut loads);
        loads.truncate(rng.usize(0..4));
        for _ in 0..rng.usize(1..12) {
            rules.push(drawn_rule(rng, rules.len() as u64 + 1, &loads));
        }
    }
    made(vec![chain("b", Some(true), rules)], Vec::new())
}

fn packet(rng: &mut Rng) -> Drawn {
    Drawn(LOADS.map(|load| match rng.u8(0..12) {
        0 => Loaded::Unknown,
        1 => Loaded::None,
        _ => Loaded::known(&value(rng, length(&load))),
    }))
}

#[test]
fn a_rule_is_left_out_only_where_it_does_nothing() {
    let mut rng = Rng::with_seed(27);
    let mut left_out = 0;
    for _ in 0..2_000 {
        let table = table(&mut rng);
        let index = Index::new(&table);
        let mut plain = Index::new(&table);
        let chains = plain.chains.values_mut();
        chains.for_each(|chain| chain.runs.clear());
        let asked = packet(&mut rng);
        left_out += index.chains["b"].next(0, &asked);
        let (mut with, mut without) = (asked.clone(), asked);
        let by_index = run(&index, "b", &mut with, None);
        assert_eq!(by_index, run(&plain, "b", &mut without, None));
        assert_eq!(with, without);
    }
    assert!(left_out > 500, "{left_out}");
}
