//! The lab as a person uses it: each incident stood up, its traffic made and its node diagnosed by
//! the very lines that `netdiag lab up` prints.
mod choice;
mod standing;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    build,
    jobs::side_by_side,
    setup::Way,
    sh::{is_root, say, tell},
    test::{scenarios, tally::Tally},
    verdict::words,
};
pub use choice::{in_ci, over_ipv6};
use standing::Seen;

#[derive(Args)]
pub struct Options {
    /// Scenarios [default: all]
    names: Vec<String>,
    /// Seeds, such as 1,2
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1")]
    seed: Vec<u64>,
    /// The incident's own traffic alone, or in a busy cluster [default: both]
    #[arg(long)]
    form: Vec<Form>,
    /// Stand up so many labs at a time
    #[arg(long, value_name = "N", default_value_t = JOBS)]
    jobs: usize,
    /// Use this netdiag and build none
    #[arg(long, value_name = "FILE")]
    netdiag: Option<PathBuf>,
}

/// Each waits for packets most of its time: four seconds of a CPU in twenty.
pub const JOBS: usize = 6;

/// In what surroundings an incident is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// `lab traffic`
    Alone,
    /// `lab traffic --background`
    Busy,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Busy => "busy",
        }
    }
}

/// One incident to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub scenario: String,
    pub seed: u64,
    pub form: Form,
}

impl Look {
    fn title(&self) -> String {
        let (scenario, seed, form) = (&self.scenario, self.seed, self.form.name());
        format!("by hand {scenario} (seed {seed}, {form})")
    }
}

pub fn command(via: Option<Way>, options: &Options) -> Result<ExitCode> {
    if !is_root() {
        bail!("labs need root: run this as root");
    }
    let netdiag = build::given_or_dev(via, options.netdiag.as_deref())?;
    let names = scenarios::chosen(&netdiag, &options.names)?;
    let forms = match options.form.as_slice() {
        [] => &[Form::Alone, Form::Busy],
        some => some,
    };
    let mut looks = Vec::new();
    for &seed in &options.seed {
        for &form in forms {
            looks.extend(names.iter().cloned().map(|scenario| Look {
                scenario,
                seed,
                form,
            }));
        }
    }
    let mut tally = Tally::default();
    all(&netdiag, &looks, options.jobs, &mut tally);
    Ok(tally.close())
}

/// Looks at each, some side by side, with a row of the table as soon as it is done.
pub fn all(netdiag: &Path, looks: &[Look], jobs: usize, tally: &mut Tally) {
    say("by hand: lab up, lab traffic and diagnose, as lab up prints them");
    tell(&row("", "SCENARIO", "SEED", "FORM", "NAMED"));
    let look = |look: &Look| standing::look(netdiag, look);
    side_by_side(looks, jobs, look, |look, seen| {
        let outcome = seen.unwrap_or_else(|error| Seen::Failed(format!("{error:#}")));
        count(look, &outcome, tally);
    });
}

fn count(look: &Look, seen: &Seen, tally: &mut Tally) {
    let show = |result: &str, named: &str| {
        let seed = look.seed.to_string();
        tell(&row(result, &look.scenario, &seed, look.form.name(), named));
    };
    let title = look.title();
    let mut fail = |why: &str, verdict: &str| {
        show("FAILED", why);
        if !verdict.is_empty() {
            tell(verdict);
        }
        tally.add(0, vec![format!("{title}: {why}")], Vec::new());
    };
    let (named, expected, verdict) = match seen {
        Seen::Failed(why) => return fail(why, ""),
        Seen::Skipped(why) => {
            show("skipped", why);
            return tally.add(0, Vec::new(), vec![format!("{title}: {why}")]);
        }
        Seen::Named {
            named,
            expected,
            verdict,
        } => (named, expected, verdict),
    };
    if named == expected {
        show("same", &words(named));
        return tally.add(1, Vec::new(), Vec::new());
    }
    let why = format!("{} (expected {})", words(named), words(expected));
    fail(&format!("named {why}"), verdict);
}

fn row(result: &str, scenario: &str, seed: &str, form: &str, named: &str) -> String {
    format!("{result:8} {scenario:32} {seed:>4}  {form:6} {named}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(causes: &[&str], expected: &[&str]) -> Seen {
        let set = |all: &[&str]| all.iter().map(|c| (*c).to_owned()).collect();
        Seen::Named {
            named: set(causes),
            expected: set(expected),
            verdict: String::new(),
        }
    }

    #[test]
    fn only_what_was_declared_passes() {
        let look = Look {
            scenario: "a".to_owned(),
            seed: 1,
            form: Form::Busy,
        };
        let mut tally = Tally::default();
        for seen in [
            named(&["a"], &["a"]),
            named(&[], &[]),
            named(&["a", "b"], &["a"]),
            named(&[], &["a"]),
            named(&["b"], &[]),
            Seen::Skipped("needs ipip".to_owned()),
            Seen::Failed("no verdict".to_owned()),
        ] {
            count(&look, &seen, &mut tally);
        }
        assert_eq!(tally.counts(), "2 passed, 4 failed, 1 skipped");
    }
}
