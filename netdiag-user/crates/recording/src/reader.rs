//! Reads a recording back into what a trace gives: a scene, and one reading after the other.
use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result, bail};
use netdiag_lang::{english, mark};

use super::{
    block::{BlockReader, Broken},
    entry::Header,
    limits::{self, Fault},
    lines::{Line, Reading, each, plain},
    parts::{Parts, nothing},
    tables::Tables,
};
use crate::{
    model::{observation::Observation, verdict::NotChecked},
    pipeline::scene::{LinkChange, Scene},
};

/// Where and why the reading stopped before the end that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its writer was killed, or there is more of it elsewhere.
    NoEnd,
    Cut,
    Damaged,
    /// No netdiag writes such a thing.
    Refused(&'static str),
}

pub struct Replay<R: Read = BufReader<File>> {
    blocks: BlockReader<R>,
    block: Block,
    tables: Option<Tables>,
    parts: Parts,
    /// Of the last reading.
    now: Option<u64>,
    since: Since,
    ended: bool,
    stop: Option<Stop>,
    pub scene: Scene,
}

/// What came since the last reading. Whoever plays it looks at the time that it takes at each
/// reading: what comes between two of them must be little.
#[derive(Default)]
struct Since {
    lines: usize,
    scene: bool,
}

/// The block at hand: its lines are taken from it one by one.
#[derive(Default)]
struct Block {
    text: Vec<u8>,
    at: usize,
}

impl Replay<BufReader<File>> {
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(opened(path)?, path)
    }

    /// Of a file that is open; `path` is what it is called.
    pub fn of(file: BufReader<File>, path: &Path) -> Result<Self> {
        let replay = Self::from(file);
        replay.with_context(|| format!("cannot read {}", path.display()))
    }
}

/// A file of which nothing is read yet.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever names the file may name a pipe; it is read within bounds"
)]
pub fn opened(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    if file.metadata().is_ok_and(|found| found.is_dir()) {
        bail!("cannot read {}: it is a folder", path.display());
    }
    Ok(BufReader::new(file))
}

impl<R: Read> Replay<R> {
    pub fn from(from: R) -> Result<Self> {
        Ok(Self {
            blocks: BlockReader::open(from)?,
            block: Block::default(),
            tables: None,
            parts: Parts::default(),
            now: None,
            since: Since::default(),
            ended: false,
            stop: None,
            scene: nothing(),
        })
    }

    /// The next reading, with the scene as it was then; nothing where it ends or cannot go on.
    pub fn tick(&mut self) -> Option<Observation> {
        while self.stop.is_none() && !self.ended {
            match self.line() {
                Ok(Some(observation)) => return Some(observation),
                Ok(None) => {}
                Err(stop) => self.stop = Some(stop),
            }
        }
        None
    }

    /// Bytes of the file that were read so far.
    pub fn offset(&self) -> u64 {
        self.blocks.offset
    }

    /// The sentence that says what is missing of the recording, if something is.
    pub fn trouble(&self) -> Option<NotChecked> {
        let at = self.blocks.offset;
        let why = match self.stop? {
            Stop::NoEnd => english!(
                "it ends at byte {at} without its last line: netdiag was killed, or the rest is \
                 missing"
            ),
            Stop::Cut => english!("it is cut after byte {at}: what is before was used"),
            Stop::Damaged => english!("it is damaged after byte {at}: what is before was used"),
            Stop::Refused(why) => english!("it is no recording of netdiag's: {why}"),
        };
        Some(NotChecked::new(mark!("the rest of the recording"), why))
    }

    /// Why nothing of it may be used: it asks for more than any recording does.
    pub fn refused(&self) -> Option<&'static str> {
        match self.stop? {
            Stop::Refused(why) => Some(why),
            _ => None,
        }
    }

    /// Why there is not even a first reading.
    pub fn nothing(&self) -> &'static str {
        match self.stop {
            Some(Stop::Damaged) => "its beginning is damaged",
            Some(Stop::Cut | Stop::NoEnd) => "it is cut before the first one ends",
            Some(Stop::Refused(why)) => why,
            None => "netdiag ended before the first one",
        }
    }

    /// Takes the next line, and tells what reading it is.
    fn line(&mut self) -> Result<Option<Observation>, Stop> {
        let Some(line) = self.block.line() else {
            return self.next_block().map(|()| None);
        };
        let text = str::from_utf8(&self.block.text[line]).map_err(|_| Stop::Damaged)?;
        let (parts, scene) = (&mut self.parts, &mut self.scene);
        let line: Line<'_> = plain(text)?;
        self.since.line(&line)?;
        if let Some(header) = line.header {
            Fault::above(
                header.get().len(),
                limits::HEADER,
                "its header is longer than netdiag writes any",
            )?;
            let header: Header = plain(header.get())?;
            if self.tables.replace(Tables::new(&header)?).is_some() {
                return Err(Stop::Refused("it has two headers"));
            }
        }
        if let Some(changes) = &line.scene {
            parts.apply(changes, scene)?;
        }
        self.ended = line.end;
        let Some(tick) = line.tick else {
            return Ok(None);
        };
        advance(&mut self.now, tick.now)?;
        self.since = Since::default();
        let tables = self.tables.get_or_insert_default();
        Ok(Some(reading(&tick, tables, parts, scene)?))
    }

    fn next_block(&mut self) -> Result<(), Stop> {
        // Two at once would be twice as much.
        self.block = Block::default();
        let text = self.blocks.next().map_err(|broken| match broken {
            Broken::Cut => Stop::Cut,
            Broken::Damaged => Stop::Damaged,
            Broken::Bomb => Stop::Refused("a block in it unpacks to more than netdiag packs"),
        })?;
        self.block.text = text.ok_or(Stop::NoEnd)?;
        let lines = self.block.text.iter().filter(|b| **b == b'\n').count();
        Fault::above(lines, limits::LINES, "a block in it has too many lines")?;
        Ok(())
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Misfit => Self::Damaged,
            Fault::Excess(why) => Self::Refused(why),
        }
    }
}

impl Since {
    fn line(&mut self, line: &Line<'_>) -> Result<(), Fault> {
        self.lines += 1;
        Fault::above(
            self.lines,
            limits::OTHER_LINES,
            "more lines in it come before a reading than netdiag writes",
        )?;
        let before = self.scene;
        self.scene |= line.scene.is_some();
        match before && line.scene.is_some() {
            true => Err(Fault::Excess(
                "what it says of the node changes twice before a reading",
            )),
            false => Ok(()),
        }
    }
}

impl Block {
    /// Where the next line stands that is not empty.
    fn line(&mut self) -> Option<std::ops::Range<usize>> {
        while self.at < self.text.len() {
            let from = self.at;
            let mut rest = self.text[from..].iter();
            let end = rest.position(|b| *b == b'\n');
            let to = end.map_or(self.text.len(), |length| from + length);
            self.at = to + 1;
            if from < to {
                return Some(from..to);
            }
        }
        None
    }
}

/// Time goes on from reading to reading, and no recording is a month long between two of them.
fn advance(last: &mut Option<u64>, now: u64) -> Result<(), Fault> {
    let Some(before) = last.replace(now) else {
        return Ok(());
    };
    if now <= before {
        return Err(Fault::Excess(
            "its time does not go on from one reading to the next",
        ));
    }
    match now - before > limits::STEP_NS {
        true => Err(Fault::Excess("a month passes in it between two readings")),
        false => Ok(()),
    }
}

fn reading(
    tick: &Reading<'_>,
    tables: &mut Tables,
    parts: &mut Parts,
    scene: &mut Scene,
) -> Result<Observation, Fault> {
    let mut symbols = Vec::new();
    each(tick.symbols, |symbol: (u64, String)| {
        let long = "a kernel function in it has too long a name";
        Fault::above(symbol.1.len(), limits::SYMBOL, long)?;
        symbols.push(symbol);
        Fault::above(
            symbols.len(),
            limits::SYMBOLS,
            "it names too many kernel functions",
        )
    })?;
    parts.symbols(symbols, scene)?;
    scene.links.clear();
    each(tick.links, |change: LinkChange| {
        Fault::above(
            change.name.len(),
            limits::LINK,
            "a link in it has too long a name",
        )?;
        scene.links.push(change);
        Fault::above(
            scene.links.len(),
            limits::LINK_CHANGES,
            "too many links come and go in it",
        )
    })?;
    tables.apply(&tick.tables)?;
    let mut observation = tables.observation();
    observation.now = tick.now;
    let mut number = 0;
    each(tick.counters, |count: u64| {
        if let Some(counter) = observation.counters.get_mut(number) {
            *counter = count;
        }
        number += 1;
        Fault::above(
            number,
            limits::COUNTERS,
            "it has more counters than netdiag writes",
        )
    })?;
    observation.evicted_flows = tick.evicted_flows;
    observation.evicted_others = tick.evicted_others;
    observation.recursion_misses = tick.recursion_misses;
    observation.events = tables.events(tick.samples)?;
    Ok(observation)
}
