//! Gets a kernel's packages from Debian's archive and unpacks them; nothing is installed.
//!
//! apt does it with lists, status and cache of its own, so that the system's stay as they are.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{kernels::Line, mirror};
use crate::sh::{self, say};

const META: &str = "linux-image-cloud-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel's files as they came.
pub struct Unpacked {
    pub image: PathBuf,
    /// Its lib/modules/VERSION.
    pub modules: PathBuf,
}

/// From the cache in `dir` when it was completed once; remove `dir` to get a newer one.
pub fn unpacked(line: &Line, dir: &Path) -> Result<Unpacked> {
    let root = dir.join("root");
    if let Ok(found) = find(&root) {
        return Ok(found);
    }
    let suite = line.suite;
    say(&format!(
        "fetching Debian's kernel {} ({suite}) into {}",
        line.name,
        dir.display()
    ));
    let apt = Apt::new(line, dir)?;
    let packages = apt.packages(META)?;
    let partial = dir.join("root.partial");
    let _ = fs::remove_dir_all(&partial);
    for package in &packages {
        let deb = apt.download(package)?;
        sh::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&partial))?;
    }
    // Under its final name only when whole.
    let _ = fs::remove_dir_all(&root);
    fs::rename(&partial, &root)?;
    find(&root)
}

/// Newer packages have the image beside the modules, older ones under /boot.
fn find(root: &Path) -> Result<Unpacked> {
    for modules in ["lib/modules", "usr/lib/modules"] {
        let Ok(mut versions) = root.join(modules).read_dir() else {
            continue;
        };
        let Some(Ok(version)) = versions.next() else {
            continue;
        };
        let boot = format!("vmlinuz-{}", version.file_name().to_string_lossy());
        let images = [version.path().join("vmlinuz"), root.join("boot").join(boot)];
        if let Some(image) = images.into_iter().find(|it| it.is_file()) {
            return Ok(Unpacked {
                image,
                modules: version.path(),
            });
        }
    }
    bail!("no kernel under {}", root.display())
}

struct Apt {
    options: Vec<String>,
    debs: PathBuf,
}

struct Package {
    name: String,
    sha256: String,
    depends: Vec<String>,
}

impl Apt {
    fn new(line: &Line, dir: &Path) -> Result<Self> {
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
        let source = format!("deb [{signed}arch=amd64] {mirror} {} main\n", line.suite);
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
            "APT::Architecture=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ];
        let apt = Self {
            options: options.to_vec(),
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
    fn packages(&self, meta: &str) -> Result<Vec<Package>> {
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
    fn download(&self, package: &Package) -> Result<PathBuf> {
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
