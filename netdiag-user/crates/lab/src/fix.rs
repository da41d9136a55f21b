//! Applies what a verdict tells to do, as an operator would by copying its lines, and looks again.
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::process::Command;
use tokio::time::timeout;

use super::cluster::Cluster;
use super::guarded::Guarded;
use super::plan::Node;
use super::sys::enter_before_exec;
use crate::model::shell::{CommandKind, CommandLine};
use crate::model::verdict::{CheckedCommand, Finding, Verdict};

/// What one command may take; defragmenting etcd is the slowest.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the commands of every finding's fix in the node, one after the other; what became of each.
pub async fn apply(
    cluster: &Cluster,
    node: &Node,
    verdict: &Verdict,
) -> Result<Vec<CheckedCommand>> {
    let mut applied = Vec::new();
    let findings = verdict.findings.iter();
    for finding in findings.filter(|f| f.consequence_of.is_none()) {
        for command in commands(finding) {
            let begun = Instant::now();
            let failure = run(cluster, node, command).await?;
            applied.push(CheckedCommand {
                cause: finding.cause.clone(),
                command: command.text(),
                kind: command.kind(),
                took: begun.elapsed().as_secs_f64(),
                skipped: None,
                failure,
            });
        }
    }
    Ok(applied)
}

/// Those that are not for the cluster's API, which a lab does not have, nor for another node.
fn commands(finding: &Finding) -> impl Iterator<Item = &CommandLine> {
    let repairs = finding.fix.repairs();
    repairs.filter(|c| c.kind() == CommandKind::Change)
}

/// Where a node keeps its files. The lab's nodes share this machine's root and have theirs in a
/// folder of their own.
const OWN: [&str; 3] = ["/etc/", "/var/", "/run/"];

/// The line as it is run on one of them.
pub fn at_home(cluster: &Cluster, node: &Node, command: &CommandLine) -> String {
    let root = cluster.root(node).display().to_string();
    let there = |word: &str| match OWN.iter().any(|own| word.starts_with(own)) {
        true => format!("{root}{word}"),
        false => word.to_owned(),
    };
    command.map_words(there).text()
}

/// Why it does not succeed, if it does not. The commands behind one that fails are run all the same.
async fn run(cluster: &Cluster, node: &Node, command: &CommandLine) -> Result<Option<String>> {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &at_home(cluster, node, command)]);
    shell.stdin(Stdio::null());
    shell.stdout(Stdio::null()).stderr(Stdio::null());
    enter_before_exec(&mut shell, cluster.netns(&node.netns)?.file()?);
    let child = Command::from(shell).spawn();
    let mut child = Guarded(child.context("cannot start sh")?);
    let ended = timeout(LIMIT, child.0.wait()).await;
    let failure = match ended {
        Ok(Ok(status)) if status.success() => None,
        Ok(Ok(status)) => Some(status.to_string()),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no end after {} s", LIMIT.as_secs())),
    };
    match &failure {
        None => log::info!("fix: {command}"),
        Some(why) => log::warn!("fix: {command}: {why}"),
    }
    Ok(failure)
}
