//! placeholder
use crate::{setup::Way, test::tally::Tally};
use anyhow::Result;
use std::{path::PathBuf, process::ExitCode};
pub const KERNELS_HELP: &str = "";
pub const TESTED: &str = "6.1";
pub struct Own {
    pub image: PathBuf,
    pub modules: Option<PathBuf>,
}
pub fn run(_v: Option<Way>, _l: &str, _a: &[String]) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
pub fn command(_v: Option<Way>, _l: &[String], _o: Option<Own>, _a: &[String]) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
pub fn scenarios(_l: &str, _n: &[String], _t: &mut Tally) {}
