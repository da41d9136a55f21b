//! Snapshots of what netdiag prints. netdiag-user/docs/ci.md says how they are
//! brought up to date.
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::redact::redacted;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots");
const SUFFIX: &str = ".snap";

/// Which of them.
#[derive(Clone, Copy)]
pub enum Kind {
    /// The JSON verdict of a recording, under the recording's name.
    Verdict,
    /// What is said of other people's incidents.
    Incidents,
    /// A verdict for people, at some width.
    Table,
    /// A page of `--help`.
    Help,
    /// The schema of an output.
    Schema,
}

impl Kind {
    fn folder(self) -> PathBuf {
        match self {
            Self::Verdict => FOLDER.into(),
            Self::Incidents => Path::new(FOLDER).join("incidents"),
            Self::Table => Path::new(FOLDER).join("tables"),
            Self::Help => Path::new(FOLDER).join("help"),
            Self::Schema => Path::new(FOLDER).join("schemas"),
        }
    }
}

/// Fails where the text is another than it was.
pub fn compare(kind: Kind, name: &str, text: &str) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(kind.folder());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, redacted(text)));
}

/// Fails where there are snapshots of what is no more.
pub fn no_orphans(kind: Kind, names: &BTreeSet<String>) {
    let files = std::fs::read_dir(kind.folder()).expect("a folder of snapshots");
    let orphans = files.filter_map(|file| {
        let name = file.expect("a file").file_name().into_string();
        let name = name.expect("a name in ASCII");
        let of = name.strip_suffix(SUFFIX)?;
        (!names.contains(of)).then(|| kind.folder().join(&name))
    });
    let orphans: Vec<PathBuf> = orphans.collect();
    assert!(orphans.is_empty(), "snapshots of nothing: {orphans:#?}");
}
