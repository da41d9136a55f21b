//! One recording of the ring's last minutes, as a run that began then would have made it: each reading
//! less the counts of the first one ([`Baseline`]), compared with the node as it was there.
//!
//! What an agent wrote that ended before is of other tables, which count from zero, and is left out.
//! Drops of a place whose rows the kernel gave to others, and which the agent then forgot, can be
//! told as fewer than they were.
use std::{
    fs::File,
    io::{self, BufReader},
    path::Path,
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use crate::{
    baseline::Baseline,
    history::{Segment, segments},
    model::{node::Node, observation::Observation},
    pipeline::scene::Scene,
    recording::{Recorder, Replay},
};

/// A first reading that is no older than this saw the agent's beginning: all that it counted is of the
/// minutes that are asked for, ns.
const BEGINNING: u64 = 5_000_000_000;

/// What a snapshot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub readings: usize,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Segments of the minutes asked for that an earlier agent wrote.
    pub earlier: usize,
}

/// Where a snapshot begins.
struct Beginning {
    base: Baseline,
    node: Node,
}

/// Writes what the ring in `folder` has of the time since then.
pub fn take(folder: &Path, since: Timestamp, to: Recorder<File>) -> Result<Taken> {
    let before = SystemTime::from(since);
    let mut all = segments(folder)?;
    if all.is_empty() {
        bail!(
            "{} has no history: an agent keeps one in the folder that its --history names",
            folder.display()
        );
    }
    all.retain(|it| it.written >= before);
    let Some((last, hooked)) = last_run(&all)? else {
        bail!(
            "{} has nothing of the time since {since:.0}: an agent that runs writes every two seconds",
            folder.display()
        );
    };
    // One that has just begun has no reading yet, or gets its first one now.
    all.truncate(last + 1);
    let mut writing = Writing {
        since,
        hooked,
        to,
        beginning: None,
        taken: None,
        earlier: 0,
    };
    for segment in &all {
        if let Some(replay) = open(segment)? {
            writing.segment(segment, replay)?;
        }
    }
    writing.close(folder)
}

/// The last segment with a reading in it, and when the hooks were there of the agent that wrote it.
fn last_run(all: &[Segment]) -> Result<Option<(usize, u64)>> {
    for (at, segment) in all.iter().enumerate().rev() {
        if let Some(mut replay) = open(segment)?
            && replay.tick().is_some()
        {
            return Ok(Some((at, replay.scene.run.hooked)));
        }
    }
    Ok(None)
}

/// Nothing where the agent has just removed it, or just made it.
fn open(segment: &Segment) -> Result<Option<Replay<BufReader<File>>>> {
    let cannot = || format!("cannot read {}", segment.path.display());
    match crate::sys::file::plain(&segment.path) {
        Ok(file) if segment.bytes > 0 => {
            let replay = Replay::from(BufReader::new(file));
            replay.map(Some).with_context(cannot)
        }
        Ok(_) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(cannot),
    }
}

struct Writing {
    since: Timestamp,
    hooked: u64,
    to: Recorder<File>,
    beginning: Option<Beginning>,
    taken: Option<Taken>,
    earlier: usize,
}

impl Writing {
    fn segment(&mut self, segment: &Segment, mut replay: Replay<BufReader<File>>) -> Result<()> {
        while let Some(reading) = replay.tick() {
            if replay.scene.run.hooked != self.hooked {
                self.earlier += 1;
                return Ok(());
            }
            self.reading(&mut replay.scene, reading)?;
        }
        if let Some(why) = replay.refused() {
            bail!(
                "{} is no history of an agent's: {why}",
                segment.path.display()
            );
        }
        Ok(())
    }

    fn reading(&mut self, scene: &mut Scene, mut reading: Observation) -> Result<()> {
        let time = scene.clock.time(reading.now);
        if self.beginning.is_none() && reading.now.saturating_sub(self.hooked) <= BEGINNING {
            self.beginning = Some(Beginning {
                base: Baseline::nothing(self.hooked),
                node: scene.node.clone(),
            });
        } else if self.beginning.is_none() || time < self.since {
            self.beginning = Some(Beginning {
                base: Baseline::new(&reading),
                node: scene.node.clone(),
            });
        }
        let Some(Beginning { base, node }) = &self.beginning else {
            return Ok(());
        };
        if time < self.since {
            return Ok(());
        }
        let mut seen = base.since(&reading);
        seen.events = std::mem::take(&mut reading.events);
        scene.run.started = base.at;
        scene.start.clone_from(node);
        self.to.put(scene, &mut seen).context("writing it")?;
        let taken = self.taken.get_or_insert(Taken {
            readings: 0,
            from: scene.clock.time(base.at),
            to: time,
            earlier: 0,
        });
        taken.readings += 1;
        taken.to = time;
        Ok(())
    }

    fn close(self, folder: &Path) -> Result<Taken> {
        self.to.close().context("writing it")?;
        let Some(taken) = self.taken else {
            bail!("{} has no whole reading yet", folder.display());
        };
        Ok(Taken {
            earlier: self.earlier,
            ..taken
        })
    }
}
