//! Whatever facts a unit test builds, and the same with hostile names: the commands of all that the
//! causes say of them are taken by a shell for the words that are meant.
use std::{
    collections::HashSet,
    process::Command,
    sync::{LazyLock, Mutex, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    findings,
    model::{
        gather::Gathered,
        node::Node,
        observation::Observation,
        shell::{CommandKind, CommandLine},
        verdict::{Finding, Fix},
    },
    pipeline::facts::{Facts, Known, Rows},
    testing::Found,
    unexplained::Symptoms,
};

/// What is put behind a name.
const PAYLOADS: [&str; 4] = ["$(TRAP)", "'; TRAP '", "`TRAP`", " -x\n*"];

/// Members of a node's, and of what is gathered, that hold what strangers name.
const NAMES: [&str; 16] = [
    "arguments",
    "cgroup",
    "conf",
    "container",
    "endpoint",
    "file",
    "holders",
    "interface",
    "limit_file",
    "log",
    "message",
    "name",
    "network",
    "path",
    "place",
    "text",
];

/// Asserts it of these facts and of the same with hostile names.
pub fn check(known: &Known<'_>, observation: &Observation, pieces: &Found) {
    judge(known, observation);
    for payload in PAYLOADS {
        let node: Node = hostile(known.node, payload);
        let start: Node = hostile(known.start, payload);
        let mut gathered = Gathered::default();
        for (want, piece) in pieces {
            let piece = piece.as_ref().map(|piece| hostile(piece, payload));
            gathered.insert(want.clone(), piece.map_err(Clone::clone));
        }
        let known = Known {
            node: &node,
            start: &start,
            gathered: &gathered,
            ..*known
        };
        judge(&known, observation);
    }
}

fn judge(known: &Known<'_>, observation: &Observation) {
    let rows = Rows::new(known, observation);
    let facts = Facts::new(known, &rows);
    let findings = findings(&facts);
    let mut commands = Vec::new();
    let mut sentences = Vec::new();
    for finding in &findings {
        kinds(finding);
        commands.extend(commands_of(finding));
        sentences.extend([&finding.summary, &finding.fix.summary].map(String::clone));
        sentences.extend(finding.because.clone());
        let lines = finding.evidence.iter();
        sentences.extend(lines.map(|line| line.text.clone()));
    }
    let told = Symptoms::of(&facts).unexplained(&facts, &findings);
    sentences.extend(told.into_iter().flat_map(|row| [row.what, row.why]));
    let spans = sentences.iter().flat_map(|text| between_backticks(text));
    commands.extend(spans.map(|span| {
        let line = CommandLine::told_before(span);
        assert!(!line.is_refused(), "{span:?} is no command of netdiag's");
        assert!(line.known_kind().is_some(), "{span:?} has no kind");
        line
    }));
    words(&commands);
}

/// What each command does is known; what shows a line of evidence changes nothing; and what watches
/// ends by itself.
fn kinds(finding: &Finding) {
    let confirms = finding.evidence.iter().filter_map(|e| e.confirm.as_ref());
    for confirm in confirms.filter(|c| !c.is_refused()) {
        assert!(
            confirm.kind() != CommandKind::Change,
            "{confirm} changes something"
        );
    }
    for command in commands_of(finding).iter().filter(|c| !c.is_refused()) {
        let kind = command.known_kind();
        assert!(kind.is_some(), "{command} has no kind");
        let read = CommandLine::told_before(&command.text());
        // nft's words are taken apart again: of a hostile one none is read.
        let hostile = command.contains("TRAP");
        assert!(!read.is_refused() || hostile, "{command} is not read again");
        let ends = command.text().contains("timeout ") || command.text().contains(" sleep ");
        assert!(
            kind != Some(CommandKind::Watch) || ends,
            "{command} never ends"
        );
    }
}

fn commands_of(finding: &Finding) -> Vec<CommandLine> {
    let confirm = finding.evidence.iter().filter_map(|e| e.confirm.clone());
    let others = finding.other_fixes.iter().map(|other| &other.fix);
    let fixes = others.chain([&finding.fix]);
    let fixes = fixes.flat_map(|fix: &Fix| fix.commands.clone());
    confirm.chain(fixes).collect()
}

/// What begins like a command; whatever is in a name, none of netdiag's commands holds a backtick.
fn between_backticks(text: &str) -> Vec<&str> {
    const PROGRAMS: [&str; 8] = [
        "bpftool ", "crictl ", "dig ", "ip ", "netdiag ", "nft ", "ping ", "tc ",
    ];
    let parts = text.split('`').skip(1);
    let command = |part: &&str| PROGRAMS.iter().any(|program| part.starts_with(program));
    parts.filter(command).collect()
}

fn hostile<T: Serialize + DeserializeOwned>(of: &T, payload: &str) -> T {
    let mut value = serde_json::to_value(of).expect("written");
    rename(&mut value, "", payload);
    serde_json::from_value(value).expect("names may be anything")
}

fn rename(value: &mut Value, key: &str, payload: &str) {
    match value {
        Value::String(text) if NAMES.contains(&key) && text.len() > 2 => text.push_str(payload),
        Value::Array(all) => all.iter_mut().for_each(|one| rename(one, key, payload)),
        Value::Object(members) => {
            for (key, one) in members {
                rename(one, key, payload);
            }
        }
        _ => {}
    }
}

/// Lines that a shell was asked about before.
static ASKED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// A shell finds the words of each, and nothing to run.
fn words(commands: &[CommandLine]) {
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    let new = |c: &&CommandLine| !c.is_refused() && asked.insert(c.text());
    let new: Vec<&CommandLine> = commands.iter().filter(new).collect();
    drop(asked);
    let parts: Vec<_> = new.iter().flat_map(|line| line.parts()).collect();
    if parts.is_empty() {
        return;
    }
    let mut script =
        "show() { for w do printf '%s\\000' \"$w\"; done; printf '\\001'; }\n".to_owned();
    for (line, _) in &parts {
        script.push_str(&format!("show {line}\n"));
    }
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(&script)
        .env_clear()
        .env("PATH", "/nowhere");
    let done = shell.output().expect("sh");
    let said = String::from_utf8(done.stdout).expect("text");
    let said: Vec<&str> = said.split_terminator('\u{1}').collect();
    assert_eq!(said.len(), parts.len(), "{script}");
    for (said, (line, meant)) in said.into_iter().zip(parts) {
        let words: Vec<&str> = said.split_terminator('\0').collect();
        assert_eq!(words, meant, "{line}");
    }
    assert!(
        done.stderr.is_empty(),
        "{:?}",
        String::from_utf8_lossy(&done.stderr)
    );
}
