//! A cgroup of version 2 with a program of eBPF that drops what its processes send or receive by
//! one port.
use std::{
    fs::{self, File, OpenOptions},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::folder;
use crate::nft::End;
use netdiag_sys::bpf::{self, Kind, Way};

/// What is dropped: packets from or to a port of TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Sent by the cgroup's processes; else received.
    pub egress: bool,
    pub ipv6: bool,
    pub protocol: u8,
    pub end: End,
    pub port: u16,
}

/// The hierarchy of version 2, alone or beside those of version 1.
pub(super) fn base() -> Option<PathBuf> {
    let mounted = Path::new("/sys/fs/cgroup");
    let mut places = [mounted.to_owned(), mounted.join("unified")].into_iter();
    places.find(|place| place.join("cgroup.controllers").is_file())
}

/// Whether one can be made here, with a program that the kernel takes.
pub fn available() -> bool {
    let probe = format!("filter-{}", std::process::id());
    let filter = Filter {
        egress: true,
        ipv6: false,
        protocol: libc::IPPROTO_UDP as u8,
        end: End::To,
        port: 1,
    };
    let made = make(&probe, &filter).is_ok();
    let removed = base().is_some_and(|base| fs::remove_dir(folder(&base, &probe)).is_ok());
    made && removed
}

/// Makes the lab's cgroup and attaches the program, which stays until the cgroup is removed.
pub fn make(lab: &str, filter: &Filter) -> Result<()> {
    let folder = folder(&base().context("no cgroups of version 2 here")?, lab);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let cgroup = File::open(&folder).context("cannot open the cgroup")?;
    let way = if filter.egress {
        Way::Egress
    } else {
        Way::Ingress
    };
    let program = load(filter, way).context("cannot load the cgroup's program")?;
    bpf::attach(&cgroup, &program, way).context("cannot attach the cgroup's program")
}

/// What a process writes "0" to that is to be in the lab's cgroup.
pub fn door(lab: &str) -> Result<File> {
    let folder = folder(&base().context("no cgroups of version 2 here")?, lab);
    let door = OpenOptions::new()
        .write(true)
        .open(folder.join("cgroup.procs"));
    door.context("cannot open the lab's cgroup")
}

fn load(filter: &Filter, way: Way) -> std::io::Result<OwnedFd> {
    let name = if filter.egress {
        "deny_egress"
    } else {
        "deny_ingress"
    };
    bpf::load(name, &filter.program(&CGROUP), Kind::CgroupSkb, way)
}

/// How a program of one kind is shown a packet, and what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where its first byte is told, and the end of those that can be read.
    pub data: u64,
    pub end: u64,
    /// Bytes before the IP header.
    pub before: u64,
    pub pass: u64,
    pub drop: u64,
}

/// `__sk_buff.data` and `data_end`, from the IP header on.
const CGROUP: Shown = Shown {
    data: 76,
    end: 80,
    before: 0,
    pass: 1,
    drop: 0,
};

/// Registers; the program is given the packet's context in R1.
const R0: u64 = 0;
const R1: u64 = 1;
const DATA: u64 = 2;
const END: u64 = 3;
const FIELD: u64 = 4;

/// Instructions (Documentation/bpf/standardization/instruction-set.rst).
const LOAD_U32: u64 = 0x61;
const LOAD_U16: u64 = 0x69;
const LOAD_U8: u64 = 0x71;
const MOVE: u64 = 0xb7;
const MOVE_REGISTER: u64 = 0xbf;
const ADD: u64 = 0x07;
const SHIFT_RIGHT: u64 = 0x77;
const JUMP_IF_NOT: u64 = 0x55;
const JUMP_IF_ABOVE: u64 = 0x2d;
const EXIT: u64 = 0x95;

const fn instruction(code: u64, to: u64, from: u64, offset: u64, value: u64) -> u64 {
    code | to << 8 | from << 12 | offset << 16 | value << 32
}

impl Filter {
    /// Drops what matches, and lets all else pass. Extension headers of IPv6 are not followed.
    pub fn program(&self, shown: &Shown) -> [u64; 15] {
        let (version, header, protocol_at) = if self.ipv6 { (6, 40, 6) } else { (4, 20, 9) };
        let before = shown.before;
        let port_at = before + header + if matches!(self.end, End::From) { 0 } else { 2 };
        let port = u64::from(self.port.to_be());
        let protocol = u64::from(self.protocol);
        // Jumps to the last instruction, from where it stands.
        let pass = |at: u64| 13 - at;
        [
            instruction(MOVE, R0, 0, 0, shown.pass),
            instruction(LOAD_U32, DATA, R1, shown.data, 0),
            instruction(LOAD_U32, END, R1, shown.end, 0),
            instruction(MOVE_REGISTER, FIELD, DATA, 0, 0),
            instruction(ADD, FIELD, 0, 0, before + header + 4),
            instruction(JUMP_IF_ABOVE, FIELD, END, pass(5), 0),
            instruction(LOAD_U8, FIELD, DATA, before, 0),
            instruction(SHIFT_RIGHT, FIELD, 0, 0, 4),
            instruction(JUMP_IF_NOT, FIELD, 0, pass(8), version),
            instruction(LOAD_U8, FIELD, DATA, before + protocol_at, 0),
            instruction(JUMP_IF_NOT, FIELD, 0, pass(10), protocol),
            instruction(LOAD_U16, FIELD, DATA, port_at, 0),
            instruction(JUMP_IF_NOT, FIELD, 0, pass(12), port),
            instruction(MOVE, R0, 0, 0, shown.drop),
            instruction(EXIT, 0, 0, 0, 0),
        ]
    }
}
