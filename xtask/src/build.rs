//! Builds the kernel side with its own compiler, then the user side that embeds it.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::{
    paths, remap,
    setup::{self, Tools, Way},
    sh::{self, say},
};

const BPF: &str = "bpfel-unknown-none";
/// Named explicitly, so that crt-static does not reach build scripts and proc macros.
#[cfg(target_arch = "x86_64")]
pub const HOST: &str = "x86_64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
pub const HOST: &str = "aarch64-unknown-linux-gnu";

/// How much the compiler is to think about the user side. The kernel side is always optimized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Compiles in a third of the time, and again in seconds; tests share what it makes.
    Dev,
    /// What is shipped, and measured.
    Release,
}

impl Profile {
    pub fn of(release: bool) -> Self {
        if release { Self::Release } else { Self::Dev }
    }

    /// Where cargo puts what it makes by it.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

pub fn command(via: Option<Way>, static_link: bool) -> Result<ExitCode> {
    let tools = setup::ensure(via)?;
    kernel_side(&tools)?;
    let made = if static_link {
        static_binary()?
    } else {
        user_side(Profile::Release)?
    };
    say(&format!("built {}", made.display()));
    Ok(ExitCode::SUCCESS)
}

/// The netdiag that somebody names, or one that is built in dev.
pub fn given_or_dev(via: Option<Way>, given: Option<&Path>) -> Result<PathBuf> {
    if let Some(netdiag) = given {
        return Ok(netdiag.canonicalize()?);
    }
    let tools = setup::ensure(via)?;
    kernel_side(&tools)?;
    user_side(Profile::Dev)
}

/// Makes the eBPF object for this machine.
pub fn kernel_side(tools: &Tools) -> Result<()> {
    kernel_side_for(tools, env::consts::ARCH).map(|_| ())
}

/// Makes the eBPF object for kernels of that processor; untouched when its bytes are what they were.
pub fn kernel_side_for(tools: &Tools, arch: &str) -> Result<PathBuf> {
    let way = match tools.compiler.way {
        Way::Rustup => "rustup",
        Way::Debian => "debian",
    };
    let (dir, object) = match arch == env::consts::ARCH {
        true => (way.to_owned(), paths::bpf_object()),
        false => {
            let named = paths::bpf_object().with_extension(arch);
            (format!("{way}-{arch}"), named)
        }
    };
    let dir = paths::target().join("bpf-build").join(dir);
    let mut cargo = foreign_cargo(tools, arch)?;
    cargo.args([
        "build",
        "--package",
        "netdiag-ebpf",
        "--release",
        "--target",
        BPF,
    ]);
    cargo.arg("--target-dir").arg(&dir);
    match tools.compiler.way {
        Way::Rustup => cargo.args(["-Z", "build-std=core"]),
        // aya-ebpf uses an unstable feature, which a release compiler allows only when told so.
        Way::Debian => cargo.env("RUSTC_BOOTSTRAP", "1"),
    };
    sh::run(&mut cargo).context("build the kernel side")?;
    let made = dir.join(BPF).join("release/netdiag-ebpf");
    replace_if_changed(&made, &object)?;
    Ok(object)
}

/// A cargo of another toolchain than the one running us, whose traces in the environment go.
fn foreign_cargo(tools: &Tools, arch: &str) -> Result<Command> {
    let mut cargo = Command::new(&tools.compiler.cargo);
    cargo.current_dir(paths::root());
    let ours = [
        "CARGO",
        "RUSTUP_TOOLCHAIN",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ];
    // LD_LIBRARY_PATH names our toolchain's libraries; RUSTFLAGS would win over the target's.
    let stronger = [
        "LD_LIBRARY_PATH",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        // Splits the program into pieces that are optimized apart: other code than what is shipped.
        "CARGO_INCREMENTAL",
    ];
    for name in ours.iter().chain(&stronger) {
        cargo.env_remove(name);
    }
    sh::without_our_package(&mut cargo);
    let mut flags = [
        &format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
    ]
    .map(str::to_owned)
    .to_vec();
    // The kernel is told which line of which file an instruction comes from.
    flags.extend(remap::flags(&tools.compiler.rustc)?);
    cargo.env("RUSTC", &tools.compiler.rustc);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", remap::encoded(&flags));
    cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &tools.linker);
    Ok(cargo)
}

/// Keeps the old file's time when nothing changed, so that the user side is not rebuilt.
fn replace_if_changed(made: &Path, kept: &Path) -> Result<()> {
    let new = fs::read(made).with_context(|| format!("read {}", made.display()))?;
    if fs::read(kept).is_ok_and(|old| old == new) {
        return Ok(());
    }
    if let Some(dir) = kept.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(kept, new).with_context(|| format!("write {}", kept.display()))
}

/// Our own cargo, told where the object is when that is not where the build script looks.
///
/// Left unset otherwise: cargo rebuilds when the variable comes and goes, and a plain
/// `cargo build` does not have it.
pub fn cargo() -> Command {
    let mut cargo = sh::cargo();
    if paths::target() != paths::root().join("target") {
        cargo.env("NETDIAG_BPF_OBJECT", paths::bpf_object());
    }
    cargo
}

pub fn user_side(profile: Profile) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--package", "netdiag-user"]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    sh::run(&mut build).context("build the user side")?;
    Ok(paths::netdiag(profile))
}

/// All packages but the kernel side, whatever of them is built: by packages cargo chooses features, and with others it
/// builds each crate once more.
pub const EVERYTHING: [&str; 3] = ["--workspace", "--exclude", "netdiag-ebpf"];

/// netdiag, the oracle and all tests, at once and with the same features: each crate is built once. In dev, which takes a
/// third of the time.
pub fn for_tests() -> Result<PathBuf> {
    let mut build = cargo();
    build.arg("build").args(EVERYTHING);
    build.args(["--lib", "--bins", "--tests"]);
    sh::run(&mut build).context("build the user side and the tests")?;
    Ok(paths::netdiag(Profile::Dev))
}

/// What a VM is given: netdiag as it is built for this machine, and its init.
pub struct Guest {
    pub netdiag: PathBuf,
    pub init: PathBuf,
    /// A black-box test that is run there.
    pub test: Option<PathBuf>,
    /// Where the programs of another processor are, which this machine's cannot stand in for.
    pub root: Option<PathBuf>,
}

/// The init comes before there is any library; netdiag's go along, which spares a second build of
/// all that it is made of.
pub fn guest(profile: Profile) -> Result<Guest> {
    guest_with(user_side(profile)?)
}

/// The same with a netdiag that is there.
pub fn guest_with(netdiag: PathBuf) -> Result<Guest> {
    let init = ["--package", "netdiag-tests", "--bin", "netdiag-vm-init"];
    let init = statically(Profile::Dev, &init)?;
    Ok(Guest {
        netdiag,
        init: init.join("netdiag-vm-init"),
        test: None,
        root: None,
    })
}

/// The program of one file of black-box tests.
pub fn test(name: &str) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["test", "--package", "netdiag-tests", "--no-run"]);
    build.args(["--test", name, "--message-format", "json"]);
    let told = sh::text(&mut build).context("build the test")?;
    let messages = told
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut programs = messages.filter_map(|message: serde_json::Value| {
        let is_it = message["target"]["name"] == name;
        let program = message["executable"].as_str().filter(|_| is_it)?;
        Some(PathBuf::from(program))
    });
    programs.next().context("cargo names no program of it")
}

/// netdiag without shared libraries, for machines that have others.
fn static_binary() -> Result<PathBuf> {
    let netdiag = ["--package", "netdiag-user", "--bin", "netdiag"];
    let dir = statically(Profile::Release, &netdiag)?;
    Ok(dir.join("netdiag"))
}

/// Returns the folder that the binary is in.
fn statically(profile: Profile, what: &[&str]) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--target", HOST]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    build.args(what);
    build
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    sh::run(&mut build).context("build the static binaries")?;
    Ok(paths::target().join(HOST).join(profile.folder()))
}
