//! What netdiag says of recordings, asked in the test's own process: there is no other build of it
//! that could be an older one.
use std::path::Path;

use clap::Parser;
use netdiag::{
    cli::{Cli, Command, replay},
    output::Sink,
};

/// What `netdiag replay` would print, without its colours, and its exit code.
pub struct Told {
    pub code: i32,
    pub text: String,
}

pub fn replayed(files: &[&Path], format: &str, width: usize) -> Told {
    let words = ["netdiag", "replay", "-o", format].map(Into::into);
    let words = words
        .into_iter()
        .chain(files.iter().map(|file| (*file).into()));
    let words: Vec<std::ffi::OsString> = words.collect();
    let args = match Cli::try_parse_from(words) {
        Ok(Cli {
            command: Command::Replay(args),
            ..
        }) => args,
        other => panic!("not a replay: {other:?}"),
    };
    let mut sink = Sink::memory(width);
    let code = replay::replay(&args, &mut sink);
    let code = code.unwrap_or_else(|e| panic!("{files:?}: {e:#}"));
    let text = anstream::adapter::strip_str(&sink.text()).to_string();
    Told { code, text }
}
