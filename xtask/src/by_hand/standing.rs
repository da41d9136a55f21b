//! One incident: stood up, looked at, taken down.
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Form, Look};
use crate::{
    sh,
    verdict::{last_line, named, texts, told},
};

/// Standing a lab up takes seconds, a diagnosis a quarter of a minute; neither may hang.
const LIMIT: &str = "180";

/// What came of it.
pub enum Seen {
    Named {
        named: BTreeSet<String>,
        expected: BTreeSet<String>,
        /// The findings, for people.
        verdict: String,
    },
    Skipped(String),
    Failed(String),
}

/// Stands the incident up and looks at it as printed.
pub fn look(netdiag: &Path, look: &Look) -> Result<Seen> {
    let mut up = Command::new("timeout");
    up.arg(LIMIT).arg(netdiag);
    up.args(["lab", "up", &look.scenario, "-o", "json", "-q"]);
    up.args(["--seed", &look.seed.to_string()]);
    let up = sh::output(&mut up)?;
    let said = String::from_utf8_lossy(&up.stdout);
    match up.status.code() {
        Some(0) => {}
        Some(3) => {
            let why = said.trim();
            let why = why.strip_prefix("skipped: ").unwrap_or(why);
            return Ok(Seen::Skipped(why.to_owned()));
        }
        _ => bail!("lab up: {}", last_line(&up.stderr)),
    }
    let lab: Value = serde_json::from_str(&said).context("lab up gave no JSON")?;
    let lab = Lab(lab);
    let traffic = Traffic::start(match look.form {
        Form::Alone => lab.command("traffic")?,
        Form::Busy => lab.command("background")?,
    })?;
    let verdict = diagnose(lab.command("diagnose")?)?;
    traffic.end()?;
    Ok(Seen::Named {
        named: named(&verdict),
        expected: texts(&lab.0["expected"]),
        verdict: told(&verdict),
    })
}

/// A lab that stands, as `lab up` tells of it; taken down when dropped.
struct Lab(Value);

impl Lab {
    fn command(&self, name: &str) -> Result<&str> {
        let line = self.0["commands"][name].as_str();
        line.filter(|line| !line.is_empty())
            .with_context(|| format!("lab up printed no line for {name}"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = self
            .command("down")
            .and_then(|line| sh::text(&mut shell(line)));
        if let Err(error) = down {
            sh::say(&format!("{error:#}"));
        }
    }
}

/// `lab traffic`, going on.
struct Traffic {
    child: Child,
    rest: JoinHandle<()>,
}

impl Traffic {
    fn start(line: &str) -> Result<Self> {
        let mut command = shell(&format!("exec {line}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start lab traffic")?;
        let stdout = child.stdout.take().context("no output of lab traffic")?;
        let mut stdout = BufReader::new(stdout);
        if !begun(&mut stdout)? {
            bail!("lab traffic ended: {}", child.wait()?);
        }
        let rest = std::thread::spawn(move || {
            let _ = stdout.read_to_end(&mut Vec::new());
        });
        Ok(Self { child, rest })
    }

    /// As Ctrl-C does. That it went on until then is part of the test.
    fn end(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("lab traffic ended by itself: {status}");
        }
        let pid = self.child.id().to_string();
        sh::text(Command::new("kill").args(["-INT", &pid]))?;
        self.child.wait()?;
        let _ = self.rest.join();
        Ok(())
    }
}

/// Reads until the traffic goes on and what the timeline changes for good has happened: who looks by
/// hand comes later than that. Whether it came so far.
fn begun(stdout: &mut impl BufRead) -> Result<bool> {
    let (mut going, mut waits) = (false, false);
    for line in stdout.lines() {
        let line = line.context("read lab traffic")?;
        going |= line.starts_with("traffic of lab ");
        if line.starts_with("timeline: ") {
            waits = line.contains("the fault comes");
        }
        if going && !waits {
            return Ok(true);
        }
    }
    Ok(false)
}

fn diagnose(line: &str) -> Result<Value> {
    let mut command = Command::new("timeout");
    command.args([LIMIT, "sh", "-c", &format!("exec {line} -o json")]);
    let ended = sh::output(&mut command)?;
    if ended.stdout.is_empty() {
        bail!("diagnose: {}", last_line(&ended.stderr));
    }
    serde_json::from_slice(&ended.stdout).context("diagnose gave no JSON")
}

fn shell(line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]);
    shell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_begins_after_the_fault() {
        let begun = |text: &str| {
            let mut rest = text.as_bytes();
            let begun = begun(&mut rest).expect("text");
            (begun, String::from_utf8_lossy(rest).into_owned())
        };
        let (ok, rest) = begun("traffic of lab ab12 goes on\nPing: 1 done\n");
        assert_eq!((ok, rest.as_str()), (true, "Ping: 1 done\n"));
        let (ok, rest) = begun(
            "timeline: the fault comes after 0.5 s\ntraffic of lab ab12 goes on\n\
             Ping: 1 done\n\ntimeline: all of it has happened; only a new lab begins\nPing: 2 done\n",
        );
        assert_eq!((ok, rest.as_str()), (true, "Ping: 2 done\n"));
        assert!(!begun("timeline: the fault comes after 0.5 s\ntraffic of lab a goes on\n").0);
    }
}
