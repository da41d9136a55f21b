//! What stands behind the `--`, for the agents.
use std::time::Duration;

use anyhow::Result;

use crate::{
    cli::behind::{Started, is_typed, refused},
    manifests::{self, Options, Profile},
};

const AGENT: Started = Started {
    command: "agent",
    called: "`netdiag agent`",
};

/// What of it concerns the objects.
pub struct Told {
    /// Zero for none.
    pub canary: Option<Duration>,
    pub events: bool,
    pub resolve_after: Option<Duration>,
}

/// What a user gives, by itself.
pub fn read(arguments: &[String]) -> Result<Told> {
    let given = AGENT.parse(arguments.iter().cloned())?;
    if is_typed(&given, "listen") {
        return Err(refused(
            "--listen stands before the --: ports and probes go by it",
        ));
    }
    if let Some(command) = given.subcommand_name() {
        return Err(refused(&format!(
            "{command} watches nothing: behind the -- stand options of `netdiag agent` alone"
        )));
    }
    if given.contains_id("config") {
        return Err(refused(
            "--config names a file that no pod has: its settings stand behind the -- as options",
        ));
    }
    if given.get_flag("print_config") {
        return Err(refused(
            "--print-config prints and ends: it watches nothing",
        ));
    }
    Ok(Told {
        canary: given.get_one("canary").copied(),
        events: given.get_flag("events"),
        resolve_after: given.get_one("resolve_after").copied(),
    })
}

/// All that the agent is started with under a profile.
pub fn check(options: &Options, profile: Profile, told: &Told) -> Result<()> {
    if profile == Profile::Minimal && told.canary.is_some_and(|it| !it.is_zero()) {
        return Err(refused(
            "--canary needs a network namespace of its own, which CAP_SYS_ADMIN makes: the profile minimal \
             does not have it",
        ));
    }
    let options = Options {
        profile,
        ..options.clone()
    };
    // The first of them is the command.
    let words = manifests::arguments(&options).into_iter().skip(1);
    AGENT.parse(words).map(|_| ())
}
