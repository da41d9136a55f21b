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
    test::{scenarios, tally::Tally},
    vm,
};

/// Incidents whose packets die at a station that is walked, or leave for where they do: of links, routes, rules, neighbours,
/// sizes, tunnels, sockets.
const INCIDENTS: [&str; 20] = [
    "checksum-offload",
    "duplicate-address",
    "forwarding-disabled",
    "link-failure",
    "listen-backlog-overflow",
    "loopback-only-listener",
    "neighbour-failed",
    "no-route",
    "not-listening",
    "overlay-blocked",
    "overlay-port-or-vni-mismatch",
    "overlay-wrong-interface",
    "pmtu-black-hole",
    "pod-mtu-too-large",
    "pod-route-missing",
    "rp-filter-drop",
    "rule-refuses",
    "socket-buffer-overflow",
    "vxlan-mtu-too-large",
    "vxlan-source-mismatch",
];
/// The same of rules: what they take, and what becomes of Services' packets.
const OF_RULES: [&str; 14] = [
    "bridge-nf-disabled",
    "conntrack-full",
    "conntrack-insert-race",
    "dns-blocked",
    "firewall-drop",
    "hairpin-off",
    "kube-proxy-missing",
    "masquerade-missing",
    "service-firewalled",
    "service-local-only",
    "service-no-endpoints",
    "service-stale-endpoint",
    "sidecar-blocked",
    "sidecar-without-dns",
];
/// Those of all that are in a sample.
const SOME: [&str; 15] = [
    "firewall-drop",
    "forwarding-disabled",
    "hairpin-off",
    "neighbour-failed",
    "no-route",
    "overlay-port-or-vni-mismatch",
    "pmtu-black-hole",
    "pod-mtu-too-large",
    "pod-route-missing",
    "rp-filter-drop",
    "rule-refuses",
    "service-firewalled",
    "service-no-endpoints",
    "vxlan-mtu-too-large",
    "vxlan-source-mismatch",
];
/// Those that are stood up over IPv6, too, in a sample.
const SOME_OVER_IPV6: [&str; 3] = ["no-route", "pod-mtu-too-large", "service-local-only"];
/// The one that IPv6 does not have.
const IPV4_ALONE: &str = "rp-filter-drop";

/// Those of them that the kernels of VMs alone can have. Whoever is sent to a table that is full waits for room in it.
const OF_VMS: [&str; 3] = [
    "ipip-mtu-too-large",
    "service-firewalled-ipvs",
    "tunnel-mtu-too-large",
];
const BESIDE_IN_VMS: [&str; 1] = ["neighbour-table-full"];

/// What has to go as computed in each of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// What fails.
    Fails,
    /// What lives beside a fault that no packet dies of.
    LivesBeside,
    /// What lives where nothing fails.
    Lives,
}

pub fn command(via: Option<Way>, lines: &[String]) -> Result<ExitCode> {
    if !lines.is_empty() {
        return in_vms(via, lines);
    }
    if !is_root() {
        bail!("the lab makes network namespaces: run it as root");
    }
    let tools = setup::ensure(via)?;
    build::kernel_side(&tools)?;
    let netdiag = build::user_side(Profile::Release)?;
    oracle::build()?;
    let fail = [INCIDENTS.as_slice(), &OF_RULES].concat();
    let all = scenarios::list(&netdiag)?;
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let beside: Vec<&str> = all
        .iter()
        .copied()
        .filter(|it| !fail.contains(it))
        .collect();
    for ipv6 in [false, true] {
        for (what, names) in [
            (What::Fails, &fail),
            (What::LivesBeside, &beside),
            (What::Lives, &all),
        ] {
            let names = names.iter().filter(|it| !(ipv6 && **it == IPV4_ALONE));
            let names = names.copied().collect::<Vec<_>>();
            held(
                (&netdiag, &oracle::path(Profile::Release)),
                what,
                ipv6,
                &names,
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The incidents that this machine may not host, under those kernels.
fn in_vms(via: Option<Way>, lines: &[String]) -> Result<ExitCode> {
    let guest = vm::prepare(via, Profile::Release)?;
    oracle::build()?;
    let mut tally = Tally::default();
    for line in lines {
        let kernel = vm::kernels::fetch(line)?;
        let all = [OF_VMS.as_slice(), &BESIDE_IN_VMS].concat();
        for (what, names) in [
            (What::Fails, OF_VMS.as_slice()),
            (What::LivesBeside, &BESIDE_IN_VMS),
            (What::Lives, &all),
        ] {
            let folder = emptied(&Path::new("vm").join(line), what)?;
            let form = if what == What::Lives {
                " --healthy"
            } else {
                ""
            };
            let both = |name: &&str| [format!("{name}{form}"), format!("{name}{form} --ipv6")];
            let forms: Vec<String> = names.iter().flat_map(both).collect();
            let mut keep = |form: &str, bytes: &[u8]| {
                let file = folder.join(form.replace(' ', "")).with_extension("ndr");
                fs::write(&file, bytes).with_context(|| format!("writing {}", file.display()))
            };
            vm::recordings(&guest, &kernel, &forms, &mut tally, &mut keep)?;
            say(&format!("ways {}, under {line}:", what.title()));
            compare(&oracle::path(Profile::Release), &folder, what)?;
        }
    }
    Ok(tally.close())
}

impl What {
    fn folder(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::LivesBeside => "beside",
            Self::Lives => "lives",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Fails => "of what fails",
            Self::LivesBeside => "beside what fails",
            Self::Lives => "where nothing fails",
        }
    }
}

/// A folder for recordings, without those of before.
fn emptied(within: &Path, what: What) -> Result<PathBuf> {
    let folder = paths::target()
        .join("walked")
        .join(within)
        .join(what.folder());
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).context("making a folder for recordings")?;
    Ok(folder)
}

/// Of some incidents, for a test that has built both, and of what the lab's runs without a fault left in [`healthy`].
pub fn sample(netdiag: &Path) -> Result<()> {
    let programs = (netdiag, &*oracle::path(Profile::Dev));
    held(programs, What::Fails, false, &SOME)?;
    held(programs, What::Fails, true, &SOME_OVER_IPV6)?;
    say("ways where nothing fails:");
    compare(programs.1, &healthy(), What::Lives)
}

/// Where the lab keeps what it saw where nothing fails.
pub fn healthy() -> PathBuf {
    paths::target().join("walked/healthy")
}

fn held((netdiag, oracle): (&Path, &Path), what: What, ipv6: bool, names: &[&str]) -> Result<()> {
    let family = if ipv6 { "ipv6" } else { "ipv4" };
    let folder = emptied(Path::new(family), what)?;
    for name in names {
        record(netdiag, name, (what, ipv6), &folder)?;
    }
    say(&format!("ways {}, over {family}:", what.title()));
    compare(oracle, &folder, what)
}

fn compare(oracle: &Path, folder: &Path, what: What) -> Result<()> {
    let mut command = Command::new(oracle);
    if what != What::Fails {
        command.arg("--living");
    }
    command.arg("--recorded").args(recordings(folder)?);
    run(&mut command)
}

/// What this machine cannot host is left out where packets need not die of it, and said.
fn record(netdiag: &Path, name: &str, (what, ipv6): (What, bool), folder: &Path) -> Result<()> {
    const SKIPPED: i32 = 3;
    let mut command = Command::new(netdiag);
    command
        .args(["lab", "run", name, "--quiet", "--record-all"])
        .arg(folder);
    if ipv6 {
        command.arg("--ipv6");
    }
    if what == What::Lives && name != "healthy" {
        command.arg("--healthy");
    }
    let output = output(&mut command)?;
    if output.status.code() == Some(SKIPPED) && what != What::Fails {
        say(&format!("{name} is left out: this machine cannot host it"));
        return Ok(());
    }
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
