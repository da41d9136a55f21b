//! Where the pages' links lead: to files, folders and headings that are there. What is on other
//! machines is looked at for its form alone: a check must not need the network.
use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result};

use super::source::Source;
use crate::markdown::{self, Link};

/// Of the repository's own pages; what is built and fetched has others.
pub fn pages(root: &Path) -> Result<Vec<Source>> {
    const ELSEWHERE: [&str; 2] = ["target", ".git"];
    let mut folders = vec![PathBuf::new()];
    let mut pages = Vec::new();
    while let Some(folder) = folders.pop() {
        let at = root.join(&folder);
        for entry in fs::read_dir(&at).with_context(|| at.display().to_string())? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                if !ELSEWHERE.iter().any(|it| path == Path::new(it)) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|it| it == "md") {
                let text =
                    fs::read_to_string(entry.path()).with_context(|| path.display().to_string())?;
                let path = path.to_string_lossy().into_owned();
                pages.push(Source { path, text });
            }
        }
    }
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(pages)
}

/// Each link that leads nowhere, by page and line.
pub fn broken(root: &Path, pages: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for page in pages {
        for link in markdown::links(&page.text) {
            if let Err(why) = leads(root, pages, page, &link) {
                let line = page.text[..link.all.start].matches('\n').count() + 1;
                problems.push(format!("{}:{line}: {why}", page.path));
            }
        }
    }
    problems
}

fn leads(root: &Path, pages: &[Source], page: &Source, link: &Link) -> Result<(), String> {
    let Some(to) = &link.to else {
        return Err("a reference that is nowhere defined".to_owned());
    };
    if let Some((scheme, rest)) = to.split_once(':') {
        return match is_address(scheme, rest) {
            true => Ok(()),
            false => Err(format!("{to} is no address")),
        };
    }
    let (path, anchor) = match to.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (to.as_str(), None),
    };
    let path = match path {
        "" => page.path.clone(),
        path => resolve(&page.path, path).ok_or_else(|| format!("{to} leaves the repository"))?,
    };
    if !root.join(&path).exists() {
        return Err(format!("{to}: there is no {path}"));
    }
    let Some(anchor) = anchor else {
        return Ok(());
    };
    let there = pages.iter().find(|it| it.path == path);
    let anchors = there.map(|it| markdown::anchors(&it.text));
    match anchors.is_some_and(|it| it.iter().any(|name| name == anchor)) {
        true => Ok(()),
        false => Err(format!("{to}: {path} has no heading {anchor}")),
    }
}

/// From the repository's folder; none for what lies outside.
pub fn resolve(page: &str, link: &str) -> Option<String> {
    let mut path = Path::new(page).parent()?.to_path_buf();
    for part in Path::new(link).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => path.pop().then_some(())?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path.to_string_lossy().into_owned())
}

fn is_address(scheme: &str, rest: &str) -> bool {
    let Some(rest) = rest
        .strip_prefix("//")
        .filter(|_| scheme.starts_with("http"))
    else {
        return scheme == "mailto" && rest.contains('@');
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '`');
    matches!(scheme, "http" | "https")
        && host.contains('.')
        && host.chars().all(is_name)
        && rest.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn what_leads_nowhere_is_named_with_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::create_dir_all(root.join("a/docs")).expect("made");
        let text = "# One\n\n[back](../../README.md#the-end)\n[own](#one)\n[folder](..)\n\
                    ![gone](no.svg)\n[heading](../../README.md#no)\n[own](#two)\n[out](../../../x)\n\
                    [root](/etc/passwd)\n[ref][nowhere]\n";
        let readme = "# The end\n[page](a/docs/one.md#one) [web](https://example.com/a?b#c)\n\
                      [bad](https://exa mple.com) [bad](<https://exa mple.com>) [bad](https:///x) [bad](ftp:x)\n";
        fs::write(root.join("README.md"), readme).expect("written");
        fs::write(root.join("a/docs/one.md"), text).expect("written");
        fs::create_dir(root.join("target")).expect("made");
        fs::write(root.join("target/x.md"), "[no](no)").expect("written");
        let pages = pages(root).expect("read");
        let found = broken(root, &pages);
        let wanted = [
            "README.md:3: https://exa mple.com is no address",
            "README.md:3: https:///x is no address",
            "README.md:3: ftp:x is no address",
            "a/docs/one.md:6: no.svg: there is no a/docs/no.svg",
            "a/docs/one.md:7: ../../README.md#no: README.md has no heading no",
            "a/docs/one.md:8: #two: a/docs/one.md has no heading two",
            "a/docs/one.md:9: ../../../x leaves the repository",
            "a/docs/one.md:10: /etc/passwd leaves the repository",
            "a/docs/one.md:11: a reference that is nowhere defined",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_file_has_no_headings() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("x.rs"), "// # a\n").expect("written");
        let found = broken(folder.path(), &[page("p.md", "[x](x.rs) [x](x.rs#a)\n")]);
        assert_eq!(found, ["p.md:1: x.rs#a: x.rs has no heading a"]);
    }
}
