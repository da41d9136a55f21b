//! The pages of `netdiag report` in a browser.
use std::process::ExitCode;

use anyhow::Result;

use super::{tally::Tally, unit};
use crate::{
    build::{self, Profile},
    paths,
    setup::{self, Way, apt},
    sh::{is_root, say},
};

const CHROMIUM: [&str; 1] = ["chromium"];

/// Where there is no Chromium and none can be had, the test says so itself and counts as skipped.
pub fn command(via: Option<Way>) -> Result<ExitCode> {
    if !paths::bpf_object().exists() {
        build::kernel_side(&setup::ensure(via)?)?;
    }
    let netdiag = build::user_side(Profile::Dev)?;
    let mut tally = Tally::default();
    if is_root()
        && apt::exists()
        && let Err(error) = apt::install(&CHROMIUM, "the pages are looked at in it")
    {
        say(&format!("Chromium could not be installed: {error:#}"));
    }
    let arguments = ["--package", "netdiag-tests", "--test", "report_ui"];
    unit::ignored(&arguments, &netdiag, &mut tally);
    say(&format!(
        "pictures: {}",
        paths::root().join("target/ui").display()
    ));
    Ok(tally.close())
}
