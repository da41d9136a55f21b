//! netdiag under other kernels: one boot in QEMU runs one command, or all of the lab.
mod accel;
pub mod arch;
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
mod sysroot;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    build::{self, Guest, Profile},
    dist,
    setup::{self, Way},
    sh::say,
    test::{scenarios, tally::Tally},
};
use arch::Arch;
pub use batch::{recordings, scenarios as run_scenarios};
use frames::Frame;
use kernels::Kernel;

/// What a command in the VM writes here comes out; tests/src/vm_init/commands.rs sends it.
pub const OUT: &str = "/out";

/// Where a black-box test stands in the VM.
const TEST: &str = "/usr/bin/netdiag-test";
const NETDIAG: &str = "/usr/bin/netdiag";

/// A kernel of the user's own, and its lib/modules/VERSION.
pub struct Own {
    pub image: PathBuf,
    pub modules: Option<PathBuf>,
}

/// What is run in which VMs.
pub struct Asked {
    pub arch: Arch,
    pub lines: Vec<String>,
    pub own: Option<Own>,
    /// In place of one that is built.
    pub netdiag: Option<PathBuf>,
    /// Their CPUs, as QEMU takes them.
    pub smp: Option<String>,
    /// A file of black-box tests, in place of netdiag.
    pub test: Option<String>,
    /// Forms of scenarios of the lab, in place of all.
    pub scenarios: Vec<String>,
    /// Of either; without any, scenarios of the lab.
    pub args: Vec<String>,
}

pub fn run(via: Option<Way>, profile: Profile, line: &str, args: &[String]) -> Result<ExitCode> {
    let guest = prepare(via, profile)?;
    one(&guest, &kernels::fetch(line)?, of_netdiag(args))
}

pub fn command(via: Option<Way>, profile: Profile, asked: Asked) -> Result<ExitCode> {
    let arch = asked.arch;
    let given = asked.netdiag.map(fs::canonicalize).transpose()?;
    let mut guest = match (arch.is_here(), given) {
        (true, None) => prepare(via, profile)?,
        (true, Some(netdiag)) => build::guest_with(netdiag)?,
        (false, given) => foreign(via, profile, arch, given)?,
    };
    let mut kernels = Vec::new();
    for line in &asked.lines {
        kernels.push(kernels::fetch_for(line, arch)?);
    }
    if let Some(own) = asked.own {
        kernels.push(kernels::own(own, arch)?);
    }
    if let Some(smp) = &asked.smp {
        kernels = kernels.into_iter().map(|it| it.with_cpus(smp)).collect();
    }
    match asked.test {
        Some(name) => {
            guest.test = Some(build::test(&name)?);
            each(&guest, &kernels, &of_test(&asked.args))
        }
        None if asked.args.is_empty() => in_batches(&guest, &kernels, asked.scenarios),
        None => each(&guest, &kernels, &of_netdiag(&asked.args)),
    }
}

/// A program of this workspace's under each of these kernels; it has the place of a test there.
pub fn run_program(lines: &[String], program: &Path, args: &[String]) -> Result<ExitCode> {
    // It needs no netdiag beside, and stands in its place.
    let mut guest = build::guest_with(program.to_owned())?;
    guest.test = Some(program.to_owned());
    let mut kernels = Vec::new();
    for line in lines {
        kernels.push(kernels::fetch(line)?);
    }
    each(&guest, &kernels, &words(&[TEST], args))
}

pub fn prepare(via: Option<Way>, profile: Profile) -> Result<Guest> {
    let tools = setup::ensure(via)?;
    build::kernel_side(&tools)?;
    build::guest(profile)
}

/// What another processor's VM is given: the static binary that is shipped for it, or that as it is
/// built for development.
fn foreign(
    via: Option<Way>,
    profile: Profile,
    arch: Arch,
    given: Option<PathBuf>,
) -> Result<Guest> {
    let target = arch.target()?;
    target.prepare()?;
    Ok(Guest {
        netdiag: match given {
            Some(netdiag) => netdiag,
            None => dist::binary::build(via, profile, target)?,
        },
        init: dist::binary::init(target)?,
        test: None,
        root: Some(sysroot::unpacked(arch)?),
    })
}

/// Those scenarios, or all.
fn in_batches(guest: &Guest, kernels: &[Kernel], named: Vec<String>) -> Result<ExitCode> {
    let forms = match named.is_empty() {
        true => every_form(guest)?,
        false => named,
    };
    let mut tally = Tally::default();
    let runs: Vec<_> = kernels.iter().map(|it| (it.clone(), &forms[..])).collect();
    run_scenarios(guest, &runs, &mut tally);
    Ok(tally.close())
}

fn every_form(guest: &Guest) -> Result<Vec<String>> {
    let netdiag = match guest.root {
        // It does not run here, and has the same ones.
        Some(_) => build::user_side(Profile::Dev)?,
        None => guest.netdiag.clone(),
    };
    Ok(scenarios::forms(
        &scenarios::list(&netdiag)?,
        &scenarios::IN_VM,
    ))
}

/// The command that runs the black-box test, whose own arguments these are, on the netdiag there.
fn of_test(args: &[String]) -> Vec<String> {
    let there = format!("NETDIAG_BIN={NETDIAG}");
    words(&["/usr/bin/env", &there, TEST, "--nocapture"], args)
}

fn of_netdiag(args: &[String]) -> Vec<String> {
    words(&[NETDIAG], args)
}

fn words(first: &[&str], more: &[String]) -> Vec<String> {
    let first = first.iter().map(|it| (*it).to_owned());
    first.chain(more.iter().cloned()).collect()
}

/// The same command under each kernel; the first bad exit code is ours.
fn each(guest: &Guest, kernels: &[Kernel], command: &[String]) -> Result<ExitCode> {
    let mut worst = ExitCode::SUCCESS;
    for kernel in kernels {
        let code = one(guest, kernel, command.to_vec())?;
        worst = if worst == ExitCode::SUCCESS {
            code
        } else {
            worst
        };
    }
    Ok(worst)
}

/// One command, its output passed on as it comes.
fn one(guest: &Guest, kernel: &Kernel, command: Vec<String>) -> Result<ExitCode> {
    let initramfs = pack(guest, kernel, None, &[command])?;
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

/// What a command in a VM said, and how it ended.
#[derive(Default)]
pub struct Said {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub code: Option<i32>,
}

impl Said {
    /// Its exit code and its last words.
    pub fn why(&self) -> String {
        let code = self
            .code
            .map_or("no exit code".into(), |it| format!("exit code {it}"));
        format!("{code}: {}", crate::verdict::last_line(&self.stderr))
    }
}

/// One command, for its output; a VM that takes longer than `ASKING` is an error.
pub fn ask(guest: &Guest, kernel: &Kernel, args: &[&str]) -> Result<Said> {
    const ASKING: Duration = Duration::from_secs(600);
    let command = words(&[&[NETDIAG], args].concat(), &[]);
    let initramfs = pack(guest, kernel, None, &[command])?;
    let mut said = Said::default();
    qemu::boot(kernel, &initramfs, Some(ASKING), &mut |frame| match frame {
        Frame::Stdout(bytes) => said.stdout.extend(bytes),
        Frame::Stderr(bytes) => said.stderr.extend(bytes),
        Frame::Exit(it) => said.code = Some(it),
        Frame::Hello(_) | Frame::File(_) | Frame::Done => {}
    })?;
    Ok(said)
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
    fs::create_dir_all(&kernel.scratch).context("a folder for a VM's files")?;
    let path = kernel.scratch.join("initramfs");
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
    for command in commands {
        words.push(command.len().to_string());
        words.extend(command.iter().cloned());
    }
    words
        .iter()
        .flat_map(|word| [word.as_bytes(), b"\0"].concat())
        .collect()
}
