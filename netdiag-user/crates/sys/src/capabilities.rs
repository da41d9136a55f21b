//! What root may do that a command of netdiag's needs; all else is given away before anything of
//! others' is looked at (capabilities(7), prctl(2)).
#![expect(
    unsafe_code,
    reason = "capset and prctl of capabilities have no safe wrapper"
)]
use std::io;

use netdiag_lang::mark;

use super::file;

/// A right that is kept, by its number, and what for (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    number: u32,
    pub name: &'static str,
    pub why: &'static str,
}

const fn right(number: u32, name: &'static str, why: &'static str) -> Right {
    Right { number, name, why }
}

pub const READ: Right = right(2, "CAP_DAC_READ_SEARCH", mark!("reads pods' files"));
pub const WRITE: Right = right(
    1,
    "CAP_DAC_OVERRIDE",
    mark!("puts a file into another's folder"),
);
pub const OWNERS: Right = right(0, "CAP_CHOWN", mark!("leaves a file its owner"));
pub const NET_ADMIN: Right = right(
    12,
    "CAP_NET_ADMIN",
    mark!("attaches to links, lists nftables"),
);
pub const NET_RAW: Right = right(13, "CAP_NET_RAW", mark!("sends probes, lists iptables"));
pub const CHROOT: Right = right(
    18,
    "CAP_SYS_CHROOT",
    mark!("runs the node's nft and iptables from a container"),
);
pub const PTRACE: Right = right(19, "CAP_SYS_PTRACE", mark!("looks into processes' /proc"));
pub const ADMIN: Right = right(21, "CAP_SYS_ADMIN", mark!("enters pods' namespaces"));
pub const SYSLOG: Right = right(34, "CAP_SYSLOG", mark!("names where packets are dropped"));
pub const PERFMON: Right = right(38, "CAP_PERFMON", mark!("traces drops"));
pub const BPF: Right = right(39, "CAP_BPF", mark!("loads eBPF programs"));

/// Of a command that traces.
pub const TRACING: &[Right] = &[
    READ, NET_ADMIN, NET_RAW, PTRACE, ADMIN, SYSLOG, PERFMON, BPF,
];
/// The same in a container that sees the node's files elsewhere.
pub const CONTAINED: &[Right] = &[
    READ, NET_ADMIN, NET_RAW, CHROOT, PTRACE, ADMIN, SYSLOG, PERFMON, BPF,
];
/// Of one that reads this node's configuration.
pub const READING: &[Right] = &[READ, NET_ADMIN, NET_RAW, PTRACE, ADMIN];
/// Of one that takes away what another left.
pub const SWEEPING: &[Right] = &[READ, NET_ADMIN, PTRACE, ADMIN];
/// Of one that reads files that were named.
pub const FILES: &[Right] = &[READ];
/// Of a program that lists a network namespace's rules.
pub const NETWORK: &[Right] = &[NET_ADMIN, NET_RAW];
/// Of one that puts a file in the place of another, in a folder that is not its own.
pub const REPLACING: &[Right] = &[READ, WRITE, OWNERS];

/// The last one that this kernel may have: their sets are 64 bits.
const MOST: u32 = 63;
/// _LINUX_CAPABILITY_VERSION_3: two halves of 32 bits.
const VERSION: u32 = 0x2008_0522;
const SETPCAP: u32 = 8;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Keeps these and gives away all else, for this thread and those that it starts, and for programs
/// that they run. Nothing is gained by it that was not there.
pub fn keep(rights: &[Right]) -> io::Result<()> {
    let kept = rights.iter().fold(0_u64, |all, it| all | 1 << it.number);
    nix::sys::prctl::set_no_new_privs()?;
    for number in (0..=MOST).filter(|n| kept >> n & 1 == 0) {
        // What this kernel does not know is not there either.
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_LOWER, number);
    }
    let mut halves = get()?;
    if halves[0].effective >> SETPCAP & 1 == 1 {
        for number in (0..=MOST).filter(|n| kept >> n & 1 == 0) {
            prctl(libc::PR_CAPBSET_DROP, number as libc::c_int, 0);
        }
    }
    for (half, kept) in halves.iter_mut().zip([kept as u32, (kept >> 32) as u32]) {
        half.effective &= kept;
        half.permitted &= kept;
        half.inheritable &= kept;
    }
    set(&mut halves)
}

/// Keeps those of these that there are, for the program that this process is about to become, too:
/// being root brings a program none where root is nobody in particular (`SecureBits=noroot`), and
/// another user's has none of its own. Between fork and exec: it takes no memory and no lock.
pub fn hand_on(rights: &[Right]) -> io::Result<()> {
    keep(rights)?;
    let mut halves = get()?;
    for half in &mut halves {
        half.inheritable = half.permitted;
    }
    set(&mut halves)?;
    for right in rights {
        // What is not held is not handed on either.
        prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE,
            right.number,
        );
    }
    Ok(())
}

/// Those of `rights` that this thread has, and those that it lacks.
pub fn held(rights: &[Right]) -> io::Result<(Vec<Right>, Vec<Right>)> {
    let [low, high] = get()?.map(|half| u64::from(half.effective));
    let all = high << 32 | low;
    let held = |it: &Right| all >> it.number & 1 == 1;
    Ok(rights.iter().copied().partition(held))
}

/// Whether programs that this process runs can gain nothing (proc(5), NoNewPrivs).
pub fn is_sealed() -> bool {
    let status = file::text("/proc/thread-self/status".as_ref(), file::SMALL).unwrap_or_default();
    let mut words = status.lines().map(str::split_ascii_whitespace);
    words.any(|words| words.eq(["NoNewPrivs:", "1"]))
}

/// Asks for something that is an error only where there is nothing to do.
fn prctl(option: libc::c_int, argument: libc::c_int, number: u32) {
    let (argument, number) = (argument as libc::c_ulong, libc::c_ulong::from(number));
    let zero: libc::c_ulong = 0;
    // SAFETY: these options take numbers alone.
    let _ = unsafe { libc::prctl(option, argument, number, zero, zero) };
}

fn get() -> io::Result<[Half; 2]> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut halves = [Half::default(); 2];
    // SAFETY: the kernel reads the header and writes two halves, as version 3 has them; both
    // outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) };
    match done {
        0 => Ok(halves),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set(halves: &mut [Half; 2]) -> io::Result<()> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    // SAFETY: as above; the kernel reads both.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;

    /// On a thread of its own, which takes it along.
    #[test]
    fn what_is_not_kept_is_gone_from_every_set() {
        let check = || {
            let before = get().expect("asked");
            keep(&[NET_ADMIN, BPF]).expect("kept");
            let status = file::text("/proc/thread-self/status".as_ref(), file::SMALL);
            let status = status.expect("read");
            let kept = 1 << 12 | 1_u64 << 39;
            for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
                let line = status.lines().find_map(|l| l.strip_prefix(set));
                let mask = u64::from_str_radix(line.expect("a set").trim(), 16).expect("a mask");
                assert_eq!(mask & !kept, 0, "{set}");
            }
            let bounding = status.lines().find_map(|l| l.strip_prefix("CapBnd:"));
            if before[0].effective >> SETPCAP & 1 == 1 {
                let mask = u64::from_str_radix(bounding.expect("a set").trim(), 16);
                assert_eq!(mask.expect("a mask") & !kept, 0);
            }
            assert!(is_sealed());
            let (held, missing) = held(TRACING).expect("asked");
            assert_eq!(held.len() + missing.len(), TRACING.len());
            if nix::unistd::geteuid().is_root() {
                assert_eq!(held, [NET_ADMIN, BPF]);
            }
        };
        std::thread::spawn(check).join().expect("no panic");
        assert!(!is_sealed(), "this thread has its rights still");
    }

    /// The sets of a program that another thread starts, as proc(5) names them; `of_a_service` as
    /// systemd starts the agent, where being root is no right.
    fn handed_on(rights: &'static [Right], of_a_service: bool) -> Vec<(String, u64)> {
        let start = move || {
            if of_a_service {
                // SECBIT_NOROOT and its lock (include/uapi/linux/securebits.h).
                prctl(libc::PR_SET_SECUREBITS, 0b11, 0);
                keep(TRACING).expect("kept");
            }
            let cat = Program::new("cat").with(rights);
            cat.text(&["/proc/self/status"]).expect("it runs")
        };
        let status = std::thread::spawn(start).join().expect("no panic");
        let sets = status.lines().filter_map(|line| line.split_once(':'));
        let sets = sets.filter(|(name, _)| name.starts_with("Cap"));
        let mask = |mask: &str| u64::from_str_radix(mask.trim(), 16).expect("a mask");
        sets.map(|(name, of)| (name.to_owned(), mask(of))).collect()
    }

    #[test]
    fn a_program_has_what_it_works_with_and_nothing_else() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let all = |rights: &[Right]| rights.iter().fold(0_u64, |all, it| all | 1 << it.number);
        for rights in [NETWORK, FILES, &[]] {
            for of_a_service in [false, true] {
                let sets = handed_on(rights, of_a_service);
                assert_eq!(sets.len(), 5, "{sets:?}");
                for (name, mask) in sets {
                    // A service that gave away the right to change it gains nothing by it either.
                    let may_be = match name == "CapBnd" && of_a_service {
                        true => all(TRACING),
                        false => all(rights),
                    };
                    assert_eq!(mask, may_be, "{name} {of_a_service}");
                }
            }
        }
    }
}
