use netdiag_model::{
    netfilter::Family,
    world::ruleset::{
        Base, BaseChain, Bytes, ChainKind, Compare, Data, Expression, Hook, Load, Reg, Verdict,
    },
};

use super::*;

const TO: Reg = Reg(16);

fn does(verdict: Verdict) -> Expression {
    Expression::Sets(Data::Verdict(verdict), Reg(0))
}

fn port(port: u16) -> [Expression; 2] {
    let load = Load::Payload {
        base: Base::Transport,
        offset: 2,
        length: 2,
    };
    let compares = Expression::Compare {
        how: Compare::Equal,
        reg: TO,
        with: Bytes::from(port.to_be_bytes().to_vec()),
    };
    [Expression::Load(load, TO), compares]
}

fn chain(name: &str, rules: Vec<Vec<Expression>>) -> Chain {
    let rule = |expressions| Rule {
        handle: 1,
        expressions,
        comment: None,
    };
    Chain {
        name: name.into(),
        handle: 1,
        base: None,
        rules: rules.into_iter().map(rule).collect(),
    }
}

/// Each way from the first of the chains on, as ports and what becomes of them, while there are steps.
fn ways(mut chains: Vec<Chain>, mut left: usize) -> (Vec<(Option<u16>, Does)>, bool) {
    chains[0].base = Some(BaseChain {
        hook: Hook::Prerouting,
        priority: 0,
        kind: ChainKind::Nat,
        accepts: true,
        devices: Vec::new(),
    });
    let table = Table {
        family: Family::Ip,
        name: "t".into(),
        legacy: false,
        dormant: false,
        chains,
        sets: Vec::new(),
    };
    let mut all = Vec::new();
    let mut each = |way: &Way<'_, '_>| all.push((way.packets.port(), way.does.clone()));
    let whole = leads(
        &table,
        Beside::default(),
        &table.chains[0],
        &mut left,
        &mut each,
    );
    (all, whole)
}

fn jump(to: &str) -> Expression {
    does(Verdict::Jump(to.into()))
}

#[test]
fn what_is_asked_on_the_way_belongs_to_its_end() {
    let with = |port_of, end: Expression| [port(port_of).as_slice(), &[end]].concat();
    let chains = vec![
        chain("pre", vec![with(80, jump("web")), vec![jump("all")]]),
        chain(
            "web",
            vec![with(81, does(Verdict::Drop)), vec![does(Verdict::Accept)]],
        ),
        chain("all", vec![vec![does(Verdict::Drop)]]),
    ];
    let (all, whole) = ways(chains, 100);
    // What has port 80 never has 81.
    assert_eq!(all, [(Some(80), Does::Accepts), (None, Does::Drops)]);
    assert!(whole);
}

#[test]
fn circles_and_very_many_ways_end() {
    let circle = vec![
        chain("pre", vec![vec![jump("a")], vec![does(Verdict::Drop)]]),
        chain(
            "a",
            vec![vec![jump("pre")], vec![jump("a")], vec![jump("gone")]],
        ),
    ];
    assert_eq!(ways(circle, 100), (vec![(None, Does::Drops)], true));
    let names: Vec<String> = (0..12).map(|at| format!("c{at}")).collect();
    let to_each = |next: &str| {
        let of = |one: u16| [port(one).as_slice(), &[jump(next)]].concat();
        (0..40).map(of).collect::<Vec<_>>()
    };
    let mut chains: Vec<Chain> = names
        .windows(2)
        .map(|two| chain(&two[0], to_each(&two[1])))
        .collect();
    chains.push(chain("c11", vec![vec![does(Verdict::Drop)]]));
    // Each port leads on by itself alone.
    let (all, whole) = ways(chains.clone(), 100_000);
    assert_eq!((all.len(), whole), (40, true));
    assert!(!ways(chains, 1000).1);
}
