//! What a person at a terminal sees while the node is watched: a line that counts down, and each root
//! cause as soon as it stands.
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal, Write},
    time::Duration,
};

use netdiag_common::config::counter;
use netdiag_lang::{retold, t};

use crate::{
    cli::options::Global,
    model::{
        gather::Want,
        observation::Observation,
        text::{fitting, shown},
        verdict::{Finding, Severity},
    },
    output::words::severity,
};

/// Readings for which a cause must have been there: another one may take its place in the next.
const STANDS: u32 = 3;

pub struct Progress {
    on: bool,
    /// For how many readings in a row each is there, by its id.
    seen: BTreeMap<String, u32>,
    told: BTreeSet<String>,
}

/// A moment of the watch.
pub struct Now<'a> {
    pub elapsed: Duration,
    pub left: Duration,
    pub observation: &'a Observation,
    pub findings: &'a [Finding],
    pub dropped: u64,
    /// What was asked for and is not answered.
    pub waits_for: Vec<&'a Want>,
}

impl Progress {
    pub fn new(global: &Global) -> Self {
        Self {
            on: std::io::stderr().is_terminal() && !global.quiet,
            seen: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    pub fn show(&mut self, now: &Now<'_>) {
        if !self.on {
            return;
        }
        let width = terminal_size::terminal_size_of(std::io::stderr())
            .map_or(80, |(w, _)| usize::from(w.0));
        let mut text = String::from("\r\x1b[2K");
        for finding in self.standing(now.findings) {
            text.push_str(&cut(&found(now.elapsed, finding), width));
            text.push('\n');
        }
        text.push_str(&cut(&line(now), width.saturating_sub(1)));
        // What cannot be shown there costs nothing else.
        let _ = write!(std::io::stderr(), "{text}");
    }

    pub fn clear(&mut self) {
        if self.on {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }

    /// Roots that stand since just now.
    fn standing<'a>(&mut self, findings: &'a [Finding]) -> Vec<&'a Finding> {
        let roots = findings
            .iter()
            .filter(|f| f.consequence_of.is_none() && f.severity > Severity::Info);
        let roots: BTreeMap<&String, &Finding> = roots.map(|f| (&f.id, f)).collect();
        self.seen.retain(|id, _| roots.contains_key(id));
        let mut new = Vec::new();
        for (id, finding) in roots {
            let times = self.seen.entry(id.clone()).or_default();
            *times = times.saturating_add(1);
            if *times >= STANDS && self.told.insert(id.clone()) {
                new.push(finding);
            }
        }
        new
    }
}

fn found(elapsed: Duration, finding: &Finding) -> String {
    let word = severity(finding.severity);
    let text = t!("{word} {}: {}", finding.cause, finding.summary);
    format!("{:5.1} s  {}", elapsed.as_secs_f64(), shown(&text))
}

fn line(now: &Now<'_>) -> String {
    let observation = now.observation;
    let packets = observation
        .counter(counter::HOP_PACKETS)
        .saturating_sub(observation.counter(counter::HOPS_LEFT));
    let mut line = t!(
        "{:.0} s left: {packets} packets, {} drops, {} retransmits, {} oversize",
        now.left.as_secs_f64().ceil(),
        now.dropped,
        observation.retransmitted(),
        observation.oversize(),
    );
    if let [first, rest @ ..] = now.waits_for.as_slice() {
        let name = first.name();
        let name = shown(&retold(&name));
        line.push_str(&match rest.len() {
            0 => t!("; waits for {name}"),
            n => t!("; waits for {name} and {n} more"),
        });
    }
    line
}

fn cut(text: &str, width: usize) -> String {
    fitting(text, width).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::verdict::Confidence;

    fn finding(cause: &str, severity: Severity) -> Finding {
        Finding::new(cause, severity, Confidence::Confirmed, "why".into())
    }

    #[test]
    fn a_root_is_told_once_when_it_stands() {
        let mut progress = Progress {
            on: true,
            seen: BTreeMap::new(),
            told: BTreeSet::new(),
        };
        let mut below = finding("dns-unreachable", Severity::Critical);
        below.consequence_of = Some("firewall-drop".into());
        let all = [
            finding("firewall-drop", Severity::Warning),
            below,
            finding("noise", Severity::Info),
        ];
        let mut told = || {
            let new = progress.standing(&all);
            new.iter().map(|f| f.cause.clone()).collect::<Vec<_>>()
        };
        assert_eq!(told(), [""; 0]);
        assert_eq!(told(), [""; 0]);
        assert_eq!(told(), ["firewall-drop"]);
        assert_eq!(told(), [""; 0]);
        // One that comes and goes does not stand.
        let other = [finding("no-route", Severity::Warning)];
        for _ in 0..4 {
            assert!(progress.standing(&other[..1]).len() <= 1);
            assert!(progress.standing(&[]).is_empty());
        }
        assert!(!progress.told.contains(&other[0].id));
    }
}
