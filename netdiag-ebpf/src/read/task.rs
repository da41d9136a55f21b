//! `struct task_struct`: who it is, its network namespace, its memory cgroup. Rarely read, so by
//! the helper that checks every address.
use netdiag_common::{config::ABSENT, oom::OomKill};

use super::at;
use crate::maps::offset;

/// The process, as users number it.
#[inline(always)]
pub fn pid(task: u64) -> Option<u32> {
    at(task, offset!(task_tgid))
}

/// What can be told of a victim.
#[inline(always)]
pub fn kill(task: u64) -> OomKill {
    OomKill {
        cgroup: memory_cgroup(task).unwrap_or(0),
        netns: netns(task).unwrap_or(0),
        comm: at(task, offset!(task_comm)).unwrap_or_default(),
        ..OomKill::default()
    }
}

/// None once it is exiting.
#[inline(always)]
fn netns(task: u64) -> Option<u32> {
    let nsproxy = follow(task, offset!(task_nsproxy))?;
    at(follow(nsproxy, offset!(nsproxy_net))?, offset!(net_inum))
}

#[inline(always)]
fn memory_cgroup(task: u64) -> Option<u64> {
    if offset!(css_set_memory) == ABSENT {
        return None;
    }
    let set = follow(task, offset!(task_cgroups))?;
    let state = follow(set, offset!(css_set_memory))?;
    let cgroup = follow(state, offset!(css_cgroup))?;
    at(follow(cgroup, offset!(cgroup_kn))?, offset!(kn_id))
}

#[inline(always)]
fn follow(base: u64, offset: u32) -> Option<u64> {
    at(base, offset).filter(|pointer| *pointer != 0)
}
