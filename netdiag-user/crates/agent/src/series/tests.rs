use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{pod::Pod, verdict::Owner};

fn workload(name: &str) -> Workload {
    of("shop", name)
}

fn of(namespace: &str, name: &str) -> Workload {
    Workload {
        namespace: namespace.into(),
        workload: name.into(),
    }
}

#[test]
fn a_namespace_leaves_as_many_as_it_takes() {
    let mut series: Series<&str, 2> = Series::new(100);
    let add = |series: &mut Series<&str, 2>, namespace: &str, n: u32| {
        series.add("NO_SOCKET", of(namespace, &n.to_string()), [1, 100]);
    };
    (0..1000).for_each(|n| add(&mut series, "greedy", n));
    (0..20).for_each(|n| add(&mut series, "shop", n));
    add(&mut series, "late", 0);
    series.add("NO_SOCKET", Workload::default(), [1, 100]);
    let mut by_namespace: BTreeMap<&str, usize> = BTreeMap::new();
    let own = series.iter().filter(|(_, who, _)| who.workload != OTHER);
    own.for_each(|(_, who, _)| *by_namespace.entry(&who.namespace).or_default() += 1);
    let all = [("", 1), ("greedy", 50), ("late", 1), ("shop", 20)];
    assert_eq!(by_namespace, all.into());
    assert!(series.is_tight(), "a namespace has all that it may");
    // Who makes room makes it for his own.
    series.at(QUIET);
    series.retire(&(0..20).map(|n| of("shop", &n.to_string())).collect());
    assert_eq!(series.gone(), 51);
    assert!(!series.is_tight());
    add(&mut series, "greedy", 2000);
    let again = of("greedy", "2000");
    assert!(series.iter().any(|(_, who, _)| *who == again));
}

#[test]
fn what_is_too_many_is_counted_together() {
    let mut series: Series<&str, 2> = Series::new(4);
    for name in ["a", "b", "c", "d", "c", "a"] {
        series.add("NO_SOCKET", workload(name), [1, 100]);
    }
    let rows: Vec<_> = series
        .iter()
        .map(|(_, who, counts)| (who.workload.as_str(), counts[0]))
        .collect();
    assert_eq!(rows, [("other", 3), ("a", 2), ("b", 1)]);
    assert_eq!(series.hidden(), 2);
    let sum: u64 = series.iter().map(|(_, _, counts)| counts[1]).sum();
    assert_eq!(sum, 600, "nothing is left out");
}

#[test]
fn no_pod_is_a_label() {
    let mut pod = PodRef {
        namespace: Some("shop".into()),
        name: Some("cart-5d4f-x".into()),
        ip: Some("10.0.0.1".into()),
        ..PodRef::default()
    };
    assert_eq!(Workload::of(&pod).workload, "unknown");
    pod.owner = Some(Owner::new(
        "Deployment",
        format!("cart\u{1b}[2J{}", "x".repeat(999)),
    ));
    let of = Workload::of(&pod).workload;
    assert!(
        of.starts_with("Deployment/cart [2Jxx") && of.chars().count() <= LONGEST + 1,
        "{of}"
    );
}

fn named(series: &Series<&str, 2>) -> Vec<(String, u64)> {
    let rows = series.iter();
    rows.map(|(_, who, counts)| (who.workload.clone(), counts[0]))
        .collect()
}

fn living(names: &[&str]) -> BTreeSet<Workload> {
    names.iter().map(|name| workload(name)).collect()
}

#[test]
fn who_is_gone_and_quiet_makes_room() {
    let mut series: Series<&str, 2> = Series::new(6);
    series.at(1);
    for name in ["dead", "alive"] {
        series.add("NO_SOCKET", workload(name), [5, 500]);
    }
    series.add("NO_SOCKET", Workload::default(), [2, 200]);
    series.at(QUIET);
    series.add("NO_SOCKET", workload("late"), [1, 100]);
    series.at(1 + QUIET);
    assert!(series.is_tight());
    series.retire(&living(&["alive"]));
    let rows = |rows: &[(&str, u64)]| -> Vec<_> {
        rows.iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect()
    };
    // One that is gone and was counted lately stays, and what is nobody's has nobody who could go.
    let left = [("gone", 5), ("", 2), ("alive", 5), ("late", 1)];
    assert_eq!(named(&series), rows(&left));
    assert_eq!((series.gone(), series.hidden()), (1, 0));
    series.add("NO_SOCKET", workload("new"), [3, 300]);
    assert_eq!(series.hidden(), 0, "it has the place");
    series.add("NO_SOCKET", workload("next"), [4, 400]);
    assert_eq!(series.hidden(), 1, "and there are no more");
}

#[test]
fn some_places_are_made_before_the_last_is_taken() {
    let mut series: Series<usize, 1> = Series::new(1000);
    let spread = |n: usize| of(&n.to_string(), "one");
    for n in 0..873 {
        series.add(n, spread(n), [1]);
    }
    assert!(!series.is_tight());
    series.add(873, spread(873), [1]);
    assert!(series.is_tight());
}

#[test]
fn only_pods_that_are_there_keep_a_workload() {
    let pod = |owner: &str, gone: Option<u64>| Pod {
        namespace: "shop".into(),
        owner: Some(Owner::new("Job", owner)),
        gone,
        ..Pod::default()
    };
    let pods = PodIndex::new(vec![
        pod("done", Some(7)),
        pod("again", Some(7)),
        pod("again", None),
    ]);
    let names: Vec<_> = alive(&pods).into_iter().map(|it| it.workload).collect();
    assert_eq!(names, ["Job/again"]);
}

/// What happens to series, one after the other.
#[derive(Clone, Debug)]
enum Step {
    Add(u8, u8, u64),
    Wait(u64),
    /// Only workloads from this one on are there.
    Retire(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3u8, 0..20u8, 0..9u64).prop_map(|(key, who, n)| Step::Add(key, who, n)),
        1 => (0..QUIET).prop_map(Step::Wait),
        1 => (0..20u8).prop_map(Step::Retire),
    ]
}

proptest! {
    /// Each reason's sum is that of what was added, whoever is where; each workload's own series has
    /// nothing of another's; and there are never more than there may be.
    #[test]
    fn sums_by_reason_never_fall(steps in prop::collection::vec(step(), 1..200)) {
        const MOST: usize = 8;
        let mut series: Series<u8, 1> = Series::new(MOST);
        let mut added: BTreeMap<u8, u64> = BTreeMap::new();
        let mut by_workload: BTreeMap<(u8, String), u64> = BTreeMap::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Add(key, who, n) => {
                    let who = who.to_string();
                    series.add(key, workload(&who), [n]);
                    *added.entry(key).or_default() += n;
                    *by_workload.entry((key, who)).or_default() += n;
                }
                Step::Wait(ns) => {
                    now += ns;
                    series.at(now);
                }
                Step::Retire(from) => {
                    let there = (from..20).map(|n| workload(&n.to_string()));
                    series.retire(&there.collect());
                }
            }
            let mut sums: BTreeMap<u8, u64> = BTreeMap::new();
            for (key, who, [n]) in series.iter() {
                *sums.entry(*key).or_default() += n;
                let own = by_workload.get(&(*key, who.workload.clone()));
                prop_assert!(own.is_none_or(|all| n <= all));
            }
            prop_assert_eq!(&sums, &added);
            prop_assert!(series.iter().count() <= MOST + 2 * 3);
        }
    }
}
