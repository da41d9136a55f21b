//! The licences of what is linked into the program: most want their text to go along.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::target::Target;
use crate::sh;

/// How names of such files begin, in small letters.
const NAMES: [&str; 4] = ["licen", "copying", "notice", "copyright"];

const HEAD: &str = "netdiag is linked with these crates. Each is named with its licence; the texts \
                    that they bring follow.\n\n";

/// One text: a line for each crate, then each text once, with whose it is.
pub fn texts(target: &Target) -> Result<Vec<u8>> {
    let mut cargo = sh::cargo();
    cargo.args(["metadata", "--locked", "--format-version", "1"]);
    cargo.args(["--filter-platform", target.triple]);
    let known: Value = serde_json::from_str(&sh::text(&mut cargo)?)?;
    let linked = linked(&known).context("cargo's metadata lacks what it should have")?;
    let mut crates = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in known["packages"].as_array().into_iter().flatten() {
        let word = |key: &str| package[key].as_str().unwrap_or_default();
        // Our own are in the licences of netdiag.
        if !linked.contains(word("id")) || package["source"].is_null() {
            continue;
        }
        let name = format!("{} {}", word("name"), word("version"));
        crates += &format!("{name}: {}\n", word("license"));
        let folder = Path::new(word("manifest_path")).parent();
        for text in brought(folder.context("a manifest without a folder")?)? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    let mut by_crate: Vec<_> = texts.into_iter().map(|(text, of)| (of, text)).collect();
    by_crate.sort();
    let rule = "-".repeat(72);
    let each = by_crate.into_iter().map(|(of, text)| {
        let of = of.join(", ");
        format!("\n{rule}\n{of}\n{rule}\n\n{}\n", text.trim())
    });
    Ok(format!("{HEAD}{crates}{}", each.collect::<String>()).into_bytes())
}

/// The ids of what the program's normal dependencies lead to.
fn linked(known: &Value) -> Option<BTreeSet<&str>> {
    let nodes: BTreeMap<&str, &Value> = known["resolve"]["nodes"]
        .as_array()?
        .iter()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let is_ours = |package: &&Value| package["name"] == "netdiag-user";
    let ours = known["packages"].as_array()?.iter().find(is_ours)?;
    let mut todo = vec![ours["id"].as_str()?];
    let mut found = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if found.insert(id) {
            let all = nodes.get(id)?["deps"].as_array()?.iter();
            let normal = all.filter(|it| kinds(it).any(|kind| kind.is_null()));
            todo.extend(normal.filter_map(|it| it["pkg"].as_str()));
        }
    }
    Some(found)
}

/// A normal dependency's is null.
fn kinds(dependency: &Value) -> impl Iterator<Item = &Value> {
    let all = dependency["dep_kinds"].as_array().into_iter().flatten();
    all.map(|it| &it["kind"])
}

fn brought(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if entry.file_type()?.is_file() && NAMES.iter().any(|it| name.starts_with(it)) {
            files.push(entry.path());
        }
    }
    files.sort();
    let text = |path: &std::path::PathBuf| {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))
    };
    files.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_linked_counts() {
        let needs = |id: &str, kind: Value| json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] });
        let known = json!({
            "packages": [{ "id": "own", "name": "netdiag-user" }],
            "resolve": { "nodes": [
                { "id": "own", "deps": [needs("a", json!(null)), needs("b", json!("build"))] },
                { "id": "a", "deps": [needs("c", json!(null)), needs("own", json!("dev"))] },
                { "id": "b", "deps": [] },
                { "id": "c", "deps": [] },
            ]},
        });
        let found = linked(&known).expect("a graph");
        assert_eq!(found, BTreeSet::from(["a", "c", "own"]));
    }

    #[test]
    fn texts_of_a_crate_are_found_by_their_names() {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in [("LICENSE-MIT", "mit\r\n"), ("src.rs", ""), ("COPYING", "c")] {
            fs::write(dir.path().join(name), text).expect("written");
        }
        assert_eq!(brought(dir.path()).expect("read"), ["c", "mit\n"]);
    }
}
