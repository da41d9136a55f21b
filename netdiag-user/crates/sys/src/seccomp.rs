//! Whether a filter of system calls, such as a container runtime's, keeps this process from bpf(2)
//! (seccomp(2), proc(5)).
#![expect(
    unsafe_code,
    reason = "a bpf(2) that asks for nothing has no safe wrapper"
)]
use std::io;

use super::{
    capabilities::{ADMIN, BPF, held},
    file,
};

/// No command of bpf(2) has this number; a kernel that is asked for it answers EINVAL.
const NO_COMMAND: libc::c_long = libc::c_long::MAX;
/// As proc(5) has it under `Seccomp:`.
const FILTERED: &str = "2";

/// Whether bpf(2) is refused though the right to it is held: the kernel's own check is not it.
pub fn refuses_bpf() -> bool {
    let may = held(&[BPF, ADMIN]).is_ok_and(|(held, _)| !held.is_empty());
    may && is_filtered() && !answers()
}

fn is_filtered() -> bool {
    let status = file::text("/proc/thread-self/status".as_ref(), file::SMALL).unwrap_or_default();
    let mut words = status.lines().map(str::split_ascii_whitespace);
    words.any(|words| words.eq(["Seccomp:", FILTERED]))
}

/// Whether the kernel sees the call at all. Filters refuse with EPERM, or with ENOSYS as if it were not
/// there.
fn answers() -> bool {
    let nothing: *const u8 = std::ptr::null();
    // SAFETY: the kernel reads no attribute of a command that it does not know, and this one's size is 0.
    let done = unsafe { libc::syscall(libc::SYS_bpf, NO_COMMAND, nothing, 0_usize) };
    let refused = [Some(libc::EPERM), Some(libc::ENOSYS), Some(libc::EACCES)];
    done == 0 || !refused.contains(&io::Error::last_os_error().raw_os_error())
}
