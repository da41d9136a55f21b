//! The pictures of the documentation: what netdiag shows of a recording at a terminal, as SVG.
mod ansi;
mod svg;
mod terminal;

use std::{ffi::OsStr, fs, iter, path::PathBuf};

use anyhow::{Context, Result};

use crate::{
    build::{self, Profile},
    paths, record,
    setup::apt,
    sh::which,
    test::tally::Tally,
};
use terminal::Terminal;

struct Picture {
    /// In the folder of the pages.
    file: &'static str,
    title: &'static str,
    command: &'static [&'static str],
    recording: &'static str,
    /// Stands on the screen when all of it does.
    last: &'static str,
}

const PICTURES: [Picture; 2] = [
    Picture {
        file: "verdict.svg",
        title: "netdiag's verdict: the VXLAN MTU is too large, packets die at the uplink, and the fix",
        command: &["replay"],
        recording: "vxlan-mtu-too-large",
        last: "more: add -o wide",
    },
    Picture {
        file: "top.svg",
        title: "netdiag top: a missing route, what follows from it, and their trends",
        command: &["top", "--in"],
        recording: "sidecar-without-dns",
        // The end of the recording on its scale.
        last: "◆]",
    },
];

impl Picture {
    fn path(&self) -> PathBuf {
        paths::root().join("netdiag-user/docs").join(self.file)
    }

    fn draw(&self) -> Result<String> {
        let netdiag = paths::netdiag(Profile::Dev);
        let recording = record::file(self.recording);
        let words = self.command.iter().map(OsStr::new);
        let line = iter::once(netdiag.as_os_str()).chain(words);
        let line = line.chain(iter::once(recording.as_os_str()));
        let terminal = Terminal::run(self.file, line).context("start tmux")?;
        let screen = terminal.shows(self.last).context(self.file)?;
        Ok(svg::draw(&ansi::lines(&screen), self.title))
    }
}

/// Draws them anew.
pub fn write() -> Result<()> {
    apt::install(&["tmux"], "the pictures are made of what a terminal shows")?;
    build::user_side(Profile::Dev)?;
    for picture in PICTURES {
        fs::write(picture.path(), picture.draw()?).context(picture.file)?;
    }
    Ok(())
}

/// Fails where netdiag no longer prints what a picture shows.
pub fn check(built: bool, tally: &mut Tally) {
    const NAME: &str = "pictures";
    if which("tmux").is_none() {
        return tally.skip(NAME, "tmux is not installed");
    }
    let netdiag = match built {
        true => Ok(()),
        false => build::user_side(Profile::Dev).map(drop),
    };
    let fresh = netdiag.and_then(|()| PICTURES.iter().try_for_each(is_fresh));
    match fresh {
        Ok(()) => tally.pass(NAME),
        Err(error) => tally.fail(NAME, &format!("{error:#}")),
    }
}

fn is_fresh(picture: &Picture) -> Result<()> {
    let drawn = picture.draw()?;
    anyhow::ensure!(
        fs::read_to_string(picture.path()).is_ok_and(|kept| kept == drawn),
        "{} is stale: run `cargo xtask gen` and commit it",
        picture.file
    );
    Ok(())
}
