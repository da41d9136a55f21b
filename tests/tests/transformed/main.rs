//! Recordings that say the same in another way come to the same roots, and recordings that say less
//! name nothing else.
mod answers;
mod healthy_pods;
mod known;
mod order;
mod ports;
mod readings;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use netdiag::model::verdict::{CannotTell, Outcome};
use netdiag_common::hop::FlowHopKey;
use netdiag_tests::recordings;

use self::readings::{Change, Judged, Reading, judged, judged_live, read};

/// Makes of readings what is done to each of them, or says why that cannot be.
type Changing = for<'a> fn(&'a [Reading]) -> Result<Change<'a>, &'static str>;

/// What does not matter, by the name that [`known`] has for it.
const CHANGES: [(&str, Changing); 5] = [
    ("reversed rows", |_| {
        Ok(Box::new(|_, it| order::reversed(it)))
    }),
    ("shuffled rows", |_| {
        Ok(Box::new(|_, it| order::shuffled(it)))
    }),
    ("doubled flows", |it| Ok(ports::doubled(it))),
    ("healthy pods", healthy_pods::mixed_in),
    (LATE, |it| Ok(answers::late(it))),
];

const LATE: &str = "late answers";

fn unchanged() -> Change<'static> {
    Box::new(|_, _| {})
}

/// The same roots, whatever is done that does not matter.
mod same_roots {
    macro_rules! recording {
        ($test:ident, $name:literal) => {
            #[test]
            fn $test() {
                super::names_the_same($name);
            }
        };
    }
    include!(concat!(env!("OUT_DIR"), "/recordings.rs"));
}

/// Nothing else is named where a source of evidence is missing, and no node is called healthy.
mod less_evidence {
    macro_rules! recording {
        ($test:ident, $name:literal) => {
            #[test]
            fn $test() {
                super::names_nothing_else($name);
            }
        };
    }
    include!(concat!(env!("OUT_DIR"), "/recordings.rs"));
}

fn names_the_same(name: &str) {
    let readings = read(&recordings::bytes(name));
    let (before, live) = judged_live(&readings, unchanged());
    let mut found = BTreeMap::new();
    found.extend(not_taken_back("unchanged", &before.roots, &live));
    for (change, make) in CHANGES {
        let judged = make(&readings).map(|made| match change {
            LATE => {
                let (now, live) = judged_live(&readings, made);
                found.extend(not_taken_back(change, &before.roots, &live));
                now
            }
            _ => judged(&readings, made),
        });
        let what = match judged {
            Ok(now) if now.roots == before.roots => continue,
            Ok(now) => format!("{} → {}", list(&before.roots), list(&now.roots)),
            Err(why) => format!("cannot be done: {why}"),
        };
        found.insert(change.to_owned(), what);
    }
    known::compare(name, &found, known::ROOTS);
}

/// How bad a root is may turn out in time; what is told as one while it goes on stays one.
fn not_taken_back(
    change: &str,
    roots: &BTreeSet<String>,
    live: &BTreeSet<String>,
) -> Option<(String, String)> {
    let (roots, live) = (causes(roots), causes(live));
    let what = format!("told {}, and in the end {}", list(&live), list(&roots));
    (!live.is_subset(&roots)).then(|| (format!("{change}, live"), what))
}

/// Of roots, however bad they are.
fn causes(roots: &BTreeSet<String>) -> BTreeSet<String> {
    let cause = |root: &String| root.split(' ').next().map(str::to_owned);
    roots.iter().filter_map(cause).collect()
}

fn names_nothing_else(name: &str) {
    let readings = read(&recordings::bytes(name));
    let before = judged(&readings, unchanged());
    let mut found = BTreeMap::new();
    for kind in answers::kinds(&readings) {
        let names = answers::names(&readings, &kind);
        for how in answers::Want::ALL {
            let now = judged(&readings, answers::without(&kind, how));
            let change = format!("{kind} {}", how.word());
            found.extend(wrong(&before, &now, &names).map(|what| (change, what)));
        }
    }
    known::compare(name, &found, known::EVIDENCE);
}

/// What is wrong with a verdict that lacks the answers of these names.
fn wrong(before: &Judged, now: &Judged, names: &BTreeSet<String>) -> Option<String> {
    let less = |a: &BTreeSet<String>, b: &BTreeSet<String>| -> BTreeSet<String> {
        a.difference(b).cloned().collect()
    };
    let new = less(&now.causes, &before.causes);
    if !new.is_empty() {
        return Some(format!("beside {}: {}", list(&before.causes), list(&new)));
    }
    if now.outcome == Outcome::Healthy && before.outcome != Outcome::Healthy {
        return Some(format!("{} → healthy", list(&before.causes)));
    }
    let gone = less(&causes(&before.roots), &causes(&now.roots));
    let tells = |row: &CannotTell| names.iter().any(|name| row.what.starts_with(name));
    let told = now.cannot_tell.iter().any(tells);
    (!gone.is_empty() && !told).then(|| {
        let outcome = now.outcome;
        format!(
            "{} → {outcome:?}, and not told for lack of what",
            list(&gone)
        )
    })
}

/// For sentences.
fn list(all: &BTreeSet<String>) -> String {
    match all.len() {
        0 => "nothing".into(),
        _ => all.iter().cloned().collect::<Vec<_>>().join(", "),
    }
}

/// Nothing is compared with itself: what is done is done.
#[test]
fn changes_change_something() {
    let readings = read(&recordings::bytes("service-firewalled"));
    let last = readings.last().expect("a reading");
    let changed = |mut change: Change<'_>| {
        let mut all = read(&recordings::bytes("service-firewalled"));
        for it in &mut all {
            change(&mut it.scene, &mut it.counted);
        }
        all
    };
    let count = |all: &[Reading]| {
        let it = all.last().expect("a reading");
        let (flows, drops) = (it.counted.flows.len(), it.counted.drops.len());
        (flows, drops, it.scene.pods.len())
    };
    let (flows, drops, pods) = count(&readings);
    let ports = ports::Ports::of(&readings);
    let all = last.counted.flows.iter();
    let twice = all.filter(|(key, _)| ports.other(&key.flow).is_some());
    let twice = twice.count();
    assert!(twice > flows / 2, "{twice} of {flows}");
    let doubled = changed(ports::doubled(&readings));
    assert_eq!(count(&doubled), (flows + twice, 2 * drops, pods));
    let flow = |(key, _): &(FlowHopKey, _)| (key.flow, key.ifindex, key.direction, key.carried);
    let now = { doubled.last() }.map(|it| it.counted.flows.iter().map(flow).collect());
    let now: HashSet<_> = now.unwrap_or_default();
    assert_eq!(now.len(), flows + twice, "each has a port of its own");
    let mixed = changed(healthy_pods::mixed_in(&readings).expect("there are pods"));
    assert_eq!(count(&mixed), (flows + 4, drops, pods + 2));

    let keys = |it: &Reading| -> Vec<_> { it.counted.flows.iter().map(|(key, _)| *key).collect() };
    let before = keys(last);
    let backwards: Vec<_> = before.iter().rev().copied().collect();
    let reversed = changed(Box::new(|_, it| order::reversed(it)));
    assert_eq!(keys(reversed.last().expect("a reading")), backwards);
    let shuffled = changed(Box::new(|_, it| order::shuffled(it)));
    let shuffled = keys(shuffled.last().expect("a reading"));
    assert!(shuffled != before && shuffled != backwards);
    let set = |keys: Vec<FlowHopKey>| keys.into_iter().collect::<HashSet<_>>();
    assert_eq!(set(shuffled), set(before));

    assert!(answers::kinds(&readings).contains("Services"));
    for how in answers::Want::ALL {
        let without = changed(answers::without("Services", how));
        assert!(!answers::kinds(&without).contains("Services"));
    }
    let late = changed(answers::late(&readings));
    let has_answers = |it: &&Reading| it.scene.gathered != Default::default();
    let answered = |all: &[Reading]| all.iter().filter(has_answers).count();
    assert!(answered(&late) < answered(&readings));
    let same = late.last().expect("a reading").scene.gathered == last.scene.gathered;
    assert!(same, "all of them are there in the end");
}
