//! How many commands of each kind.
use serde_json::Value;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub runs: usize,
    show: usize,
    watch: usize,
    change: usize,
    /// Not run: their objects are looked up in the lab.
    elsewhere: usize,
    /// Whose program is not on this machine.
    skipped: usize,
}

impl Counts {
    pub const HEADER: [&str; 5] = ["SHOW", "WATCH", "CHANGE", "ELSEWHERE", "SKIPPED"];

    pub fn cells(&self) -> [String; 5] {
        let all = [
            self.show,
            self.watch,
            self.change,
            self.elsewhere,
            self.skipped,
        ];
        all.map(|count| count.to_string())
    }

    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.show += other.show;
        self.watch += other.watch;
        self.change += other.change;
        self.elsewhere += other.elsewhere;
        self.skipped += other.skipped;
    }

    /// Those of one run.
    pub fn read(commands: &[Value]) -> Self {
        let mut counts = Self {
            runs: 1,
            ..Self::default()
        };
        for command in commands {
            let count = match command["kind"].as_str() {
                _ if !command["skipped"].is_null() => &mut counts.skipped,
                Some("show") => &mut counts.show,
                Some("watch") => &mut counts.watch,
                Some("elsewhere") => &mut counts.elsewhere,
                _ => &mut counts.change,
            };
            *count += 1;
        }
        counts
    }
}
