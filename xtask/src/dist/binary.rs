//! The program: static, and the same bytes from whatever folder it is built in.
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::target::Target;
use crate::{
    build::{self, Profile},
    paths, remap,
    setup::{self, Way},
    sh,
};

/// A loader is asked for (PT_INTERP, elf(5)).
const INTERPRETER: u32 = 3;

/// Builds it for that target.
pub fn build(via: Option<Way>, profile: Profile, target: &Target) -> Result<PathBuf> {
    let tools = setup::ensure(via)?;
    target.prepare()?;
    let object = build::kernel_side_for(&tools, target.arch)?;
    let env = [("NETDIAG_BPF_OBJECT", object.as_path())];
    cargo(target, profile, ["netdiag-user", "netdiag"], &env)
}

/// Builds the init of VMs for it, which nobody waits for once it runs.
pub fn init(target: &Target) -> Result<PathBuf> {
    let program = ["netdiag-tests", "netdiag-vm-init"];
    cargo(target, Profile::Dev, program, &[])
}

fn cargo(
    target: &Target,
    profile: Profile,
    [package, program]: [&str; 2],
    env: &[(&str, &Path)],
) -> Result<PathBuf> {
    let mut cargo = sh::cargo();
    cargo.args(["build", "--locked", "--target", target.triple]);
    cargo.args(["--package", package, "--bin", program]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    flags.extend(remap::flags("rustc".as_ref())?);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", remap::encoded(&flags));
    // A folder of one's own: elsewhere flags and the object's path are others.
    let folder = paths::target().join("dist-build");
    cargo.env("CARGO_TARGET_DIR", &folder);
    cargo.envs(env.iter().copied());
    cargo
        .env_remove("CARGO_INCREMENTAL")
        .env_remove("RUSTFLAGS");
    cargo.envs(target.environment());
    sh::run(&mut cargo).context("build the static binary")?;
    let folder = folder.join(target.triple).join(profile.folder());
    Ok(folder.join(program))
}

/// The program's bytes, once it is what it should be.
pub fn read(path: &Path, target: &Target) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let told = || path.display().to_string();
    let elf = Elf(&bytes);
    let machine = elf
        .machine()
        .with_context(|| format!("{} is no program of Linux", told()))?;
    ensure!(
        machine == target.machine,
        "{} is not for {}",
        told(),
        target.arch
    );
    let wants = elf
        .segments()
        .with_context(|| format!("{} is cut", told()))?;
    ensure!(
        !wants.contains(&INTERPRETER),
        "{} is not static: it asks for a loader",
        told()
    );
    Ok(bytes)
}

/// A program that runs here and prints its own pages, which are the same for every target.
pub fn for_pages(target: &Target, built: &Path) -> Result<PathBuf> {
    if target.runs_here() {
        return Ok(built.to_owned());
    }
    build::user_side(Profile::Dev)
}

/// Lets it be started where it lies.
pub fn executable(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} executable", path.display()))
}

/// netdiag with this machine's settings kept away from it.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(paths::root());
    command
}

/// Little-endian ELF of 64 bits, as far as its segments' types (elf(5)).
struct Elf<'a>(&'a [u8]);

impl Elf<'_> {
    fn machine(&self) -> Option<u16> {
        let head = self.0.get(..6)?;
        (head == b"\x7fELF\x02\x01").then(|| self.u16(18)).flatten()
    }

    fn segments(&self) -> Option<Vec<u32>> {
        let first = usize::try_from(u64::from_le_bytes(self.at(32)?)).ok()?;
        let (size, count) = (usize::from(self.u16(54)?), usize::from(self.u16(56)?));
        let kind = |n: usize| {
            let place = n.checked_mul(size)?.checked_add(first)?;
            Some(u32::from_le_bytes(self.at(place)?))
        };
        (0..count).map(kind).collect()
    }

    fn u16(&self, place: usize) -> Option<u16> {
        self.at(place).map(u16::from_le_bytes)
    }

    fn at<const N: usize>(&self, place: usize) -> Option<[u8; N]> {
        let bytes = self.0.get(place..place.checked_add(N)?)?;
        bytes.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_told_from_a_static_one() {
        let own = fs::read("/proc/self/exe").expect("this test");
        let elf = Elf(&own);
        assert!(elf.machine().is_some());
        assert!(elf.segments().expect("whole").contains(&INTERPRETER));
        assert_eq!(Elf(b"#!/bin/sh").machine(), None);
        assert_eq!(Elf(&own[..60]).segments(), None);
    }
}
