//! What a tool may be asked, and the command line that answers it. No text of the client's is ever read
//! as an option, and none of it names a file.
use std::{ffi::OsString, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::text::is_harmful;

/// Names in one list.
pub const MOST_NAMES: usize = 16;
/// Characters of one of the client's texts.
const LONGEST: usize = 256;
/// A diagnosis watches so long at most, and unless it is told.
pub const LONGEST_WATCH: u64 = 60;
const WATCH: u64 = 15;
const WATCH_PATH: u64 = 5;

/// Which packets to watch. All conditions must hold; of the same kind any one is enough.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Diagnose {
    /// How long to watch, in seconds [default: 15].
    #[schemars(range(min = 1, max = LONGEST_WATCH))]
    pub duration_seconds: Option<u64>,
    /// Only packets of these namespaces' pods; * and ? match.
    #[schemars(length(max = MOST_NAMES))]
    pub namespaces: Vec<String>,
    /// Only packets of these pods, as [NAMESPACE/]NAME; * and ? match.
    #[schemars(length(max = MOST_NAMES))]
    pub pods: Vec<String>,
    /// Only packets of these Services, as [NAMESPACE/]NAME; * and ? match.
    #[schemars(length(max = MOST_NAMES))]
    pub services: Vec<String>,
    /// Only these packets, in tcpdump's words: 'host 10.0.0.1 and tcp port 80'.
    pub filter: Option<String>,
    /// Judge by these causes only; the tool explain lists them.
    #[schemars(length(max = MOST_NAMES))]
    pub causes: Vec<String>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Judge by these causes only; the tool explain lists them.
    #[schemars(length(max = MOST_NAMES))]
    pub causes: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Path {
    /// Where it begins: a pod ([NAMESPACE/]NAME, deploy/cart, node/worker-1) or an address.
    pub source: String,
    /// Where it leads: a pod, a Service or an address, and its port: kube-system/kube-dns:53.
    pub destination: String,
    /// How long to watch, in seconds [default: 5].
    #[serde(default)]
    #[schemars(range(min = 1, max = LONGEST_WATCH))]
    pub duration_seconds: Option<u64>,
    /// Compute the way from the node's state and end there, without watching or any program in the kernel.
    #[serde(default)]
    pub predict: bool,
    /// Commands that are carried out on that state first (ip, bridge, sysctl, nft, iptables): what the way would be then.
    /// Nothing is run. They need predict.
    #[serde(default)]
    #[schemars(length(max = MOST_NAMES))]
    pub changes: Vec<String>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Explain {
    /// A cause (vxlan-mtu-too-large) or a kernel drop reason (NETFILTER_DROP); without it both are
    /// listed.
    pub name: Option<String>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Doctor {}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Replay {
    /// Names of recordings in the folder that the server was given; those of several nodes are one
    /// incident. Without any the error lists those that are there.
    #[schemars(length(max = MOST_NAMES))]
    pub recordings: Vec<String>,
    /// Judge by these causes only; the tool explain lists them.
    #[schemars(length(max = MOST_NAMES))]
    pub causes: Vec<String>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Findings {
    /// Only findings of this cause.
    pub cause: Option<String>,
    /// How many to pass over [default: 0].
    pub offset: usize,
    /// How many to tell at most [default: 3].
    #[schemars(range(min = 1, max = 20))]
    pub limit: Option<usize>,
}

/// A command line under construction; the first thing that is wrong with it.
pub struct Line {
    words: Vec<OsString>,
    wrong: Option<String>,
}

impl Line {
    pub fn new(command: &str) -> Self {
        Self {
            words: vec![command.into()],
            wrong: None,
        }
    }

    pub fn json(self) -> Self {
        self.option("--output", "json")
    }

    pub fn with(mut self, options: &[OsString]) -> Self {
        self.words.extend(options.iter().cloned());
        self
    }

    /// `--option=value`, which clap takes for nothing else.
    pub fn option(mut self, option: &str, value: &str) -> Self {
        self.words.push(format!("{option}={value}").into());
        self
    }

    pub fn switch(mut self, option: &str) -> Self {
        self.words.push(option.into());
        self
    }

    /// The same with text of the client's.
    pub fn asked(mut self, option: &str, value: &str) -> Self {
        self.look_at(option, value);
        self.option(option, value)
    }

    pub fn each(mut self, option: &str, values: &[String]) -> Self {
        if values.len() > MOST_NAMES {
            self.blame(format!("{option}: at most {MOST_NAMES} at once"));
        }
        values
            .iter()
            .fold(self, |line, value| line.asked(option, value))
    }

    pub fn watch(mut self, seconds: u64) -> Self {
        if !(1..=LONGEST_WATCH).contains(&seconds) {
            self.blame(format!("duration_seconds is from 1 to {LONGEST_WATCH}"));
        }
        self.option("--duration", &format!("{seconds}s"))
    }

    /// What stands behind `--` is no option.
    pub fn operands(mut self, values: &[&str]) -> Self {
        self.words.push("--".into());
        for value in values {
            self.look_at("it", value);
            self.words.push(value.into());
        }
        self
    }

    /// Files that were looked for and found.
    pub fn files(mut self, files: Vec<std::path::PathBuf>) -> Self {
        self.words.push("--".into());
        self.words.extend(files.into_iter().map(Into::into));
        self
    }

    pub fn finished(self) -> Result<Vec<OsString>, String> {
        match self.wrong {
            None => Ok(self.words),
            Some(why) => Err(why),
        }
    }

    fn look_at(&mut self, what: &str, value: &str) {
        let what = what.trim_start_matches('-');
        if value.is_empty() || value.chars().count() > LONGEST {
            self.blame(format!("{what} has from 1 to {LONGEST} characters"));
        }
        if value.contains(is_harmful) {
            self.blame(format!("{what} has characters that are not printed"));
        }
    }

    fn blame(&mut self, why: String) {
        self.wrong.get_or_insert(why);
    }
}

impl Diagnose {
    pub fn line(&self, options: &[OsString]) -> Line {
        let seconds = self.duration_seconds.unwrap_or(WATCH);
        let line = Line::new("diagnose").json().with(options).watch(seconds);
        let line = line.each("--namespace", &self.namespaces);
        let line = line.each("--pod", &self.pods);
        let line = line.each("--service", &self.services);
        let line = line.each("--cause", &self.causes);
        match &self.filter {
            Some(filter) => line.asked("--filter", filter),
            None => line,
        }
    }

    pub fn watches(&self) -> Duration {
        Duration::from_secs(self.duration_seconds.unwrap_or(WATCH))
    }
}

impl Path {
    pub fn line(&self, options: &[OsString]) -> Line {
        let seconds = self.duration_seconds.unwrap_or(WATCH_PATH);
        let line = Line::new("path").json().with(options).watch(seconds);
        let line = match self.predict {
            true => line.switch("--predict"),
            false => line,
        };
        let line = line.each("--change", &self.changes);
        line.operands(&[&self.source, &self.destination])
    }

    pub fn watches(&self) -> Duration {
        Duration::from_secs(self.duration_seconds.unwrap_or(WATCH_PATH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnose(text: &str) -> Result<Vec<OsString>, String> {
        let asked: Diagnose = serde_json::from_str(text).map_err(|e| e.to_string())?;
        asked.line(&[]).finished()
    }

    #[test]
    fn no_text_of_a_clients_is_an_option() {
        let line = diagnose(r#"{"pods": ["--record=/etc/x", "-o"], "filter": "--root /"}"#);
        let line = line.expect("words");
        for word in &line[1..] {
            let word = word.to_str().expect("text");
            let (option, _) = word.split_once('=').expect("an option with its value");
            assert!(
                ["--output", "--duration", "--pod", "--filter"].contains(&option),
                "{word}"
            );
        }
        let path = Path {
            source: "--record=/etc/x".into(),
            destination: "-v".into(),
            duration_seconds: None,
            predict: true,
            changes: vec!["--record=/etc/x".into()],
        };
        let line = path.line(&[]).finished().expect("words");
        assert!(line.iter().any(|word| word == "--predict"));
        assert_eq!(line[line.len() - 3..], ["--", "--record=/etc/x", "-v"]);
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let long = "x".repeat(LONGEST + 1);
        let many = vec!["\"x\""; MOST_NAMES + 1].join(",");
        for bad in [
            r#"{"duration_seconds": 61}"#.to_owned(),
            r#"{"duration_seconds": 0}"#.into(),
            r#"{"record": "x.ndr"}"#.into(),
            r#"{"pods": [""]}"#.into(),
            r#"{"pods": ["a\u0000b"]}"#.into(),
            r#"{"pods": ["a\u202eb"]}"#.into(),
            format!(r#"{{"filter": "{long}"}}"#),
            format!(r#"{{"namespaces": [{many}]}}"#),
        ] {
            assert!(diagnose(&bad).is_err(), "{bad}");
        }
        assert!(diagnose(r#"{"duration_seconds": 60}"#).is_ok());
    }
}
