//! One goal with what was measured of it.
use serde_json::{Value, json};

use crate::bench::lines::NETDIAG;
use crate::bench::stats::Spread;

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Met,
    Missed,
    /// A figure that has no goal.
    Shown,
    NotMeasured(String),
}

#[derive(Clone, Debug)]
pub struct Row {
    pub id: &'static str,
    pub what: String,
    /// netdiag's, where it has some.
    pub level: String,
    pub goal: String,
    pub value: String,
    pub spread: String,
    pub state: State,
}

/// What a value is held against.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
    None,
}

impl Bound {
    /// Of a level that has a goal; others are shown alone.
    pub fn held(self, judged: bool) -> Self {
        if judged { self } else { Self::None }
    }

    fn state(self, value: f64) -> State {
        let met = match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::None => return State::Shown,
        };
        if met { State::Met } else { State::Missed }
    }

    fn text(self, shown: &Shown) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {}", shown(limit)),
            Self::AtLeast(limit) => format!("≥ {}", shown(limit)),
            Self::None => String::new(),
        }
    }
}

/// How a number is written, with its unit.
pub type Shown = dyn Fn(f64) -> String;

pub fn plain(value: f64) -> String {
    format!("{value:.2}")
}

pub fn fine(value: f64) -> String {
    format!("{value:.3}")
}

pub fn percent(value: f64) -> String {
    format!("{:.2} % of a core", value * 100.0)
}

pub fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}

pub fn ms(seconds: f64) -> String {
    format!("{:.0} ms", seconds * 1e3)
}

pub fn ns(value: f64) -> String {
    format!("{value:.0} ns")
}

impl Row {
    pub fn new(id: &'static str, what: impl Into<String>) -> Self {
        Self {
            id,
            what: what.into(),
            level: String::new(),
            goal: String::new(),
            value: String::new(),
            spread: String::new(),
            state: State::NotMeasured("no such figure".to_owned()),
        }
    }

    /// Of what was attached by that name.
    pub fn of(self, name: &str) -> Self {
        let level = name.strip_prefix(NETDIAG).unwrap_or(name).trim_start();
        let level = level.to_owned();
        Self { level, ..self }
    }

    pub fn goal(self, goal: impl Into<String>) -> Self {
        let goal = goal.into();
        Self { goal, ..self }
    }

    /// Held against a bound by its median; without a figure it says why there is none.
    pub fn judged(self, bound: Bound, shown: &Shown, value: Option<Spread>, why: &str) -> Self {
        let goal = bound.text(shown);
        match value {
            Some(spread) => Self {
                goal,
                value: shown(spread.median),
                spread: format!("{} – {}", shown(spread.low), shown(spread.high)),
                state: bound.state(spread.median),
                ..self
            },
            None => Self { goal, ..self }.not_measured(why),
        }
    }

    /// The same of one figure.
    pub fn single(self, bound: Bound, shown: &Shown, value: Option<f64>, why: &str) -> Self {
        let goal = bound.text(shown);
        match value.filter(|it| it.is_finite()) {
            Some(value) => Self {
                goal,
                value: shown(value),
                state: bound.state(value),
                ..self
            },
            None => Self { goal, ..self }.not_measured(why),
        }
    }

    pub fn not_measured(self, why: impl Into<String>) -> Self {
        let state = State::NotMeasured(why.into());
        Self { state, ..self }
    }

    /// Beside the value, for whoever reads it.
    pub fn noted(mut self, note: &str) -> Self {
        if !self.value.is_empty() {
            self.value.push_str(note);
        }
        self
    }

    pub fn spread(self, spread: impl Into<String>) -> Self {
        let spread = spread.into();
        Self { spread, ..self }
    }

    pub fn json(&self) -> Value {
        let (state, why) = match &self.state {
            State::Met => ("met", None),
            State::Missed => ("not met", None),
            State::Shown => ("no goal", None),
            State::NotMeasured(why) => ("not measured", Some(why)),
        };
        json!({
            "id": self.id,
            "what": self.what,
            "level": self.level,
            "goal": self.goal,
            "value": self.value,
            "spread": self.spread,
            "state": state,
            "why": why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_decides() {
        let row = |bound, median| {
            let spread = Spread::of([median]);
            Row::new("P2", "x").judged(bound, &fine, spread, "none")
        };
        assert_eq!(row(Bound::AtLeast(0.97), 0.97).state, State::Met);
        assert_eq!(row(Bound::AtLeast(0.97), 0.969).state, State::Missed);
        assert_eq!(row(Bound::AtMost(1.03), 1.04).state, State::Missed);
        assert_eq!(row(Bound::None, 1.04).state, State::Shown);
        let shown = row(Bound::AtMost(1.03), 1.0312);
        assert_eq!(
            (shown.goal.as_str(), shown.value.as_str()),
            ("≤ 1.030", "1.031")
        );
    }

    #[test]
    fn without_a_figure_there_is_a_reason() {
        let row = Row::new("P2", "x").single(Bound::AtMost(1.0), &ms, None, "it is not there");
        assert_eq!(row.state, State::NotMeasured("it is not there".to_owned()));
        assert_eq!(row.json()["why"], "it is not there");
        assert_eq!(row.noted(" (of 3)").value, "");
        let nan = Row::new("P2", "x").single(Bound::AtMost(1.0), &ms, Some(f64::NAN), "no");
        assert!(matches!(nan.state, State::NotMeasured(_)));
    }
}
