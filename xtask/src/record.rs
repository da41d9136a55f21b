//! Makes the recordings that the replay tests read: each scenario once, kept when it passed.
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::{
    build, paths, run,
    setup::{self, Way},
    sh::{self, say},
    test::{scenarios, tally::Tally},
};

/// Where a scenario's recording is kept.
pub fn file(name: &str) -> PathBuf {
    let folder = paths::root().join("tests/tests/fixtures/recordings");
    folder.join(format!("{name}.ndr"))
}

/// The named ones anew; without names those that are missing. Old ones are worth keeping: they
/// show that what was recorded once stays readable.
pub fn command(via: Option<Way>, names: &[String]) -> Result<ExitCode> {
    run::privileged()?;
    let tools = setup::ensure(via)?;
    build::kernel_side(&tools)?;
    let all = scenarios::list(&build::user_side()?)?;
    let missing = || all.iter().filter(|name| !file(name).exists());
    let chosen: Vec<_> = match names {
        [] => missing().collect(),
        names => names.iter().collect(),
    };
    let mut tally = Tally::default();
    let made = paths::target().join("recording.ndr");
    for name in chosen {
        say(&format!("recording: {name}"));
        if record(name, &made, &mut tally)? {
            keep(&made, &file(name))?;
        }
    }
    Ok(tally.close())
}

/// Whether the scenario passed.
fn record(name: &str, to: &Path, tally: &mut Tally) -> Result<bool> {
    let mut netdiag = run::privileged()?;
    netdiag.args(scenarios::args(name)).arg("--record").arg(to);
    let it = sh::output(&mut netdiag)?;
    let code = it.status.code();
    scenarios::record(tally, name, code, &it.stdout, &it.stderr);
    Ok(code == Some(0))
}

/// Copied, not moved: what root wrote becomes the user's.
fn keep(made: &Path, kept: &Path) -> Result<()> {
    let bytes = fs::read(made).with_context(|| format!("read {}", made.display()))?;
    if let Some(folder) = kept.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(kept, bytes).with_context(|| format!("write {}", kept.display()))
}
