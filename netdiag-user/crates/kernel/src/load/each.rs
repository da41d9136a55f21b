//! Loading several programs at once.
use std::{collections::HashMap, sync::Mutex, thread};

use anyhow::{Context, Result, bail};
use aya::{
    Btf as AyaBtf, Ebpf,
    programs::{Program, ProgramError},
};

use super::{
    super::{flush, refusal},
    Entry, Kind,
};

/// Which programs are loaded first: drops are seen from then on, and of the others those that the
/// kernel verifies for longest.
const FIRST: [&str; 6] = [
    "kfree_skb",
    flush::NAME,
    "uplink_egress",
    "uplink_ingress",
    "hop_egress",
    "hop_ingress",
];
/// Programs that are loaded at once at most: a node's processors have other work.
const LOADERS: usize = 4;

/// The kernel verifies each for up to a tenth of a second, on as many processors as there are.
pub fn load_at_once(
    ebpf: &mut Ebpf,
    wanted: &[&Entry],
    btf: Option<&AyaBtf>,
) -> HashMap<&'static str, Result<()>> {
    let entry = |name: &str| wanted.iter().find(|entry| entry.program == name).copied();
    let programs = ebpf.programs_mut();
    let programs = programs.filter_map(|(name, program)| Some((entry(name)?, program)));
    let mut programs: Vec<_> = programs.collect();
    // The last is taken first: what takes long, so that no processor waits for another in the end.
    programs.sort_by_key(|(entry, _)| FIRST.iter().rev().position(|it| *it == entry.program));
    let left = Mutex::new(programs);
    let next = || left.lock().ok()?.pop();
    let load = || {
        let one = |(entry, program): (&Entry, _)| (entry.program, load_one(program, entry, btf));
        std::iter::from_fn(next).map(one).collect::<Vec<_>>()
    };
    let threads = thread::available_parallelism().map_or(1, |n| n.get().min(LOADERS));
    thread::scope(|scope| {
        // Without memory for another thread, this one loads all.
        let beside = |_| thread::Builder::new().spawn_scoped(scope, load).ok();
        let others: Vec<_> = (1..threads).filter_map(beside).collect();
        let mut all: HashMap<_, _> = load().into_iter().collect();
        let theirs = others.into_iter().filter_map(|thread| thread.join().ok());
        all.extend(theirs.flatten());
        all
    })
}

fn load_one(program: &mut Program, entry: &Entry, btf: Option<&AyaBtf>) -> Result<()> {
    match program {
        // Attached to links, later.
        Program::SchedClassifier(tc) => tc.load().map_err(refusal::of_program),
        Program::RawTracePoint(program) => flush::accept(program),
        program => {
            accept(program, entry, btf.context("no BTF")?).map_err(refusal::of_program)?;
            let Program::BtfTracePoint(program) = program else {
                bail!("of an unknown kind");
            };
            program.attach().context("attaching").map(drop)
        }
    }
}

/// Has the kernel verify a program.
pub fn accept(program: &mut Program, entry: &Entry, btf: &AyaBtf) -> Result<(), ProgramError> {
    match (program, entry.kind) {
        (Program::SchedClassifier(tc), Kind::Tc) => tc.load(),
        (Program::BtfTracePoint(program), Kind::BtfTracepoint(tracepoint)) => {
            program.load(tracepoint, btf)
        }
        (Program::RawTracePoint(flush), Kind::Flush) => flush.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}
