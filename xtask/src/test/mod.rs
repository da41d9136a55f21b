//! Everything that must hold before a change is merged.
pub mod scenarios;
pub mod tally;
pub mod ui;
mod unit;

use std::{env, path::Path, process::ExitCode, time::Duration};

use anyhow::Result;

use crate::{
    bench, build, by_hand, check, oracle, pairs, programs,
    setup::{self, Way, apt, pypi::ROTEL},
    sh::{is_root, say, which},
    vm, walked,
};
use tally::Tally;

/// After how long no part is begun that may be left out, where somebody waits for the result: half an hour later nobody
/// does.
const LONGEST: Duration = Duration::from_secs(44 * 60);

pub fn command(via: Option<Way>, full: bool) -> Result<ExitCode> {
    let awaited = env::var_os("CI").is_some();
    let mut tally = Tally::within(awaited.then_some(LONGEST));
    tally.part("set-up and build");
    let tools = setup::ensure(via)?;
    build::kernel_side(&tools)?;
    let netdiag = build::for_tests()?;
    peers(&mut tally);
    tally.part("checks");
    check::all(true, &mut tally);
    tally.part("tests by cargo");
    unit::all(&mut tally);
    match scenarios::list(&netdiag) {
        Ok(names) => {
            let mut lacking = Vec::new();
            if tally.has_time("the lab") {
                lacking = lab(&names, full, &mut tally);
            }
            if tally.has_time("oracle") {
                oracle(&mut tally);
            }
            if tally.has_time("VMs") {
                vm(&netdiag, &scenarios::for_vm(&names, &lacking), &mut tally);
            }
            if tally.has_time("ways in the lab") {
                walked(&netdiag, &mut tally);
            }
            if tally.has_time("pairs") {
                pairs(&netdiag, &mut tally);
            }
            if tally.has_time("by hand") {
                by_hand(&netdiag, &names, &lacking, &mut tally);
            }
            if tally.has_time("bench") {
                bench(&netdiag, &mut tally);
            }
        }
        Err(error) => tally.fail("netdiag lab list", &format!("{error:#}")),
    }
    Ok(tally.close())
}

/// The tools that the black-box tests hold netdiag against, where they can be had. A test whose
/// tool is missing says so itself.
fn peers(tally: &mut Tally) {
    const TOOLS: [&str; 8] = [
        "bpftool", "ethtool", "iproute2", "nftables", "procps", "python3", "tcpdump", "tmux",
    ];
    if !is_root() || !apt::exists() {
        return;
    }
    if let Err(error) = apt::install(&TOOLS, "the black-box tests compare netdiag with them") {
        tally.skip("installing the tests' tools", &format!("{error:#}"));
    }
    for programs in [&PRINTED[..], &PERF[..]] {
        if let Err(error) = apt::install(programs, "netdiag prints commands of them") {
            tally.skip(
                "installing what printed commands run",
                &format!("{error:#}"),
            );
        }
    }
    // Another package's may be here, over which Debian's cannot be installed.
    if which("kubectl").is_none()
        && let Err(error) = apt::install(&KUBECTL, "it reads what netdiag prints for clusters")
    {
        tally.skip("installing kubectl", &format!("{error:#}"));
    }
    if let Err(error) = ROTEL.ensure() {
        tally.skip("getting rotel", &format!("{error:#}"));
    }
    for parts in [&PARTS[..], &DAEMONS[..]] {
        if parts == DAEMONS && Path::new("/run/systemd/system").exists() {
            // Their packages start services, which nobody asked for here.
            let why = "this system would start them as services";
            tally.skip("installing etcd, containerd, nginx, sshd and promtool", why);
        } else if let Err(error) = apt::install(parts, "scenarios of the lab run them for real") {
            tally.skip("installing the scenarios' parts", &format!("{error:#}"));
        }
    }
}

/// Programs that scenarios run in the lab's namespaces.
const PARTS: [&str; 10] = [
    "conntrack",
    "containernetworking-plugins",
    "dnsmasq-base",
    "etcd-client",
    "iptables",
    "ipset",
    "ipvsadm",
    "openssl",
    "runc",
    "wireguard-tools",
];
/// Programs of the commands that are printed beside evidence. perf is not everywhere a package of that
/// name.
const PRINTED: [&str; 5] = [
    "bind9-dnsutils",
    "curl",
    "iputils-arping",
    "iputils-ping",
    "ndisc6",
];
const PERF: [&str; 1] = ["linux-perf"];
/// sshd serves the nodes of a test; nginx stands before a collector; promtool, which reads the agent's page, comes in the package of
/// Prometheus itself.
const DAEMONS: [&str; 5] = [
    "containerd",
    "etcd-server",
    "nginx",
    "openssh-server",
    "prometheus",
];
/// kubectl, which is not everywhere a package of that name.
const KUBECTL: [&str; 1] = ["kubernetes-client"];

/// Networks by chance, in which packets must go where they are computed to go.
fn oracle(tally: &mut Tally) {
    let name = "oracle";
    if !is_root() {
        return tally.skip(name, "needs root");
    }
    match oracle::sample() {
        Ok(()) => tally.pass(name),
        Err(error) => tally.fail(name, &format!("{error:#}")),
    }
}

/// The ways of packets that die in the lab, and of those that live there.
fn walked(netdiag: &Path, tally: &mut Tally) {
    let name = "ways in the lab";
    if !is_root() {
        return tally.skip(name, "needs root");
    }
    match walked::sample(netdiag) {
        Ok(()) => tally.pass(name),
        Err(error) => tally.fail(name, &format!("{error:#}")),
    }
}

/// Returns the scenarios that only the VM can have.
fn lab(names: &[String], full: bool, tally: &mut Tally) -> Vec<String> {
    if !is_root() {
        tally.skip("the lab on this host", "needs root");
        return Vec::new();
    }
    scenarios::here(&by_hand::over_ipv6(names), full, tally).unwrap_or_else(|error| {
        tally.fail("the lab", &format!("{error:#}"));
        Vec::new()
    })
}

/// Some of what ran is stood up and looked at as a person does it: which, and beside what traffic,
/// goes by the commit.
fn by_hand(netdiag: &Path, names: &[String], lacking: &[String], tally: &mut Tally) {
    if !is_root() {
        return tally.skip("the lab by hand", "needs root");
    }
    let there = names.iter().filter(|name| !lacking.contains(name));
    let (commit, looks) = by_hand::in_ci(&there.cloned().collect::<Vec<_>>());
    say(&format!("by hand: what commit {commit} chooses"));
    by_hand::all(netdiag, &looks, by_hand::JOBS, tally);
}

/// Two incidents at a time.
fn pairs(netdiag: &Path, tally: &mut Tally) {
    if !is_root() {
        return tally.skip("pairs of scenarios", "needs root");
    }
    say(&format!("pairs: seed {}", pairs::SEED));
    pairs::in_ci(netdiag, tally);
}

/// Every part of the bench once; its figures are not looked at.
fn bench(netdiag: &Path, tally: &mut Tally) {
    let name = "bench --smoke";
    if !is_root() {
        return tally.skip(name, "needs root");
    }
    say("bench: every part once");
    match bench::smoke(netdiag) {
        Ok(()) => tally.pass(name),
        Err(error) => tally.fail(name, &format!("{error:#}")),
    }
}

fn vm(netdiag: &Path, names: &[String], tally: &mut Tally) {
    let tested = build::guest_with(netdiag.to_owned()).and_then(|guest| {
        programs::all(&guest, tally);
        let by_place = scenarios::BY_PLACE.map(str::to_owned);
        let runs = [
            (vm::kernels::fetch(vm::kernels::TESTED)?, names),
            (
                vm::kernels::fetch(vm::kernels::WITHOUT_REASONS)?,
                &by_place[..],
            ),
        ];
        vm::run_scenarios(&guest, &runs, tally);
        Ok(())
    });
    if let Err(error) = tested {
        tally.fail("the VM tests", &format!("{error:#}"));
    }
}
