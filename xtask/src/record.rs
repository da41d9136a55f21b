//! Makes the recordings that the replay tests read: each scenario once, kept when it passed.
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::{
    build::{self, Profile},
    paths, run,
    setup::{self, Way},
    sh::{self, say},
    test::{scenarios, tally::Tally},
    vm,
};

/// Where a scenario's recording is kept.
pub fn file(name: &str) -> PathBuf {
    let folder = paths::root().join("tests/tests/fixtures/recordings");
    folder.join(format!("{name}.ndr"))
}

/// The named ones anew; without names those that are missing. Old ones are worth keeping: they
/// show that what was recorded once stays readable.
pub fn command(via: Option<Way>, line: Option<&str>, names: &[String]) -> Result<ExitCode> {
    let mut tally = Tally::default();
    if let Some(line) = line {
        let guest = vm::prepare(via, Profile::Dev)?;
        let kernel = vm::kernels::fetch(line)?;
        let chosen = chosen(&guest.netdiag, names)?;
        vm::recordings(&guest, &kernel, &chosen, &mut tally, &mut keep)?;
        return Ok(tally.close());
    }
    run::privileged(Profile::Dev)?;
    let tools = setup::ensure(via)?;
    build::kernel_side(&tools)?;
    let made = paths::target().join("recording.ndr");
    for name in chosen(&build::user_side(Profile::Dev)?, names)? {
        say(&format!("recording: {name}"));
        if record(&name, &made, &mut tally)? {
            // Copied, not moved: what root wrote becomes the user's.
            let bytes = fs::read(&made).with_context(|| format!("read {}", made.display()))?;
            keep(&name, &bytes)?;
        }
    }
    Ok(tally.close())
}

fn chosen(netdiag: &Path, names: &[String]) -> Result<Vec<String>> {
    let mut all = scenarios::list(netdiag)?;
    all.retain(|name| !file(name).exists());
    Ok(if names.is_empty() {
        all
    } else {
        names.to_vec()
    })
}

/// Whether the scenario passed.
fn record(name: &str, to: &Path, tally: &mut Tally) -> Result<bool> {
    let mut netdiag = run::privileged(Profile::Dev)?;
    netdiag.args(scenarios::args(name)).arg("--record").arg(to);
    let it = sh::output(&mut netdiag)?;
    let code = it.status.code();
    scenarios::record(tally, name, code, &it.stdout, &it.stderr);
    Ok(code == Some(0))
}

fn keep(name: &str, bytes: &[u8]) -> Result<()> {
    let kept = file(name);
    if let Some(folder) = kept.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&kept, bytes).with_context(|| format!("write {}", kept.display()))
}
