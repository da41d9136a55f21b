//! What each program is to this kernel, loaded and attached nowhere: its length as the verifier left
//! it and as machine code, how many instructions the verifier walked, and its maps.
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use anyhow::{Context, Result};
use aya::{
    Btf as AyaBtf,
    maps::MapInfo,
    programs::{Program, ProgramError, ProgramInfo},
};
use netdiag_common::filter::{EXPRESSION, SELECTION};
use serde::Serialize;

use super::{
    cost,
    load::{self, Asked, Entry, FLUSH, PROGRAMS, each::accept},
    offsets, refusal, sizes,
    types::KernelTypes,
    version,
};
use crate::sys::{
    file::{self, SMALL},
    limits,
};

/// All programs, in each form that they are loaded in.
#[derive(Clone, Debug, Serialize)]
pub struct Weighed {
    pub kernel: String,
    pub possible_cpus: u64,
    pub forms: Vec<Form>,
}

/// With a filter they do more.
#[derive(Clone, Debug, Serialize)]
pub struct Form {
    pub filter: bool,
    /// Structs are read by the helper, as on kernels that are not known to survive plain loads.
    pub helper: bool,
    /// Kernel memory behind all maps, as the kernel counts it, and the most that it may be.
    pub map_bytes: u64,
    pub map_budget: u64,
    pub programs: Vec<Weight>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Weight {
    pub program: &'static str,
    /// Why the kernel does not take it; then there is nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    pub translated_bytes: u32,
    pub jitted_bytes: u32,
    /// Instructions that the verifier walked, of so many at most.
    pub verified_insns: Option<u32>,
    pub map_bytes: u64,
}

impl Weighed {
    /// Whether the kernel takes every program in every form.
    pub fn all_taken(&self) -> bool {
        let mut programs = self.forms.iter().flat_map(|form| &form.programs);
        programs.all(|it| it.refused.is_none())
    }
}

/// Most instructions that any verifier since 5.2 walks for who may load all programs
/// (BPF_COMPLEXITY_LIMIT_INSNS).
pub const MOST_VERIFIED: u32 = 1_000_000;

/// Weighs them all, without and with a filter.
pub fn all(root: &Path) -> Result<Weighed> {
    let types = KernelTypes::read(root)?;
    let of_types = [true, false].map(|plain| offsets::offsets(&types.ours, plain));
    let [plain, by_helper] = of_types;
    let (plain, by_helper) = (plain?, by_helper?);
    let aya = types.ayas()?;
    let possible_cpus = sizes::possible_cpus()?;
    let form = |asked, helper: bool| {
        let offsets = if helper { by_helper } else { plain };
        let mut ebpf = load::load_object(Some(offsets), Some(&aya), &Asked::quietly(asked))?;
        let mut known = BTreeMap::new();
        let mut programs = Vec::new();
        for entry in PROGRAMS.iter().chain([&FLUSH]) {
            let program = ebpf.program_mut(entry.program);
            let program = program.with_context(|| format!("no program {}", entry.program))?;
            // One was loaded to see whether it can be run.
            let _ = unload(program);
            programs.push(weigh(program, entry, &aya, &mut known)?);
        }
        anyhow::Ok(Form {
            filter: asked != 0,
            helper,
            // Those of no program as well: they were made all the same.
            map_bytes: cost::map_bytes(std::process::id())?,
            map_budget: sizes::budget(possible_cpus),
            programs,
        })
    };
    Ok(Weighed {
        kernel: version::release(),
        possible_cpus,
        forms: vec![
            form(0, false)?,
            form(EXPRESSION | SELECTION, false)?,
            form(0, true)?,
            form(EXPRESSION | SELECTION, true)?,
        ],
    })
}

fn weigh(
    program: &mut Program,
    entry: &Entry,
    btf: &AyaBtf,
    known: &mut BTreeMap<u32, u64>,
) -> Result<Weight> {
    let name = entry.program;
    if let Err(error) = accept(program, entry, btf) {
        return Ok(Weight {
            program: name,
            refused: Some(format!("{:#}", refusal::of_program(error))),
            ..Weight::default()
        });
    }
    let info = program
        .info()
        .with_context(|| format!("asking for {name}"))?;
    let verified = info.verified_instruction_count();
    let mut weight = Weight {
        program: name,
        translated_bytes: info.size_translated().unwrap_or(0),
        jitted_bytes: info.size_jitted(),
        map_bytes: bytes_of_maps(&info, known)?,
        ..Weight::default()
    };
    weight.verified_insns = match verified {
        Some(count) => Some(count),
        // Before 5.16 the log alone has it.
        None => {
            unload(program).with_context(|| format!("unloading {name}"))?;
            words(program, entry, btf).as_deref().and_then(processed)
        }
    };
    Ok(weight)
}

fn unload(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::SchedClassifier(tc) => tc.unload(),
        Program::BtfTracePoint(program) => program.unload(),
        Program::RawTracePoint(program) => program.unload(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// What the verifier says of a program that it takes. aya hands its words out with a refusal alone:
/// so there is no descriptor to be had when it is done.
fn words(program: &mut Program, entry: &Entry, btf: &AyaBtf) -> Option<String> {
    match limits::without_descriptors(|| accept(program, entry, btf)) {
        Ok(Err(ProgramError::LoadError { verifier_log, .. })) => Some(verifier_log.to_string()),
        _ => None,
    }
}

/// `processed 4031 insns (limit 1000000) max_states_per_insn 4 …`
fn processed(log: &str) -> Option<u32> {
    let rest = log.lines().find_map(|l| l.strip_prefix("processed "))?;
    rest.split(' ').next()?.parse().ok()
}

/// Kernel memory behind the maps that a program uses.
fn bytes_of_maps(info: &ProgramInfo, known: &mut BTreeMap<u32, u64>) -> Result<u64> {
    let ids: BTreeSet<u32> = info.map_ids()?.unwrap_or_default().into_iter().collect();
    let mut sum = 0;
    for id in ids {
        let bytes = match known.get(&id) {
            Some(bytes) => *bytes,
            None => bytes_of(id)?,
        };
        known.insert(id, bytes);
        sum += bytes;
    }
    Ok(sum)
}

fn bytes_of(map: u32) -> Result<u64> {
    let fd = MapInfo::from_id(map)?.fd()?;
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = file::kernel(Path::new(&path), SMALL)?;
    let bytes = cost::numbers(&text).get("memlock").copied();
    bytes.with_context(|| format!("{path} has no memlock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_how_many_were_walked() {
        let log = "verification time 5125 usec\nstack depth 328+0\n\
                   processed 4031 insns (limit 1000000) max_states_per_insn 4 total_states 9\n";
        assert_eq!(processed(log), Some(4031));
        assert_eq!(processed("invalid mem access\n"), None);
    }
}
