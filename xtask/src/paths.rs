//! Where things are.
use std::{
    env,
    path::{Path, PathBuf},
};

use crate::build::Profile;

/// The workspace's folder. Cargo tells it at run time; the compiled-in one may be an old clone's.
pub fn root() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask
        .parent()
        .map_or_else(|| xtask.clone(), Path::to_path_buf)
}

pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The kernel side's object, where netdiag-kernel's build script looks for it.
pub fn bpf_object() -> PathBuf {
    target().join("bpf/netdiag-ebpf")
}

pub fn netdiag(profile: Profile) -> PathBuf {
    target().join(profile.folder()).join("netdiag")
}

pub fn home() -> PathBuf {
    env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from)
}

pub fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map_or_else(|| home().join(".cargo"), PathBuf::from)
}

pub fn rustup_home() -> PathBuf {
    env::var_os("RUSTUP_HOME").map_or_else(|| home().join(".rustup"), PathBuf::from)
}
