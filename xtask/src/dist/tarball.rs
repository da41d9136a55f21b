//! The files that users get: the program, its pages and completions, and who may do what with them.
use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::{
    binary, documents,
    target::Target,
    third_party,
    tree::{Tree, gzip},
};
use crate::{paths, sh};

/// Everything that a package may hold, whatever its form.
pub struct Payload {
    pub program: Vec<u8>,
    /// Name and text of each man page.
    pub pages: Vec<(String, Vec<u8>)>,
    /// Of bash, zsh and fish.
    pub completions: [Vec<u8>; 3],
    /// Path and text of each page to read.
    pub documents: Vec<(String, Vec<u8>)>,
    pub changelog: Vec<u8>,
    /// Name and text.
    pub licences: [(&'static str, Vec<u8>); 2],
    /// Of all that is linked in.
    pub third_party: Vec<u8>,
    /// What `netdiag agent` takes where nobody says anything, as its file.
    pub settings: String,
}

impl Payload {
    /// `prints` is a netdiag that runs here.
    pub fn gather(target: &Target, program: Vec<u8>, prints: &Path) -> Result<Self> {
        let printed = |args: &[&str]| sh::text(binary::command(prints).args(args));
        let script = |shell: &str| anyhow::Ok(printed(&["completions", shell])?.into_bytes());
        let empty = paths::target().join("dist-build/empty.toml");
        fs::write(&empty, "").context("write an empty configuration")?;
        let settings = printed(&[
            "agent",
            "--print-config",
            "--config",
            &empty.display().to_string(),
        ])?;
        let licence = |name: &'static str| anyhow::Ok((name, document(name)?));
        Ok(Self {
            program,
            pages: pages(prints)?,
            completions: [script("bash")?, script("zsh")?, script("fish")?],
            documents: documents::all()?,
            changelog: document("CHANGELOG.md")?,
            licences: [licence("LICENSE-APACHE")?, licence("LICENSE-MIT")?],
            third_party: third_party::texts(target)?,
            settings,
        })
    }

    pub fn all_licences(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let own = self
            .licences
            .iter()
            .map(|(name, text)| (*name, text.as_slice()));
        own.chain([("THIRD-PARTY", self.third_party.as_slice())])
    }

    /// As `/usr` has it.
    pub fn install(&self, tree: &mut Tree) -> Result<()> {
        tree.program("usr/bin/netdiag", self.program.as_slice());
        tree.link("usr/bin/kubectl-netdiag", "netdiag");
        for (name, text) in &self.pages {
            tree.file(&format!("usr/share/man/man1/{name}.gz"), gzip(text)?);
        }
        tree.link("usr/share/man/man1/kubectl-netdiag.1.gz", "netdiag.1.gz");
        let [bash, zsh, fish] = &self.completions;
        for (path, text) in [
            ("bash-completion/completions/netdiag", bash),
            ("zsh/vendor-completions/_netdiag", zsh),
            ("fish/vendor_completions.d/netdiag.fish", fish),
        ] {
            tree.file(&format!("usr/share/{path}"), text.as_slice());
        }
        Ok(())
    }

    /// In one folder, to be unpacked anywhere.
    pub fn tarball(&self, folder: &str) -> Tree {
        let mut tree = Tree::default();
        let at = |path: &str| format!("{folder}/{path}");
        tree.program(&at("netdiag"), self.program.as_slice());
        for (path, text) in &self.documents {
            tree.file(&at(path), text.as_slice());
        }
        tree.file(&at("CHANGELOG.md"), self.changelog.as_slice());
        for (name, text) in self.all_licences() {
            tree.file(&at(name), text);
        }
        for (name, text) in &self.pages {
            tree.file(&at(&format!("man/man1/{name}")), text.as_slice());
        }
        let names = ["netdiag.bash", "_netdiag", "netdiag.fish"];
        for (name, text) in names.iter().zip(&self.completions) {
            tree.file(&at(&format!("completions/{name}")), text.as_slice());
        }
        tree
    }
}

fn document(name: &str) -> Result<Vec<u8>> {
    fs::read(paths::root().join(name)).with_context(|| format!("read {name}"))
}

fn pages(prints: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = paths::target().join("dist-build/man");
    // Pages of commands that are no more must not stay.
    let _ = fs::remove_dir_all(&folder);
    sh::run(binary::command(prints).args(["man", "--dir"]).arg(&folder))?;
    let mut pages = Vec::new();
    for entry in fs::read_dir(&folder).context("read the man pages")? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        pages.push((name, fs::read(&path)?));
    }
    ensure!(!pages.is_empty(), "netdiag wrote no man pages");
    pages.sort();
    Ok(pages)
}
