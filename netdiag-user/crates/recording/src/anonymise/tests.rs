//! One value of each variant that a recording can hold, with telling texts wherever there is room for
//! one: the variants stay, the texts go, and what is written reads back.
#[macro_use]
mod samples;
mod gathered;
mod scene;
mod stack;
mod wants;

use std::{cell::RefCell, collections::BTreeSet};

use serde_json::Value;

use super::{
    Anonymiser,
    places::{known, rows},
    shape::{self, Place, Texts},
};
use crate::{
    Recorder, Replay,
    block::BlockReader,
    model::{
        address::Prefix,
        gather::{Piece, Want},
        observation::Observation,
        pod::Pod,
        world::{Known, Why},
    },
    pipeline::{facts::KnownNames, scene::Scene},
};

/// Leaves of a value what is no text.
#[derive(Default)]
struct Blank {
    places: RefCell<BTreeSet<(&'static str, &'static str)>>,
    lists: usize,
}

impl Texts for Blank {
    fn text(&mut self, _: &str, place: Place) -> String {
        self.places.borrow_mut().insert((place.of, place.member));
        String::new()
    }

    fn prefix(&mut self, prefix: Prefix) -> Prefix {
        let address = match prefix.address.is_ipv4() {
            true => [0; 4].into(),
            false => [0; 16].into(),
        };
        Prefix { address, ..prefix }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.lists += 1;
        vec![0; bytes.len()]
    }
}

fn parts(scene: &Scene, with: &mut dyn Texts) -> Vec<Value> {
    let pods: Vec<Pod> = scene.pods.iter().cloned().collect();
    let value = [
        shape::value(&scene.node, with),
        shape::value(&scene.start, with),
        shape::value(&pods, with),
        shape::value(&*scene.cluster, with),
        shape::value(&scene.gathered, with),
        shape::value(&scene.run, with),
        shape::value(scene.names.reasons(), with),
        shape::value(&scene.links, with),
    ];
    value.into_iter().map(|it| it.expect("a value")).collect()
}

fn record(scene: &Scene) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut recorder = Recorder::to(&mut bytes).expect("begun");
    let mut reading = Observation {
        now: 1,
        ..Observation::default()
    };
    recorder.put(scene, &mut reading).expect("written");
    recorder.close().expect("closed");
    bytes
}

fn anonymised(bytes: &[u8]) -> Vec<u8> {
    let open = || Replay::from(bytes).expect("a recording");
    let mut new = Vec::new();
    let recorder = Recorder::to(&mut new).expect("begun");
    let mut anonymiser = Anonymiser::of(&mut open()).expect("read");
    let readings = anonymiser.write(&mut open(), recorder).expect("written");
    assert_eq!(readings, 1);
    new
}

fn lines(bytes: &[u8]) -> String {
    let mut blocks = BlockReader::open(bytes).expect("a recording");
    let mut lines = String::new();
    while let Some(text) = blocks.next().expect("whole") {
        lines += std::str::from_utf8(&text).expect("text");
    }
    lines.to_lowercase()
}

#[test]
fn variants_stay_and_texts_go() {
    let mut full = scene::scene();
    full.start = full.node.clone();
    full.names = Box::new(KnownNames {
        reasons: full.names.reasons().clone(),
        symbols: [(1, "kfree_skb [acme]".into())].into(),
    });
    let bytes = record(&full);
    let mut replay = Replay::from(bytes.as_slice()).expect("a recording");
    assert!(replay.tick().is_some(), "{:?}", replay.trouble());
    let said = parts(&full, &mut Blank::default());
    assert_eq!(said, parts(&replay.scene, &mut Blank::default()));
    let before = lines(&bytes);
    let mut left: BTreeSet<&str> = samples::TELLING.into();
    assert!(left.iter().all(|it| before.contains(it)));
    // By chance a key may draw one of them again.
    for _ in 0..3 {
        let new = anonymised(&bytes);
        let mut replay = Replay::from(new.as_slice()).expect("a recording");
        assert!(replay.tick().is_some(), "{:?}", replay.trouble());
        assert_eq!(replay.trouble(), None);
        assert_eq!(said, parts(&replay.scene, &mut Blank::default()));
        let after = lines(&new);
        left.retain(|it| after.contains(it));
    }
    assert!(left.is_empty(), "{left:?}");
}

/// A member that holds a text and is new is thought about, and given a sample.
#[test]
fn every_place_is_known() {
    let mut blank = Blank::default();
    parts(&scene::scene(), &mut blank);
    assert!(blank.lists > 4, "{}", blank.lists);
    let found = blank.places.into_inner();
    let place = |(of, member)| Place { of, member, at: 0 };
    let unknown: Vec<_> = found
        .iter()
        .filter(|it| known(place(**it)).is_none())
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let stale: Vec<_> = rows().filter(|it| !found.contains(it)).collect();
    assert!(stale.is_empty(), "{stale:?}");
}

#[test]
fn no_rule_of_netfilters_stays() {
    let mut stack = stack::stack();
    stack.ruleset = Known::Is(stack::ruleset().into());
    let mut scene = scene::scene();
    let piece = Piece::Stack(Box::new(stack));
    scene.gathered.insert(Want::Stack(1), Ok(piece));
    let bytes = record(&scene);
    assert!(lines(&bytes).contains("0a141e28"));
    let new = anonymised(&bytes);
    assert!(!lines(&new).contains("0a141e28"));
    let mut replay = Replay::from(new.as_slice()).expect("a recording");
    assert!(replay.tick().is_some(), "{:?}", replay.trouble());
    let kept = replay.scene.gathered.stack(1).expect("a stack");
    assert_eq!(kept.ruleset, Known::Not(Why::NotAsked));
}

/// Which manufacturer made a NIC, or which address its name was made of.
#[test]
fn no_link_layer_address_of_a_state_stays() {
    let mut scene = scene::scene();
    let piece = Piece::Stack(Box::new(stack::stack()));
    scene.gathered.insert(Want::Stack(1), Ok(piece));
    let bytes = record(&scene);
    let said = |recording: &[u8]| {
        let mut replay = Replay::from(recording).expect("a recording");
        assert!(replay.tick().is_some(), "{:?}", replay.trouble());
        let stack = replay.scene.gathered.stack(1).expect("a stack");
        serde_json::to_string(stack).expect("JSON")
    };
    let own = "[2,241,197,246,42,1]";
    assert!(said(&bytes).contains(own));
    assert!(!said(&anonymised(&bytes)).contains(own));
}
