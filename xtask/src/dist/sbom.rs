//! What the program is made of, as CycloneDX (a software bill of materials).
use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use super::About;
use crate::{
    paths,
    setup::cargo_tool::CYCLONEDX,
    sh::{self},
};

/// cargo-cyclonedx writes a file of this name beside every member's manifest.
const STEM: &str = "netdiag-dist.cdx";

pub fn list(about: &About) -> Result<Vec<u8>> {
    let program = CYCLONEDX.ensure()?;
    let mut command = Command::new(program);
    command.current_dir(paths::root());
    command.args(["cyclonedx", "--format", "json", "--all", "--quiet"]);
    command.args(["--spec-version", "1.5", "--target", about.target.triple]);
    command.args(["--override-filename", STEM]);
    // No time but the sources', and no random number either.
    command.env("SOURCE_DATE_EPOCH", about.time.to_string());
    let listed = sh::run(&mut command).and_then(|()| {
        let file = paths::root().join("netdiag-user").join(file_name());
        fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
    });
    for left in left()? {
        let _ = fs::remove_file(left);
    }
    Ok(without_folders(&listed?).into_bytes())
}

fn file_name() -> String {
    format!("{STEM}.json")
}

/// The file of each member, where it is.
fn left() -> Result<Vec<PathBuf>> {
    let mut cargo = sh::cargo();
    cargo.args([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ]);
    let known: Value = serde_json::from_str(&sh::text(&mut cargo)?)?;
    let members = known["packages"].as_array().into_iter().flatten();
    let manifests = members.filter_map(|it| it["manifest_path"].as_str());
    Ok(manifests
        .map(|it| PathBuf::from(it).with_file_name(file_name()))
        .collect())
}

/// Where it was made is nobody's business, and another place must give the same.
fn without_folders(text: &str) -> String {
    text.replace(&paths::root().display().to_string(), "/netdiag")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_folder_is_in_no_list() {
        let root = paths::root().display().to_string();
        let text = format!(r#"{{"bom-ref":"path+file://{root}/xtask#0.1.0"}}"#);
        let wanted = r#"{"bom-ref":"path+file:///netdiag/xtask#0.1.0"}"#;
        assert_eq!(without_folders(&text), wanted);
    }

    #[test]
    fn every_member_is_swept() {
        let left = left().expect("cargo knows its members");
        assert!(left.contains(&paths::root().join("netdiag-user").join(file_name())));
    }
}
