//! Debian packages, installed only after saying which and why.
use std::{
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};

use crate::sh::{self, is_root, say, which};

pub fn exists() -> bool {
    which("apt-get").is_some()
}

/// dpkg takes one at a time, and VMs that are booted side by side want the same packages.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Installs those of `packages` that are missing; `why` ends the sentence that announces it.
pub fn install(packages: &[&str], why: &str) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !exists() {
        bail!("missing: {why}. This system has no apt-get: install what Debian calls {list}");
    }
    if !is_root() && which("sudo").is_none() {
        bail!("missing: {why}. As root run: apt-get install --no-install-recommends {list}");
    }
    say(&format!("installing Debian packages {list}: {why}"));
    // A new machine has no package lists, and an old one's may point at files that are gone.
    if !knows(&missing) {
        update(&list)?;
        return try_install(&missing).with_context(|| offline(&list));
    }
    if try_install(&missing).is_err() {
        update(&list)?;
        try_install(&missing).with_context(|| offline(&list))?;
    }
    Ok(())
}

/// Whether the lists that are here have them: a rehearsal tells, and needs no root.
fn knows(packages: &[&str]) -> bool {
    let mut rehearsal = Command::new("apt-get");
    rehearsal
        .args(["--simulate", "--no-install-recommends", "install"])
        .args(packages);
    sh::output(&mut rehearsal).is_ok_and(|it| it.status.success())
}

fn update(list: &str) -> Result<()> {
    say("refreshing the package lists first");
    sh::run(apt_get().args(["--quiet", "update"])).with_context(|| offline(list))
}

fn offline(list: &str) -> String {
    format!("apt-get could not get {list}; check the network and apt's sources, then try again")
}

fn try_install(packages: &[&str]) -> Result<()> {
    let fixed = ["--quiet", "--yes", "--no-install-recommends", "install"];
    sh::run(apt_get().args(fixed).args(packages))
}

/// Never asks anything: neither debconf nor a changed configuration file may wait for an answer.
fn apt_get() -> Command {
    let mut command = if is_root() {
        Command::new("env")
    } else {
        Command::new("sudo")
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command.args([
        "-o",
        "Dpkg::Options::=--force-confold",
        "-o",
        "Dpkg::Use-Pty=0",
        // Somebody else may be installing just now.
        "-o",
        "DPkg::Lock::Timeout=300",
    ]);
    command
}

fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut query = Command::new("dpkg-query");
    query
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(packages);
    // It fails when one is unknown, and still prints the others.
    let known = sh::output(&mut query)
        .map(|it| it.stdout)
        .unwrap_or_default();
    let known = String::from_utf8_lossy(&known).into_owned();
    let is_installed = |name: &str| {
        known
            .lines()
            .any(|line| line == format!("{name} installed"))
    };
    packages
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect()
}
