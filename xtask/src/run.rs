//! Builds netdiag and becomes it.
use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Profile},
    paths,
    setup::{self, Way},
    sh::{is_root, say, which},
};

/// What a visitor sees first: an incident, and its cause named.
const DEFAULT: [&str; 3] = ["lab", "run", "vxlan-mtu-too-large"];

pub fn command(via: Option<Way>, profile: Profile, args: &[String]) -> Result<ExitCode> {
    // Before minutes of building: it may not be possible.
    let mut netdiag = privileged(profile)?;
    let tools = setup::ensure(via)?;
    build::kernel_side(&tools)?;
    build::user_side(profile)?;
    if args.is_empty() {
        netdiag.args(DEFAULT);
    } else {
        netdiag.args(args);
    }
    // Never returns when it works: signals and the exit code are netdiag's own.
    Err(netdiag.exec()).context("start netdiag")
}

/// Only the finished binary gets root; everything before was built by the user.
pub fn privileged(profile: Profile) -> Result<Command> {
    privileged_of(&paths::netdiag(profile))
}

/// The same with a binary that is there.
pub fn privileged_of(binary: &Path) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(binary));
    }
    if which("sudo").is_none() {
        bail!("netdiag needs root to load eBPF and there is no sudo: run this as root");
    }
    say("netdiag itself will run by sudo: loading eBPF needs root");
    let mut sudo = Command::new("sudo");
    sudo.arg(binary);
    Ok(sudo)
}
