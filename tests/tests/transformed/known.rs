//! What does not hold yet. An entry goes when it holds: the tests fail where one could.
use std::collections::{BTreeMap, BTreeSet};

use netdiag_tests::recordings;

/// A recording, what is done to it, and why it comes to something else.
pub struct Known {
    pub recording: &'static str,
    pub change: &'static str,
    pub why: &'static str,
}

/// The roots are others.
pub const ROOTS: &[Known] = &[];

/// Something else is named, the node is called healthy, or nobody is told for lack of what.
pub const EVIDENCE: &[Known] = &[];

/// Fails where something does not hold that is not known, or holds that is known not to.
pub fn compare(recording: &str, found: &BTreeMap<String, String>, known: &[Known]) {
    let known = known.iter().filter(|it| it.recording == recording);
    let known: BTreeMap<&str, &str> = known.map(|it| (it.change, it.why)).collect();
    let new = found
        .iter()
        .filter(|(change, _)| !known.contains_key(change.as_str()));
    let new = new.map(|(change, what)| format!("{recording}, {change}: {what}"));
    let gone = known
        .iter()
        .filter(|(change, _)| !found.contains_key(**change));
    let gone = gone.map(|(change, why)| {
        format!("{recording}, {change} holds now: its entry goes from known.rs ({why})")
    });
    let all: Vec<String> = new.chain(gone).collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn each_is_of_a_recording_and_there_once() {
    let names: BTreeSet<String> = recordings::names().into_iter().collect();
    for list in [ROOTS, EVIDENCE] {
        let mut seen = BTreeSet::new();
        for it in list {
            let of = (it.recording, it.change);
            assert!(names.contains(it.recording), "no such recording: {of:?}");
            assert!(seen.insert(of), "twice: {of:?}");
            assert!(!it.why.is_empty(), "why not? {of:?}");
        }
    }
}
