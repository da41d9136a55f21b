//! `netdiag top`: the full-screen view of this node as it is now, or of a recording.
mod keyboard;
mod line;
mod live;
pub mod messages;
mod recorded;
pub mod screen;

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use anstream::{AutoStream, ColorChoice};
use anyhow::Result;
use clap::Args;

use super::{
    Usage,
    options::{Causes, Global, Scope, duration},
    replay::ReplayArgs,
};
use crate::{output, top::Ink};

/// A line to a node on the other side of the world takes no more than two frames a second.
const OFTENEST: Duration = Duration::from_millis(500);
/// Longer than that the screen would not be of now.
const RAREST: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
pub struct TopArgs {
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub causes: Causes,
    /// How often the screen changes by itself: 500ms at the most often.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = pace)]
    pub interval: Duration,
    /// Look at this recording instead, which `run` or `diagnose --record FILE` made: Left and Right
    /// go through its time. Needs neither root nor eBPF.
    #[arg(long = "in", value_name = "FILE")]
    pub input: Option<PathBuf>,
}

fn pace(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match (OFTENEST..=RAREST).contains(&time) {
        true => Ok(time),
        false => Err(format!("'{text}' is not between 500ms and 60s")),
    }
}

pub async fn run(args: TopArgs, global: &Global) -> Result<i32> {
    check_terminal()?;
    let asked = args.scope.only.asked(&args.scope.iface, &args.causes);
    match &args.input {
        Some(file) => recorded::run(file, &asked, global).await,
        None => live::run(&args, asked, global).await,
    }
}

/// `netdiag replay FILE --top`.
pub async fn replayed(args: &ReplayArgs, global: &Global) -> Result<i32> {
    let [file] = args.files.as_slice() else {
        return Err(Usage("--top shows one recording: name one FILE".into()).into());
    };
    check_terminal()?;
    let asked = args.only.asked(&args.iface, &args.causes);
    recorded::run(file, &asked, global).await
}

/// It is drawn for somebody who sees it and presses keys.
fn check_terminal() -> Result<(), Usage> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let why =
            "top needs a terminal to draw on and to read keys from; `netdiag run` prints lines";
        return Err(Usage(why.into()));
    }
    match std::env::var_os("TERM") {
        Some(term) if term != "dumb" => Ok(()),
        _ => {
            let why = "top needs a terminal that can move its cursor, and TERM says that this one \
                       cannot; `netdiag run` prints lines";
            Err(Usage(why.into()))
        }
    }
}

/// What this terminal shows, and its owner wants to see.
fn ink() -> Ink {
    let choice = AutoStream::choice(&std::io::stdout());
    Ink {
        colour: choice != ColorChoice::Never,
        ascii: (!output::is_utf8()).then_some(output::plain as fn(&str) -> String),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_neither_too_often_nor_too_rarely() {
        assert_eq!(pace("500ms"), Ok(OFTENEST));
        assert_eq!(pace("2s"), Ok(Duration::from_secs(2)));
        for bad in ["100ms", "2m", "0", "soon"] {
            assert!(pace(bad).is_err(), "{bad}");
        }
    }
}
