//! PID 1 of netdiag's VMs: makes a bare kernel a machine, runs the commands, powers off.
//!
//! `cargo xtask vm` puts it into the initramfs as /init, with `/modules.list` and `/commands`
//! beside it. What the commands write leaves by the second serial port, in frames; the first
//! one is the kernel's console, and ours for complaints.
mod commands;
mod frames;
mod loopback;
mod modules;
mod mounts;

use std::process::{self, ExitCode};

use anyhow::{Context, Result};
use nix::{
    sys::reboot::{RebootMode, reboot},
    unistd::sync,
};

use frames::Port;

/// The second port, which arm64's board has not as a PC does: it is a PCI card's first there
/// (xtask/src/vm/arch.rs).
const PORT: &str = match cfg!(target_arch = "aarch64") {
    true => "/dev/ttyS0",
    false => "/dev/ttyS1",
};

fn main() -> ExitCode {
    if process::id() != 1 {
        eprintln!("netdiag-vm-init is the init of netdiag's VMs, started by `cargo xtask vm`");
        return ExitCode::from(2);
    }
    if let Err(error) = live() {
        eprintln!("vm-init: {error:#}");
    }
    sync();
    // Returning would make the kernel panic, which QEMU takes for the end as well.
    let _ = reboot(RebootMode::RB_POWER_OFF);
    ExitCode::FAILURE
}

fn live() -> Result<()> {
    mounts::all().context("mount")?;
    let port = Port::open(PORT).context("open the port to the host")?;
    port.hello()?;
    modules::load_all().context("load modules")?;
    loopback::up().context("bring lo up")?;
    let plan = commands::Plan::read("/commands").context("read /commands")?;
    plan.run(&port)?;
    port.done()
}
