//! Pods from a file, for nodes where no other source is there:
//!
//! ```json
//! [ { "namespace": "shop", "name": "cart-5d4f", "addresses": ["10.1.0.5"],
//!     "interface": "veth3f2a" } ]
//! ```
//!
//! `addresses` may hold pods of other nodes too; `interface` (host side) and `netns` (inode) are
//! optional, the node shows them where it can.
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::{
    model::pod::{Origin, Pod},
    sys::file,
};

/// Names of a hundred thousand pods fit.
const LARGEST: usize = 64 << 20;

/// Reads the whole file; the error names it and what is wrong.
pub fn read(path: &Path) -> Result<Vec<Pod>> {
    if let Ok(found) = std::fs::metadata(path) {
        ensure!(
            found.is_file(),
            "--pods: {} is no regular file",
            path.display()
        );
        ensure!(
            found.len() <= LARGEST as u64,
            "--pods: {} is larger than 64 MiB",
            path.display()
        );
    }
    let bytes = file::read(path, LARGEST)
        .with_context(|| format!("--pods: cannot read {}", path.display()))?;
    let mut pods: Vec<Pod> = serde_json::from_slice(&bytes).with_context(|| {
        format!(
            "--pods: {} is not a JSON list of pods (see `netdiag run --help`)",
            path.display()
        )
    })?;
    for pod in &mut pods {
        ensure!(
            !pod.name.is_empty(),
            "--pods: {} has a pod without a name",
            path.display()
        );
        pod.sources = super::said_by(Origin::File);
    }
    Ok(pods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_documentation_shows() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("pods.json");
        let text = r#"[{"namespace":"a","name":"b","addresses":["10.0.0.1","fd00::1"]}]"#;
        std::fs::write(&path, text).expect("written");
        let pods = read(&path).expect("valid");
        assert_eq!(pods[0].addresses.len(), 2);
    }

    #[test]
    fn says_what_is_wrong_with_a_file() {
        let missing = read(Path::new("/no/such/file")).expect_err("missing");
        assert!(format!("{missing:#}").contains("cannot read /no/such/file"));
    }
}
