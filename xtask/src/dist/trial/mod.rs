//! The Debian package in a Debian that runs systemd, in a VM: installed, used, removed, purged.
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    paths,
    setup::apt,
    sh::{self, is_root, say, tell},
    vm::kernels::{self, Kernel},
};

const SCRIPT: &str = include_str!("try.sh");
const SERVICE: &str = include_str!("try.service");
const SUITE: &str = "bookworm";
/// What the trial runs beside a smallest Debian with systemd.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,init-system-helpers,iproute2,nftables,iptables,\
                        procps,kmod,man-db,curl";
const TOOLS: [&str; 3] = ["mmdebstrap", "cpio", "qemu-system-x86"];
/// The whole trial takes three minutes by emulation, on a machine of its own.
const LIMIT: &str = "3600";

/// Installs that package there and says what held.
pub fn command(package: &Path) -> Result<ExitCode> {
    ensure!(is_root(), "a Debian can only be made by root");
    apt::install(&TOOLS, "what makes and boots a Debian")?;
    let folder = paths::target().join("dist-try");
    fs::create_dir_all(&folder)?;
    let kernel = kernels::fetch(kernels::TESTED)?;
    let root = debian(&folder)?;
    furnish(&root, package, &kernel)?;
    let initramfs = pack(&root, &folder)?;
    let said = boot(&kernel, &initramfs, &folder)?;
    tell(said.trim_end());
    judge(&said)
}

/// From the cache when it was completed once; remove the folder to get a newer one.
fn debian(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.is_dir() {
        return Ok(root);
    }
    say(&format!("making a Debian {SUITE} in {}", root.display()));
    let partial = folder.join("root.partial");
    let _ = fs::remove_dir_all(&partial);
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--variant=minbase"]);
    make.arg(format!("--include={PACKAGES}"));
    // Manual pages are looked for in the trial, others' are only weight.
    make.arg("--dpkgopt=path-exclude=/usr/share/locale/*");
    sh::run(make.arg(SUITE).arg(&partial)).context("make a Debian")?;
    fs::rename(&partial, &root)?;
    Ok(root)
}

fn furnish(root: &Path, package: &Path, kernel: &Kernel) -> Result<()> {
    let home = root.join("root");
    fs::copy(package, home.join("netdiag.deb"))
        .with_context(|| format!("read {}", package.display()))?;
    fs::write(home.join("try.sh"), SCRIPT)?;
    let modules = home.join("modules");
    let _ = fs::remove_dir_all(&modules);
    fs::create_dir(&modules)?;
    let mut order = String::new();
    for module in &kernel.modules {
        let name = module.file_name().context("a module without a name")?;
        fs::copy(module, modules.join(name))?;
        order += &format!("/root/modules/{}\n", name.to_string_lossy());
    }
    fs::write(modules.join("order"), order)?;
    let units = root.join("etc/systemd/system");
    fs::write(units.join("try.service"), SERVICE)?;
    let wants = units.join("multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    for (link, to) in [
        (wants.join("try.service"), "../try.service"),
        (root.join("init"), "lib/systemd/systemd"),
    ] {
        let _ = fs::remove_file(&link);
        symlink(to, link)?;
    }
    Ok(())
}

fn pack(root: &Path, folder: &Path) -> Result<PathBuf> {
    let initramfs = folder.join("initramfs");
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "find . -xdev | cpio --quiet --create --format newc >\"$0\"",
    ]);
    sh::run(shell.arg(&initramfs).current_dir(root)).context("pack the Debian")?;
    Ok(initramfs)
}

/// What the script said.
fn boot(kernel: &Kernel, initramfs: &Path, folder: &Path) -> Result<String> {
    let (console, out) = (folder.join("console"), folder.join("out"));
    let _ = fs::remove_file(&out);
    say("booting it, which takes some minutes");
    let mut qemu = Command::new("timeout");
    qemu.args([LIMIT, "qemu-system-x86_64", "-nodefaults", "-no-reboot"]);
    // As xtask/src/vm/qemu.rs has it, and why; a whole Debian needs the memory, and threads of
    // one host CPU gain nothing by more guest CPUs.
    qemu.args(["-accel", "tcg,thread=single", "-cpu", "max,cx16=off"]);
    qemu.args(["-smp", "1", "-m", "3072", "-display", "none"]);
    let line = "console=ttyS0 quiet panic=-1 no_timer_check netdiag.own_machine \
                systemd.show_status=0 systemd.default_timeout_start_sec=600";
    qemu.args(["-append", line]);
    qemu.arg("-kernel").arg(&kernel.image);
    qemu.arg("-initrd").arg(initramfs);
    for file in [&console, &out] {
        qemu.arg("-serial").arg(format!("file:{}", file.display()));
    }
    let ended = sh::run(&mut qemu);
    let said = fs::read(&out).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).replace('\r', "");
    if let Err(error) = ended {
        tell(said.trim_end());
        bail!("{error:#}; the console is {}", console.display());
    }
    Ok(said)
}

fn judge(said: &str) -> Result<ExitCode> {
    let count = |word: &str| said.lines().filter(|line| line.starts_with(word)).count();
    let (good, bad) = (count("ok: "), count("FAILED: "));
    // Whoever turns the machine off says so after it.
    let is_whole = said.lines().any(|line| line == "done");
    ensure!(is_whole, "the trial ended before its last check");
    tell(&format!("{good} checks held, {bad} did not"));
    Ok(ExitCode::from(u8::from(bad > 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_was_cut_is_no_success() {
        let code = |said: &str| judge(said).ok();
        assert_eq!(code("ok: one\nok: two\ndone"), Some(ExitCode::SUCCESS));
        assert_eq!(code("ok: one\nFAILED: two\ndone"), Some(ExitCode::from(1)));
        let off = "ok: one\ndone\nPowering off.";
        assert_eq!(code(off), Some(ExitCode::SUCCESS));
        assert_eq!(code("ok: one"), None);
        assert_eq!(code("ok: one\nok: not done"), None);
        assert_eq!(code(""), None);
    }

    #[test]
    fn a_shell_reads_the_script() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("try.sh");
        fs::write(&file, SCRIPT).expect("written");
        sh::run(Command::new("bash").arg("-n").arg(&file)).expect("bash reads it");
    }
}
