//! What netdiag allows itself, so that a mistake of its own, or what a stranger made for it to read,
//! is never the node's.
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Bytes of memory that it may write to (RLIMIT_DATA, setrlimit(2)): heap and threads' stacks, not
/// what is mapped of files and rings. A trace of a crowded node takes 150 MiB, the largest
/// recording that is taken 256 MiB.
const MEMORY: u64 = 1 << 30;

/// Bounds memory, and has no core dumped: it would hold packets and names.
pub fn hold() -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_DATA)?;
    // What somebody allows beneath that stays.
    setrlimit(Resource::RLIMIT_DATA, soft.min(MEMORY), hard)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
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
    fn locked_memory_is_raised_as_far_as_it_may_be() {
        let before = getrlimit(Resource::RLIMIT_MEMLOCK).expect("a limit");
        raise_locked_memory();
        let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).expect("a limit");
        assert!(hard == RLIM_INFINITY || hard == before.1);
        assert_eq!(soft, hard);
        assert_eq!(locked_memory(), (hard != RLIM_INFINITY).then_some(hard));
    }
}
