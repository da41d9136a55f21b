//! Netfilter's rules of this thread's namespace as the host's own programs list them: nftables, and
//! both engines of iptables where they are in use.
use std::{io::ErrorKind, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::model::services::Engine;

/// Where administrators' programs are, beside PATH.
const FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin";
/// The file that says whether an engine's tables are there: asking would make the kernel register tables
/// that nobody uses.
const LEGACY: [(&str, &str); 2] = [
    ("ip_tables_names", "iptables-legacy-save"),
    ("ip6_tables_names", "ip6tables-legacy-save"),
];

pub struct Rulesets {
    /// JSON, as libnftables-json(5) has it.
    pub nft: String,
    pub saved: Vec<Saved>,
}

/// What an `iptables-save` wrote.
pub struct Saved {
    pub program: &'static str,
    pub engine: Engine,
    pub text: String,
}

/// All of them; `options` are iptables-save's.
pub fn list(options: &[&str]) -> Result<Rulesets> {
    let nft = run("nft", &["-j", "list", "ruleset"])?;
    let mut programs = Vec::new();
    // What iptables-nft wrote has matches and targets that nft cannot spell.
    if nft.contains("\"xt\"") {
        let both = ["iptables-nft-save", "ip6tables-nft-save"];
        programs.extend(both.map(|program| (program, Engine::IptablesNft)));
    }
    let net = Path::new("/proc/thread-self/net");
    let used = |tables: &str| {
        let names = std::fs::read_to_string(net.join(tables)).unwrap_or_default();
        !names.trim().is_empty()
    };
    let legacy = LEGACY.iter().filter(|(tables, _)| used(tables));
    programs.extend(legacy.map(|(_, program)| (*program, Engine::IptablesLegacy)));
    let saved = programs.into_iter().map(|(program, engine)| {
        let text = run(program, options)?;
        Ok(Saved {
            program,
            engine,
            text,
        })
    });
    let saved = saved.collect::<Result<_>>()?;
    Ok(Rulesets { nft, saved })
}

/// What a program of the host's prints, or why it does not: a sentence.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PATH", format!("{path}:{FOLDERS}"));
    let done = command.output().map_err(|e| match e.kind() {
        ErrorKind::NotFound => anyhow::anyhow!("{program} is not installed here"),
        _ => anyhow::Error::from(e).context(format!("starting {program}")),
    })?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("{program}: {}", said.lines().next().unwrap_or("failed"));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
