//! What netdiag allows itself, so that a mistake of its own, or what a stranger made for it to read,
//! is never the node's.
mod cgroup;

use std::path::Path;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use super::file::{self, SMALL};

/// Bytes of memory that it may write to (RLIMIT_DATA, setrlimit(2)): heap and threads' stacks, not
/// what is mapped of files and rings. A trace of a crowded node takes 150 MiB, the largest
/// recording that is taken 256 MiB.
const MEMORY: u64 = 1 << 30;
/// Percent of what its cgroup may take: at all of it the kernel kills, and nobody says why. The rest is
/// for what does not count as its own here: files' pages, eBPF maps, sockets' buffers.
const PERCENT: u64 = 80;

/// Bounds memory, and has no core dumped: it would hold packets and names.
pub fn hold() -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_DATA)?;
    let most = allowed(cgroup::memory(Path::new("/")), 0);
    // What somebody allows beneath that stays.
    setrlimit(Resource::RLIMIT_DATA, soft.min(most), hard)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

/// Bytes that a program which it runs may take beside it: where one of a container's processes is killed
/// for memory, kubelet has all of them killed (`memory.oom.group`).
pub fn of_a_program() -> u64 {
    allowed(cgroup::memory(Path::new("/")), resident().unwrap_or(0))
}

/// Of a cgroup that may take so many, of which so many are taken.
fn allowed(cgroup: Option<u64>, taken: u64) -> u64 {
    let share = |most: u64| most.saturating_sub(taken) / 100 * PERCENT;
    cgroup.map_or(MEMORY, |most| share(most).min(MEMORY))
}

/// Bytes of this process that are in memory (proc_pid_status(5), VmRSS).
fn resident() -> Option<u64> {
    let status = file::text(Path::new("/proc/self/status"), SMALL).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

/// Raises how much memory may be locked as far as it may be: before Linux 5.11, eBPF maps count
/// against it, and the usual limit is far less than they take. Where that is refused, loading says
/// so ([`locked_memory`]).
pub fn raise_locked_memory() {
    let limit = Resource::RLIMIT_MEMLOCK;
    if setrlimit(limit, RLIM_INFINITY, RLIM_INFINITY).is_err()
        && let Ok((_, hard)) = getrlimit(limit)
    {
        let _ = setrlimit(limit, hard, hard);
    }
}

/// Bytes of memory that may be locked; nothing where there is no limit.
pub fn locked_memory() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

/// Works without room for another descriptor: whatever asks for one is refused (EMFILE), those that
/// are open stay. For a process that does nothing else meanwhile.
pub fn without_descriptors<T>(work: impl FnOnce() -> T) -> nix::Result<T> {
    let limit = Resource::RLIMIT_NOFILE;
    let (soft, hard) = getrlimit(limit)?;
    setrlimit(limit, 0, hard)?;
    let done = work();
    setrlimit(limit, soft, hard)?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cgroup_may_take_is_never_reached() {
        let pod = Some(512 << 20);
        assert_eq!(allowed(None, 0), MEMORY);
        assert_eq!(
            allowed(Some(u64::MAX), 0),
            MEMORY,
            "version 1's word for no limit"
        );
        let own = allowed(pod, 0);
        assert!((400 << 20..410 << 20).contains(&own), "{own}");
        // A program that takes all that it may leaves a part of what netdiag does not have.
        let taken = 150 << 20;
        let beside = allowed(pod, taken);
        assert!(beside > 256 << 20 && taken + beside < 450 << 20, "{beside}");
        assert_eq!(allowed(Some(1), 2), 0);
    }

    #[test]
    fn locked_memory_is_raised_as_far_as_it_may_be() {
        let before = getrlimit(Resource::RLIMIT_MEMLOCK).expect("a limit");
        raise_locked_memory();
        let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).expect("a limit");
        assert!(hard == RLIM_INFINITY || hard == before.1);
        assert_eq!(soft, hard);
        assert_eq!(locked_memory(), (hard != RLIM_INFINITY).then_some(hard));
    }
}
