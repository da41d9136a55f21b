//! Cgroups of the lab's own: one that limits memory, and one whose packets a program judges.
pub mod filter;
pub mod memory;
pub mod seat;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::netns::PREFIX;

fn folder(base: &Path, lab: &str) -> PathBuf {
    base.join(format!("{PREFIX}{lab}"))
}

/// Takes the lab's cgroups away, if there are any, what a killed lab left running in them, and
/// with them the programs that are attached. A container runtime makes some in every hierarchy.
pub fn remove(lab: &str) {
    let bases = [memory::base(), filter::base()].into_iter().flatten();
    let below = fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
    let hierarchies = below.flatten().map(|entry| entry.path());
    for base in bases.chain(hierarchies) {
        let folders = [folder(&base, lab), seat::slice(&base, lab)];
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            if !empty_out(folder) {
                log::warn!("{} is still there", folder.display());
            }
        }
    }
}

/// Whether it is gone, with all below it.
fn empty_out(folder: &Path) -> bool {
    let below = fs::read_dir(folder).into_iter().flatten().flatten();
    for child in below.map(|entry| entry.path()).filter(|path| path.is_dir()) {
        empty_out(&child);
    }
    for _ in 0..50 {
        if fs::remove_dir(folder).is_ok() || !folder.exists() {
            return true;
        }
        let inside = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        for pid in inside.lines().filter_map(|line| line.parse().ok()) {
            let _ = signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
