//! What a package is for: a processor, and the C library that is linked in.
use std::env;

use anyhow::{Context, Result, bail};

use crate::{
    setup::apt,
    sh::{self, say, which},
};

/// One that is built for, as its users call it.
#[derive(Debug)]
pub struct Target {
    pub triple: &'static str,
    /// As Rust and uname(1) say.
    pub arch: &'static str,
    /// As Debian and the Open Container Initiative say.
    pub debian: &'static str,
    /// e_machine of its programs (elf.h).
    pub machine: u16,
    tools: &'static Tools,
}

/// What compiles C for it, and links.
#[derive(Debug)]
struct Tools {
    packages: &'static [&'static str],
    cc: &'static str,
}

const MUSL: Tools = Tools {
    packages: &["musl-tools"],
    cc: "musl-gcc",
};
const HOST: Tools = Tools {
    packages: &["gcc", "libc6-dev"],
    cc: "cc",
};
const ARM64: Tools = Tools {
    packages: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
    cc: "aarch64-linux-gnu-gcc",
};

const X86_64: u16 = 62;
const AARCH64: u16 = 183;

const ALL: [Target; 3] = [
    Target {
        triple: "x86_64-unknown-linux-musl",
        arch: "x86_64",
        debian: "amd64",
        machine: X86_64,
        tools: &MUSL,
    },
    Target {
        triple: "x86_64-unknown-linux-gnu",
        arch: "x86_64",
        debian: "amd64",
        machine: X86_64,
        tools: &HOST,
    },
    Target {
        triple: "aarch64-unknown-linux-musl",
        arch: "aarch64",
        debian: "arm64",
        machine: AARCH64,
        tools: &ARM64,
    },
];

pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|it| it.triple)
}

/// The one of that name, or this machine's with musl.
pub fn find(triple: Option<&str>) -> Result<&'static Target> {
    let own = format!("{}-unknown-linux-musl", env::consts::ARCH);
    let wanted = triple.unwrap_or(&own);
    let found = ALL.iter().find(|it| it.triple == wanted);
    found.with_context(|| format!("no packages are made for {wanted}"))
}

impl Target {
    /// Whether its programs run on this machine.
    pub fn runs_here(&self) -> bool {
        self.arch == env::consts::ARCH
    }

    /// Installs what is missing to build for it.
    pub fn prepare(&self) -> Result<()> {
        if which(self.tools.cc).is_none() {
            let why = format!("a C compiler for {}", self.triple);
            apt::install(self.tools.packages, &why)?;
        }
        self.library()
    }

    /// Rust's standard library for it.
    fn library(&self) -> Result<()> {
        let mut rustc = std::process::Command::new("rustc");
        rustc.args(["--print", "target-libdir", "--target", self.triple]);
        rustc.current_dir(crate::paths::root());
        let folder = sh::text(&mut rustc)?;
        if std::path::Path::new(folder.trim()).is_dir() {
            return Ok(());
        }
        let instead = format!(
            "`--target {}-unknown-linux-gnu` links the C library that is here",
            env::consts::ARCH
        );
        if which("rustup").is_none() {
            bail!(
                "rustc has no library for {} and there is no rustup to add it; {instead}",
                self.triple
            );
        }
        say(&format!(
            "adding Rust's library for {} by rustup",
            self.triple
        ));
        let mut add = std::process::Command::new("rustup");
        add.args(["target", "add", self.triple]);
        sh::run(&mut add).with_context(|| format!("rustup could not add it; {instead}"))
    }

    /// What cargo and the cc crate are told of the tools, by the environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let below = self.triple.replace('-', "_");
        let mut all = vec![(format!("CC_{below}"), self.tools.cc.to_owned())];
        if !self.runs_here() {
            let linker = format!("CARGO_TARGET_{}_LINKER", below.to_uppercase());
            all.push((linker, self.tools.cc.to_owned()));
        }
        all
    }
}
