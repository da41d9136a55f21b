//! What a running netdiag has put on this node's links, written down before it is put there, so
//! that the next start or `netdiag cleanup` can take away exactly that after a kill.
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Folder of the ledgers, one file per process.
pub const FOLDER: &str = "/run/netdiag/trace";

/// One link that filters were attached to by clsact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub ifindex: u32,
    pub interface: String,
    /// We created the clsact qdisc: it goes too, when nobody else's filter is on it.
    pub qdisc_ours: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub pid: u32,
    /// Start time of the process in clock ticks since boot: pids are reused.
    pub started: u64,
    /// Inode of the namespace that the links are in.
    pub netns: u32,
    /// Handle of our filters.
    pub handle: u32,
    pub entries: Vec<Entry>,
    #[serde(skip)]
    pub path: PathBuf,
}

impl Ledger {
    /// A ledger for this process.
    pub fn open(netns: u32, handle: u32) -> Result<Self> {
        let pid = std::process::id();
        let started = start_time(pid).context("reading this process's start time")?;
        let path = Path::new(FOLDER).join(format!("{pid}-{netns}.json"));
        Ok(Self {
            pid,
            started,
            netns,
            handle,
            entries: Vec::new(),
            path,
        })
    }

    /// Writes the ledger as a whole: a reader sees the old one or the new one.
    pub fn save(&self) -> Result<()> {
        std::fs::create_dir_all(FOLDER).with_context(|| format!("creating {FOLDER}"))?;
        let text = serde_json::to_vec(self).context("encoding the ledger")?;
        let new = self.path.with_extension("new");
        std::fs::write(&new, text).with_context(|| format!("writing {}", new.display()))?;
        std::fs::rename(&new, &self.path)
            .with_context(|| format!("writing {}", self.path.display()))
    }

    pub fn remove(&self) {
        if let Err(e) = std::fs::remove_file(&self.path)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("removing {}: {e}", self.path.display());
        }
    }

    /// Links of this namespace whose qdisc another running netdiag created.
    pub fn qdiscs_of_others(&self) -> HashSet<(u32, String)> {
        let here = |l: &Self| l.netns == self.netns && l.path != self.path && l.alive();
        all()
            .into_iter()
            .filter(here)
            .flat_map(|l| l.entries)
            .filter(|e| e.qdisc_ours)
            .map(|e| (e.ifindex, e.interface))
            .collect()
    }

    /// Whether the process that wrote it is still the one with its pid.
    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

/// Ledgers of processes that are gone.
pub fn orphans() -> Vec<Ledger> {
    all().into_iter().filter(|l| !l.alive()).collect()
}

/// Every ledger. A file that is none is left alone.
fn all() -> Vec<Ledger> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        match serde_json::from_slice::<Ledger>(&bytes) {
            Ok(ledger) => found.push(Ledger { path, ..ledger }),
            Err(e) => log::warn!("{} is no ledger of netdiag's: {e}", path.display()),
        }
    }
    found
}

/// Field 22 of /proc/PID/stat, nothing for a process that has ended. The name before it may hold
/// spaces and parentheses.
pub fn start_time(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    // A zombie whose parent does not reap it has ended all the same.
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
