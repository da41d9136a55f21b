//! One recording as it is played.
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use netdiag_common::config::counter;

use super::allowance::Allowance;
#[cfg(feature = "top")]
use crate::diagnosis::diagnoser::Look;
use crate::{
    diagnosis::{diagnoser::Diagnoser, nodes::Recorded},
    model::{
        event::{Detail, LiveEvent},
        filter::glob,
        observation::Observation,
        verdict::NotChecked,
    },
    output::Pcapng,
    pipeline::{
        asked::{self, Asked},
        join::ledger::Ledger,
        samples::samples,
        scene::Scene,
    },
    recording::Replay,
};

pub struct Player {
    file: PathBuf,
    replay: Replay,
    judge: Diagnoser,
    ledger: Ledger,
    /// Other recordings are played beside it.
    pub one_of_several: bool,
    /// The reading that comes next; the scene is as it was then.
    next: Option<Observation>,
    allowance: Allowance,
}

impl Player {
    /// Fails where there is nothing in it.
    pub fn open(file: &Path, asked: &Asked) -> Result<Self> {
        Self::of(Replay::open(file)?, file, asked)
    }

    /// The same of a file that is open.
    pub fn of(mut replay: Replay, file: &Path, asked: &Asked) -> Result<Self> {
        replay.scene.asked = asked.clone();
        let (mut allowance, begun) = (Allowance::default(), Allowance::now());
        let first = reading(&mut replay);
        allowance.spend(begun);
        let Some(first) = first else {
            return Err(refusal(&replay, file).unwrap_or_else(|| {
                anyhow!(
                    "{}: there is no reading in it: {}",
                    file.display(),
                    replay.nothing()
                )
            }));
        };
        Ok(Self {
            file: file.to_owned(),
            replay,
            judge: Diagnoser::default(),
            ledger: Ledger::default(),
            one_of_several: false,
            next: Some(first),
            allowance,
        })
    }

    /// Whether its node is among those.
    pub fn is_of(&self, nodes: &[String]) -> bool {
        nodes.is_empty() || nodes.iter().any(|n| glob(n, self.node()))
    }

    pub fn node(&self) -> &str {
        &self.scene().node.name
    }

    pub fn scene(&self) -> &Scene {
        &self.replay.scene
    }

    /// When the next reading was made; nothing at the end.
    pub fn next_at(&self) -> Option<jiff::Timestamp> {
        let now = self.next.as_ref()?.now;
        Some(self.scene().clock.time(now))
    }

    /// Plays all that is left, for the verdict alone.
    pub fn play(mut self, mut pcap: Option<&mut Pcapng>) -> Result<Recorded> {
        loop {
            let begun = Allowance::now();
            if let Some(reading) = &self.next {
                self.judge.findings(&self.replay.scene, reading);
            }
            let last = self.advance(pcap.as_deref_mut())?;
            self.allowance.spend(begun);
            if let Some(last) = last {
                return Ok(self.close(last));
            }
        }
    }

    /// Plays the next reading and tells its events; the last one comes back with them.
    pub fn events(
        &mut self,
        pcap: Option<&mut Pcapng>,
    ) -> Result<(Vec<LiveEvent>, Option<Observation>)> {
        let begun = Allowance::now();
        let mut events = Vec::new();
        if let Some(reading) = &self.next {
            events = self.judge.events(&self.replay.scene, reading).events;
        }
        let last = self.advance(pcap)?;
        if let Some(last) = &last {
            events.extend(self.judge.closing(&self.replay.scene, last));
        }
        if self.one_of_several {
            // The nodes' findings are told at the end, as one incident's.
            events.retain(|e| !matches!(e.detail, Detail::Finding { .. }));
            let name = self.node().to_owned();
            events.iter_mut().for_each(|e| e.node = Some(name.clone()));
        }
        self.allowance.spend(begun);
        Ok((events, last))
    }

    /// Judges the next reading and hands it over with all that it was judged by; false where it was
    /// the last one.
    #[cfg(feature = "top")]
    pub fn look(&mut self, with: impl FnOnce(&Look<'_, '_, '_>)) -> Result<bool> {
        let begun = Allowance::now();
        if let Some(reading) = &self.next {
            self.judge.looked(&self.replay.scene, reading, with);
        }
        let last = self.advance(None)?;
        self.allowance.spend(begun);
        Ok(last.is_none())
    }

    /// What of the recording is not shown, once it was played.
    #[cfg(feature = "top")]
    pub fn not_shown(&self) -> Vec<NotChecked> {
        let scene = self.scene();
        let mut rows = scene.asked.not_checked(0);
        rows.extend(scene.asked.pods.left_out(scene.of_pods()));
        rows.extend(self.missing());
        rows
    }

    /// Goes on to the next reading; gives the last one back where there is none.
    fn advance(&mut self, pcap: Option<&mut Pcapng>) -> Result<Option<Observation>> {
        let Some(done) = self.next.take() else {
            return Ok(Some(Observation::default()));
        };
        if let Some(pcap) = pcap {
            let shown = self.scene().asked.shown(&done);
            let mut samples = samples(&self.replay.scene, shown.as_ref().unwrap_or(&done));
            if self.one_of_several {
                // Nodes call their links alike.
                let name = |link: &str| format!("{}:{link}", self.node());
                let named = samples.iter_mut();
                named.for_each(|it| it.interface = name(&it.interface));
            }
            pcap.put(&samples)?;
        }
        if self.one_of_several {
            self.ledger.add(&self.replay.scene.node, &done);
        }
        if !self.allowance.is_spent(self.replay.offset()) {
            self.next = reading(&mut self.replay);
        }
        match refusal(&self.replay, &self.file) {
            Some(refusal) => Err(refusal),
            None => Ok(self.next.is_none().then_some(done)),
        }
    }

    /// What it comes to.
    pub fn close(mut self, last: Observation) -> Recorded {
        let trouble = self.missing();
        let run = &mut self.replay.scene.run;
        run.blind |= trouble.is_some();
        run.not_checked.extend(trouble);
        let scene = &self.replay.scene;
        let left_out = scene.asked.pods.left_out(scene.of_pods());
        let run = &mut self.replay.scene.run;
        run.ask(&self.replay.scene.asked);
        run.not_checked.extend(left_out);
        let unjudged = last.counter(counter::DROPS_UNJUDGED);
        run.not_checked
            .extend(self.replay.scene.asked.not_checked(unjudged));
        Recorded {
            scene: self.replay.scene,
            last,
            ledger: self.ledger,
            judge: self.judge,
        }
    }

    /// What is missing of it, in one sentence.
    pub fn trouble(&self) -> Option<String> {
        let why = self.missing()?.why;
        Some(format!("{}: {why}", self.file.display()))
    }

    fn missing(&self) -> Option<NotChecked> {
        let unjudged = || self.allowance.told(self.replay.offset());
        self.replay.trouble().or_else(unjudged)
    }

    pub fn file(&self) -> String {
        self.file.display().to_string()
    }
}

/// Nobody should take half of what no netdiag has written for what a node has seen.
fn refusal(replay: &Replay, file: &Path) -> Option<anyhow::Error> {
    let why = replay.refused()?;
    Some(anyhow!(
        "cannot read {}: it is no recording of netdiag's: {why}",
        file.display()
    ))
}

/// The next reading, of what was asked for.
fn reading(replay: &mut Replay) -> Option<Observation> {
    let mut reading = replay.tick()?;
    asked::count_only(&replay.scene, &mut reading);
    Some(reading)
}
