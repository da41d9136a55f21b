//! The times as text.
use std::{fmt::Write, time::Duration};

pub struct Times {
    pub flows: usize,
    pub drops: usize,
    pub lookups: usize,
    /// Names for what the kernel numbers.
    pub rows: Duration,
    /// What rules share.
    pub shared: Vec<(&'static str, Duration)>,
    /// What a cause asks for, and its rule, where all of that is there.
    pub each: Vec<(&'static str, Duration, Duration)>,
    /// All of a reading: rows, what is shared, rules and arbiter.
    pub judged: Duration,
    /// The same with its events.
    pub events: Duration,
    pub verdict: Duration,
    pub findings: Vec<String>,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Times {
    fn sorted(&self) -> Vec<(&'static str, Duration, Duration)> {
        let mut each = self.each.clone();
        each.sort_by_key(|(_, asks, rule)| std::cmp::Reverse(*asks + *rule));
        each
    }

    pub fn line(&self, name: &str) -> String {
        let sorted = self.sorted();
        let dearest = sorted.iter().take(3);
        let dearest = dearest.map(|(id, asks, rule)| format!("{id} {:.1}", ms(*asks + *rule)));
        let dearest: Vec<String> = dearest.collect();
        format!(
            "{name:32} {:5} flows {:5} drops {:4} lookups: {:7.1} ms a reading, {:7.1} with events; {}\n",
            self.flows,
            self.drops,
            self.lookups,
            ms(self.judged),
            ms(self.events),
            dearest.join(", ")
        )
    }

    pub fn all(&self, name: &str) -> String {
        let mut text = self.line(name);
        let _ = writeln!(text, "  {}", self.findings.join(" "));
        let whole = [
            ("a reading", self.judged),
            ("with events", self.events),
            ("the verdict", self.verdict),
        ];
        let parts = [("rows", self.rows)].into_iter();
        for (what, time) in parts.chain(self.shared.iter().copied()).chain(whole) {
            let _ = writeln!(text, "  {what:34} {:9.2} ms", ms(time));
        }
        for (id, asks, rule) in self.sorted() {
            let _ = writeln!(
                text,
                "  {id:34} {:9.2} ms, asks {:9.2} ms",
                ms(rule),
                ms(asks)
            );
        }
        text
    }
}
