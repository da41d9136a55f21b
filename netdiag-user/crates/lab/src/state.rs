//! What labs are there: one directory a lab, written before its first namespace is made, so that
//! whatever a killed lab leaves behind is known. Only what stands in there is ever removed.
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::rng::Rng;
use super::{cgroup, keeper, netns};

const DIR: &str = "/run/netdiag/lab";
const FILE: &str = "lab.json";

/// What was asked for: with the id it says everything about a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    pub scenario: String,
    pub seed: u64,
    pub healthy: bool,
    pub ipv6: bool,
    pub offload: bool,
    /// A second scenario in the same nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
}

/// A lab as its directory describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    pub options: Options,
    /// The process that made it, and when that started (clock ticks after boot).
    pub pid: u32,
    pub started: u64,
    /// Left standing by `lab up`: it outlives its process.
    pub standing: bool,
    pub namespaces: Vec<String>,
}

impl Record {
    pub fn dir(&self) -> PathBuf {
        Path::new(DIR).join(&self.id)
    }

    pub fn write(&self) -> Result<()> {
        let path = self.dir().join(FILE);
        let text = serde_json::to_vec_pretty(self).context("cannot describe the lab")?;
        // Never half a record: it is what a killed lab is cleaned up by.
        let new = path.with_extension("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Changes a limit of the whole machine until the lab is removed.
    pub fn machine_sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        let before = fs::read_to_string(&path).with_context(|| format!("cannot read {key}"))?;
        let mut limits = OpenOptions::new();
        let limits = limits.create(true).append(true).open(self.limits());
        let mut limits = limits.context("cannot note the machine's own limit")?;
        writeln!(limits, "{key} {}", before.trim())
            .context("cannot note the machine's own limit")?;
        fs::write(&path, value).with_context(|| format!("cannot set {key}"))
    }

    /// The machine's own limits as they were, in the order in which they were changed.
    fn limits(&self) -> PathBuf {
        self.dir().join("limits")
    }

    fn give_limits_back(&self) {
        let text = fs::read_to_string(self.limits()).unwrap_or_default();
        for (key, before) in text.lines().rev().filter_map(|line| line.split_once(' ')) {
            if let Err(error) = fs::write(Path::new("/proc/sys").join(key), before) {
                log::error!("{key} stays changed: {error}");
            }
        }
    }

    /// Ends the lab's programs, removes the namespaces and then the record, so that a failure
    /// leaves it to the next sweep.
    pub fn remove(&self) -> Result<()> {
        keeper::end(&self.dir());
        self.give_limits_back();
        for name in &self.namespaces {
            netns::remove(name)?;
        }
        cgroup::remove(&self.id);
        let dir = self.dir();
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))
    }

    /// As a person names it.
    fn is(&self, name: &str) -> bool {
        self.id == name || self.options.scenario == name
    }

    fn abandoned(&self) -> bool {
        !self.standing && start_time(self.pid) != Some(self.started)
    }
}

/// A new lab's record, with a free id; leftovers of killed labs are removed first.
pub fn reserve(options: Options, names: impl FnOnce(&str) -> Vec<String>) -> Result<Record> {
    let _lock = lock()?;
    sweep()?;
    let pid = std::process::id();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut rng = Rng::new(now.as_nanos() as u64 ^ u64::from(pid) << 32);
    let (id, dir) = loop {
        let id = rng.hex(4);
        let dir = Path::new(DIR).join(&id);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => {
                made.with_context(|| format!("cannot create {}", dir.display()))?;
                break (id, dir);
            }
        }
    };
    let record = Record {
        namespaces: names(&id),
        id,
        options,
        pid,
        started: start_time(pid).context("cannot read this process's start time")?,
        standing: false,
    };
    record.write().inspect_err(|_| {
        let _ = fs::remove_dir_all(&dir);
    })?;
    Ok(record)
}

/// Every lab that stands or runs.
pub fn all() -> Result<Vec<Record>> {
    let entries = match fs::read_dir(DIR) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {DIR}"))?,
    };
    let dirs = entries.flatten().filter(|entry| entry.path().is_dir());
    Ok(dirs.filter_map(|entry| read(&entry.path()).ok()).collect())
}

/// Removes all labs that stand, or the one that is meant, and what killed ones left. Running ones
/// are left alone.
pub fn down(which: Option<&str>) -> Result<Vec<Record>> {
    let _lock = lock()?;
    let mut swept = sweep()?;
    let standing = match which {
        Some(name) if swept.iter().any(|lab| lab.is(name)) => {
            swept.retain(|lab| lab.is(name));
            return Ok(swept);
        }
        Some(_) => vec![find(which)?],
        None => all()?.into_iter().filter(|lab| lab.standing).collect(),
    };
    for lab in &standing {
        lab.remove()?;
    }
    swept.extend(standing);
    Ok(swept)
}

/// How many labs' namespaces stand whose process was killed.
pub fn abandoned() -> Result<usize> {
    Ok(all()?.iter().filter(|lab| lab.abandoned()).count())
}

/// The lab that a person means: by id, by scenario, or the only one that stands.
pub fn find(which: Option<&str>) -> Result<Record> {
    let labs: Vec<_> = all()?.into_iter().filter(|lab| lab.standing).collect();
    let mut fitting: Vec<_> = labs
        .into_iter()
        .filter(|lab| which.is_none_or(|name| lab.is(name)))
        .collect();
    match (fitting.pop(), fitting.is_empty()) {
        (Some(lab), true) => Ok(lab),
        (Some(_), false) => Err(anyhow!("several labs stand: give the id of one")),
        (None, _) => Err(anyhow!(
            "no such lab stands: start one with `netdiag lab up NAME`"
        )),
    }
}

/// The lab of that id, whether it stands or is being built.
pub fn of_id(id: &str) -> Result<Record> {
    let lab = all()?.into_iter().find(|lab| lab.id == id);
    lab.with_context(|| format!("no lab {id}"))
}

/// Whoever holds this lock is the only one that adds or removes labs.
fn lock() -> Result<Flock<File>> {
    fs::create_dir_all(DIR).with_context(|| format!("cannot create {DIR}: labs need root"))?;
    let dir = File::open(DIR).with_context(|| format!("cannot open {DIR}"))?;
    Flock::lock(dir, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {DIR}"))
}

/// Removes what labs left whose process is gone. The caller holds the lock, so a directory
/// without a record is one whose maker died before it made anything else.
fn sweep() -> Result<Vec<Record>> {
    let mut swept = Vec::new();
    for entry in fs::read_dir(DIR)
        .with_context(|| format!("cannot read {DIR}"))?
        .flatten()
    {
        match read(&entry.path()) {
            Ok(lab) if lab.abandoned() => {
                log::info!("removing lab {} of a process that is gone", lab.id);
                lab.remove()?;
                swept.push(lab);
            }
            Ok(_) => {}
            Err(_) if !entry.path().join(FILE).exists() => {
                let _ = fs::remove_dir_all(entry.path());
            }
            Err(error) => log::warn!("{error:#}: left alone"),
        }
    }
    Ok(swept)
}

fn read(dir: &Path) -> Result<Record> {
    let path = dir.join(FILE);
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", path.display()))
}

/// Field 22 of /proc/PID/stat; the command in field 2 may hold blanks and brackets. None of a
/// process that has ended, though nobody has asked for its exit code yet.
pub(super) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok();
    started.filter(|_| !matches!(state, "Z" | "X"))
}
