//! Reads a recording back into what a trace gives: a scene, and one reading after the other.
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use netdiag_common::{
    claim::{Claim, ClaimKey},
    dns::{Dns, DnsKey},
    event::{CAPTURE, Event},
    hop::{FlowHop, FlowHopKey, IcmpError, IcmpErrorKey, Outer, OuterKey},
    loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
    oom::OomKill,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    block::{BlockReader, Broken},
    cells::{Cells, columns},
    entry::{ClockText, Entry, Header, Sample, Tick},
    patch::{Misfit, Patch, weight},
    table::{self, ordered, places},
};
use crate::{
    model::{
        gather::Gathered, node::Node, observation::Observation, pod::PodIndex, reason::Reasons,
        verdict::NotChecked,
    },
    pipeline::{
        asked::Asked,
        clock::Clock,
        facts::KnownNames,
        scene::{Run, Scene},
    },
};

/// Bytes that the scene may grow to; a node with full routing tables has a tenth.
const MOST_SCENE: usize = 256 << 20;
/// Names of kernel functions at most; a kernel drops packets in some hundreds.
const MOST_SYMBOLS: usize = 65_536;

/// Where and why the reading stopped before the end that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its writer was killed, or there is more of it elsewhere.
    NoEnd,
    Cut,
    Damaged,
}

pub struct Replay<R: Read = BufReader<File>> {
    blocks: BlockReader<R>,
    /// Lines of the block at hand, the next one last.
    lines: Vec<Vec<u8>>,
    tables: Tables,
    parts: BTreeMap<String, Value>,
    /// How heavy the parts can be at most.
    weight: usize,
    symbols: BTreeMap<u64, String>,
    ended: bool,
    stop: Option<Stop>,
    pub scene: Scene,
}

impl Replay<BufReader<File>> {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        if file.metadata().is_ok_and(|found| found.is_dir()) {
            bail!("cannot read {}: it is a folder", path.display());
        }
        let replay = Self::from(BufReader::new(file));
        replay.with_context(|| format!("cannot read {}", path.display()))
    }
}

impl<R: Read> Replay<R> {
    pub fn from(from: R) -> Result<Self> {
        Ok(Self {
            blocks: BlockReader::open(from)?,
            lines: Vec::new(),
            tables: Tables::default(),
            parts: BTreeMap::new(),
            weight: 0,
            symbols: BTreeMap::new(),
            ended: false,
            stop: None,
            scene: nothing(),
        })
    }

    /// The next reading, with the scene as it was then; nothing where it ends or cannot go on.
    pub fn tick(&mut self) -> Option<Observation> {
        while self.stop.is_none() && !self.ended {
            let read = self.line().and_then(|line| match line {
                Some(line) => self.entry(&line).map_err(|Misfit| Stop::Damaged),
                None => Err(Stop::NoEnd),
            });
            match read {
                Ok(Some(observation)) => return Some(observation),
                Ok(None) => {}
                Err(stop) => self.stop = Some(stop),
            }
        }
        None
    }

    /// The sentence that says what is missing of the recording, if something is.
    pub fn trouble(&self) -> Option<NotChecked> {
        let at = self.blocks.offset;
        let why = match self.stop? {
            Stop::NoEnd => format!(
                "it ends at byte {at} without its last line: netdiag was killed, or the rest is \
                 missing"
            ),
            Stop::Cut => format!("it is cut after byte {at}: what is before was used"),
            Stop::Damaged => format!("it is damaged after byte {at}: what is before was used"),
        };
        Some(NotChecked::new("the rest of the recording", why))
    }

    /// Why there is not even a first reading.
    pub fn nothing(&self) -> &'static str {
        match self.stop {
            Some(Stop::Damaged) => "its beginning is damaged",
            Some(Stop::Cut | Stop::NoEnd) => "it is cut before the first one ends",
            None => "netdiag ended before the first one",
        }
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        while self.lines.is_empty() {
            let block = self.blocks.next().map_err(|broken| match broken {
                Broken::Cut => Stop::Cut,
                Broken::Damaged => Stop::Damaged,
            })?;
            let Some(block) = block else {
                return Ok(None);
            };
            let lines = block.split(|b| *b == b'\n').filter(|l| !l.is_empty());
            self.lines = lines.map(<[u8]>::to_vec).collect();
            self.lines.reverse();
        }
        Ok(self.lines.pop())
    }

    fn entry(&mut self, line: &[u8]) -> Result<Option<Observation>, Misfit> {
        let entry: Entry = serde_json::from_slice(line).map_err(|_| Misfit)?;
        if let Some(header) = entry.header {
            self.tables = Tables::new(&header);
        }
        if !entry.scene.is_empty() {
            self.patch(entry.scene, line.len())?;
        }
        self.ended = entry.end;
        match entry.tick {
            Some(tick) => self.reading(*tick).map(Some),
            None => Ok(None),
        }
    }

    fn patch(&mut self, changes: BTreeMap<String, Patch>, bytes: usize) -> Result<(), Misfit> {
        for (name, patch) in changes {
            patch.apply(self.parts.entry(name.clone()).or_default())?;
            self.fill(&name)?;
            if name == "node" && !self.parts.contains_key("start") {
                // That one is told as its difference from the first node.
                let node = self.parts.get("node").cloned().unwrap_or_default();
                self.parts.insert("start".into(), node);
                self.fill("start")?;
            }
        }
        // A number of two bytes in the text takes sixteen times that.
        self.weight += bytes * size_of::<Value>() / 2;
        if self.weight > MOST_SCENE {
            self.weight = self.parts.values().map(weight).sum();
        }
        (self.weight <= MOST_SCENE).then_some(()).ok_or(Misfit)
    }

    /// Puts one part of the scene into its place.
    fn fill(&mut self, name: &str) -> Result<(), Misfit> {
        let text = self.parts.get(name).cloned().unwrap_or_default();
        match name {
            "node" => self.scene.node = known(text)?,
            "start" => self.scene.start = known(text)?,
            "pods" => self.scene.pods = PodIndex::new(known(text)?),
            "cluster" => self.scene.cluster = Arc::new(known(text)?),
            "gathered" => self.scene.gathered = known(text)?,
            "run" => self.scene.run = known(text)?,
            "clock" => self.scene.clock = clock(&known(text)?)?,
            "reasons" => self.rename(known(text)?),
            // Of a later netdiag.
            _ => {}
        }
        Ok(())
    }

    fn rename(&mut self, reasons: Reasons) {
        let symbols = self.symbols.clone();
        self.scene.names = Box::new(KnownNames { symbols, reasons });
    }

    fn reading(&mut self, tick: Tick) -> Result<Observation, Misfit> {
        if !tick.symbols.is_empty() {
            self.symbols.extend(tick.symbols);
            if self.symbols.len() > MOST_SYMBOLS {
                return Err(Misfit);
            }
            self.rename(self.scene.names.reasons().clone());
        }
        self.scene.links = tick.links;
        let mut observation = self.tables.reading(&tick.tables)?;
        observation.now = tick.now;
        for (ours, theirs) in observation.counters.iter_mut().zip(tick.counters) {
            *ours = theirs;
        }
        observation.evicted_flows = tick.evicted_flows;
        observation.evicted_others = tick.evicted_others;
        observation.recursion_misses = tick.recursion_misses;
        let events = tick.samples.iter().map(|s| self.tables.event(s));
        observation.events = events.collect();
        Ok(observation)
    }
}

/// A scene in which nothing is known yet.
fn nothing() -> Scene {
    Scene {
        node: Node::default(),
        start: Node::default(),
        pods: PodIndex::default(),
        cluster: Default::default(),
        gathered: Gathered::default(),
        names: Box::new(KnownNames::default()),
        clock: Clock {
            monotonic: 0,
            wall: jiff::Timestamp::UNIX_EPOCH,
        },
        run: Run::default(),
        asked: Asked::default(),
        links: Vec::new(),
    }
}

fn known<T: DeserializeOwned>(text: Value) -> Result<T, Misfit> {
    serde_json::from_value(text).map_err(|_| Misfit)
}

fn clock(text: &ClockText) -> Result<Clock, Misfit> {
    Ok(Clock {
        monotonic: text.monotonic,
        wall: text.wall.parse().map_err(|_| Misfit)?,
    })
}

/// The tables, by the columns that the header names.
#[derive(Default)]
struct Tables {
    flows: table::Read<FlowHopKey, FlowHop>,
    outers: table::Read<OuterKey, Outer>,
    icmp_errors: table::Read<IcmpErrorKey, IcmpError>,
    dns: table::Read<DnsKey, Dns>,
    claims: table::Read<ClaimKey, Claim>,
    drops: table::Read<DropKey, Dropped>,
    retransmits: table::Read<RetransmitKey, Retransmitted>,
    oom_kills: table::Read<u32, OomKill>,
    sample: Vec<Option<usize>>,
}

impl Tables {
    fn new(header: &Header) -> Self {
        let none = Default::default();
        let of = |table: &str| header.columns.get(table).unwrap_or(&none);
        Self {
            flows: table::Read::new(of("flows")),
            outers: table::Read::new(of("outers")),
            icmp_errors: table::Read::new(of("icmp_errors")),
            dns: table::Read::new(of("dns")),
            claims: table::Read::new(of("claims")),
            drops: table::Read::new(of("drops")),
            retransmits: table::Read::new(of("retransmits")),
            oom_kills: table::Read::new(of("oom_kills")),
            sample: places(&columns::<Event>(), &of("samples").1),
        }
    }

    fn reading(
        &mut self,
        changes: &BTreeMap<String, table::Changes>,
    ) -> Result<Observation, Misfit> {
        for (name, changes) in changes {
            match name.as_str() {
                "flows" => self.flows.apply(changes)?,
                "outers" => self.outers.apply(changes)?,
                "icmp_errors" => self.icmp_errors.apply(changes)?,
                "dns" => self.dns.apply(changes)?,
                "claims" => self.claims.apply(changes)?,
                "drops" => self.drops.apply(changes)?,
                "retransmits" => self.retransmits.apply(changes)?,
                "oom_kills" => self.oom_kills.apply(changes)?,
                // Of a later netdiag.
                _ => {}
            }
        }
        Ok(Observation {
            flows: self.flows.rows(),
            outers: self.outers.rows(),
            icmp_errors: self.icmp_errors.rows(),
            dns: self.dns.rows(),
            claims: self.claims.rows(),
            drops: self.drops.rows(),
            retransmits: self.retransmits.rows(),
            oom_kills: self.oom_kills.rows(),
            ..Observation::default()
        })
    }

    fn event(&self, sample: &Sample) -> Event {
        let mut event = Event::take(&mut ordered(&sample.row, &self.sample));
        let digits = sample.packet.as_bytes().chunks_exact(2).take(CAPTURE);
        let bytes = digits.map_while(|two| {
            let two = std::str::from_utf8(two).ok()?;
            u8::from_str_radix(two, 16).ok()
        });
        let mut captured = 0;
        for (to, byte) in event.packet.iter_mut().zip(bytes) {
            *to = byte;
            captured += 1;
        }
        event.captured = event.captured.min(captured);
        event
    }
}
