//! How much is kept while it runs: what was asked for, less where that costs too much, more for a
//! while where something looks wrong.
//!
//! One level for the whole node: hops can be compared only where all of them keep the same.
use std::time::{Duration, Instant};

use netdiag_lang::english;

use crate::model::{level::Level, verdict::NotChecked};

/// So long more is kept after the last time that something looked wrong.
const LIFTED: Duration = Duration::from_secs(30);
/// What is lost within so long is taken together,
const WINDOW: Duration = Duration::from_secs(10);
/// and looks wrong when it is as much: by chance a packet or two.
const MANY: u64 = 3;

/// More is kept again when it took less than this part of what it may, so often in a row.
const LITTLE: f64 = 0.25;
const TIMES: u32 = 3;

pub struct Keeping {
    asked: Level,
    now: Level,
    /// Percent of a CPU.
    most: Option<f64>,
    /// What the budget allows.
    allowed: Level,
    little: u32,
    lowered: u64,
    lifted_until: Option<Instant>,
    /// When the window began, and what had been lost by then.
    window: Option<(Instant, u64)>,
}

impl Keeping {
    pub fn new(asked: Level, most: Option<f64>) -> Self {
        Self {
            asked,
            now: asked,
            most,
            allowed: Level::Full,
            little: 0,
            lowered: 0,
            lifted_until: None,
            window: None,
        }
    }

    pub const fn asked(&self) -> Level {
        self.asked
    }

    pub const fn now(&self) -> Level {
        self.now
    }

    /// Whether data is not kept though it was asked for.
    pub fn is_lowered(&self) -> bool {
        self.now == Level::Light && self.asked != Level::Light
    }

    /// What was lost until now: where that looks wrong, more is kept for a while, so that it can be
    /// told what gets through and what does not.
    pub fn losses(&mut self, now: Instant, lost: u64) {
        let (began, before) = *self.window.get_or_insert((now, 0));
        if lost.saturating_sub(before) >= MANY && self.asked == Level::Light {
            self.lifted_until = now.checked_add(LIFTED);
        } else if self.lifted_until.is_some_and(|until| now >= until) {
            self.lifted_until = None;
        }
        if now.duration_since(began) >= WINDOW {
            self.window = Some((now, lost));
        }
        self.settle();
    }

    /// What it cost lately, in percent of a CPU.
    pub fn cost(&mut self, share: f64) {
        let Some(most) = self.most else {
            return;
        };
        if share > most {
            self.little = 0;
            if let Some(lower) = self.now.lower() {
                self.lowered += 1;
                self.allowed = lower;
                log::warn!("{}", exceeded(share, most, lower));
            }
        } else if share < most * LITTLE {
            self.little += 1;
            if self.little >= TIMES {
                self.little = 0;
                self.allowed = self.allowed.higher().unwrap_or(self.allowed);
            }
        } else {
            self.little = 0;
        }
        self.settle();
    }

    fn settle(&mut self) {
        let wanted = match self.lifted_until {
            Some(_) => self.asked.higher().unwrap_or(self.asked),
            None => self.asked,
        };
        self.now = wanted.min(self.allowed);
    }

    /// What is not kept, and what became of the level.
    pub fn not_checked(&self) -> Vec<NotChecked> {
        let mut rows: Vec<_> = self.now.leaves_out().into_iter().collect();
        if self.lowered > 0 {
            let what = english!("what the level {} keeps, all the time", self.asked);
            let most = self.most.unwrap_or_default();
            let why = english!("netdiag took more than --max-cpu {most}% and kept less");
            rows.push(NotChecked::new(what, why));
        }
        rows
    }
}

fn exceeded(share: f64, most: f64, lower: Level) -> String {
    format!(
        "netdiag takes {share:.1} % of a CPU, more than --max-cpu {most}%: it keeps less ({lower})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_wrong_lifts_it_for_a_while() {
        let start = Instant::now();
        let mut keeping = Keeping::new(Level::Light, None);
        keeping.losses(start, MANY - 1);
        assert_eq!(keeping.now(), Level::Light);
        keeping.losses(start + WINDOW / 2, MANY);
        assert_eq!(keeping.now(), Level::Flows);
        keeping.losses(start + WINDOW, 2 * MANY);
        keeping.losses(start + LIFTED, 2 * MANY);
        assert_eq!(keeping.now(), Level::Flows, "it went on");
        keeping.losses(start + WINDOW + LIFTED, 2 * MANY);
        assert_eq!(keeping.now(), Level::Light, "nothing more was lost");
        keeping.losses(start + WINDOW + LIFTED, 3 * MANY - 1);
        assert_eq!(keeping.now(), Level::Light, "by chance");
    }

    #[test]
    fn who_asked_for_flows_gets_flows() {
        let mut keeping = Keeping::new(Level::Flows, None);
        keeping.losses(Instant::now(), 1000);
        assert_eq!(keeping.now(), Level::Flows);
    }

    #[test]
    fn what_costs_too_much_is_kept_less_and_comes_back() {
        let mut keeping = Keeping::new(Level::Full, Some(2.0));
        keeping.cost(1.9);
        assert_eq!(keeping.now(), Level::Full);
        keeping.cost(2.1);
        assert_eq!(keeping.now(), Level::Flows);
        keeping.cost(2.1);
        keeping.cost(9.0);
        assert_eq!(keeping.now(), Level::Light, "there is nothing below");
        keeping.losses(Instant::now(), 1000);
        assert_eq!(keeping.now(), Level::Light, "not while it costs too much");
        (0..TIMES).for_each(|_| keeping.cost(0.1));
        assert_eq!(keeping.now(), Level::Flows);
        assert_eq!(keeping.not_checked().len(), 2);
    }
}
