//! A terminal of 80 by 24 characters that nobody sees: tmux.
use std::{
    ffi::OsStr,
    process::{self, Command},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::sh;

/// A recording is read by an unoptimized program, perhaps beside a build.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

pub struct Terminal {
    /// Of tmux's server, in the folder that it keeps for this user.
    name: String,
}

impl Terminal {
    /// What it runs is over when the terminal is dropped. Two of one name get into each other's way:
    /// a server that was told to end is still there for a moment.
    pub fn run<'a>(name: &str, program: impl IntoIterator<Item = &'a OsStr>) -> Result<Self> {
        let name = format!("netdiag-xtask-{}-{name}", process::id());
        let terminal = Self { name };
        let start = [
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
        ];
        // The screen stays until it has been looked at.
        let shell = ["sh", "-c", "\"$@\"; cat", "sh"];
        let plain = ["env", "-u", "NO_COLOR", "-u", "LC_ALL", "LANG=C.UTF-8"];
        let mut tmux = terminal.tmux();
        tmux.args(start).args(shell).args(plain).args(program);
        sh::text(&mut tmux)?;
        Ok(terminal)
    }

    /// Waits until the screen shows it; returns the screen with its colours.
    pub fn shows(&self, text: &str) -> Result<String> {
        let begun = Instant::now();
        loop {
            let plain = sh::text(self.tmux().args(["capture-pane", "-p"]))?;
            if plain.contains(text) {
                return sh::text(self.tmux().args(["capture-pane", "-e", "-p"]));
            }
            if begun.elapsed() > PATIENCE {
                bail!("no {text:?} on the screen:\n{}", plain.trim());
            }
            sleep(LOOK);
        }
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.env_remove("TMUX").args(["-L", &self.name]);
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that is gone needs nothing.
        let _ = self.tmux().arg("kill-server").output();
    }
}
