//! The one folder whose recordings may be read.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{super::Usage, calls::MOST_NAMES};
use crate::{model::text, sys::file};

/// Names that are told to who asks for none.
const MOST_TOLD: usize = 50;
/// Entries of the folder that are looked at for them.
const MOST_LISTED: usize = 10_000;

pub struct Recordings {
    /// Without symbolic links.
    folder: PathBuf,
}

impl Recordings {
    pub fn open(folder: &Path) -> Result<Self> {
        let real = folder.canonicalize();
        let folder = real.with_context(|| format!("--recordings {}", folder.display()))?;
        match folder.is_dir() {
            true => Ok(Self { folder }),
            false => Err(Usage("--recordings: it is no folder".into()).into()),
        }
    }

    /// The files of these names, or the sentence that says why not.
    pub fn files(&self, names: &[String]) -> Result<Vec<PathBuf>, String> {
        match names.len() {
            0 => Err(format!("name a recording: {}", self.known())),
            1..=MOST_NAMES => names.iter().map(|name| self.file(name)).collect(),
            _ => Err(format!("at most {MOST_NAMES} recordings at once")),
        }
    }

    /// A plain file right in the folder; a link to one there is as good.
    fn file(&self, name: &str) -> Result<PathBuf, String> {
        let shown = text::line(name, 100);
        let none = || format!("'{shown}' is no recording here: {}", self.known());
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        if !plain {
            return Err(none());
        }
        let real = self.folder.join(name).canonicalize().map_err(|_| none())?;
        let inside = real.parent() == Some(&*self.folder) && real.is_file();
        inside.then_some(real).ok_or_else(none)
    }

    fn known(&self) -> String {
        let entries = file::entries(&self.folder, MOST_LISTED).into_iter();
        let names = entries.filter_map(|it| it.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".ndr")).collect();
        names.sort();
        let more = names.len().saturating_sub(MOST_TOLD);
        let told = names
            .iter()
            .take(MOST_TOLD)
            .map(|name| text::line(name, 100));
        match (told.collect::<Vec<_>>().join(", "), more) {
            (told, _) if told.is_empty() => "there are none".into(),
            (told, 0) => format!("there are {told}"),
            (told, more) => format!("there are {told} and {more} more"),
        }
    }
}
