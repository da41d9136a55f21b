//! A place where anybody, root or not, replays recordings.
use std::{
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::Command,
};

use crate::{
    netdiag::binary,
    process::{Ended, run},
};

/// nobody
const UNPRIVILEGED: u32 = 65534;

/// Copies of the program and of recordings where anybody may read them.
pub struct Workdir {
    folder: tempfile::TempDir,
}

impl Default for Workdir {
    fn default() -> Self {
        Self::new()
    }
}

impl Workdir {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), mode).expect("its own folder");
        // By a program of its own: what another test's thread starts meanwhile would hold the copy
        // open for writing, and nobody could start it (execve(2), ETXTBSY).
        let mut copy = Command::new("cp");
        copy.arg(binary()).arg(folder.path().join("netdiag"));
        assert!(copy.status().is_ok_and(|s| s.success()), "copied");
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of these bytes.
    pub fn put(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).expect("written");
        self.path(name).display().to_string()
    }

    /// Lets anybody read a file, as its owner does before it is sent away.
    pub fn hand_over(&self, file: &str) {
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(file, mode).expect("its owner's to say");
    }

    /// `netdiag replay ARGUMENTS` as nobody, where one can become nobody.
    pub fn replay(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(self.path("netdiag"));
        command.arg("replay").args(arguments);
        if nix::unistd::geteuid().is_root() {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        for variable in ["NODE_NAME", "NETDIAG_LOG", "RUST_BACKTRACE"] {
            command.env_remove(variable);
        }
        run(&mut command)
    }
}
