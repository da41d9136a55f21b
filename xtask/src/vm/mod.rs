//! netdiag under other kernels: one boot in QEMU runs one command, or all of the lab.
mod accel;
mod archive;
mod batch;
mod cpio;
mod fetch;
mod frames;
mod initramfs;
pub mod kernels;
mod mirror;
mod modules;
mod programs;
mod qemu;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    build::{self, Guest, Profile},
    paths,
    setup::{self, Way},
    sh::say,
    test::{scenarios, tally::Tally},
};
pub use batch::{recordings, scenarios as run_scenarios};
use frames::Frame;
use kernels::Kernel;

/// What a command in the VM writes here comes out; tests/src/vm_init/commands.rs sends it.
pub const OUT: &str = "/out";

/// A kernel of the user's own, and its lib/modules/VERSION.
pub struct Own {
    pub image: PathBuf,
    pub modules: Option<PathBuf>,
}

pub fn run(via: Option<Way>, profile: Profile, line: &str, args: &[String]) -> Result<ExitCode> {
    let guest = prepare(via, profile)?;
    one(&guest, &kernels::fetch(line)?, args)
}

pub fn command(
    via: Option<Way>,
    lines: &[String],
    own: Option<Own>,
    args: &[String],
) -> Result<ExitCode> {
    let guest = prepare(via, Profile::Release)?;
    let mut kernels = Vec::new();
    for line in lines {
        kernels.push(kernels::fetch(line)?);
    }
    if let Some(own) = own {
        kernels.push(kernels::own(own)?);
    }
    if args.is_empty() {
        every_scenario(&guest, &kernels)
    } else {
        each(&guest, &kernels, args)
    }
}

pub fn prepare(via: Option<Way>, profile: Profile) -> Result<Guest> {
    let tools = setup::ensure(via)?;
    build::kernel_side(&tools)?;
    build::guest(profile)
}

fn every_scenario(guest: &Guest, kernels: &[Kernel]) -> Result<ExitCode> {
    let names = scenarios::forms(&scenarios::list(&guest.netdiag)?, &scenarios::IN_VM);
    let mut tally = Tally::default();
    for kernel in kernels {
        run_scenarios(guest, kernel, &names, &mut tally)?;
    }
    Ok(tally.close())
}

/// The same command under each kernel; the first bad exit code is ours.
fn each(guest: &Guest, kernels: &[Kernel], args: &[String]) -> Result<ExitCode> {
    let mut worst = ExitCode::SUCCESS;
    for kernel in kernels {
        let code = one(guest, kernel, args)?;
        worst = if worst == ExitCode::SUCCESS {
            code
        } else {
            worst
        };
    }
    Ok(worst)
}

/// One command, its output passed on as it comes.
fn one(guest: &Guest, kernel: &Kernel, args: &[String]) -> Result<ExitCode> {
    let initramfs = pack(guest, kernel, None, &[args.to_vec()])?;
    let mut code = None;
    qemu::boot(kernel, &initramfs, None, &mut |frame| match frame {
        Frame::Stdout(bytes) => pass_on(&mut io::stdout(), &bytes),
        Frame::Stderr(bytes) => pass_on(&mut io::stderr(), &bytes),
        Frame::Exit(it) => code = Some(it),
        Frame::Hello(_) | Frame::File(_) | Frame::Done => {}
    })?;
    let code = code.context("the VM ended before the command did")?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// A reader that went away does not concern the VM.
fn pass_on(to: &mut impl Write, bytes: &[u8]) {
    let _ = to.write_all(bytes).and_then(|()| to.flush());
}

fn pack(
    guest: &Guest,
    kernel: &Kernel,
    limit: Option<Duration>,
    commands: &[Vec<String>],
) -> Result<PathBuf> {
    let path = paths::target()
        .join("vm")
        .join(&kernel.name)
        .join("initramfs");
    say(&format!(
        "booting {} for {} command(s)",
        kernel.name,
        commands.len()
    ));
    initramfs::write(&path, guest, kernel, &plan(limit, commands))?;
    Ok(path)
}

/// `/commands`, as tests/src/vm_init/commands.rs reads it.
fn plan(limit: Option<Duration>, commands: &[Vec<String>]) -> Vec<u8> {
    let mut words = vec![limit.map_or(0, |it| it.as_secs()).to_string()];
    for args in commands {
        words.push((args.len() + 1).to_string());
        words.push("/usr/bin/netdiag".to_owned());
        words.extend(args.iter().cloned());
    }
    words
        .iter()
        .flat_map(|word| [word.as_bytes(), b"\0"].concat())
        .collect()
}
