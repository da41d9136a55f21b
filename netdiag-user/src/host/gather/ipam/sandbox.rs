//! Which sandboxes live: libcni keeps a result file for each, with the path of its namespace.
use std::{collections::HashMap, path::Path};

use serde_json::Value;

use crate::{host::gather::Places, model::control::Sandbox};

const FOLDERS: [&str; 2] = ["/var/lib/cni/results", "/var/lib/cni/cache/results"];
const LARGEST: u64 = 1 << 20;

/// Container ids, and whether the namespace that the result names is there.
pub struct Sandboxes {
    by_id: HashMap<String, bool>,
    /// Runtimes that keep no results tell nothing by their absence.
    kept: bool,
}

impl Sandboxes {
    pub fn read(places: &Places) -> Self {
        let mut all = Self {
            by_id: HashMap::new(),
            kept: false,
        };
        match &places.cni_dir {
            Some(dir) => all.take(places, dir),
            None => {
                let folders = FOLDERS.map(|f| places.under_root(Path::new(f)));
                folders.iter().for_each(|folder| all.take(places, folder));
            }
        }
        all
    }

    fn take(&mut self, places: &Places, folder: &Path) {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        self.kept = true;
        for entry in entries.flatten() {
            let small = entry
                .metadata()
                .is_ok_and(|m| m.is_file() && m.len() <= LARGEST);
            let text = small.then(|| std::fs::read(entry.path()).ok()).flatten();
            let found = text.and_then(|text| serde_json::from_slice(&text).ok());
            self.note(places, &found.unwrap_or_default());
        }
    }

    fn note(&mut self, places: &Places, result: &Value) {
        let Some(id) = result["containerId"].as_str() else {
            return;
        };
        let interfaces = result["result"]["interfaces"].as_array();
        let paths = interfaces.into_iter().flatten();
        let mut paths = paths
            .filter_map(|i| i["sandbox"].as_str())
            .filter(|p| !p.is_empty());
        let there = |path: &str| places.under_root(Path::new(path)).exists();
        // A result without a namespace's path says no more than that there is one.
        let alive = paths.next().is_none_or(there) || paths.any(there);
        let entry = self.by_id.entry(id.to_owned()).or_default();
        *entry |= alive;
    }

    pub fn state(&self, id: &str) -> Sandbox {
        match self.by_id.get(id) {
            Some(true) => Sandbox::Alive,
            Some(false) => Sandbox::Gone,
            None if self.kept => Sandbox::Gone,
            None => Sandbox::Unknown,
        }
    }
}
