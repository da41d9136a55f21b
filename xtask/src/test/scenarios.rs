//! The lab's incidents as tests: netdiag's exit code is the result.
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::tally::Tally;
use crate::{
    build::Profile,
    paths,
    sh::{self, say},
    walked,
};

/// A scenario takes seconds; one that hangs must not take the others with it.
pub const LIMIT: Duration = Duration::from_secs(300);

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

/// Those that somebody named, or all.
pub fn chosen(netdiag: &Path, named: &[String]) -> Result<Vec<String>> {
    match named {
        [] => list(netdiag),
        some => Ok(some.to_vec()),
    }
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

/// How many labs run side by side: each is idle most of its time, waiting for packets.
const JOBS: &str = "3";
/// All of them together; netdiag gives each run its own limit.
const LIMIT_OF_ALL: Duration = Duration::from_secs(2700);

/// Each scenario with and without its fault on this host, with every command that is printed: over IPv6
/// those of `over_ipv6`, over the other family when all is asked for. Returns the scenarios that this
/// host's kernel cannot have.
pub fn here(over_ipv6: &[String], full: bool, tally: &mut Tally) -> Result<Vec<String>> {
    let sampled = (!full).then_some("--one-family");
    let healthy = walked::healthy();
    let _ = fs::remove_dir_all(&healthy);
    say(match full {
        true => "lab: every scenario in every form; printed commands in one",
        false => {
            "lab: every scenario with and without its fault, over the family that the commit chooses"
        }
    });
    let mut child = Command::new("timeout")
        .args(["--kill-after=10", &LIMIT_OF_ALL.as_secs().to_string()])
        .arg(paths::netdiag(Profile::Dev))
        .args(["lab", "run", "--all", "--every-form", "--jobs", JOBS])
        .args(["--confirm", "--confirm-ipv6", &over_ipv6.join(",")])
        .args(sampled)
        .arg("--record-healthy")
        .arg(&healthy)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the lab")?;
    let stdout = child.stdout.take().context("no output of the lab")?;
    let mut lacking = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read the lab's output")?;
        count(&line, tally, &mut lacking);
    }
    let status = child.wait()?;
    if !matches!(status.code(), Some(0 | 1)) {
        tally.fail("the lab", &status.to_string());
    }
    lacking.sort();
    lacking.dedup();
    Ok(lacking)
}

/// One line of `lab run --all`: a run's result, or something for the reader.
fn count(line: &str, tally: &mut Tally, lacking: &mut Vec<String>) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim_start();
    let (title, why) = rest.split_once(": ").unwrap_or((rest, ""));
    let title = format!("lab {title}");
    match word {
        "passed" => tally.pass(&title),
        "FAILED" => tally.fail(&title, why),
        "skipped" => {
            tally.skip(&title, why);
            // What the lab needs of a kernel, and a machine whose limits it may change.
            let ends = ["which this kernel does not have", "which this is not"];
            if ends.iter().any(|end| why.ends_with(end)) {
                lacking.extend(rest.split(' ').next().map(str::to_owned));
            }
        }
        _ => sh::tell(line),
    }
}

/// What is run in the VM beside what this host cannot have: where kernels differ most (reasons and
/// places of drops, prototypes, netfilter's tables), rules for Services, real daemons.
/// Five minutes together, on a machine that does nothing else.
pub const ALWAYS: [&str; 13] = [
    "vxlan-mtu-too-large",
    "pod-mtu-too-large",
    "vxlan-source-mismatch",
    "firewall-drop",
    "rp-filter-drop",
    "no-route",
    "overlay-port-or-vni-mismatch",
    "dns-unreachable",
    // Rules for nftables, for iptables, and for iptables on nftables.
    "service-no-endpoints",
    "service-no-endpoints --seed 3",
    "kube-proxy-missing --seed 5",
    "cni-daemon-oom",
    "etcd-nospace",
];

/// What is run under a kernel that gives no reasons for drops: causes that rest on where packets died, one of
/// them with a counter besides. 80 s with the boot.
pub const BY_PLACE: [&str; 3] = ["firewall-drop", "rp-filter-drop", "nic-queue-full"];

/// The forms for the VM of a whole test run.
pub fn for_vm(names: &[String], lacking: &[String]) -> Vec<String> {
    let there = |form: &&&str| names.iter().any(|n| form.split(' ').next() == Some(n));
    let always = ALWAYS.iter().filter(there).map(|form| (*form).to_owned());
    forms(lacking, &IN_VM).into_iter().chain(always).collect()
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
    fn counts_what_the_lab_says() {
        let (mut tally, mut lacking) = (Tally::default(), Vec::new());
        for line in [
            "passed   a (seed 1), named after 0.1 s",
            "FAILED   b (seed 1): named nothing",
            "skipped  c (seed 1): needs ipip, which this kernel does not have",
            "skipped  d (seed 1): needs etcd, which this machine does not have",
            "skipped  e (seed 1): needs a VM of its own, which this is not",
            "passed   f (seed 1), named after 0.1 s, fixed, commands run 2 show + 1 change",
            "skipped  f (seed 1), a printed command: no crictl on this machine: crictl pods",
            "    NAMED  1",
        ] {
            count(line, &mut tally, &mut lacking);
        }
        assert_eq!(lacking, ["c", "e"]);
        assert_eq!(tally.counts(), "2 passed, 1 failed, 4 skipped");
    }

    #[test]
    fn the_vm_has_what_this_host_lacks() {
        let names = ["c", "kube-proxy-missing", "firewall-drop"].map(str::to_owned);
        let forms = for_vm(&names, &["c".to_owned()]);
        let more = ["firewall-drop", "kube-proxy-missing --seed 5"];
        assert_eq!(forms, [&["c", "c --healthy"], &more[..]].concat());
    }

    #[test]
    fn finds_the_reason() {
        assert_eq!(reason("[INFO] x\nskipped: needs IPIP\n"), "needs IPIP");
        assert_eq!(reason("oh\nno\n\n"), "no");
    }
}
