//! What the node does for Services: rules of iptables, nftables and IPVS, and what the processes
//! here were told. One file a source.
mod iptables;
mod ipvs;
mod nftables;
mod told;

use std::{io::ErrorKind, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::model::services::{Engine, Services};

/// Where administrators' programs are, beside PATH.
const FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// Services of this thread's namespace; processes are looked up under `root`.
pub fn services(root: &Path) -> Result<Services> {
    let mut found = Services::default();
    let nft = run("nft", &["-j", "list", "ruleset"])?;
    nftables::read(&nft, &mut found).context("reading what nft lists")?;
    // What iptables-nft wrote has matches that nft cannot spell.
    if nft.contains("\"xt\"") {
        for program in ["iptables-nft-save", "ip6tables-nft-save"] {
            iptables::read(&run(program, &["-c"])?, Engine::IptablesNft, &mut found);
        }
    }
    let net = Path::new("/proc/thread-self/net");
    // Asking would make the kernel register tables that nobody uses.
    for (tables, program) in [
        ("ip_tables_names", "iptables-legacy-save"),
        ("ip6_tables_names", "ip6tables-legacy-save"),
    ] {
        let names = std::fs::read_to_string(net.join(tables)).unwrap_or_default();
        if !names.trim().is_empty() {
            iptables::read(&run(program, &["-c"])?, Engine::IptablesLegacy, &mut found);
        }
    }
    let virtual_servers = std::fs::read_to_string(net.join("ip_vs")).unwrap_or_default();
    ipvs::read(&virtual_servers, &mut found);
    told::read(root, &mut found);
    Ok(found)
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
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
