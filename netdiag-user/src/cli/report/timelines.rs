//! What happened when, from the events of recordings as they are played.
use anyhow::Result;
use jiff::Timestamp;
use netdiag_lang::{mark, retold, t};

use crate::{
    cli::replay::player::Player,
    diagnosis::nodes::Recorded,
    model::{
        event::{Detail, LiveEvent},
        gather::Rule,
        text,
        verdict::Verdict,
    },
    pipeline::scene::Scene,
    report::{Kind, Mark, Timeline},
};

/// Characters of a rule in the list of what happened.
const LONGEST: usize = 160;

/// A recording that was played, and what happened in it.
pub type Told = (Recorded, Line);

/// A timeline that begins when its node's run began.
pub struct Line {
    begun: Timestamp,
    timeline: Timeline,
    rules: Rules,
}

/// Plays all of it.
pub fn played(mut player: Player) -> Result<Told> {
    let mut line = Line::of(player.scene());
    loop {
        if let Some(now) = player.next_at() {
            line.reading(player.scene(), now);
        }
        let (events, last) = player.events(None)?;
        events.iter().for_each(|event| line.event(event));
        if let Some(last) = last {
            return Ok((player.close(last), line));
        }
    }
}

/// Each node's, as the verdict names the nodes, with the causes that it names.
pub fn of(verdict: &Verdict, lines: Vec<Line>) -> Vec<Timeline> {
    let mut kept: Vec<Line> = Vec::new();
    for line in lines {
        // The same recording given twice counts once.
        let same =
            |it: &&mut Line| (it.begun, &it.timeline.node) == (line.begun, &line.timeline.node);
        match kept.iter_mut().find(same) {
            Some(known) if known.timeline.seconds < line.timeline.seconds => *known = line,
            Some(_) => {}
            None => kept.push(line),
        }
    }
    if kept.len() == verdict.nodes.len() {
        let names = verdict.nodes.iter().map(|it| &it.node);
        let lines = kept.iter_mut().zip(names);
        lines.for_each(|(line, name)| line.timeline.node.clone_from(name));
    }
    let alone = kept.len() == 1;
    for line in &mut kept {
        line.named(verdict, alone);
    }
    kept.into_iter().map(|it| it.timeline).collect()
}

impl Line {
    fn of(scene: &Scene) -> Self {
        Self {
            begun: scene.clock.time(scene.run.started),
            timeline: Timeline::new(scene.node.name.clone()),
            rules: Rules::default(),
        }
    }

    fn seconds(&self, time: Timestamp) -> f64 {
        time.duration_since(self.begun).as_secs_f64().max(0.0)
    }

    fn reading(&mut self, scene: &Scene, now: Timestamp) {
        let at = self.seconds(now);
        self.timeline.reach(at);
        for text in self.rules.changes(scene) {
            self.mark(at, mark!("rule"), text);
        }
    }

    fn mark(&mut self, at: f64, what: &'static str, text: String) {
        self.timeline.mark(Mark { at, what, text });
    }

    fn event(&mut self, event: &LiveEvent) {
        let Ok(time) = event.time.parse::<Timestamp>() else {
            return;
        };
        let at = self.seconds(time);
        match &event.detail {
            Detail::Link { change } => {
                let link = event.interface.as_deref().unwrap_or("?");
                self.mark(at, mark!("link"), format!("{link} {}", retold(change)));
            }
            Detail::Oom { pid, comm, .. } => {
                let name = comm.as_deref().unwrap_or(t!("a process"));
                self.mark(at, mark!("OOM kill"), format!("{name} (pid {pid})"));
            }
            detail => {
                if let Some(kind) = kind(detail) {
                    self.timeline.count(at, kind, event.count);
                }
            }
        }
    }

    /// When the findings of this node were named.
    fn named(&mut self, verdict: &Verdict, alone: bool) {
        for finding in &verdict.findings {
            let here = alone || finding.node.as_ref() == Some(&self.timeline.node);
            let at = finding.named_at.as_ref().filter(|_| here);
            let at = at.and_then(|it| it.parse::<Timestamp>().ok());
            if let Some(at) = at {
                let at = self.seconds(at);
                self.mark(at, mark!("named"), finding.cause.clone());
            }
        }
        self.timeline.marks.sort_by(|a, b| a.at.total_cmp(&b.at));
    }
}

fn kind(detail: &Detail) -> Option<Kind> {
    match detail {
        Detail::Drop { harmless, .. } => (!harmless).then_some(Kind::Dropped),
        Detail::Oversize { .. } => Some(Kind::Oversize),
        Detail::Retransmit { seen, .. } => match *seen {
            "socket" => Some(Kind::Retransmitted),
            _ => Some(Kind::RetransmittedOnLinks),
        },
        Detail::Dns { .. } => Some(Kind::DnsFailures),
        Detail::Unreachable { .. } => Some(Kind::Unreachable),
        _ => None,
    }
}

/// Rules that drop or reject, as they were last listed in each namespace.
#[derive(Default)]
struct Rules {
    known: Vec<(u32, Vec<Rule>)>,
}

impl Rules {
    /// What is another since the listing before: rules that are new or gone, and those that took
    /// their first packets. The first listing is no change.
    fn changes(&mut self, scene: &Scene) -> Vec<String> {
        let mut told = Vec::new();
        for (netns, now) in scene.gathered.rules_known() {
            match self.known.iter_mut().find(|(own, _)| *own == netns) {
                Some((_, before)) if before.as_slice() == now => {}
                Some((_, before)) => {
                    compared(Some(before), now, &mut told);
                    *before = now.to_vec();
                }
                None => {
                    compared(None, now, &mut told);
                    self.known.push((netns, now.to_vec()));
                }
            }
        }
        told
    }
}

fn compared(before: Option<&[Rule]>, now: &[Rule], told: &mut Vec<String>) {
    let say = |what: &str, rule: &Rule| {
        let text = text::line(&rule.written(), LONGEST);
        t!("{what}: {text} ({})", rule.place)
    };
    let old: std::collections::HashMap<_, u64> = before
        .unwrap_or_default()
        .iter()
        .map(|rule| (rule.named(), rule.packets))
        .collect();
    let mut new = std::collections::HashSet::new();
    for rule in now {
        let name = rule.named();
        match old.get(&name) {
            None if before.is_some() => told.push(say(t!("added"), rule)),
            None | Some(0) if rule.packets > 0 => told.push(say(t!("seen taking packets"), rule)),
            _ => {}
        }
        new.insert(name);
    }
    let gone = before.unwrap_or_default().iter();
    told.extend(
        gone.filter(|rule| !new.contains(&rule.named()))
            .map(|rule| say(t!("gone"), rule)),
    );
}
