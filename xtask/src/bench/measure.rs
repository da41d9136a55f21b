//! Runs `netdiag lab bench` to its end; it makes its namespaces itself and takes them away.
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::lines;
use crate::sh::say;

/// How much is measured.
#[derive(Clone, Debug, Default)]
pub struct Size {
    pub rounds: Option<u32>,
    pub time: Option<String>,
    pub long: bool,
    pub smoke: bool,
}

impl Size {
    fn args(&self) -> Vec<String> {
        let mut args = vec!["lab".to_owned(), "bench".to_owned()];
        if let Some(rounds) = self.rounds {
            args.extend(["--rounds".to_owned(), rounds.to_string()]);
        }
        if let Some(time) = &self.time {
            args.extend(["--time".to_owned(), time.clone()]);
        }
        let flags = [("--long", self.long), ("--smoke", self.smoke)];
        let given = flags.iter().filter(|(_, given)| *given);
        args.extend(given.map(|(flag, _)| (*flag).to_owned()));
        args
    }
}

pub fn lines(mut netdiag: Command, size: &Size) -> Result<Vec<Value>> {
    netdiag.args(size.args());
    netdiag.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = netdiag.spawn().context("start netdiag lab bench")?;
    let stdout = child.stdout.take().context("netdiag's stdout")?;
    let mut all = Vec::new();
    let mut shown = String::new();
    let read = || -> Result<()> {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("read from netdiag")?;
            let value: Value = serde_json::from_str(&line)
                .with_context(|| format!("`netdiag lab bench` said: {line}"))?;
            let progress = lines::progress(&value);
            if progress != shown {
                say(&progress);
                shown = progress;
            }
            all.push(value);
        }
        Ok(())
    };
    // A line that is not understood closes the pipe, and that ends netdiag.
    let done = read();
    let status = child.wait().context("wait for netdiag")?;
    done?;
    if !status.success() {
        bail!("`netdiag lab bench` ended with {status}");
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_passed_on() {
        assert_eq!(Size::default().args(), ["lab", "bench"]);
        let size = Size {
            rounds: Some(3),
            smoke: true,
            ..Size::default()
        };
        let wanted = ["lab", "bench", "--rounds", "3", "--smoke"];
        assert_eq!(size.args(), wanted);
    }
}
