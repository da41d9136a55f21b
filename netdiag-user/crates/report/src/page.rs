//! What a page is made of, and the words that both its forms begin with.
use netdiag_lang::{mark, t};

use crate::{
    FlowWay, Timeline,
    model::{
        text::{counted, listed, listed_and_more},
        total::Total,
        verdict::{Confidence, Finding, Outcome, PodRef, Verdict},
    },
    output::words,
    tree::{self, Branch},
};

/// Rows of a table, lines of evidence, commands: a page is for people.
pub const MOST: usize = 200;

/// Everything that the page tells.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    pub verdict: &'a Verdict,
    pub ways: &'a [FlowWay],
    /// One of each node.
    pub timelines: &'a [Timeline],
    pub source: Source<'a>,
}

/// The files that it is made from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    Recordings(&'a [String]),
    /// `diagnose -o json`, in which there is neither a way nor a time of an event.
    Verdict(&'a str),
}

impl Source<'_> {
    pub fn names(&self) -> String {
        match self {
            Self::Recordings(files) => listed(files),
            Self::Verdict(file) => (*file).to_owned(),
        }
    }

    /// What the page cannot have.
    pub fn lacks(&self) -> Option<&'static str> {
        match self {
            Self::Recordings(_) => None,
            Self::Verdict(_) => Some(t!(
                "Made from a verdict alone: its commands are the file's own, so read each before you run it; \
                 hop-by-hop counts and timelines are in recordings (diagnose --record FILE)."
            )),
        }
    }
}

/// The first rows, and how many more there are.
pub fn first<T>(all: &[T]) -> (&[T], usize) {
    let (first, more) = all.split_at(all.len().min(MOST));
    (first, more.len())
}

impl Page<'_> {
    pub fn tree(&self) -> Vec<Branch> {
        tree::tree(&self.verdict.findings)
    }

    /// All nodes by name.
    pub fn nodes(&self) -> String {
        let all = &self.verdict.nodes;
        let (some, more) = first(all);
        let mut names: Vec<&str> = some.iter().map(|it| it.node.as_str()).collect();
        if names.is_empty() {
            names.push(&self.verdict.node);
        }
        listed_and_more(&names, more)
    }

    /// `2 root causes, 1 consequence`.
    pub fn state(&self) -> String {
        let verdict = self.verdict;
        let roots = self.tree().len();
        let rest = verdict.findings.len().saturating_sub(roots);
        let mut word = match (verdict.verdict, roots) {
            (Outcome::Healthy, 0) => t!("healthy").to_owned(),
            (Outcome::Incomplete, 0) => t!("not enough seen to call it healthy").to_owned(),
            (_, 0) => t!("no cause found").to_owned(),
            (_, n) => counted(n as u64, mark!("root cause")),
        };
        if rest > 0 {
            word = t!("{word}, {}", counted(rest as u64, mark!("consequence")));
        }
        let dropped = verdict.drops.iter().map(|it| it.packets).total();
        if verdict.findings.is_empty() && dropped > 0 {
            let dropped = counted(dropped, mark!("packet"));
            word.push_str(&t!(", {dropped} dropped"));
        }
        word
    }

    /// When, for how long, and on which kernel.
    pub fn watched(&self) -> String {
        let verdict = self.verdict;
        let how = words::watched(verdict);
        let level = verdict.level;
        let level = level.map_or_else(String::new, |it| t!(" · level {it}"));
        t!(
            "{how} from {} · Linux {}{level}",
            verdict.started,
            verdict.kernel
        )
    }

    /// The ways of a finding's flow, that of its own node first.
    pub fn ways_of(&self, finding: &Finding) -> impl Iterator<Item = &FlowWay> {
        self.ways.iter().filter(|it| it.is_of(finding))
    }

    /// What netdiag saw, lost and took, a sentence each.
    pub fn own(&self) -> Vec<String> {
        let observer = &self.verdict.observer;
        let mut all = vec![words::observed(observer)];
        if let Some(cost) = &observer.cost {
            all.push(words::own(cost, self.verdict.duration));
            let events = cost.events.as_ref().filter(|it| it.drops.seen > 0);
            all.extend(events.map(words::accounts));
        }
        all
    }
}

/// Nothing where it goes without saying.
pub fn doubt(finding: &Finding) -> Option<&'static str> {
    match finding.confidence {
        Confidence::Confirmed => None,
        Confidence::Configured | Confidence::Suspected => Some(words::confidence(finding)),
    }
}

/// Where a pod is, as far as it is known.
pub fn place(pod: &PodRef) -> String {
    match (&pod.interface, &pod.node) {
        (Some(link), node) => words::on_node(link, node.as_deref()),
        (None, Some(node)) => t!("on {node}"),
        (None, None) => "-".to_owned(),
    }
}
