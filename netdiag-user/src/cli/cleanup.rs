//! `netdiag cleanup`: takes away what a killed netdiag left attached.
use anyhow::Result;

use super::exit;
use crate::{kernel::sweep, output};

pub fn run() -> Result<i32> {
    let swept = sweep::orphans();
    output::line(&match swept.runs {
        0 => "nothing of netdiag's was left behind".to_owned(),
        runs => format!(
            "cleaned up after {runs} killed run(s): {} filters and {} qdiscs removed{}",
            swept.filters,
            swept.qdiscs,
            match swept.kept {
                0 => String::new(),
                kept => format!(", {kept} qdiscs kept, which others use"),
            },
        ),
    })?;
    for trouble in &swept.troubles {
        log::error!("{trouble}");
    }
    Ok(match swept.troubles.is_empty() {
        true => exit::OK,
        false => exit::ENVIRONMENT,
    })
}
