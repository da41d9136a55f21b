//! Readings in the order of time, as many as fit: of a run that goes on the oldest go, of a
//! recording every second one.
use std::{collections::VecDeque, sync::Arc};

use super::{counts::Counts, metric::Metric, reading::Reading, tab::Tab};

/// What is kept at most.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub readings: usize,
    pub bytes: usize,
}

impl Budget {
    /// Some minutes of a run.
    pub const LIVE: Self = Self {
        readings: 600,
        bytes: 16 << 20,
    };
    /// A whole recording.
    pub const RECORDING: Self = Self {
        readings: 4096,
        bytes: 48 << 20,
    };
}

/// Rates are those of a second, where readings come more often. A timer is not exact.
const WINDOW_NS: u64 = 950_000_000;

/// Which readings go where there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Oldest,
    /// Of so many only one stays.
    Every(usize),
}

pub struct History {
    readings: VecDeque<Arc<Reading>>,
    budget: Budget,
    leave: Leave,
    weight: usize,
    /// Readings that came, and those that went at the front.
    came: usize,
    gone: usize,
}

impl History {
    pub fn live(budget: Budget) -> Self {
        Self::new(budget, Leave::Oldest)
    }

    pub fn recording(budget: Budget) -> Self {
        Self::new(budget, Leave::Every(1))
    }

    fn new(budget: Budget, leave: Leave) -> Self {
        Self {
            readings: VecDeque::new(),
            budget,
            leave,
            weight: 0,
            came: 0,
            gone: 0,
        }
    }

    pub fn push(&mut self, reading: Arc<Reading>) {
        self.came += 1;
        if let Leave::Every(step) = self.leave {
            // What came last takes the place of what the step leaves out.
            let last = self.readings.len().saturating_sub(1);
            let kept = (self.came - 2_usize.min(self.came)).is_multiple_of(step);
            if !kept && last > 0 {
                self.forget(last);
            }
        }
        self.weight += reading.weight();
        self.readings.push_back(reading);
        while self.is_over() {
            match self.leave {
                Leave::Oldest => {
                    self.gone += 1;
                    self.forget(0);
                }
                Leave::Every(step) => self.thin(step.saturating_mul(2)),
            }
        }
    }

    fn is_over(&self) -> bool {
        let over = self.readings.len() > self.budget.readings || self.weight > self.budget.bytes;
        // Two are what a rate is made of, however large.
        over && self.readings.len() > 2
    }

    fn forget(&mut self, at: usize) {
        if let Some(old) = self.readings.remove(at) {
            self.weight -= old.weight();
        }
    }

    /// Leaves every second one out, the first and the last not.
    fn thin(&mut self, step: usize) {
        self.leave = Leave::Every(step);
        let last = self.readings.len().saturating_sub(1);
        let all = std::mem::take(&mut self.readings).into_iter().enumerate();
        let kept = all.filter(|(n, _)| n.is_multiple_of(2) || *n == last);
        self.readings = kept.map(|(_, reading)| reading).collect();
        self.weight = self.readings.iter().map(|it| it.weight()).sum();
    }

    pub fn len(&self) -> usize {
        self.readings.len()
    }

    pub fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }

    /// How many came, and went from the front since.
    pub const fn came(&self) -> usize {
        self.came
    }

    pub const fn gone(&self) -> usize {
        self.gone
    }

    pub fn get(&self, at: usize) -> Option<&Arc<Reading>> {
        self.readings.get(at)
    }

    pub fn last(&self) -> Option<&Arc<Reading>> {
        self.readings.back()
    }

    /// What one reading has, beside one a second before it.
    pub fn moment(&self, at: usize) -> Option<Moment<'_>> {
        Some(Moment {
            history: self,
            at,
            reading: self.readings.get(at)?,
            before: self.a_second_before(at),
        })
    }

    /// The same beside the very one before it.
    fn step(&self, at: usize) -> Option<Moment<'_>> {
        Some(Moment {
            before: at.checked_sub(1).and_then(|n| self.readings.get(n)),
            ..self.moment(at)?
        })
    }

    /// The last of those that are so old: what comes in bursts is no rate from one to the next.
    fn a_second_before(&self, at: usize) -> Option<&Arc<Reading>> {
        let now = self.readings.get(at)?.now;
        let old = |it: &&Arc<Reading>| now.saturating_sub(it.now) >= WINDOW_NS;
        self.readings.range(..at).rev().find(old)
    }
}

/// One reading with those before it.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    history: &'a History,
    at: usize,
    pub reading: &'a Arc<Reading>,
    before: Option<&'a Arc<Reading>>,
}

impl<'a> Moment<'a> {
    /// Seconds since the reading before, or since the run began.
    fn seconds(&self) -> f64 {
        let before = self.before.map_or(self.reading.head.started, |it| it.now);
        self.reading.now.saturating_sub(before) as f64 / 1e9
    }

    /// What came a second, of something that stood at `now` and at `before`.
    pub fn rate(&self, now: u64, before: u64) -> f64 {
        let seconds = self.seconds();
        match seconds > 0.0 {
            true => now.saturating_sub(before) as f64 / seconds,
            false => 0.0,
        }
    }

    /// Of a row of a table.
    pub fn row_rate(&self, tab: Tab, key: u64, metric: Metric) -> f64 {
        let counts =
            |reading: &Reading| -> Option<Counts> { Some(reading.table(tab)?.get(key)?.counts) };
        let now = counts(self.reading).map_or(0, |it| metric.of(&it));
        let before = self.before.and_then(|it| counts(it));
        // A row that found no room before did not begin just now.
        let cut = |it: &Arc<Reading>| it.table(tab).is_some_and(|table| table.left_out > 0);
        match (before, self.before.is_some_and(cut)) {
            (None, true) => 0.0,
            (before, _) => self.rate(now, before.map_or(0, |it| metric.of(&it))),
        }
    }

    /// Of all that was counted.
    pub fn total_rate(&self, metric: Metric) -> f64 {
        let of = |reading: &Reading| metric.of(&reading.head.total);
        self.rate(of(self.reading), self.before.map_or(0, |it| of(it)))
    }

    /// Of the packets that a cause's evidence counts.
    pub fn cause_rate(&self, id: &str) -> f64 {
        let of = |reading: &Reading| reading.cause(id).map_or(0, |cause| cause.packets);
        self.rate(of(self.reading), self.before.map_or(0, |it| of(it)))
    }

    /// The moments up to this one, so many at most.
    fn up_to(&self, most: usize) -> impl Iterator<Item = Moment<'a>> {
        let first = (self.at + 1).saturating_sub(most);
        let history = self.history;
        (first..=self.at).filter_map(move |at| history.step(at))
    }

    pub fn row_trend(&self, tab: Tab, key: u64, metric: Metric, most: usize) -> Vec<f64> {
        let rates = self.up_to(most).map(|it| it.row_rate(tab, key, metric));
        rates.collect()
    }

    pub fn cause_trend(&self, id: &str, most: usize) -> Vec<f64> {
        self.up_to(most).map(|it| it.cause_rate(id)).collect()
    }
}
