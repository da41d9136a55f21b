//! What is given away: a static binary, a tar of it, a Debian package, an image, their sums and what
//! is in them. The same commit makes the same bytes, in whatever folder and at whatever time.
mod about;
pub mod binary;
mod check;
mod deb;
mod documents;
mod oci;
mod sbom;
mod sum;
mod tarball;
pub mod target;
mod third_party;
mod tree;
mod trial;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::{
    build::Profile,
    paths,
    setup::Way,
    sh::{say, tell},
};
use about::About;
use tarball::Payload;
use target::Target;
use tree::{Tree, gzip};

const SUMMARY: &str = "names the cause of lost packets on a Kubernetes node";
const LICENCE: &str = "MIT OR Apache-2.0";

#[derive(clap::Args, Debug)]
pub struct Options {
    /// What to build for [default: this machine's processor, with musl]
    #[arg(long, value_name = "TRIPLE", value_parser = clap::builder::PossibleValuesParser::new(target::names()))]
    target: Option<String>,
    /// Pack this static binary and build none
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Build what is committed twice, in two new folders, and compare every byte
    #[arg(long, conflicts_with = "binary")]
    check: bool,
    /// Install the Debian package that is in target/dist in a Debian in a VM, use it and remove it
    #[arg(long = "try", conflicts_with_all = ["binary", "check"])]
    try_it: bool,
}

pub fn command(via: Option<Way>, options: &Options) -> Result<ExitCode> {
    if options.check {
        return check::command(options);
    }
    let target = target::find(options.target.as_deref())?;
    let about = About::of(target)?;
    let folder = paths::target().join("dist");
    if options.try_it {
        return trial::command(&folder.join(about.deb()));
    }
    let built = match &options.binary {
        Some(file) => file.clone(),
        None => binary::build(via, Profile::Release, target)?,
    };
    let program = binary::read(&built, target)?;
    let prints = binary::for_pages(target, &built)?;
    let payload = Payload::gather(target, program, &prints)?;
    let mut made = pack(&about, &payload)?;
    match sbom::list(&about) {
        Ok(list) => made.push((format!("{}.cdx.json", about.stem()), list)),
        Err(error) => say(&format!(
            "skipped: the list of what it is made of: {error:#}"
        )),
    }
    write(&folder, &about, &made)?;
    Ok(ExitCode::SUCCESS)
}

/// Each file by its name.
fn pack(about: &About, payload: &Payload) -> Result<Vec<(String, Vec<u8>)>> {
    let stem = about.stem();
    let tar = payload.tarball(&stem).tar("", about.time)?;
    let mut image = Tree::default();
    image.program("usr/bin/netdiag", payload.program.as_slice());
    image.link("usr/bin/kubectl-netdiag", "netdiag");
    for (name, text) in payload.all_licences() {
        image.file(&format!("usr/share/doc/netdiag/{name}"), text);
    }
    Ok(vec![
        (stem.clone(), payload.program.clone()),
        (format!("{stem}.tar.gz"), gzip(&tar)?),
        (about.deb(), deb::package(about, payload)?),
        (oci_name(about), oci::layout(about, &image)?),
    ])
}

/// This processor's has the plain name: it is the one that most ask for.
fn oci_name(about: &About) -> String {
    let version = &about.version;
    match about.target.arch {
        "x86_64" => format!("netdiag-{version}-oci.tar"),
        arch => format!("netdiag-{version}-{arch}-oci.tar"),
    }
}

fn write(folder: &Path, about: &About, made: &[(String, Vec<u8>)]) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (name, bytes) in made {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
    }
    binary::executable(&folder.join(&made[0].0))?;
    let sums = sums(made);
    let name = sums_name(about.target);
    fs::write(folder.join(name), &sums).context("write the sums")?;
    say(&format!("{} has:", folder.display()));
    tell(sums.trim_end());
    Ok(())
}

/// As `sha256sum --check` takes them.
fn sums(made: &[(String, Vec<u8>)]) -> String {
    let mut lines: Vec<_> = made
        .iter()
        .map(|(name, bytes)| format!("{}  {name}\n", sum::sha256(bytes)))
        .collect();
    lines.sort_by(|a, b| a[64..].cmp(&b[64..]));
    lines.concat()
}

fn sums_name(target: &Target) -> String {
    match target.arch {
        "x86_64" => "SHA256SUMS".to_owned(),
        arch => format!("SHA256SUMS.{arch}"),
    }
}
