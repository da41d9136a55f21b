//! Processes that the kernel picks to be OOM-killed, of a cgroup or the machine.
//!
//! `trace_mark_victim(pid)` up to 6.8, `trace_mark_victim(task, uid)` since (include/trace/events/
//! oom.h; mm/oom_kill.c). With the pid alone the victim is told only where it is the task that
//! ran out of memory itself, as it mostly is in a container.
//!
//! Costs ten reads a victim.
use aya_ebpf::{
    helpers::generated::{bpf_get_current_task, bpf_ktime_get_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use netdiag_common::oom::OomKill;

use crate::{
    maps::{self, offset},
    read::task,
};

#[btf_tracepoint(function = "mark_victim")]
pub fn mark_victim(ctx: BtfTracePointContext) -> i32 {
    let _ = if offset!(victim_is_task) == 1 {
        let task: *const u8 = ctx.arg(0);
        of_task(task as u64)
    } else {
        let pid: u32 = ctx.arg(0);
        of_pid(pid)
    };
    0
}

#[inline(always)]
fn of_task(task: u64) -> Option<()> {
    record(task::pid(task)?, task::kill(task))
}

#[inline(always)]
fn of_pid(pid: u32) -> Option<()> {
    // SAFETY: no arguments, no preconditions.
    let current = unsafe { bpf_get_current_task() };
    let kill = match task::pid(current) {
        Some(own) if own == pid => task::kill(current),
        _ => OomKill::default(),
    };
    record(pid, kill)
}

/// A victim of this node's namespaces, or of one that is not known.
#[inline(always)]
fn record(pid: u32, mut kill: OomKill) -> Option<()> {
    if kill.netns != 0 {
        maps::NETNS.get_ptr(&kill.netns)?;
    }
    // SAFETY: no arguments, no preconditions.
    kill.time = unsafe { bpf_ktime_get_ns() };
    maps::OOM_KILLS.insert(&pid, &kill, 0).ok()
}
