//! Why nothing could be loaded, in sentences that say what to do.
use aya::{maps::MapError, programs::ProgramError};
use netdiag_lang::mark;

use super::version;
use crate::sys::{capabilities, limits, seccomp};

/// What raises the limit of locked memory.
pub const LOCKED_REMEDY: &str = mark!(
    "`ulimit -l unlimited` before it is started, or \
    LimitMEMLOCK=infinity in its systemd unit, or CAP_SYS_RESOURCE to raise it itself"
);

/// What lets a container call bpf().
pub const SECCOMP_REMEDY: &str = mark!(
    "`netdiag manifests seccomp`, which prints a profile for the node, and \
    `netdiag manifests --seccomp-profile localhost/netdiag.json`, which goes by it"
);

/// Why nothing can be loaded at all; each has its sentence and its remedy.
#[derive(Debug, PartialEq, Eq)]
pub enum Unavailable {
    NotPrivileged,
    /// The right is there, and the call is not.
    Seccomp,
    /// So many bytes may be locked.
    LockedMemory(u64),
    NoRingBuffer,
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotPrivileged => f.write_str(
                "no permission to load eBPF programs: run it as root, or give it CAP_BPF, \
                 CAP_PERFMON and CAP_NET_ADMIN",
            ),
            Self::Seccomp => write!(
                f,
                "a seccomp profile refuses bpf(), though the capability is there: {SECCOMP_REMEDY}"
            ),
            Self::LockedMemory(limit) => write!(
                f,
                "no room for eBPF maps: before Linux 5.11 they count as locked memory, of which \
                 this process may have {limit} bytes (RLIMIT_MEMLOCK): {LOCKED_REMEDY}"
            ),
            Self::NoRingBuffer => f.write_str(
                "this kernel has no BPF ring buffer: netdiag needs Linux 5.8 or newer with \
                 CONFIG_BPF_SYSCALL (`netdiag doctor` shows what is there)",
            ),
        }
    }
}

impl std::error::Error for Unavailable {}

/// The object that this program was built with is not the one it needs: a stale or broken build,
/// nothing that this machine lacks.
#[derive(Debug, PartialEq, Eq)]
pub struct BadObject(pub String);

impl BadObject {
    /// Begins its sentence, so that who started us can tell it from what a machine lacks.
    pub const SAYS: &str = "this netdiag was built wrong";

    pub fn no_map(name: &str) -> Self {
        Self(format!("its eBPF object has no map {name}"))
    }

    pub fn other_map(name: &str) -> Self {
        Self(format!(
            "the map {name} of its eBPF object has another type"
        ))
    }
}

impl std::fmt::Display for BadObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; build it again", Self::SAYS, self.0)
    }
}

impl std::error::Error for BadObject {}

/// Why the object was not loaded.
pub(super) fn of_object(error: aya::EbpfError) -> anyhow::Error {
    if let aya::EbpfError::MapError(MapError::CreateError { name, io_error, .. }) = &error {
        match io_error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => return not_permitted().into(),
            Some(libc::ENOSYS) if seccomp::refuses_bpf() => return Unavailable::Seccomp.into(),
            Some(libc::EINVAL) if name.as_str() == "EVENTS" => {
                return Unavailable::NoRingBuffer.into();
            }
            _ => {}
        }
    }
    match error {
        // Found in the object alone; the rest is what the kernel says no to.
        aya::EbpfError::ParseError(_) | aya::EbpfError::RelocationError(_) => {
            BadObject(format!("its eBPF object cannot be read: {error}")).into()
        }
        _ => anyhow::Error::new(error).context("loading the eBPF object"),
    }
}

/// Why a program was not taken, with the verifier's last word.
pub(super) fn of_program(error: ProgramError) -> anyhow::Error {
    match &error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            log::info!("verifier: {log}");
            let io = std::io::Error::from_raw_os_error(io_error.raw_os_error().unwrap_or(0));
            let said = match last_word(&log) {
                Some(word) => format!("the kernel's verifier said {word:?} (-v shows its log)"),
                None => "the kernel's verifier said no (-v shows its log)".to_owned(),
            };
            anyhow::Error::new(io).context(said)
        }
        _ => anyhow::Error::new(error),
    }
}

/// Its reason: the line before its statistics.
fn last_word(log: &str) -> Option<String> {
    const STATISTICS: [&str; 3] = ["processed ", "verification time ", "stack depth "];
    const LONGEST: usize = 160;
    let is_statistics = |line: &str| STATISTICS.iter().any(|s| line.starts_with(s));
    let mut lines = log.lines().map(str::trim).rev();
    let word = lines.find(|l| !l.is_empty() && !is_statistics(l))?;
    Some(word.chars().take(LONGEST).collect())
}

/// Why a map was not permitted: the right is missing, or before 5.11 the room.
fn not_permitted() -> Unavailable {
    if seccomp::refuses_bpf() {
        return Unavailable::Seccomp;
    }
    let either = &[capabilities::BPF, capabilities::ADMIN];
    let may = capabilities::held(either).is_ok_and(|(held, _)| !held.is_empty());
    match limits::locked_memory() {
        Some(limit) if may && version::counts_maps_as_locked_memory() => {
            Unavailable::LockedMemory(limit)
        }
        _ => Unavailable::NotPrivileged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_reason_is_its_last_word() {
        let log = "0: (79) r2 = *(u64 *)(r1 +16)\nfunc 'kfree_skb' doesn't have 3-th argument\n\
                   invalid bpf_context access off=16 size=8\n\
                   processed 1 insns (limit 1000000) max_states_per_insn 0\n";
        let word = last_word(log).expect("a reason");
        assert_eq!(word, "invalid bpf_context access off=16 size=8");
        assert_eq!(last_word("processed 4 insns (limit 1000000)\n"), None);
        assert_eq!(last_word(""), None);
    }

    #[test]
    fn too_little_locked_memory_says_what_raises_it() {
        let said = Unavailable::LockedMemory(65_536).to_string();
        for word in [
            "65536 bytes",
            "ulimit -l unlimited",
            "LimitMEMLOCK=infinity",
        ] {
            assert!(said.contains(word), "{said}");
        }
    }
}
