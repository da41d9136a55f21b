//! Each sample beside what was measured with nothing attached right before and right after it.
use serde_json::{Value, json};

use super::lines::{NOTHING, STORM, number, of, text};
use super::stats::Spread;

/// What a load came to. Units are packets, or bytes of TCP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Units a second: those that arrived; in a storm, where none does, those that were sent.
    pub rate: f64,
    /// CPU seconds a unit of those that carry it and of what is attached.
    pub cpu: f64,
    /// CPU seconds a unit of the whole machine.
    pub busy: f64,
}

impl Figures {
    pub fn of(line: &Value) -> Option<Self> {
        let storm = text(line, "load") == STORM;
        let arrived = number(line, if storm { "sent" } else { "received" })?;
        // What was sent is what time was spent on, arrived or not.
        let sent = number(line, "sent").filter(|sent| *sent > 0.0)?;
        let own = number(line, "tracer/cpu_seconds").unwrap_or(0.0);
        Some(Self {
            rate: arrived / number(line, "seconds")?,
            cpu: (number(line, "cpu_seconds")? + own) / sent,
            busy: number(line, "busy_seconds")? / sent,
        })
    }

    fn each(self, other: Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            rate: combine(self.rate, other.rate),
            cpu: combine(self.cpu, other.cpu),
            busy: combine(self.busy, other.busy),
        }
    }
}

/// The samples of a load with that attached.
fn samples<'a>(
    lines: &'a [Value],
    attached: &'a str,
    load: &'a str,
) -> impl Iterator<Item = &'a Value> {
    let fits =
        move |line: &&Value| text(line, "attached") == attached && text(line, "load") == load;
    of(lines, "round").filter(fits)
}

/// One for each sample that has nothing attached on both sides.
pub fn ratios(lines: &[Value], attached: &str, load: &str) -> Vec<Figures> {
    let nothing = |round: f64, step: f64| {
        let at = |line: &&Value| {
            number(line, "round") == Some(round) && number(line, "step") == Some(step)
        };
        samples(lines, NOTHING, load).find(at).and_then(Figures::of)
    };
    let ratio = |line: &Value| {
        let (round, step) = (number(line, "round")?, number(line, "step")?);
        let (before, after) = (nothing(round, step - 1.0)?, nothing(round, step + 1.0)?);
        let base = before.each(after, |one, other| (one + other) / 2.0);
        Some(Figures::of(line)?.each(base, |it, base| it / base))
    };
    samples(lines, attached, load).filter_map(ratio).collect()
}

/// With nothing attached, in units themselves.
pub fn base(lines: &[Value], load: &str) -> Option<Value> {
    let all: Vec<_> = samples(lines, NOTHING, load)
        .filter_map(Figures::of)
        .collect();
    spreads(&all)
}

pub fn spreads(all: &[Figures]) -> Option<Value> {
    let spread = |of: fn(&Figures) -> f64| Spread::of(all.iter().map(of)).map(Spread::json);
    Some(json!({
        "rate": spread(|it| it.rate)?,
        "cpu": spread(|it| it.cpu)?,
        "busy": spread(|it| it.busy)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(round: u32, step: u32, attached: &str, sent: u64) -> Value {
        json!({
            "part": "round", "round": round, "step": step, "attached": attached, "load": "udp",
            "sent": sent, "received": sent / 2, "seconds": 2.0, "cpu_seconds": 1.0,
            "busy_seconds": 3.0, "tracer": {"cpu_seconds": 1.0}
        })
    }

    #[test]
    fn figures_of_a_sample() {
        let found = Figures::of(&line(0, 0, "x", 1000)).expect("a sample");
        let wanted = Figures {
            rate: 250.0,
            cpu: 0.002,
            busy: 0.003,
        };
        assert_eq!(found, wanted);
        assert_eq!(Figures::of(&line(0, 0, "x", 0)), None);
    }

    #[test]
    fn a_ratio_is_to_both_neighbours() {
        // The machine becomes slower all the time, what is attached costs a tenth.
        let mut lines = Vec::new();
        for round in 0..3 {
            let speed = 1000 - u64::from(round) * 200;
            let step = round * 3;
            lines.push(line(round, step, "nothing", speed));
            lines.push(line(round, step + 1, "x", (speed - 50) * 9 / 10));
            lines.push(line(round, step + 2, "nothing", speed - 100));
        }
        let found = ratios(&lines, "x", "udp");
        assert_eq!(found.len(), 3);
        for it in found {
            assert!((it.rate - 0.9).abs() < 0.01, "{it:?}");
        }
    }

    #[test]
    fn a_sample_without_neighbours_has_no_ratio() {
        let lines = [
            line(0, 0, "nothing", 9),
            line(0, 1, "x", 9),
            line(1, 2, "nothing", 9),
        ];
        assert!(ratios(&lines, "x", "udp").is_empty());
        assert!(spreads(&[]).is_none());
    }
}
