//! Writes a recording while a trace goes on.
use std::{collections::BTreeSet, fs::File, io::Write, path::Path, sync::Arc};

use anyhow::{Context, Result};
use netdiag_common::{
    claim::{NeighbourAnnouncement, NeighbourAnnouncementKey},
    dns::{Dns, DnsKey},
    event::Event,
    hop::{FlowHop, FlowHopKey, IcmpError, IcmpErrorKey, Outer, OuterKey},
    loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
    oom::OomKill,
};
use serde_json::value::RawValue;

use super::{
    block::BlockWriter,
    cells::{Cells, columns},
    entry::{ClockText, Entry, Header, Sample, Tick},
    keep::{self, Part},
    limits,
    parts::countable,
    table::{Changes, Written},
};
use crate::{
    model::{cluster::Cluster, node::Node, observation::Observation, pod::Pod, reason::Reasons},
    pipeline::scene::{Run, Scene},
    sys::output_file,
};

/// What a kill may cost at most.
const EVERY_NS: u64 = 1_000_000_000;
/// Blocks are put on their way when they have so many bytes.
const FULL: usize = 1 << 20;

pub struct Recorder<W: Write = File> {
    blocks: BlockWriter<W>,
    pending: Vec<u8>,
    flushed: u64,
    /// Of the last reading.
    now: Option<u64>,
    scene: Parts,
    tables: Tables,
    symbols: BTreeSet<u64>,
}

impl Recorder<File> {
    pub fn create(path: &Path) -> Result<Self> {
        let file = output_file::create(path);
        let recorder = file.and_then(Self::to);
        recorder.with_context(|| format!("cannot write {}", path.display()))
    }
}

impl<W: Write> Recorder<W> {
    pub fn to(to: W) -> std::io::Result<Self> {
        let header = Header {
            netdiag: env!("CARGO_PKG_VERSION").into(),
            columns: Tables::columns(),
        };
        let mut recorder = Self {
            blocks: BlockWriter::begin(to)?,
            pending: Vec::new(),
            flushed: 0,
            now: None,
            scene: Parts::default(),
            tables: Tables::default(),
            symbols: BTreeSet::new(),
        };
        recorder.line(&Entry {
            header: Some(header),
            ..Entry::default()
        })?;
        Ok(recorder)
    }

    /// Writes one reading. Its rows are brought into the order in which a replay has them, so
    /// that both tell the same things in the same order.
    pub fn put(&mut self, scene: &Scene, observation: &mut Observation) -> std::io::Result<()> {
        // A reader takes no two readings of one time; the next one says all that this one does.
        if self.now.is_some_and(|now| observation.now <= now) {
            return Ok(());
        }
        self.now = Some(observation.now);
        let mut changed = Entry::default();
        self.scene.changes(scene, &mut changed)?;
        if !changed.scene.is_empty() {
            self.line(&changed)?;
        }
        let mut tick = self.tables.tick(observation);
        tick.links.clone_from(&scene.links);
        for (key, _) in &observation.drops {
            if self.symbols.len() < limits::SYMBOLS && self.symbols.insert(key.location) {
                let name = scene.names.symbol(key.location);
                if name.len() <= limits::SYMBOL {
                    tick.symbols.push((key.location, name));
                }
            }
        }
        self.line(&Entry {
            tick: Some(Box::new(tick)),
            ..Entry::default()
        })?;
        if observation.now.saturating_sub(self.flushed) >= EVERY_NS {
            self.flushed = observation.now;
            self.flush()?;
        }
        Ok(())
    }

    /// Says that the end is meant.
    pub fn close(mut self) -> std::io::Result<()> {
        self.line(&Entry {
            end: true,
            ..Entry::default()
        })?;
        self.flush()
    }

    /// Ends it without saying that the end is meant.
    pub fn leave(mut self) -> std::io::Result<()> {
        self.flush()
    }

    fn line(&mut self, entry: &Entry) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if self.pending.len() + line.len() > FULL {
            self.flush()?;
        }
        self.pending.extend(line);
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.blocks.put(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

struct Parts {
    node: Part<Node>,
    start: Part<Node>,
    pods: Part<Vec<Pod>>,
    cluster: Part<Cluster>,
    /// As it came: the same one is not looked through again.
    cluster_was: Option<Arc<Cluster>>,
    gathered: Part<crate::model::gather::Gathered>,
    reasons: Part<Reasons>,
    clock: Part<ClockText>,
    run: Part<Run>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            node: Part::of("node"),
            start: Part::of("start"),
            pods: Part::of("pods"),
            cluster: Part::of("cluster"),
            cluster_was: None,
            gathered: Part::of("gathered"),
            reasons: Part::of("reasons"),
            clock: Part::of("clock"),
            run: Part::of("run"),
        }
    }
}

impl Parts {
    fn cluster(&mut self, now: &Arc<Cluster>) -> std::io::Result<Option<Box<RawValue>>> {
        let same = |was: &Arc<Cluster>| Arc::ptr_eq(was, now);
        if self.cluster_was.as_ref().is_some_and(same) || **now == Cluster::default() {
            return Ok(None);
        }
        self.cluster_was = Some(now.clone());
        self.cluster.change(&now.recorded())
    }

    fn changes(&mut self, scene: &Scene, to: &mut Entry) -> std::io::Result<()> {
        countable(&scene.node).map_err(|_| keep::too_large())?;
        let node = self.node.change(&scene.node)?;
        self.start.begin_as(&self.node);
        let cluster = self.cluster(&scene.cluster)?;
        let pods: Vec<Pod> = scene.pods.iter().cloned().collect();
        let clock = ClockText {
            monotonic: scene.clock.monotonic,
            wall: scene.clock.wall.to_string(),
        };
        let parts = [
            ("node", node),
            ("start", self.start.change(&scene.start)?),
            ("pods", self.pods.change(&pods)?),
            ("cluster", cluster),
            ("gathered", self.gathered.change(&scene.gathered)?),
            ("reasons", self.reasons.change(scene.names.reasons())?),
            ("clock", self.clock.change(&clock)?),
            ("run", self.run.change(&scene.run)?),
        ];
        let changed = parts
            .into_iter()
            .filter_map(|(name, patch)| Some((name.into(), patch?)));
        to.scene.extend(changed);
        let parts = [
            self.node.size(),
            self.start.size(),
            self.pods.size(),
            self.cluster.size(),
            self.gathered.size(),
            self.reasons.size(),
            self.clock.size(),
            self.run.size(),
        ];
        keep::fit(&parts)
    }
}

#[derive(Default)]
struct Tables {
    flows: Written<FlowHopKey>,
    outers: Written<OuterKey>,
    icmp_errors: Written<IcmpErrorKey>,
    dns: Written<DnsKey>,
    claims: Written<NeighbourAnnouncementKey>,
    drops: Written<DropKey>,
    retransmits: Written<RetransmitKey>,
    oom_kills: Written<u32>,
}

impl Tables {
    fn columns() -> std::collections::BTreeMap<String, (Vec<String>, Vec<String>)> {
        let tables = [
            ("flows", (columns::<FlowHopKey>(), columns::<FlowHop>())),
            ("outers", (columns::<OuterKey>(), columns::<Outer>())),
            (
                "icmp_errors",
                (columns::<IcmpErrorKey>(), columns::<IcmpError>()),
            ),
            ("dns", (columns::<DnsKey>(), columns::<Dns>())),
            (
                "claims",
                (
                    columns::<NeighbourAnnouncementKey>(),
                    columns::<NeighbourAnnouncement>(),
                ),
            ),
            ("drops", (columns::<DropKey>(), columns::<Dropped>())),
            (
                "retransmits",
                (columns::<RetransmitKey>(), columns::<Retransmitted>()),
            ),
            ("oom_kills", (columns::<u32>(), columns::<OomKill>())),
            ("samples", (Vec::new(), columns::<Event>())),
        ];
        tables
            .map(|(name, columns)| (name.to_owned(), columns))
            .into()
    }

    fn tick(&mut self, observation: &mut Observation) -> Tick {
        // Nothing of a reading is left out: what is new in it does not compile here.
        let Observation {
            now,
            flows,
            outers,
            icmp_errors,
            dns,
            claims,
            drops,
            retransmits,
            oom_kills,
            counters,
            evicted_flows,
            evicted_others,
            recursion_misses,
            events,
        } = observation;
        let tables = [
            ("flows", self.flows.changes(flows)),
            ("outers", self.outers.changes(outers)),
            ("icmp_errors", self.icmp_errors.changes(icmp_errors)),
            ("dns", self.dns.changes(dns)),
            ("claims", self.claims.changes(claims)),
            ("drops", self.drops.changes(drops)),
            ("retransmits", self.retransmits.changes(retransmits)),
            ("oom_kills", self.oom_kills.changes(oom_kills)),
        ];
        let changed = |(_, changes): &(_, Changes)| !changes.is_empty();
        let tables = tables.into_iter().filter(changed);
        Tick {
            now: *now,
            tables: tables.map(|(name, it)| (name.to_owned(), it)).collect(),
            counters: counters.to_vec(),
            evicted_flows: *evicted_flows,
            evicted_others: *evicted_others,
            recursion_misses: *recursion_misses,
            samples: events.iter().take(limits::SAMPLES).map(sample).collect(),
            ..Tick::default()
        }
    }
}

fn sample(event: &Event) -> Sample {
    let mut row = Vec::new();
    event.put(&mut row);
    let packet = event.packet.iter().take(usize::from(event.captured));
    Sample {
        row,
        packet: packet.map(|byte| format!("{byte:02x}")).collect(),
    }
}
