//! Everything that must hold before a change is merged.
pub mod scenarios;
pub mod tally;
mod unit;

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    build, check,
    setup::{self, Way},
    sh::is_root,
    vm,
};
use tally::Tally;

pub fn command(via: Option<Way>) -> Result<ExitCode> {
    let tools = setup::ensure(via)?;
    build::kernel_side(&tools)?;
    build::user_side()?;
    let mut tally = Tally::default();
    check::all(&mut tally);
    unit::all(&mut tally);
    match scenarios::list() {
        Ok(names) => {
            lab(&names, &mut tally);
            vm::scenarios(vm::TESTED, &names, &mut tally);
        }
        Err(error) => tally.fail("netdiag lab list", &format!("{error:#}")),
    }
    Ok(tally.close())
}

fn lab(names: &[String], tally: &mut Tally) {
    if is_root() {
        scenarios::here(names, tally);
    } else {
        tally.skip("the lab on this host", "needs root");
    }
}
