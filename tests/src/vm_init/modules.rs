//! Loads the modules of `/modules.list`, which is in load order: there is no modprobe here.
use std::fs::{self, File};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
};

pub fn load_all() -> Result<()> {
    let list = fs::read_to_string("/modules.list").context("read /modules.list")?;
    for path in list.lines() {
        let file = File::open(path).with_context(|| path.to_owned())?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => {}
            // Some serve hardware that is not here. Whoever needs one will miss it by name.
            Err(error) => eprintln!("vm-init: {path}: {error}"),
        }
    }
    Ok(())
}
