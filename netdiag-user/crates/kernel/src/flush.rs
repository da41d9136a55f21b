//! Asks processors to add what they have counted to the tables, so that a reading has it.
use anyhow::{Context, Result, bail};
use aya::{
    Ebpf,
    maps::PerCpuArray,
    programs::{Program, RawTracePoint, RawTracePointRunOptions, TestRun},
};
use netdiag_common::config::counter;

use super::load::Programs;

pub(super) const NAME: &str = "flush";

/// What the program says when it came in the middle of a run of ours, which is over in a
/// microsecond.
const TAKEN: u32 = 1;
/// So often a processor is asked at most; what it keeps then comes with the next reading.
const TIMES: usize = 64;

/// What each processor had counted when it was last asked.
#[derive(Default)]
pub(super) struct Flush {
    packets: Vec<u64>,
}

/// Loads the program and runs it where we are: whether both can be done here.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<()> {
    let Some(Program::RawTracePoint(program)) = ebpf.program_mut(NAME) else {
        bail!("no program {NAME} in the eBPF object");
    };
    accept(program)
}

pub(super) fn accept(program: &mut RawTracePoint) -> Result<()> {
    program.load().context("loading it")?;
    ask(program, None, false).context("running it").map(drop)
}

/// Whether the processor could add all that it has.
fn ask(program: &RawTracePoint, cpu: Option<u32>, forget: bool) -> Result<bool> {
    let mut args = [0; 12];
    args[0] = u64::from(forget);
    for _ in 0..TIMES {
        let options = RawTracePointRunOptions { args, cpu };
        if program.test_run(options)?.return_value != TAKEN {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks every processor that is online, and lets go of what it knows of limits.
pub(super) fn all(ebpf: &mut Ebpf) {
    let Some(program) = loaded(ebpf) else {
        return;
    };
    for cpu in aya::util::online_cpus().unwrap_or_default() {
        // One that went offline has its lines when it comes back.
        let _ = ask(program, Some(cpu), true);
    }
}

/// None where there is no cache.
fn loaded(ebpf: &Ebpf) -> Option<&RawTracePoint> {
    match ebpf.program(NAME) {
        Some(Program::RawTracePoint(program)) if program.fd().is_ok() => Some(program),
        _ => None,
    }
}

impl Programs {
    /// Processors that have seen packets since they were last asked add what they counted; the
    /// others are not interrupted.
    pub(super) fn flush(&mut self) -> Result<()> {
        let packets = self.packets_by_cpu()?;
        let Some(program) = loaded(&self.ebpf) else {
            return Ok(());
        };
        self.flush.packets.resize(packets.len(), 0);
        for (cpu, (now, before)) in packets.iter().zip(&mut self.flush.packets).enumerate() {
            let cpu = u32::try_from(cpu).unwrap_or(u32::MAX);
            if now != before && ask(program, Some(cpu), false).unwrap_or(false) {
                *before = *now;
            }
        }
        Ok(())
    }

    /// The same of all of them, which also look limits up again.
    pub(super) fn forget_limits(&mut self) {
        all(&mut self.ebpf);
    }

    fn packets_by_cpu(&mut self) -> Result<Vec<u64>> {
        let map: PerCpuArray<_, u64> = self.map("COUNTERS")?;
        let of = |index| map.get(&index, 0).context("reading the counters");
        let (passed, dropped) = (of(counter::HOP_PACKETS)?, of(counter::DROPS)?);
        let both = passed.iter().zip(dropped.iter());
        Ok(both.map(|(a, b)| a.wrapping_add(*b)).collect())
    }
}
