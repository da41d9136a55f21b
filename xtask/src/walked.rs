//! The computed ways of packets, held against what recordings of the lab's incidents saw of them.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Profile},
    oracle, paths,
    setup::{self, Way},
    sh::{is_root, output, run, say},
};

/// Incidents whose packets die at a station that is walked, or leave for where they do: of links, routes, rules, neighbours,
/// sizes, tunnels.
const INCIDENTS: [&str; 11] = [
    "forwarding-disabled",
    "neighbour-failed",
    "no-route",
    "overlay-port-or-vni-mismatch",
    "pmtu-black-hole",
    "pod-mtu-too-large",
    "pod-route-missing",
    "rp-filter-drop",
    "rule-refuses",
    "vxlan-mtu-too-large",
    "vxlan-source-mismatch",
];
/// The same of rules: what they take, and what becomes of Services' packets.
const OF_RULES: [&str; 10] = [
    "bridge-nf-disabled",
    "dns-blocked",
    "firewall-drop",
    "hairpin-off",
    "kube-proxy-missing",
    "masquerade-missing",
    "service-firewalled",
    "service-local-only",
    "service-no-endpoints",
    "service-stale-endpoint",
];
/// Those of these that are in a sample.
const SOME_OF_RULES: [&str; 4] = [
    "firewall-drop",
    "hairpin-off",
    "service-firewalled",
    "service-no-endpoints",
];
/// Those of all that are stood up over IPv6, too, in a sample.
const OVER_IPV6: [&str; 3] = ["no-route", "pod-mtu-too-large", "service-local-only"];
/// The one that IPv6 does not have.
const IPV4_ALONE: &str = "rp-filter-drop";

pub fn command(via: Option<Way>) -> Result<ExitCode> {
    if !is_root() {
        bail!("the lab makes network namespaces: run it as root");
    }
    let tools = setup::ensure(via)?;
    build::kernel_side(&tools)?;
    let netdiag = build::user_side(Profile::Release)?;
    oracle::build()?;
    let all = [INCIDENTS.as_slice(), &OF_RULES].concat();
    let six = all.iter().copied().filter(|it| *it != IPV4_ALONE);
    let six: Vec<&str> = six.collect();
    held(&netdiag, &all, &six)?;
    Ok(ExitCode::SUCCESS)
}

/// The same with less over IPv6, for a test that has built both, and what the lab's runs without a fault left in
/// [`healthy`].
pub fn sample(netdiag: &Path) -> Result<()> {
    let some = [INCIDENTS.as_slice(), &SOME_OF_RULES].concat();
    held(netdiag, &some, &OVER_IPV6)?;
    say("ways where nothing fails:");
    let mut command = Command::new(oracle::path());
    let recorded = recordings(&healthy())?;
    run(command.args(["--living", "--recorded"]).args(recorded))
}

/// Where the lab keeps what it saw where nothing fails.
pub fn healthy() -> PathBuf {
    paths::target().join("walked/healthy")
}

fn held(netdiag: &Path, over_ipv4: &[&str], over_ipv6: &[&str]) -> Result<()> {
    let folder = paths::target().join("walked");
    for (family, names) in [("ipv4", over_ipv4), ("ipv6", over_ipv6)] {
        let folder = folder.join(family);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).context("making a folder for recordings")?;
        for name in names {
            record(netdiag, name, family == "ipv6", &folder)?;
        }
        say(&format!("ways over {family}:"));
        let mut command = Command::new(oracle::path());
        command.arg("--recorded").args(recordings(&folder)?);
        run(&mut command)?;
    }
    Ok(())
}

fn record(netdiag: &Path, name: &str, ipv6: bool, folder: &Path) -> Result<()> {
    let mut command = Command::new(netdiag);
    command
        .args(["lab", "run", name, "--quiet", "--record-all"])
        .arg(folder);
    if ipv6 {
        command.arg("--ipv6");
    }
    let output = output(&mut command)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!("{name} could not be recorded ({}):\n{said}", output.status);
    }
    Ok(())
}

fn recordings(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        all.push(entry?.path());
    }
    all.retain(|path| path.extension().is_some_and(|it| it == "ndr"));
    all.sort();
    Ok(all)
}
