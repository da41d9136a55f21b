//! The last minutes on the node's own disk: recordings one after the other, the oldest of which goes
//! when there are too many. `netdiag agent snapshot` makes one recording of them, see
//! [`crate::snapshot`].
//!
//! A segment begins with all that is known and goes on with what changes, so each can be read without
//! those before it. Its counts are the kernel's, from when the agent began: by itself it is no
//! recording of those minutes.
use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use netdiag_common::event::Event;
use nix::{
    fcntl::{Flock, FlockArg},
    unistd::geteuid,
};

use crate::{
    model::observation::Observation,
    pipeline::scene::Scene,
    recording::Recorder,
    sys::{file, output_file},
};

/// The ring is cut into so many: with the oldest goes an eighth of it.
const SEGMENTS: u32 = 8;
/// ns between two readings that are kept: counts are of all packets all the same.
const EVERY: u64 = 2_000_000_000;
/// And between two large ones, each of which is megabytes.
const RARELY: u64 = 10_000_000_000;
/// Rows of a large one.
const LARGE: usize = 2048;
/// Samples of packets that are kept from one of them to the next.
const SAMPLES: usize = 1024;
/// After a failure, as of a full disk, it is tried again in so many ns.
const AGAIN: u64 = 60_000_000_000;
/// Names in the folder that are looked at.
const MOST_NAMES: usize = 4096;
const LOCK: &str = "lock";
const END: &str = ".segment";
const DIGITS: usize = 10;

/// How much of the past there is at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub time: Duration,
    pub bytes: u64,
}

/// Who writes the ring.
pub struct History {
    folder: PathBuf,
    extent: Extent,
    /// Nobody else writes there as long as it is held.
    _lock: Flock<fs::File>,
    open: Option<Open>,
    next: u64,
    /// No reading is taken before, `CLOCK_MONOTONIC` ns.
    due: u64,
    events: Vec<Event>,
}

struct Open {
    recorder: Recorder,
    path: PathBuf,
    /// `CLOCK_MONOTONIC` ns.
    began: u64,
}

/// One file of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub number: u64,
    pub path: PathBuf,
    pub bytes: u64,
    /// When it was written to last.
    pub written: SystemTime,
}

impl History {
    /// Makes the folder where there is none, for its owner alone. What an agent left there before stays
    /// as long as it would have.
    pub fn open(folder: &Path, extent: Extent) -> Result<Self> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("cannot make {}", folder.display()))?;
        own(folder)?;
        let lock = output_file::create(&folder.join(LOCK));
        let lock = lock.with_context(|| format!("cannot write to {}", folder.display()))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, why)| why);
        let held = || format!("another agent keeps its history in {}", folder.display());
        let lock = lock.with_context(held)?;
        let next = segments(folder)?.last().map_or(1, |last| last.number + 1);
        Ok(Self {
            folder: folder.to_owned(),
            extent,
            _lock: lock,
            open: None,
            next,
            due: 0,
            events: Vec::new(),
        })
    }

    /// Keeps a reading where it is time to. After an error the next attempt is in a minute.
    pub fn put(&mut self, scene: &Scene, reading: &mut Observation) -> Result<()> {
        let room = SAMPLES.saturating_sub(self.events.len());
        self.events
            .extend(reading.events.iter().take(room).cloned());
        if reading.now < self.due {
            return Ok(());
        }
        let kept = self.keep(scene, reading);
        self.due = reading.now
            + match &kept {
                Err(_) => AGAIN,
                Ok(()) if reading.flows.len() + reading.drops.len() >= LARGE => RARELY,
                Ok(()) => EVERY,
            };
        if kept.is_err() {
            // It ends like one whose writer was killed.
            self.open = None;
        }
        kept
    }

    fn keep(&mut self, scene: &Scene, reading: &mut Observation) -> Result<()> {
        if self
            .open
            .as_ref()
            .is_none_or(|it| self.is_full(it, reading.now))
        {
            self.begin(reading.now)?;
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let own = std::mem::replace(&mut reading.events, std::mem::take(&mut self.events));
        let put = open.recorder.put(scene, reading);
        reading.events = own;
        put.with_context(|| format!("cannot write {}", open.path.display()))
    }

    fn is_full(&self, open: &Open, now: u64) -> bool {
        let time = self.extent.time / SEGMENTS;
        let bytes = fs::metadata(&open.path).map_or(0, |found| found.len());
        Duration::from_nanos(now.saturating_sub(open.began)) >= time
            || bytes >= self.extent.bytes / u64::from(SEGMENTS)
    }

    fn begin(&mut self, now: u64) -> Result<()> {
        if let Some(open) = self.open.take() {
            let closed = open.recorder.close();
            closed.with_context(|| format!("cannot write {}", open.path.display()))?;
        }
        self.prune(SystemTime::now())?;
        let path = self.folder.join(format!("{:0DIGITS$}{END}", self.next));
        let recorder = Recorder::create(&path)?;
        self.next += 1;
        self.open = Some(Open {
            recorder,
            path,
            began: now,
        });
        Ok(())
    }

    /// Makes room for one more.
    fn prune(&self, now: SystemTime) -> Result<()> {
        let one = self.extent.bytes / u64::from(SEGMENTS);
        let longest = self.extent.time + self.extent.time / SEGMENTS;
        let all = segments(&self.folder)?;
        let mut bytes: u64 = all.iter().map(|it| it.bytes).sum();
        for old in all {
            let age = now.duration_since(old.written).unwrap_or_default();
            if bytes + one <= self.extent.bytes && age <= longest {
                break;
            }
            let gone = fs::remove_file(&old.path);
            gone.with_context(|| format!("cannot remove {}", old.path.display()))?;
            bytes -= old.bytes;
        }
        Ok(())
    }

    /// Says that the end is meant.
    pub fn close(self) -> io::Result<()> {
        self.open.map_or(Ok(()), |open| open.recorder.close())
    }
}

/// In what others may write to, they could put anything in place of a segment.
fn own(folder: &Path) -> Result<()> {
    let found = fs::symlink_metadata(folder);
    let found = found.with_context(|| format!("cannot look at {}", folder.display()))?;
    let name = folder.display();
    if !found.is_dir() {
        bail!("{name} is no folder");
    }
    if found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
        bail!("{name} must be its writer's own, and nobody else may write there: chmod 700 {name}");
    }
    Ok(())
}

/// Files of the ring in their order; others in the folder are nobody's concern.
pub fn segments(folder: &Path) -> Result<Vec<Segment>> {
    let list = file::list(folder, MOST_NAMES);
    let list = list.with_context(|| format!("cannot read {}", folder.display()))?;
    let mut all: Vec<Segment> = list.entries.iter().filter_map(segment).collect();
    all.sort_by_key(|it| it.number);
    Ok(all)
}

fn segment(entry: &fs::DirEntry) -> Option<Segment> {
    let name = entry.file_name().into_string().ok()?;
    let digits = name.strip_suffix(END)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    // Of a link that is the link itself.
    let found = entry.metadata().ok().filter(|it| plain && it.is_file())?;
    Some(Segment {
        number: digits.parse().ok()?,
        path: entry.path(),
        bytes: found.len(),
        written: found.modified().ok()?,
    })
}

#[cfg(test)]
mod tests;
