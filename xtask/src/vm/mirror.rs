//! Where Debian's archives are: this machine's apt knows, or the environment says.
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::kernels::Archive;
use crate::{
    paths,
    sh::{self, say},
};

const VARIABLE: &str = "NETDIAG_DEBIAN_MIRROR";

pub fn of(archive: Archive) -> Result<String> {
    if let Ok(main) = env::var(VARIABLE) {
        return Ok(in_archive(main.trim_end_matches('/'), archive));
    }
    let sites = match sites(None)? {
        known if known.is_empty() => sites(Some(&refreshed()?))?,
        known => known,
    };
    find(&sites, archive).with_context(|| {
        format!("apt's sources name no Debian mirror; set {VARIABLE} to one (http://…/debian)")
    })
}

/// The security archive is the main one's neighbour.
fn in_archive(main: &str, archive: Archive) -> String {
    match archive {
        Archive::Main => main.to_owned(),
        Archive::Security => format!("{main}-security"),
    }
}

fn find(sites: &[(String, String)], archive: Archive) -> Option<String> {
    let labelled = |wanted: &str| {
        let site = sites.iter().find(|(label, _)| label == wanted);
        site.map(|(_, site)| site.trim_end_matches('/').to_owned())
    };
    let main = || labelled("Debian").map(|main| in_archive(&main, archive));
    match archive {
        Archive::Main => main(),
        Archive::Security => labelled("Debian-Security").or_else(main),
    }
}

/// Label and address of each package index that apt has.
fn sites(lists: Option<&Path>) -> Result<Vec<(String, String)>> {
    let mut apt = Command::new("apt-get");
    if let Some(lists) = lists {
        apt.arg("-o")
            .arg(format!("Dir::State::Lists={}", lists.display()));
    }
    apt.args([
        "indextargets",
        "--format",
        "$(LABEL) $(SITE)",
        "Created-By: Packages",
    ]);
    let text = sh::text(&mut apt).with_context(|| {
        format!("ask apt for its mirror; without apt use --kernel FILE, or set {VARIABLE}")
    })?;
    let pair = |line: &str| {
        line.rsplit_once(' ')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
    };
    Ok(text.lines().filter_map(pair).collect())
}

/// Lists of the system's own sources, in a folder of ours: apt tells only of what it has.
fn refreshed() -> Result<PathBuf> {
    say("reading the package lists of apt's sources, to find the Debian mirror");
    let lists = paths::target().join("vm/lists");
    std::fs::create_dir_all(lists.join("partial"))?;
    let mut update = Command::new("apt-get");
    update
        .arg("-o")
        .arg(format!("Dir::State::Lists={}", lists.display()));
    sh::run(update.args(["--quiet", "update"]))?;
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_is_what_apt_says_or_next_to_main() {
        let pair = |label: &str, site: &str| (label.to_owned(), site.to_owned());
        let main = pair("Debian", "http://here/debian/");
        let security = pair("Debian-Security", "http://there/sec");
        let of = |sites: &[_]| find(sites, Archive::Security);
        assert_eq!(
            of(&[main.clone(), security]).as_deref(),
            Some("http://there/sec")
        );
        assert_eq!(of(&[main]).as_deref(), Some("http://here/debian-security"));
    }
}
