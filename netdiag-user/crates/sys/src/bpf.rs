//! bpf(2) for programs on cgroups and links: which are attached where, and the lab's own
//! (include/uapi/linux/bpf.h).
#![expect(
    unsafe_code,
    reason = "bpf(2) has no safe wrapper for programs that are not one's own"
)]
use std::{
    ffi::c_long,
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

const PROG_LOAD: c_long = 5;
const PROG_ATTACH: c_long = 8;
const PROG_GET_FD_BY_ID: c_long = 13;
const OBJ_GET_INFO_BY_FD: c_long = 15;
const PROG_QUERY: c_long = 16;
const LINK_CREATE: c_long = 28;
const LINK_GET_FD_BY_ID: c_long = 30;
const LINK_GET_NEXT_ID: c_long = 31;

/// BPF_F_BEFORE: first, where no other is named.
const BEFORE: u32 = 8;
/// BPF_F_ALLOW_MULTI: beside those of others.
const ALLOW_MULTI: u32 = 2;
/// Programs that one cgroup or link can have at most (BPF_CGROUP_MAX_PROGS, BPF_MPROG_MAX).
const MOST: usize = 64;
/// bpf links of the whole machine that are looked at.
const MOST_LINKS: usize = 65_536;

/// Which packets a program is asked about: `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Way {
    /// Those that a cgroup's sockets receive or send.
    Ingress = 0,
    Egress = 1,
    /// Those that come by a link or leave by it, by tcx.
    TcxIngress = 46,
    TcxEgress = 47,
}

/// What a program is for: `enum bpf_prog_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    SchedCls = 3,
    Xdp = 6,
    CgroupSkb = 8,
}

/// What the kernel says of a program, the first fields of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_len: u32,
    xlated_len: u32,
    jited: u64,
    xlated: u64,
    load_time: u64,
    user: u32,
    map_count: u32,
    maps: u64,
    name: [u8; 16],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub id: u32,
    /// Empty where it was given none.
    pub name: String,
    /// Who loaded it.
    pub user: u32,
}

/// Programs that are attached to this very cgroup, by their ids.
pub fn attached(cgroup: impl AsFd, way: Way) -> io::Result<Vec<u32>> {
    query(raw(&cgroup), way)
}

/// The same for tcx of the link with that index in this thread's namespace; none before Linux 6.6,
/// which knows no tcx.
pub fn on_link(ifindex: u32, way: Way) -> io::Result<Vec<u32>> {
    match query(ifindex, way) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Vec::new()),
        // None was ever attached.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        asked => asked,
    }
}

fn query(target: u32, way: Way) -> io::Result<Vec<u32>> {
    #[repr(C)]
    struct Query {
        target: u32,
        way: u32,
        flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        padding: u32,
        unasked: [u64; 3],
        /// Written for tcx, however short this is.
        revision: u64,
    }
    let mut ids = [0_u32; MOST];
    let mut query = Query {
        target,
        way: way as u32,
        flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        padding: 0,
        unasked: [0; 3],
        revision: 0,
    };
    // SAFETY: the kernel writes at most `count` ids to `ids`, which outlives the call.
    unsafe { call(PROG_QUERY, &mut query) }?;
    Ok(ids.into_iter().take(query.count as usize).collect())
}

/// What is known of the program with that id.
pub fn program(id: u32) -> io::Result<Program> {
    let mut by_id = [id, 0, 0];
    // SAFETY: three numbers.
    let fd = owned(unsafe { call(PROG_GET_FD_BY_ID, &mut by_id) }?);
    let mut info = Info::default();
    // SAFETY: numbers and bytes, of which every bit pattern is a value.
    unsafe { about(&fd, &mut info) }?;
    let name = info.name.split(|byte| *byte == 0).next();
    Ok(Program {
        id,
        name: String::from_utf8_lossy(name.unwrap_or_default()).into_owned(),
        user: info.user,
    })
}

/// Runs of a program that the kernel left out because it was interrupted in the middle of one on the
/// same CPU; 0 before Linux 5.12, which does not count them.
pub fn recursion_misses(program: &impl AsFd) -> io::Result<u64> {
    /// The fields of `struct bpf_prog_info` up to that one.
    #[repr(C)]
    #[derive(Default)]
    struct Missed {
        before: [u64; 26],
        missed: u64,
    }
    let mut info = Missed::default();
    // SAFETY: numbers; nothing that the kernel would write elsewhere is asked for.
    unsafe { about(program, &mut info) }?;
    Ok(info.missed)
}

/// What attaches a program for as long as it is held or pinned: the first fields of
/// `struct bpf_link_info`, the last of which only links on network devices have.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    kind: u32,
    pub id: u32,
    pub program: u32,
    padding: u32,
    pub ifindex: u32,
    rest: [u32; 11],
}

/// BPF_LINK_TYPE_XDP, BPF_LINK_TYPE_TCX.
const ON_DEVICES: [u32; 2] = [6, 11];

/// The bpf links of network devices, in whatever namespace these are, and whether that is all.
pub fn links() -> io::Result<(Vec<Link>, bool)> {
    let mut links = Vec::new();
    let mut next = [0_u32; 3];
    for _ in 0..MOST_LINKS {
        // SAFETY: three numbers, the second of which the kernel writes.
        match unsafe { call(LINK_GET_NEXT_ID, &mut next) } {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok((links, true)),
            asked => asked?,
        };
        next = [next[1], 0, 0];
        let mut by_id = [next[0], 0, 0];
        // SAFETY: three numbers.
        let Ok(fd) = (unsafe { call(LINK_GET_FD_BY_ID, &mut by_id) }) else {
            // Gone meanwhile.
            continue;
        };
        let mut link = Link::default();
        // SAFETY: numbers.
        unsafe { about(&owned(fd), &mut link) }?;
        links.extend(ON_DEVICES.contains(&link.kind).then_some(link));
    }
    Ok((links, false))
}

/// # Safety
/// Every bit pattern must be a value of `info`.
unsafe fn about<T>(object: &impl AsFd, info: &mut T) -> io::Result<()> {
    #[repr(C)]
    struct Get {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut get = Get {
        fd: raw(object),
        length: size_of::<T>() as u32,
        info: &raw mut *info as u64,
    };
    // SAFETY: the kernel writes at most `length` bytes to `info`, which outlives the call.
    unsafe { call(OBJ_GET_INFO_BY_FD, &mut get) }.map(drop)
}

/// Loads a program for the packets of a cgroup or link. Its instructions are in the kernel's own
/// form; `way` counts for cgroups alone.
pub fn load(name: &str, instructions: &[u64], kind: Kind, way: Way) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log: [u32; 2],
        log_buffer: u64,
        version: u32,
        flags: u32,
        name: [u8; 16],
        ifindex: u32,
        way: u32,
    }
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    let mut load = Load {
        kind: kind as u32,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        log_buffer: 0,
        version: 0,
        flags: 0,
        name: short,
        ifindex: 0,
        way: if kind == Kind::CgroupSkb {
            way as u32
        } else {
            0
        },
    };
    // SAFETY: the kernel reads the instructions and the licence, which outlive the call.
    unsafe { call(PROG_LOAD, &mut load) }.map(owned)
}

/// Attaches a program to a cgroup, beside others. It stays for as long as the cgroup does.
pub fn attach(cgroup: impl AsFd, program: impl AsFd, way: Way) -> io::Result<()> {
    let mut attach = [raw(&cgroup), raw(&program), way as u32, ALLOW_MULTI];
    // SAFETY: four numbers.
    unsafe { call(PROG_ATTACH, &mut attach) }.map(drop)
}

/// Attaches a program to a link's tcx in this thread's namespace, for as long as the link is there.
pub fn attach_to_link(ifindex: u32, program: impl AsFd, way: Way) -> io::Result<()> {
    let mut attach = [ifindex, raw(&program), way as u32, 0];
    // SAFETY: four numbers.
    unsafe { call(PROG_ATTACH, &mut attach) }.map(drop)
}

/// Attaches a program to a link's tcx in this thread's namespace, before all others, for as long as
/// what is returned is held.
pub fn hold_on_link(ifindex: u32, program: impl AsFd, way: Way) -> io::Result<OwnedFd> {
    let mut create = [raw(&program), ifindex, way as u32, BEFORE, 0, 0, 0, 0];
    // SAFETY: numbers, as many as the fields of a tcx link.
    unsafe { call(LINK_CREATE, &mut create) }.map(owned)
}

/// The link that it is held on; 0 once somebody detached it, or the link is gone.
pub fn held_on(held: &impl AsFd) -> io::Result<u32> {
    let mut link = Link::default();
    // SAFETY: numbers.
    unsafe { about(held, &mut link) }?;
    Ok(link.ifindex)
}

fn raw(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().unsigned_abs()
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just opened it for us, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// # Safety
/// Pointers in `attribute` must be valid for what the command does with them.
unsafe fn call<T>(command: c_long, attribute: &mut T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: the kernel reads and writes `size` bytes of `attribute`; for what it points to the
    // caller answers.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size) };
    match i32::try_from(done) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}
