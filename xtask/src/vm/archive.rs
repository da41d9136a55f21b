//! Debian's archive by apt, with lists, status and cache of its own: the system's stay as they are.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{arch::Arch, kernels::Line, mirror};
use crate::sh;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

pub struct Apt {
    options: Vec<String>,
    /// Where apt puts what it gets with all that it needs.
    cache: PathBuf,
    debs: PathBuf,
}

pub struct Package {
    name: String,
    sha256: String,
    depends: Vec<String>,
}

impl Apt {
    pub fn new(line: &Line, arch: Arch, dir: &Path) -> Result<Self> {
        let state = dir.join("apt");
        let debs = dir.join("debs");
        for folder in [
            state.join("lists/partial"),
            state.join("cache/archives/partial"),
            debs.clone(),
        ] {
            fs::create_dir_all(folder)?;
        }
        let signed = if Path::new(KEYRING).exists() {
            format!("signed-by={KEYRING} ")
        } else {
            String::new()
        };
        let mirror = mirror::of(line.archive)?;
        let source = format!(
            "deb [{signed}arch={}] {mirror} {} main\n",
            arch.debian(),
            line.suite
        );
        fs::write(state.join("sources.list"), source)?;
        fs::write(state.join("status"), "")?;
        let at = state.display();
        let options = [
            format!("Dir::Etc::SourceList={at}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={at}/lists"),
            format!("Dir::State::Status={at}/status"),
            format!("Dir::Cache={at}/cache"),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // Else an archive out of reach is only a warning.
            "APT::Update::Error-Mode=any".to_owned(),
            format!("APT::Architecture={}", arch.debian()),
            format!("APT::Architectures={}", arch.debian()),
            "APT::Sandbox::User=root".to_owned(),
        ];
        let apt = Self {
            options: options.to_vec(),
            cache: state.join("cache/archives"),
            debs,
        };
        sh::run(apt.command("apt-get").args(["--quiet", "update"])).with_context(|| {
            format!(
                "apt could not read suite {}; check the network and the mirror",
                line.suite
            )
        })?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    /// What the meta package takes in: image, binary and modules are split in sid.
    pub fn packages(&self, meta: &str) -> Result<Vec<Package>> {
        let mut todo = self.show(meta)?.kernels();
        let mut found: Vec<Package> = Vec::new();
        while let Some(name) = todo.pop() {
            if found.iter().all(|it| it.name != name) {
                let package = self.show(&name)?;
                todo.extend(package.kernels());
                found.push(package);
            }
        }
        Ok(found)
    }

    fn show(&self, name: &str) -> Result<Package> {
        let mut show = self.command("apt-cache");
        let text = sh::text(show.args(["show", "--no-all-versions", name]))?;
        let field = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key))
                .unwrap_or("")
        };
        let depends = field("Depends: ").split([',', '|']);
        let first = |it: &str| it.split_whitespace().next().map(str::to_owned);
        Ok(Package {
            name: name.to_owned(),
            sha256: field("SHA256: ").to_owned(),
            depends: depends.filter_map(first).collect(),
        })
    }

    /// The package's file, its checksum compared with the signed index.
    pub fn download(&self, package: &Package) -> Result<PathBuf> {
        let prefix = format!("{}_", package.name);
        let kept = || {
            let files = fs::read_dir(&self.debs).ok()?.flatten();
            let named = files.filter(|it| it.file_name().to_string_lossy().starts_with(&prefix));
            named
                .map(|it| it.path())
                .find(|deb| has_sum(deb, &package.sha256))
        };
        if let Some(deb) = kept() {
            return Ok(deb);
        }
        let mut get = self.command("apt-get");
        sh::run(
            get.args(["--quiet", "download", &package.name])
                .current_dir(&self.debs),
        )?;
        kept().with_context(|| format!("{} does not have the index's checksum", package.name))
    }

    /// Files of those packages and of all that they depend on, essential ones left out.
    pub fn closure(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let mut get = self.command("apt-get");
        get.args(["--quiet", "--yes", "--no-install-recommends"]);
        get.args(["--download-only", "install"]).args(names);
        sh::run(&mut get)?;
        let files = self.cache.read_dir()?.flatten().map(|it| it.path());
        let mut debs: Vec<_> = files
            .filter(|it| it.extension().is_some_and(|it| it == "deb"))
            .collect();
        debs.sort();
        Ok(debs)
    }
}

impl Package {
    /// The parts of a kernel among its dependencies.
    fn kernels(&self) -> Vec<String> {
        let parts = ["linux-image-", "linux-binary-", "linux-modules-"];
        let is_part = |name: &&String| parts.iter().any(|it| name.starts_with(it));
        self.depends.iter().filter(is_part).cloned().collect()
    }
}

fn has_sum(file: &Path, sha256: &str) -> bool {
    let sum = sh::text(Command::new("sha256sum").arg(file));
    sha256.len() == 64 && sum.is_ok_and(|it| it.trim_start_matches('\\').starts_with(sha256))
}
