//! The workspace's Rust files and manifests, and what in them is code.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

pub struct Source {
    /// From the workspace's folder.
    pub path: String,
    pub text: String,
}

pub fn all(root: &Path) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    for package in [
        "netdiag-common",
        "netdiag-ebpf",
        "netdiag-user",
        "tests",
        "xtask",
    ] {
        walk(&root.join(package), &mut found)?;
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let path = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        Ok(Source { path, text })
    };
    found.into_iter().map(read).collect()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|it| it == "rs") || path.ends_with("Cargo.toml") {
            found.push(path);
        }
    }
    Ok(())
}

/// Without the tests at its end; modules of tests in files of their own are only named.
pub fn untested(text: &str) -> &str {
    const TESTS: &str = "#[cfg(test)]\nmod ";
    let block = |at: &usize| {
        let rest = text[at + TESTS.len()..].lines().next().unwrap_or_default();
        rest.contains('{')
    };
    let mut begins = text.match_indices(TESTS).map(|(at, _)| at);
    let end = begins.find(block).unwrap_or(text.len());
    &text[..end]
}

/// The line without its strings and its comment.
pub fn code(line: &str) -> String {
    let unescaped = line.replace("\\\"", "");
    let bare: String = unescaped
        .split('"')
        .step_by(2)
        .collect::<Vec<_>>()
        .join("\"\"");
    bare.split("//").next().unwrap_or_default().to_owned()
}

pub fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|it| it == word)
}

#[cfg(test)]
mod tests {
    use super::{code, has_word};

    #[test]
    fn strings_and_comments_are_not_code() {
        assert_eq!(
            code("let a = \"x::y()\"; // x::y()").trim_end(),
            "let a = \"\";"
        );
        assert!(!has_word("unsafe_code", "unsafe"));
        assert!(has_word("#[unsafe(no_mangle)]", "unsafe"));
    }
}
