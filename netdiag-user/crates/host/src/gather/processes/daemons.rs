//! Daemons of the node, and those that only call themselves so.
use std::{collections::BTreeMap, path::Path};

use super::{Believer, Process, each};
use crate::{
    model::{
        command::Command,
        impostors::{Doubt, Impostor, Impostors},
    },
    namespaces,
};

/// Programs that write rules for Services.
pub const PROXIES: [&str; 9] = [
    "kube-proxy",
    "k3s",
    "rke2",
    "kubelite",
    "kube-router",
    "cilium-agent",
    "calico-node",
    "antrea-agent",
    "ovnkube",
];
/// Others whose words count for something.
const OTHERS: [&str; 4] = [
    "etcd",
    "flanneld",
    "kube-apiserver",
    "kube-controller-manager",
];
/// The kernel keeps so much of a name (include/linux/sched.h, TASK_COMM_LEN).
const COMM: usize = 15;

/// All that are known by name.
pub fn names() -> Vec<&'static str> {
    [&PROXIES[..], &OTHERS].concat()
}

/// Daemons of that name in the node's own namespace.
pub fn of_node(root: &Path, name: &str) -> Vec<Command> {
    let own = namespaces::own();
    let mut found = Vec::new();
    each(root, |process, believer| {
        if Some(process.netns) == own {
            let started = believer.started(process, &[name]);
            found.extend(started.map(|started| started.command));
        }
    });
    found
}

/// Who is called as a daemon in the node's own namespace, and is none that can be believed.
pub fn impostors(root: &Path) -> Impostors {
    let own = namespaces::own();
    let (mut all, mut cut) = (BTreeMap::new(), Vec::new());
    let unseen = each(root, |process, believer| {
        if Some(process.netns) == own
            && let Some(name) = called(process)
        {
            match believer.trusts(process) {
                Ok(()) => cut.extend(too_long(process, believer, name)),
                Err(doubt) => note(&mut all, name, process, doubt),
            }
        }
    });
    let count = |number| u64::try_from(number).unwrap_or(u64::MAX);
    Impostors {
        all: all.into_values().collect(),
        cut,
        unseen: count(unseen.beyond),
        closed: count(unseen.closed),
    }
}

/// By its program, by what it calls itself, or by what it was started as.
fn called(process: &Process) -> Option<&'static str> {
    // Threads of the kernel's have no program.
    let program = process.program()?;
    let comm = process.comm();
    let by_kernel = |name: &&str| program.name == **name || comm == name[..name.len().min(COMM)];
    let names = names();
    let found = names.iter().find(|name| by_kernel(name));
    found.copied().or_else(|| {
        let first = process.started_as();
        names.into_iter().find(|name| *name == first)
    })
}

fn note(
    all: &mut BTreeMap<&'static str, Impostor>,
    name: &'static str,
    process: &Process,
    doubt: Doubt,
) {
    // The first of a name is told, the others are counted.
    if let Some(before) = all.get_mut(name) {
        before.more += 1;
        return;
    }
    let uid = process.users().map(|users| users[0]);
    let impostor = Impostor {
        name: name.to_owned(),
        pid: process.pid,
        uid,
        more: 0,
        doubt,
    };
    all.insert(name, impostor);
}

fn too_long(process: &Process, believer: &mut Believer, name: &str) -> Option<String> {
    let started = believer.started(process, &[name])?;
    { started.cut }.then(|| format!("{name} (pid {})", process.pid))
}
