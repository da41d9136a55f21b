//! What netdiag allows itself, so that a mistake of its own, or what a stranger made for it to read,
//! is never the node's.
use nix::sys::resource::{Resource, getrlimit, setrlimit};

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
