//! Expressions to tests with jumps: each primitive is tested once at most, and what is decided is
//! not tested further.
use netdiag_common::filter::{
    DESTINATION, DESTINATION_PORT, FAMILY, LEAVE, PROTOCOL, Rules, SOURCE, SOURCE_PORT, TAKE,
    TESTS, Test,
};

use super::expression::{Expression, Side};
use crate::address::{Prefix, to_wire};

/// Fails where it takes more tests than the kernel makes.
pub fn rules(expression: &Expression) -> Result<Rules, String> {
    let mut tests = Vec::new();
    // Backwards: where a test leads to is known before the test is written.
    emit(expression, TAKE, LEAVE, &mut tests)?;
    let last = tests.len() - 1;
    let mut rules = Rules::NONE;
    for (n, test) in tests.iter().rev().enumerate() {
        let forwards = |to: u8| match to {
            TAKE | LEAVE => to,
            index => (last - usize::from(index)) as u8,
        };
        rules.tests[n] = Test {
            yes: forwards(test.yes),
            no: forwards(test.no),
            ..*test
        };
    }
    Ok(rules)
}

/// Writes the tests of `expression`, which go on at `yes` or `no`; returns where they begin.
fn emit(expression: &Expression, yes: u8, no: u8, tests: &mut Vec<Test>) -> Result<u8, String> {
    match expression {
        Expression::Not(inner) => emit(inner, no, yes, tests),
        Expression::And(a, b) => {
            let then = emit(b, yes, no, tests)?;
            emit(a, then, no, tests)
        }
        Expression::Or(a, b) => {
            let then = emit(b, yes, no, tests)?;
            emit(a, yes, then, tests)
        }
        Expression::Protocol(number) => {
            let test = number_test(PROTOCOL, u16::from(*number), u16::from(*number));
            push(test, yes, no, tests)
        }
        Expression::Family(family) => {
            let test = Test {
                kind: FAMILY,
                family: *family,
                ..Test::NONE
            };
            push(test, yes, no, tests)
        }
        Expression::Address(side, prefix) => {
            let kinds = [SOURCE, DESTINATION];
            ends(
                *side,
                kinds,
                |kind| address_test(kind, prefix),
                yes,
                no,
                tests,
            )
        }
        Expression::Port(side, low, high) => {
            let kinds = [SOURCE_PORT, DESTINATION_PORT];
            let test = |kind| number_test(kind, *low, *high);
            ends(*side, kinds, test, yes, no, tests)
        }
    }
}

fn ends(
    side: Side,
    [source, destination]: [u8; 2],
    test: impl Fn(u8) -> Test,
    yes: u8,
    no: u8,
    tests: &mut Vec<Test>,
) -> Result<u8, String> {
    match side {
        Side::Source => push(test(source), yes, no, tests),
        Side::Destination => push(test(destination), yes, no, tests),
        Side::Either => {
            let then = push(test(destination), yes, no, tests)?;
            push(test(source), yes, then, tests)
        }
        Side::Both => {
            let then = push(test(destination), yes, no, tests)?;
            push(test(source), then, no, tests)
        }
    }
}

fn push(test: Test, yes: u8, no: u8, tests: &mut Vec<Test>) -> Result<u8, String> {
    if tests.len() == TESTS {
        return Err(format!(
            "it takes more than {TESTS} tests a packet ('host' and 'port' take two, 'src' and \
             'dst' add the answers): a net instead of many hosts, or a portrange, takes fewer"
        ));
    }
    tests.push(Test { yes, no, ..test });
    Ok((tests.len() - 1) as u8)
}

fn number_test(kind: u8, low: u16, high: u16) -> Test {
    Test {
        kind,
        low,
        high,
        ..Test::NONE
    }
}

fn address_test(kind: u8, prefix: &Prefix) -> Test {
    let bits = u32::from(prefix.wire_length());
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    let address = u128::from_be_bytes(to_wire(prefix.address)) & mask;
    Test {
        address: address.to_be_bytes(),
        mask: mask.to_be_bytes(),
        kind,
        family: if prefix.address.is_ipv4() { 4 } else { 6 },
        ..Test::NONE
    }
}
