//! A live trace: the programs in the kernel, the node as netlink shows it, and the pods, kept in
//! step while it runs.
mod lasting;
mod memory;
mod news;
mod opening;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use netdiag_common::{config::counter, event::Event};
use netdiag_lang::{english, mark};
use tokio::sync::mpsc;

use memory::Memory;
use opening::{Loaded, loading, no_links, sketch, tell, unkept};

use super::gathering::Gathering;
use super::{
    account::Account,
    cluster,
    level::Keeping,
    names::KernelNames,
    options::{Global, RecordArgs, Scope},
    readings::{Peace, Readings},
};
use crate::{
    host::{snapshot::Reader, turns::Turns},
    kernel::{attach, cover::Covering, load::Programs, read, sweep},
    model::{
        gather::{Gathered, Want},
        level::Level,
        node::Link,
        observation::Observation,
        roles::Roles,
        selection::Selected,
        total::Total as _,
        verdict::NotChecked,
    },
    output::Pcapng,
    pipeline::{
        asked::Asked,
        clock::Clock,
        excerpt::Excerpt,
        samples::{samples, trim},
        scene::{Run, Scene},
    },
    pods::Pods,
    recording::Recorder,
    sys::thrift,
};

/// Counters move without any event, though not without any packet; reading them costs ~0.1 ms a
/// namespace.
const COUNT_AGAIN: Duration = Duration::from_secs(1);
/// Records that are taken from the ring before a reading, where no capture wants them: of those that
/// come then as many as find room there are told, and the rest is counted.
const ENOUGH: usize = 4096;

pub struct Session {
    programs: Programs,
    covering: Covering,
    reader: Reader,
    pods: Pods,
    api: cluster::Source,
    scope: Scope,
    changes: mpsc::Receiver<()>,
    /// When the last reading of the node began.
    read_at: Instant,
    /// There are namespaces to look into that the last reading of the node did not know.
    news: bool,
    /// Routes whose limits found no room.
    unjudged: usize,
    /// Pods' namespaces that found no room.
    unnamed: usize,
    /// Whose packets the programs were told to count, and how many had no room.
    selected: Selected,
    unselected: usize,
    /// Drops that no filter can judge.
    without_flow: u64,
    hooked: u64,
    readings: Readings,
    peace: Peace,
    /// Taken from the ring since the last reading.
    records: Vec<Event>,
    counted_at: Instant,
    gathering: Gathering,
    turns: Turns,
    recorder: Option<Recorder>,
    pcap: Option<Pcapng>,
    excerpt: Excerpt,
    names: KernelNames,
    account: Account,
    keeping: Keeping,
    /// What the programs were told.
    level: Level,
    memory: Memory,
    snaplen: Option<u16>,
    /// What was asked for and could not be written to its end.
    unkept: Vec<NotChecked>,
    /// What netdiag drops itself is not seen.
    unseen: Option<NotChecked>,
    pub scene: Scene,
}

impl Session {
    /// Loads, and sweeps after killed runs and reads the node meanwhile; attaches.
    pub async fn open(
        scope: &Scope,
        asked: Asked,
        keep: &RecordArgs,
        keeping: Keeping,
        global: &Global,
    ) -> Result<Self> {
        let recorder = keep.record.as_deref().map(Recorder::create).transpose()?;
        let pcap = keep.pcap.as_deref().map(Pcapng::create).transpose()?;
        scope.place.know_cgroups();
        let mut api = cluster::Source::open(scope.place.api()).await?;
        let mut pods = Pods::open(scope.place.pods(&api)).await?;
        let (told, sketches) = std::sync::mpsc::channel();
        let loading = loading(scope, &asked, keeping.now(), global, sketches);
        for trouble in sweep::orphans().troubles {
            log::warn!("{trouble}");
        }
        // Where loading failed, its own error is told.
        let _ = told.send(sketch(scope)?);
        let reader = Reader::open(&scope.place.root, scope.place.node_name.as_deref())?;
        let mut read_at = Instant::now();
        let mut node = reader.node().await?;
        if reader.look_into(pods.index(&node).linkless()) {
            read_at = Instant::now();
            node = reader.node().await?;
        }
        let Loaded {
            mut programs,
            mut hooks,
        } = loading.await??;
        let roles = Roles::new(&node);
        let hook = |link: &&Link| roles.of(link).is_some();
        let tunnels = node.links.iter().filter(hook).any(|link| !link.ethernet);
        if tunnels {
            programs.load_rest();
            hooks.know(&programs);
        }
        let reasons = std::mem::take(&mut programs.reasons);
        let names = KernelNames::new(&scope.place.root, reasons);
        api.settle().await;
        let now = read::now();
        let scene = Scene {
            start: node.clone(),
            pods: pods.index(&node),
            cluster: api.picture(),
            node,
            gathered: Gathered::default(),
            names: Box::new(names.clone()),
            clock: Clock {
                monotonic: now,
                wall: jiff::Timestamp::now(),
            },
            run: Run {
                started: now,
                ..Run::default()
            },
            asked,
            links: Vec::new(),
        };
        let (kicks, times) = (pods.kicks(), pods.link_times());
        times.seed(&scene.node);
        let covering = Covering::new(hooks);
        let mut session = Self {
            programs,
            reader,
            pods,
            api,
            scope: scope.clone(),
            changes: news::changes(kicks, times, covering.new_links())?,
            covering,
            read_at,
            news: false,
            unjudged: 0,
            unnamed: 0,
            selected: Selected::default(),
            unselected: 0,
            without_flow: 0,
            hooked: 0,
            readings: Readings::default(),
            peace: Peace::from(read_at),
            records: Vec::new(),
            counted_at: Instant::now(),
            gathering: Gathering::new(scope.place.places()),
            turns: Turns::begin(&scope.place.root),
            recorder,
            pcap,
            excerpt: Excerpt::default(),
            names,
            account: Account::new(Instant::now(), scope.max_cpu.is_some()),
            level: keeping.now(),
            keeping,
            memory: Memory::from(Instant::now()),
            snaplen: keep.snaplen,
            unkept: Vec::new(),
            unseen: None,
            scene,
        };
        session.select()?;
        session.say_missing();
        session.apply()?;
        session.hooked = read::now();
        if !tunnels {
            session.programs.load_rest();
            session.covering.hooks().know(&session.programs);
        }
        session.scene.run = session.run();
        thrift::settle();
        Ok(session)
    }

    /// Brings limits, namespaces and hooks in line with the node as it is now.
    fn apply(&mut self) -> Result<()> {
        let node = &mut self.scene.node;
        for address in &self.scope.place.node_ip {
            node.known_as.push((*address, "--node-ip".into()));
        }
        cluster::know_as(node, &self.scene.cluster);
        let left = tell(&mut self.programs, node)?;
        (self.unjudged, self.unnamed) = (left.unjudged, left.unnamed);
        self.covering.follow(node, self.read_at);
        self.turns.follow(node);
        Ok(())
    }

    /// Whether it is too early for another reading. Then the ring alone is emptied, which is small.
    pub fn rests(&mut self) -> Result<bool> {
        self.give_back();
        let rests = self.readings.rest();
        if rests && (self.pcap.is_some() || self.records.len() < ENOUGH) {
            self.records.extend(self.programs.drain()?);
        }
        Ok(rests || (self.is_quiet()? && self.readings.wait()))
    }

    /// Whether nothing happened since the last reading that another one would show.
    fn is_quiet(&mut self) -> Result<bool> {
        let news = self.news || !self.changes.is_empty() || self.gathering.has_answers();
        if news || !self.programs.is_quiet()? {
            return Ok(false);
        }
        self.records.extend(self.programs.drain()?);
        Ok(self.records.is_empty())
    }

    /// Reads the maps, after following what changed on the node.
    pub async fn tick(&mut self) -> Result<Observation> {
        self.give_back();
        self.scene.links.clear();
        let now = Instant::now();
        let mut told = self.news;
        while self.changes.try_recv().is_ok() {
            told = true;
        }
        if told {
            self.peace.end(now);
        }
        let changed = told || now - self.read_at >= self.peace.refresh(now);
        if changed {
            self.read_at = Instant::now();
            let node = self.reader.node().await?;
            self.scene.links = news::link_changes(&self.scene.node, &node);
            self.scene.pods = self.pods.index(&node);
            self.scene.node = node;
            self.apply()?;
            self.news = self.reader.look_into(self.scene.pods.linkless());
            self.news |= self.reader.goes_on();
            self.counted_at = self.read_at;
        } else if self.counted_at.elapsed() >= COUNT_AGAIN && !self.readings.were_quiet() {
            self.scene.node.counters = self.reader.counters();
            self.scene.node.neighbour_moves = self.reader.neighbour_moves();
            self.scene.node.changes = self.reader.changes();
            self.counted_at = Instant::now();
        }
        let picture = self.api.picture();
        if !Arc::ptr_eq(&picture, &self.scene.cluster) {
            cluster::know_as(&mut self.scene.node, &picture);
            self.scene.cluster = picture;
        }
        if !changed && self.pods.changed() {
            self.scene.pods = self.pods.index(&self.scene.node);
        }
        self.covering.keep(&self.scene.node);
        self.select()?;
        self.count_from_now();
        self.gathering.collect(&mut self.scene.gathered);
        let mut observation = self.programs.observe(&mut self.excerpt)?;
        self.readings.read(self.programs.rows(), &observation);
        self.excerpt.flows(&mut observation);
        observation.events.splice(..0, self.records.drain(..));
        trim(&self.scene.node, &mut observation, self.snaplen);
        self.names.learn(&observation);
        // Whose packets they are can be known a moment after them.
        if self.pods.changed() {
            self.scene.pods = self.pods.index(&self.scene.node);
        }
        self.without_flow = observation.counter(counter::DROPS_UNJUDGED);
        self.scene.run = self.run();
        self.record(&mut observation)?;
        let delivered = observation.events.len();
        let share = self
            .account
            .reading(Instant::now(), delivered, || self.programs.costs());
        share.into_iter().for_each(|share| self.keeping.cost(share));
        let drops = observation.counter(counter::DROPS);
        let lost = [drops, observation.oversize(), observation.retransmitted()];
        let (now, lost) = (Instant::now(), lost.iter().total());
        self.keeping.losses(now, lost);
        self.peace.losses(now, lost);
        self.keep()?;
        self.memory
            .saw(observation.flows.len() + observation.drops.len());
        Ok(observation)
    }

    /// Notes what the run took, for its verdict. Drops are not traced any more then.
    pub fn close_accounts(&mut self) {
        let mut cost = self.account.cost(Instant::now(), self.programs.costs());
        cost.events = self.programs.settle().unwrap_or_else(|e| {
            log::warn!("what became of each event is not known: {e:#}");
            None
        });
        self.scene.run.cost = Some(cost);
    }

    /// Brings the programs in line with how much is to be kept.
    fn keep(&mut self) -> Result<()> {
        if self.level != self.keeping.now() {
            self.level = self.keeping.now();
            self.programs.set_level(self.level)?;
        }
        Ok(())
    }

    /// What judging a crowded reading took, and in quiet what any did.
    fn give_back(&mut self) {
        self.memory
            .give_back(Instant::now(), self.readings.settles());
    }

    /// Tells the programs whose packets are asked for, as pods are now.
    fn select(&mut self) -> Result<()> {
        let asked = &self.scene.asked.pods;
        if asked.is_empty() {
            return Ok(());
        }
        let served = asked.served(&self.scene.cluster, self.scene.gathered.services());
        let selected = asked.resolve(&self.scene.pods, &served);
        if !asked.services.is_empty() {
            self.gathering.start(BTreeSet::from([Want::Services]));
        }
        if selected != self.selected {
            self.unselected = self.programs.select(&selected)?;
            self.selected = selected;
        }
        Ok(())
    }

    /// Whose name is mistyped should not wait for packets.
    fn say_missing(&self) {
        let asked = &self.scene.asked.pods;
        if asked.asks_for_pods() && self.selected.pods == 0 {
            match asked.why_none(self.scene.of_pods()) {
                Some(why) => log::warn!("no pod is chosen by {asked}: {why}"),
                None => {
                    log::warn!("no pod is known yet for {asked}: it is watched from when it comes")
                }
            }
        }
    }

    /// What the selection cannot have.
    fn not_selected(&self) -> Vec<NotChecked> {
        let asked = &self.scene.asked.pods;
        let mut rows = asked.left_out(self.scene.of_pods());
        if self.unselected > 0 {
            let what = english!("{} addresses and links of {asked}", self.unselected);
            let why = mark!("more than the kernel's tables take");
            rows.push(NotChecked::new(what, why));
        }
        rows
    }

    /// A disk that is full ends the recording, not the trace.
    fn record(&mut self, observation: &mut Observation) -> Result<()> {
        let put = |recorder: &mut Recorder| recorder.put(&self.scene, observation);
        if let Some(Err(e)) = self.recorder.as_mut().map(put) {
            // Whoever read it as it came is gone, and nobody else wants it.
            if e.kind() == std::io::ErrorKind::BrokenPipe {
                self.recorder = None;
                return Err(e.into());
            }
            self.unkept.push(unkept(mark!("the recording"), &e));
            self.recorder = None;
        }
        let shown = self.scene.asked.shown(observation);
        let put = |pcap: &mut Pcapng| {
            pcap.put(&samples(&self.scene, shown.as_ref().unwrap_or(observation)))
        };
        if let Some(Err(e)) = self.pcap.as_mut().map(put) {
            self.unkept.push(unkept(mark!("the capture"), &e));
            self.pcap = None;
        }
        Ok(())
    }

    /// A pod that is new is compared with its first counters.
    fn count_from_now(&mut self) {
        let start = &mut self.scene.start.counters;
        for new in &self.scene.node.counters {
            if !start.iter().any(|c| c.netns == new.netns) {
                start.push(new.clone());
            }
        }
    }

    /// Starts finding out what the rules ask for.
    pub fn gather(&mut self, wants: BTreeSet<Want>) {
        self.scene.gathered.ask(&wants);
        let known = |want| self.scene.gathered.has(want);
        let known = wants.iter().all(known);
        self.take_turns(&wants);
        let now = Instant::now();
        if !known || self.peace.gathers(now, self.read_at) {
            self.gathering.start(wants);
        }
    }

    /// Waits until these are found out as they are now.
    pub async fn gather_anew(&mut self, wants: BTreeSet<Want>) {
        self.gathering.anew(wants, &mut self.scene.gathered).await;
    }

    /// What the run knows beside the facts.
    fn run(&self) -> Run {
        let mut not_checked = self.programs.missing.clone();
        let hooks = self.covering.hooks();
        let attached = hooks.count();
        not_checked.extend(attach::not_covered(&hooks));
        let bypassed = attach::bypassed(&hooks);
        drop(hooks);
        not_checked.extend(self.no_room());
        not_checked.extend(self.unseen.iter().cloned());
        let blind = !not_checked.is_empty();
        not_checked.extend(bypassed);
        not_checked.extend(self.reader.not_checked());
        if !self.scene.node.policy_tables.is_empty() {
            not_checked.push(NotChecked::new(
                mark!("packet sizes where policy rules choose another route"),
                mark!("`ip rule` names other tables; what they limit differently is not judged"),
            ));
        }
        not_checked.extend(self.pods.not_checked(&self.scene.pods));
        not_checked.extend(self.api.not_checked());
        not_checked.extend(self.scene.asked.not_checked(self.without_flow));
        not_checked.extend(self.not_selected());
        not_checked.extend(self.keeping.not_checked());
        not_checked.extend(self.unkept.iter().cloned());
        not_checked.extend(self.scene.gathered.not_checked());
        not_checked.extend(self.gathering.not_answered(&self.scene.gathered));
        if attached == 0 {
            not_checked.push(no_links());
        }
        let mut run = Run {
            level: Some(self.keeping.asked()),
            lifted: self.keeping.now() > self.keeping.asked(),
            lowered: self.scene.run.lowered || self.keeping.is_lowered(),
            started: self.scene.run.started,
            hooked: self.hooked,
            hooks: attached + self.programs.tracepoints,
            not_checked,
            blind: blind || attached == 0,
            partly: self.scene.asked.partly(),
            sources: self.pods.used(),
            ..Run::default()
        };
        run.ask(&self.scene.asked);
        run
    }

    /// Leaves the node as it was found.
    pub async fn close(mut self) {
        if let Some(Err(e)) = self.recorder.take().map(Recorder::close) {
            log::error!("the recording has no end: {e}");
        }
        self.covering.hooks().close();
    }
}
