//! Runs what a verdict prints to be looked at, as an operator would by pasting it: each command ends,
//! and shows what the evidence above it says.
mod blind;
mod cited;
mod elsewhere;
mod inventory;
mod started;

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::StreamExt;
use inventory::Inventory;
use started::{Ran, SHOWN, WATCHED, run};
use tokio::time::timeout;

use super::case::Case;
use super::cluster::Cluster;
use super::fix::at_home;
use super::needs::has_program;
use super::plan::Node;
use crate::model::shell::{CommandKind, CommandLine, Shows};
use crate::model::verdict::{CheckedCommand, Evidence, Finding, Verdict};

/// How many run at a time.
const AT_ONCE: usize = 8;
/// A watch that saw no packet.
const NOTHING: &str = "sees nothing";
/// How long nothing is to be seen, where that is what the evidence says.
const QUIET: Duration = Duration::from_secs(2);
/// How long perf records: the lab looks for a second first.
const RECORDED: (&str, &str) = (" sleep 5 ", " sleep 1 ");

/// A command, and the lines of evidence that it stands below.
struct Printed<'a> {
    cause: &'a str,
    command: &'a CommandLine,
    evidence: Vec<&'a Evidence>,
}

/// What became of each command that changes nothing here.
pub async fn check(
    case: Case,
    cluster: &Cluster,
    node: &Node,
    verdict: &Verdict,
) -> Result<Vec<CheckedCommand>> {
    let printed = printed(verdict);
    let there = &Inventory::new(case, &cluster.plan);
    let checks = printed.iter().map(|printed| async move {
        let begun = Instant::now();
        let failure = match lacks(printed.command) {
            Some(program) => Err(format!("no {program} on this machine")),
            None => Ok(one(cluster, node, there, printed).await?),
        };
        let (skipped, failure) = match failure {
            Err(why) => (Some(why), None),
            Ok(Some(failure)) if failure.starts_with(NOTHING) => unseen(printed.command, failure)?,
            Ok(failure) => (None, failure),
        };
        anyhow::Ok(CheckedCommand {
            cause: printed.cause.to_owned(),
            command: printed.command.text(),
            kind: printed.command.kind(),
            took: begun.elapsed().as_secs_f64(),
            skipped,
            failure,
        })
    });
    let mut all = Vec::new();
    // On this task, whose thread lives as long as the commands do.
    let mut running = futures_util::stream::iter(checks).buffered(AT_ONCE);
    while let Some(checked) = running.next().await {
        all.push(checked?);
    }
    Ok(all)
}

/// Each command once, with all that it is to show.
fn printed(verdict: &Verdict) -> Vec<Printed<'_>> {
    let mut all: BTreeMap<String, Printed<'_>> = BTreeMap::new();
    for finding in &verdict.findings {
        let confirms = finding
            .evidence
            .iter()
            .filter_map(|line| Some((line.confirm.as_ref()?, Some(line))));
        let rest = of_fix(finding).map(|command| (command, None));
        for (command, evidence) in confirms.chain(rest) {
            let entry = all.entry(command.text()).or_insert_with(|| Printed {
                cause: &finding.cause,
                command,
                evidence: Vec::new(),
            });
            entry.evidence.extend(evidence);
        }
    }
    all.into_values().collect()
}

fn of_fix(finding: &Finding) -> impl Iterator<Item = &CommandLine> {
    let elsewhere = |c: &&CommandLine| c.kind() == CommandKind::Elsewhere;
    let repairs = finding.fix.repairs().filter(elsewhere);
    finding.fix.looks().chain(repairs)
}

/// A program of it that this machine does not have. What is elsewhere is not started here.
fn lacks(command: &CommandLine) -> Option<String> {
    let here = command.kind() != CommandKind::Elsewhere;
    let programs = command.programs().into_iter().filter(|_| here);
    let mut names = programs.filter_map(|words| words.first().copied());
    let lacks = |name: &&str| *name != "echo" && !has_program(name);
    names.find(lacks).map(str::to_owned)
}

/// Why it is of no use, if it is of none.
async fn one(
    cluster: &Cluster,
    node: &Node,
    there: &Inventory,
    printed: &Printed<'_>,
) -> Result<Option<String>> {
    let line = at_home(cluster, node, printed.command);
    match printed.command.kind() {
        CommandKind::Elsewhere => Ok(there.lacks(printed.command)),
        CommandKind::Change => Ok(Some("it changes something".into())),
        CommandKind::Show => {
            let ran = run(cluster, node, (&line, SHOWN), |_| false).await?;
            Ok(shows(&ran, printed))
        }
        CommandKind::Watch if printed.command.shows() == Some(&Shows::Nothing) => {
            let watched = timeout(
                QUIET,
                run(cluster, node, (&line, WATCHED), |output| !output.is_empty()),
            );
            let seen = watched.await.ok().transpose()?;
            let seen = seen.filter(|ran| !ran.output.is_empty());
            Ok(seen.map(|ran| ran.failure("sees something")))
        }
        CommandKind::Watch => {
            let seen = |output: &str| matches(printed, output).is_none();
            let short = line.replacen(RECORDED.0, RECORDED.1, 1);
            if short != line
                && run(cluster, node, (&short, WATCHED), seen)
                    .await?
                    .seen(seen)
            {
                return Ok(None);
            }
            let ran = run(cluster, node, (&line, WATCHED), seen).await?;
            Ok(match ran.seen(seen) {
                true => None,
                false => matches(printed, &ran.output).map(|why| ran.failure(&watched(&ran, &why))),
            })
        }
    }
}

/// Why, and whether it had come to its end.
fn watched(ran: &Ran, why: &str) -> String {
    let until = match ran.status {
        Some(status) => status.to_string(),
        None => format!("does not end within {WATCHED:?}"),
    };
    format!("{why} ({until})")
}

fn asks_perf(command: &CommandLine) -> bool {
    let programs = command.programs();
    programs.iter().any(|words| words.first() == Some(&"perf"))
}

/// Why it was skipped, or failed, that saw nothing: perf sees nothing of some CPUs on some machines.
fn unseen(command: &CommandLine, failure: String) -> Result<(Option<String>, Option<String>)> {
    if !asks_perf(command) {
        return Ok((None, Some(failure)));
    }
    Ok(match blind::cpus()?.first() {
        None => (None, Some(failure)),
        Some(cpu) => {
            let why = format!("perf records nothing of what interrupts CPU {cpu} while it is idle");
            (Some(why), None)
        }
    })
}

/// Nothing where a packet is seen, or what the kernel said of it.
fn matches(printed: &Printed<'_>, output: &str) -> Option<String> {
    if output.trim().is_empty() {
        return Some(NOTHING.into());
    }
    // The kernel's reason is not on the wire.
    let lines = printed.evidence.iter();
    let lines = lines.filter(|_| asks_perf(printed.command));
    let words = lines.flat_map(|line| [&line.reason, &line.location]);
    let mut words = words.flatten();
    let missing = words.find(|word| !cited::has(output, word))?;
    Some(format!("does not say {missing}"))
}

/// Why it does not show what it is to.
fn shows(ran: &Ran, printed: &Printed<'_>) -> Option<String> {
    let Some(status) = ran.status else {
        return Some(ran.failure("does not end"));
    };
    let looks = printed.evidence.is_empty();
    let why = match (printed.command.shows(), ran.output.trim()) {
        _ if looks => {
            let says = ran.says_something() || found_nothing(printed.command, status);
            let fails = !status.success() && !answers_no(printed.command, status);
            (fails || !says).then(|| status.to_string())
        }
        (Some(Shows::Failure), _) if status.success() => Some("does not fail".to_owned()),
        (Some(Shows::Failure), _) => None,
        _ if !status.success() && !answers_no(printed.command, status) => Some(status.to_string()),
        (Some(Shows::Nothing), "") => None,
        (Some(Shows::Nothing), _) => Some("prints something".into()),
        (Some(Shows::Any(words)), output) => {
            let shown = words.iter().any(|word| cited::has(output, word));
            (!shown).then(|| format!("prints none of {words:?}"))
        }
        (None, output) => {
            let command = printed.command.text();
            let lines = printed.evidence.iter();
            lines
                .filter_map(|line| cited::missing(line, &command, output))
                .next()
        }
    };
    why.map(|why| ran.failure(&why))
}

/// Programs whose exit code tells that who was asked does not answer, or refuses.
const ASKING: [(&str, i32); 6] = [
    ("arping", 1),
    ("dig", 9),
    ("ip", 2),
    ("ls", 2),
    ("ndisc6", 2),
    ("ping", 1),
];

fn answers_no(command: &CommandLine, status: ExitStatus) -> bool {
    let last = command.programs().pop();
    let program = last
        .and_then(|words| words.first().copied())
        .unwrap_or_default();
    let code = status.code().unwrap_or_default();
    ASKING.contains(&(program, code)) || found_nothing(command, status)
}

/// grep(1) at its end says by 1 that it found nothing; what is missing then is missing in the output.
fn found_nothing(command: &CommandLine, status: ExitStatus) -> bool {
    let last = command.programs().pop();
    let silent = status.code() == Some(2);
    last.is_some_and(|words| match words[..] {
        // Of the files some are not there, which it was told to be silent about.
        ["grep", "-rsE", ..] if silent => true,
        ["grep", ..] => status.code() == Some(1),
        _ => false,
    })
}
