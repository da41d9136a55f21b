//! The lab's incidents as tests: netdiag's exit code is the result.
use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::tally::Tally;
use crate::{
    paths,
    sh::{self, say},
};

/// A scenario takes seconds; one that hangs must not take the others with it.
pub const LIMIT: Duration = Duration::from_secs(180);

/// The names that `netdiag lab list` gives; none at all is an error.
pub fn list(netdiag: &Path) -> Result<Vec<String>> {
    let text = sh::text(Command::new(netdiag).args(["lab", "list", "-o", "json"]))?;
    let list: Value = serde_json::from_str(&text).context("`netdiag lab list` gave no JSON")?;
    let all = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |it: &Value| it.get("name")?.as_str().map(str::to_owned);
    let names: Vec<_> = all.iter().filter_map(name).collect();
    if names.is_empty() {
        bail!("it lists no scenario");
    }
    Ok(names)
}

/// Which forms of each scenario are run: the name, and the flags behind it.
pub fn forms(names: &[String], flags: &[&str]) -> Vec<String> {
    let mut forms = Vec::new();
    for name in names {
        for flags in flags {
            if name == "healthy" && flags.contains("--healthy") {
                continue;
            }
            forms.push(format!("{name} {flags}").trim_end().to_owned());
        }
    }
    forms
}

/// On this host: the fault with segmentation offload on and off, its healthy twin, and both with
/// IPv6.
pub const HERE: [&str; 6] = [
    "--offload on",
    "--offload off",
    "--healthy",
    "--ipv6 --offload on",
    "--ipv6 --offload off",
    "--ipv6 --healthy",
];

/// In a VM, whose emulation is slow: the fault and its healthy twin.
pub const IN_VM: [&str; 2] = ["", "--healthy"];

/// netdiag's arguments that run one form of a scenario.
pub fn args(form: &str) -> Vec<String> {
    let words = ["lab", "run"]
        .into_iter()
        .chain(form.split(' '))
        .chain(["-o", "json"]);
    words.map(str::to_owned).collect()
}

/// Each form of each scenario once on this host.
pub fn here(names: &[String], tally: &mut Tally) {
    for name in &forms(names, &HERE) {
        say(&format!("lab: {name}"));
        let title = format!("lab {name}");
        let mut run = Command::new("timeout");
        run.args(["--kill-after=10", &LIMIT.as_secs().to_string()])
            .arg(paths::netdiag());
        match sh::output(run.args(args(name))) {
            Ok(it) => record(tally, &title, it.status.code(), &it.stdout, &it.stderr),
            Err(error) => tally.fail(&title, &format!("{error:#}")),
        }
    }
}

/// 0 pass, 3 skipped with the reason from stderr, all else a failure shown in full.
pub fn record(tally: &mut Tally, title: &str, code: Option<i32>, stdout: &[u8], stderr: &[u8]) {
    let errors = String::from_utf8_lossy(stderr);
    match code {
        Some(0) => tally.pass(title),
        Some(3) => tally.skip(title, reason(&errors)),
        code => {
            sh::tell(String::from_utf8_lossy(stdout).trim_end());
            sh::tell(errors.trim_end());
            let code = code.map_or("a signal".to_owned(), |it| format!("exit code {it}"));
            tally.fail(title, &code);
        }
    }
}

/// The line that says `skipped: …`, or the last one.
fn reason(stderr: &str) -> &str {
    let said = stderr
        .lines()
        .find_map(|line| line.split_once("skipped: ").map(|it| it.1));
    said.or_else(|| stderr.lines().rfind(|it| !it.trim().is_empty()))
        .unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_has_no_healthy_twin() {
        let names = ["healthy".to_owned(), "x".to_owned()];
        assert_eq!(forms(&names, &IN_VM), ["healthy", "x", "x --healthy"]);
    }

    #[test]
    fn finds_the_reason() {
        assert_eq!(reason("[INFO] x\nskipped: needs IPIP\n"), "needs IPIP");
        assert_eq!(reason("oh\nno\n\n"), "no");
    }
}
