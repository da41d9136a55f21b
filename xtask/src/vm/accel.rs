//! KVM where it really works, emulation everywhere else.
//!
//! A /dev/kvm that opens proves nothing: inside some VMs the guest's kernel never comes up.
use std::{
    fs::{self, OpenOptions},
    path::PathBuf,
};

use crate::paths;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accel {
    Kvm,
    Tcg,
}

/// The device can be opened, and no VM has failed with it since this machine booted.
pub fn kvm_may_work() -> bool {
    let opens = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    opens && fs::read(kvm_verdict()).ok() != boot_id()
}

pub fn remember_that_kvm_fails() {
    // Without the note the next boot only tries once more.
    let _ = fs::write(kvm_verdict(), boot_id().unwrap_or_default());
}

fn kvm_verdict() -> PathBuf {
    paths::target().join("vm/kvm-fails")
}

fn boot_id() -> Option<Vec<u8>> {
    fs::read("/proc/sys/kernel/random/boot_id").ok()
}
