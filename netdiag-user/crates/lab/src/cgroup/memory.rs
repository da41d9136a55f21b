//! A memory cgroup of the lab's own, in which a program is let grow until the kernel kills it.
use std::{
    fs,
    io::Write,
    os::unix::{fs::symlink, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::folder;
use crate::cluster::Cluster;
use crate::sys::enter_before_exec;

/// Reads what has no line's end, and keeps all of it: tail(1).
const HOG: &str = "/usr/bin/tail";
/// Under emulation the program fills a megabyte in a tenth of a second.
const KILLED: Duration = Duration::from_secs(30);

/// The hierarchy that limits memory, of version 1 or 2.
fn hierarchy() -> Option<(PathBuf, bool)> {
    let unified = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_to_string(unified.join("cgroup.subtree_control"));
    if controllers.is_ok_and(|c| c.split_whitespace().any(|c| c == "memory")) {
        return Some((unified.to_owned(), true));
    }
    let own = unified.join("memory");
    own.join("memory.limit_in_bytes")
        .is_file()
        .then_some((own, false))
}

/// The folder of it.
pub(super) fn base() -> Option<PathBuf> {
    Some(hierarchy()?.0)
}

/// Whether one can be made here.
pub fn available() -> bool {
    let Some((base, _)) = hierarchy() else {
        return false;
    };
    let probe = folder(&base, &format!("probe-{}", std::process::id()));
    let made = fs::create_dir(&probe).is_ok();
    made && fs::remove_dir(&probe).is_ok() && Path::new(HOG).is_file()
}

/// Runs a program of that name in the namespace, with so much memory, until it is killed.
pub fn kill(cluster: &Cluster, netns: &str, name: &str, limit: u64) -> Result<()> {
    let (base, v2) = hierarchy().context("no memory cgroups here")?;
    let folder = folder(&base, &cluster.plan.id);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = if v2 {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    };
    fs::write(folder.join(file), limit.to_string()).context("cannot limit memory")?;
    // Where there is swap, it must not help.
    let _ = fs::write(folder.join("memory.swap.max"), "0");
    let program = cluster.dir().join(name);
    if !program.exists() {
        symlink(HOG, &program).context("cannot name the program")?;
    }
    let mut command = Command::new("/bin/sh");
    // It waits until it is in the cgroup. The kernel takes a program's name from its file.
    command
        .args(["-c", "read go; exec \"$0\" /dev/zero"])
        .arg(&program);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    enter_before_exec(&mut command, cluster.netns(netns)?.file()?);
    let mut child = command.spawn().context("cannot start the program")?;
    fs::write(folder.join("cgroup.procs"), child.id().to_string()).context("cannot confine it")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    writeln!(stdin, "go").context("cannot let it go")?;
    let begun = Instant::now();
    while begun.elapsed() < KILLED {
        if let Some(status) = child.try_wait().context("cannot watch the program")? {
            ensure!(
                status.signal() == Some(libc::SIGKILL),
                "{name} ended with {status}"
            );
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    bail!("{name} was not killed within {} s", KILLED.as_secs())
}
