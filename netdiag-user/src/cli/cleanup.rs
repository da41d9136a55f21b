//! `netdiag cleanup`: takes away what a killed netdiag left attached.
use anyhow::{Result, bail};

use super::exit;
use crate::{
    kernel::{ledger, sweep},
    output,
};

pub fn run() -> Result<i32> {
    if let Some(why) = ledger::hidden() {
        bail!(why);
    }
    let swept = sweep::orphans();
    let said = match swept.runs {
        0 if !swept.troubles.is_empty() => None,
        0 => Some("nothing of netdiag's was left behind".to_owned()),
        runs => Some(format!(
            "cleaned up after {runs} killed run(s): {} filters and {} qdiscs removed{}",
            swept.filters,
            swept.qdiscs,
            match swept.kept {
                0 => String::new(),
                kept => format!(", {kept} qdiscs kept, which others use"),
            },
        )),
    };
    said.iter().try_for_each(|text| output::line(text))?;
    #[cfg(feature = "lab")]
    labs()?;
    for trouble in &swept.troubles {
        log::error!("{trouble}");
    }
    Ok(match swept.troubles.is_empty() {
        true => exit::OK,
        false => exit::ENVIRONMENT,
    })
}

/// What stands of labs is theirs to take down.
#[cfg(feature = "lab")]
fn labs() -> Result<()> {
    let left = crate::lab::state::abandoned().unwrap_or_default();
    match left {
        0 => Ok(()),
        left => output::line(&format!(
            "{left} killed lab(s) have namespaces left: `netdiag lab down` takes them away"
        )),
    }
}
