//! Unit, property and black-box tests, by cargo's own harness.
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::tally::Tally;
use crate::{
    build::{self, Profile},
    paths,
    setup::pypi,
    sh::{self, say, tell},
};

/// What the harness reported, read from its lines as they come.
#[derive(Default, Debug, PartialEq)]
struct Seen {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
    /// Whose output is being read, in the part where the harness shows what failed.
    shown: Option<usize>,
}

/// So many lines of a failed test are told again at the very end, where CI is read first.
const LINES_AGAIN: usize = 12;

/// The test of an agent that runs for long, and for how many seconds it does here.
const SOAK: (&str, &str) = ("soak", "300");

/// How many tests of a program the harness runs at a time.
const THREADS: &str = "RUST_TEST_THREADS";
/// Of those that wait for packets: one such takes a third of a CPU.
const AT_A_TIME: &str = "3";

/// Tests that compute alone: beside those that wait for packets they take a CPU, and nothing else.
const COMPUTING: [&str; 7] = [
    "anonymise",
    "hostile_recordings",
    "language",
    "replay",
    "replay_nodes",
    "report",
    "transformed",
];

pub fn all(tally: &mut Tally) {
    say("unit and property tests");
    let skipped = skipped();
    if let Err(error) = sh::run(command(&skipped).arg("--no-run")) {
        return tally.fail("building the tests", &format!("{error:#}"));
    }
    tell_of(side_by_side(&skipped), &skipped, tally);
}

/// The agent that runs for long waits most of the time, and so do the tests with packets.
fn side_by_side(skipped: &Path) -> Result<Seen> {
    let waiting = waiting()?;
    thread::scope(|scope| {
        let soak = scope.spawn(|| watch(&mut soak(skipped)));
        let computing = scope.spawn(|| compute(skipped));
        let waiting = watch(tests(skipped, &waiting).env(THREADS, AT_A_TIME));
        let beside =
            [soak, computing].map(|it| it.join().map_err(|_| anyhow!("reading it panicked")));
        let mut seen = waiting?;
        for other in beside {
            seen = seen.and(other??);
        }
        Ok(seen)
    })
}

fn soak(skipped: &Path) -> Command {
    let mut command = tests(skipped, &[SOAK.0.to_owned()]);
    command.env("NETDIAG_SOAK", SOAK.1);
    command
}

/// One test at a time, so that a CPU is left to the others.
fn compute(skipped: &Path) -> Result<Seen> {
    let mut units = command(skipped);
    units.args(["--lib", "--bins"]);
    let mut documentation = command(skipped);
    documentation.arg("--doc");
    let computing = COMPUTING.map(str::to_owned);
    let mut seen = Seen::default();
    for command in [
        &mut units,
        &mut tests(skipped, &computing),
        &mut documentation,
    ] {
        seen = seen.and(watch(command.env(THREADS, "1"))?);
    }
    Ok(seen)
}

fn tests(skipped: &Path, names: &[String]) -> Command {
    let mut command = command(skipped);
    command.args(names.iter().flat_map(|name| ["--test", name]));
    command
}

/// The test programs that do more than compute, as cargo knows them.
fn waiting() -> Result<Vec<String>> {
    let text = sh::text(build::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let told: Value = serde_json::from_str(&text).context("`cargo metadata` gave no JSON")?;
    let mut names = programs(&told);
    names.retain(|name| name != SOAK.0 && !COMPUTING.contains(&&**name));
    Ok(names)
}

/// All test programs of the workspace.
fn programs(told: &Value) -> Vec<String> {
    let list = |it: &Value, key: &str| it[key].as_array().cloned().unwrap_or_default();
    let packages = list(told, "packages");
    let targets = packages.iter().flat_map(|it| list(it, "targets"));
    let tests = targets.filter(|it| list(it, "kind").iter().any(|kind| kind == "test"));
    tests
        .filter_map(|it| Some(it["name"].as_str()?.to_owned()))
        .collect()
}

/// Those of some tests that only run when they are asked for.
pub fn ignored(arguments: &[&str], netdiag: &Path, tally: &mut Tally) {
    let skipped = skipped();
    let mut command = build::cargo();
    command.arg("test").args(arguments);
    command.args(["--", "--ignored", "--nocapture"]);
    command
        .env("NETDIAG_BIN", netdiag)
        .env("NETDIAG_SKIPPED", &skipped);
    count(&mut command, &skipped, tally);
}

/// Tests name here what they skip: to the harness those have passed.
fn skipped() -> PathBuf {
    let skipped = paths::target().join("skipped-tests");
    let _ = fs::remove_file(&skipped);
    skipped
}

fn count(command: &mut Command, skipped: &Path, tally: &mut Tally) {
    tell_of(watch(command), skipped, tally);
}

fn tell_of(seen: Result<Seen>, skipped: &Path, tally: &mut Tally) {
    match seen {
        Ok(mut seen) => {
            let lines = fs::read_to_string(skipped).unwrap_or_default();
            let lines: Vec<_> = lines.lines().map(str::to_owned).collect();
            seen.passed = seen.passed.saturating_sub(lines.len());
            seen.skipped.extend(lines);
            tally.add(seen.passed, seen.failed, seen.skipped)
        }
        Err(error) => tally.fail("cargo test", &format!("{error:#}")),
    }
}

/// Black-box tests run the binary that was just built.
fn command(skipped: &Path) -> Command {
    let mut command = build::cargo();
    command
        .arg("test")
        .args(build::EVERYTHING)
        .arg("--no-fail-fast");
    command
        .env("NETDIAG_BIN", paths::netdiag(Profile::Dev))
        .env("PATH", pypi::search_path())
        .env("NETDIAG_SKIPPED", skipped);
    // Snapshots are compared here and never written, whatever the caller's own tests do.
    command
        .env("INSTA_UPDATE", "no")
        .env_remove("INSTA_FORCE_PASS");
    command
}

fn watch(command: &mut Command) -> Result<Seen> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("start cargo test")?;
    let stdout = child.stdout.take().context("cargo test's stdout")?;
    let mut seen = Seen::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read from cargo test")?;
        seen.line(&line);
        if !line.ends_with("... ok") {
            tell(&line);
        }
    }
    let status = child.wait()?;
    if !status.success() && seen.failed.is_empty() {
        seen.failed.push(format!("cargo test: {status}, see above"));
    }
    Ok(seen)
}

impl Seen {
    fn and(mut self, other: Self) -> Self {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
        self
    }

    fn line(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += number_before(counts, " passed");
        } else if let Some(rest) = line.strip_prefix("test ") {
            self.test(rest);
        } else if let Some(rest) = line.strip_prefix("---- ") {
            let name = rest.trim_end_matches(" ----").trim_end_matches(" stdout");
            self.shown = self.failed.iter().rposition(|it| it == name);
        } else if line == "failures:" {
            self.shown = None;
        } else if let Some(failed) = self.shown.and_then(|at| self.failed.get_mut(at))
            && !line.is_empty()
            && failed.lines().count() <= LINES_AGAIN
        {
            failed.push_str("\n    ");
            failed.push_str(line);
        }
    }

    fn test(&mut self, rest: &str) {
        let Some((name, outcome)) = rest.rsplit_once(" ... ") else {
            return;
        };
        if outcome == "FAILED" {
            self.failed.push(name.to_owned());
        } else if let Some(why) = outcome.strip_prefix("ignored") {
            let why = why.trim_start_matches(", ");
            let why = if why.is_empty() { "ignored" } else { why };
            self.skipped.push(format!("{name}: {why}"));
        }
    }
}

fn number_before(text: &str, word: &str) -> usize {
    let before = text.split(word).next().unwrap_or_default();
    before
        .rsplit(' ')
        .next()
        .and_then(|it| it.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_snapshot_is_written() {
        let command = command(Path::new("skipped"));
        let set: Vec<_> = command.get_envs().collect();
        assert!(set.contains(&("INSTA_UPDATE".as_ref(), Some("no".as_ref()))));
        assert!(set.contains(&("INSTA_FORCE_PASS".as_ref(), None)));
    }

    #[test]
    fn those_that_compute_are_there() {
        let waiting = waiting().unwrap();
        assert!(waiting.iter().any(|it| it == "cleanup"), "{waiting:?}");
        let folder = paths::root().join("tests/tests");
        for name in COMPUTING {
            let file = folder.join(format!("{name}.rs"));
            assert!(
                file.exists() || folder.join(name).join("main.rs").exists(),
                "{name}"
            );
            assert!(!waiting.iter().any(|it| it == name), "{name}");
        }
    }

    #[test]
    fn reads_the_harness() {
        let mut seen = Seen::default();
        for line in [
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test d ... ignored, needs root",
            "test result: FAILED. 3 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out",
        ] {
            seen.line(line);
        }
        let skipped = vec!["d: needs root".to_owned()];
        assert_eq!(
            seen,
            Seen {
                passed: 3,
                failed: vec!["a::c".to_owned()],
                skipped,
                shown: None,
            }
        );
    }

    #[test]
    fn tells_again_why_a_test_failed() {
        let mut seen = Seen::default();
        for line in [
            "test a::c ... FAILED",
            "test a::d ... FAILED",
            "",
            "failures:",
            "",
            "---- a::c stdout ----",
            "",
            "thread 'a::c' panicked at a.rs:1:2:",
            "one is not two",
            "",
            "---- a::d stdout ----",
            "late",
            "failures:",
            "    a::c",
        ] {
            seen.line(line);
        }
        let why = "a::c\n    thread 'a::c' panicked at a.rs:1:2:\n    one is not two";
        assert_eq!(seen.failed, [why, "a::d\n    late"]);
    }
}
