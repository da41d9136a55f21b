//! Which form of each incident a test run takes: another one with each commit, always the same
//! for the same commit.
use std::process::Command;

use super::{Form, Look};
use crate::{paths, sh};

/// What is looked at by hand in a test run of this commit; the others' own run is enough.
pub fn in_ci(names: &[String]) -> (String, Vec<Look>) {
    let commit = commit();
    let look = |name: &String| {
        Some(Look {
            scenario: name.clone(),
            seed: 1,
            form: form(name, &commit)?,
        })
    };
    let looks = names.iter().filter_map(look).collect();
    (commit, looks)
}

/// `None`: by `lab run` alone.
fn form(name: &str, commit: &str) -> Option<Form> {
    match hash(name, commit) % 3 {
        0 => None,
        1 => Some(Form::Alone),
        _ => Some(Form::Busy),
    }
}

/// Whose printed commands a test run of this commit tries over IPv6; the others' over IPv4.
pub fn over_ipv6(names: &[String]) -> Vec<String> {
    let commit = commit();
    let chosen = names.iter().filter(|name| is_over_ipv6(name, &commit));
    chosen.cloned().collect()
}

/// By another part of the hash than the form.
fn is_over_ipv6(name: &str, commit: &str) -> bool {
    hash(name, commit) / 3 % 2 == 1
}

/// FNV-1a, which is the same on every machine and in every release.
fn hash(name: &str, commit: &str) -> u64 {
    let bytes = name.bytes().chain([b' ']).chain(commit.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The upper bits know all of the text.
    hash >> 32
}

/// That of the sources, or a word where they are no clone.
fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["rev-parse", "HEAD"]).current_dir(paths::root());
    sh::text(&mut git).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_comes_up_and_stays_with_its_commit() {
        let names: Vec<_> = (0..48).map(|n| format!("scenario-{n}")).collect();
        for commit in ["a5eba2a", "aaff3f5", "unknown"] {
            let forms: Vec<_> = names.iter().map(|name| form(name, commit)).collect();
            let again: Vec<_> = names.iter().map(|name| form(name, commit)).collect();
            assert_eq!(forms, again);
            for wanted in [None, Some(Form::Alone), Some(Form::Busy)] {
                let times = forms.iter().filter(|it| **it == wanted).count();
                assert!((6..=28).contains(&times), "{commit}: {wanted:?} {times}");
            }
        }
    }

    #[test]
    fn commands_are_tried_over_both_families() {
        let names: Vec<_> = (0..48).map(|n| format!("scenario-{n}")).collect();
        let of = |commit| {
            names
                .iter()
                .map(|n| is_over_ipv6(n, commit))
                .collect::<Vec<_>>()
        };
        for commit in ["a5eba2a", "aaff3f5", "unknown"] {
            let times = of(commit).into_iter().filter(|it| *it).count();
            assert!((12..=36).contains(&times), "{commit}: {times}");
        }
        assert_ne!(of("a5eba2a"), of("aaff3f5"));
    }

    #[test]
    fn another_commit_chooses_others() {
        let names: Vec<_> = (0..48).map(|n| format!("scenario-{n}")).collect();
        let of = |commit| names.iter().map(|n| form(n, commit)).collect::<Vec<_>>();
        assert_ne!(of("a5eba2a"), of("aaff3f5"));
    }
}
