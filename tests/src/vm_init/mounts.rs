//! The file systems that a node has.
use std::fs;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

struct Mount {
    kind: &'static str,
    at: &'static str,
    /// Kernels lack it, or have it mounted already; what needs it will say so.
    optional: bool,
}

const fn must(kind: &'static str, at: &'static str) -> Mount {
    Mount {
        kind,
        at,
        optional: false,
    }
}

const fn may(kind: &'static str, at: &'static str) -> Mount {
    Mount {
        kind,
        at,
        optional: true,
    }
}

const ALL: [Mount; 10] = [
    must("proc", "/proc"),
    must("sysfs", "/sys"),
    must("devtmpfs", "/dev"),
    may("devpts", "/dev/pts"),
    must("tmpfs", "/run"),
    must("tmpfs", "/tmp"),
    may("cgroup2", "/sys/fs/cgroup"),
    may("bpf", "/sys/fs/bpf"),
    may("debugfs", "/sys/kernel/debug"),
    may("tracefs", "/sys/kernel/tracing"),
];

pub fn all() -> Result<()> {
    for Mount { kind, at, optional } in ALL {
        // In sysfs the kernel made the folder, or there is nothing to mount.
        let _ = fs::create_dir_all(at);
        let flags = MsFlags::MS_NOSUID;
        let done = mount(Some(kind), at, Some(kind), flags, None::<&str>);
        match done {
            Err(error) if optional => eprintln!("vm-init: no {at}: {error}"),
            done => done.with_context(|| at)?,
        }
    }
    // As systemd does for its slices: folders below may limit memory.
    if let Err(error) = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory") {
        eprintln!("vm-init: no memory cgroups: {error}");
    }
    Ok(())
}
