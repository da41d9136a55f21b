//! The folder for `kubectl apply -k`, of which a part is the user's.
use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{
    manifests::{BASE, File},
    model::text,
    output::{self, Sink},
    sys::file,
};

/// Characters of a file's name, where it is named.
const LONGEST: usize = 200;
/// Files of a base that are looked at: netdiag writes a dozen.
const MOST: usize = 1000;

/// Files of those names are written anew, but for those that are the user's; each is told.
pub fn write(folder: &Path, files: &[File]) -> Result<()> {
    for file in files {
        let path = folder.join(&file.path);
        // A link that leads nowhere is the user's, too.
        let is_there = path.symlink_metadata().is_ok();
        if file.is_yours && is_there {
            output::line(&format!("kept   {}", shown(&path)))?;
            continue;
        }
        if let Some(parent) = path.parent() {
            let made = fs::create_dir_all(parent);
            made.with_context(|| format!("making {}", parent.display()))?;
        }
        Sink::open(Some(&path))?.write(&file.text)?;
        output::line(&format!("wrote  {}", shown(&path)))?;
    }
    for path in left_over(folder, files)? {
        log::warn!("{path} is no longer part of the base: nothing reads it");
    }
    Ok(())
}

/// What an earlier run wrote for other options.
fn left_over(folder: &Path, files: &[File]) -> Result<Vec<String>> {
    let base = folder.join(BASE);
    let listed = file::list(&base, MOST);
    let listed = listed.with_context(|| format!("reading {}", base.display()))?;
    let mut left = Vec::new();
    for entry in listed.entries {
        let path = entry.path();
        let is_yaml = path.extension().is_some_and(|it| it == "yaml");
        if is_yaml && !files.iter().any(|file| folder.join(&file.path) == path) {
            left.push(shown(&path));
        }
    }
    left.sort();
    Ok(left)
}

fn shown(path: &Path) -> String {
    text::line(&path.display().to_string(), LONGEST)
}
