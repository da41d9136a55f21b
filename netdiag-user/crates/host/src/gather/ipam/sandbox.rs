//! Which sandboxes live: libcni keeps a result file for each, with the path of its namespace.
use netdiag_lang::english;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use serde_json::Value;

use crate::{
    gather::Places,
    model::{control::Sandbox, verdict::NotChecked},
    sys::file::{self, CONFIG},
};

const FOLDERS: [&str; 2] = ["/var/lib/cni/results", "/var/lib/cni/cache/results"];
/// As many as networks have addresses.
const MOST: usize = 65_536;

/// Container ids, and whether the namespace that the result names is there.
pub struct Sandboxes {
    by_id: HashMap<String, bool>,
    /// Networks that results are kept of. A runtime that keeps none, or keeps them elsewhere, tells
    /// nothing by their absence.
    kept: HashSet<String>,
    /// There are more results than were read: one that none of them names may be alive.
    more: bool,
}

impl Sandboxes {
    pub fn read(places: &Places) -> Self {
        let mut all = Self {
            by_id: HashMap::new(),
            kept: HashSet::new(),
            more: false,
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
        let Ok(listed) = file::list(folder, MOST) else {
            return;
        };
        self.more |= listed.more;
        for entry in listed.entries {
            let text = file::read(&entry.path(), CONFIG).ok();
            let found = text.and_then(|text| serde_json::from_slice(&text).ok());
            self.note(places, &found.unwrap_or_default());
        }
    }

    fn note(&mut self, places: &Places, result: &Value) {
        let Some(id) = result["containerId"].as_str() else {
            return;
        };
        let network = result["networkName"].as_str();
        self.kept.extend(network.map(str::to_owned));
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

    /// What is not known of them.
    pub fn left(&self) -> Option<NotChecked> {
        self.more.then(|| {
            let what = english!("results of CNI plugins beyond the first {MOST}");
            NotChecked::new(
                what,
                "addresses that they do not name are not told as leaked",
            )
        })
    }

    pub fn state(&self, network: &str, id: &str) -> Sandbox {
        match self.by_id.get(id) {
            Some(true) => Sandbox::Alive,
            Some(false) => Sandbox::Gone,
            None if self.kept.contains(network) && !self.more => Sandbox::Gone,
            None => Sandbox::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_result_names_is_gone_where_results_are_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let places = Places {
            root: dir.path().to_owned(),
            cni_dir: Some(dir.path().join("results")),
            ..Places::default()
        };
        let folder = dir.path().join("results");
        std::fs::create_dir(&folder).expect("made");
        assert_eq!(
            Sandboxes::read(&places).state("cbr0", "a"),
            Sandbox::Unknown
        );
        std::fs::create_dir(dir.path().join("here")).expect("made");
        for (id, path) in [("a", "/here"), ("b", "/gone")] {
            let text = format!(
                r#"{{"containerId":"{id}","networkName":"cbr0","result":{{"interfaces":[
                    {{"name":"eth0","sandbox":"{path}"}}]}}}}"#
            );
            std::fs::write(folder.join(id), text).expect("written");
        }
        let mut all = Sandboxes::read(&places);
        let state = |network, id| all.state(network, id);
        assert_eq!(state("cbr0", "a"), Sandbox::Alive);
        assert_eq!(state("cbr0", "b"), Sandbox::Gone);
        assert_eq!(state("cbr0", "c"), Sandbox::Gone);
        assert_eq!(state("other", "c"), Sandbox::Unknown);
        assert_eq!(all.left(), None);
        all.more = true;
        assert_eq!(all.state("cbr0", "b"), Sandbox::Gone);
        assert_eq!(all.state("cbr0", "c"), Sandbox::Unknown, "another names it");
        assert!(all.left().is_some());
    }
}
