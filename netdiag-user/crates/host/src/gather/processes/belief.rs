//! Who is a daemon of the node: not who says so.
//!
//! A daemon runs as root, and root put it where it is: its cgroup is a service's, or a pod's of
//! the cluster's own namespaces. Neither can be had by saying so. Where no init system sorts
//! services into cgroups, as in many containers and virtual machines, they run where the first
//! process does. Whose pod it is, kubelet says: it keeps a folder of logs for each,
//! `NAMESPACE_NAME_UID`, that only root can make (pkg/kubelet/kuberuntime/helpers.go,
//! BuildPodLogsDirectory). A container that another runtime started is nobody's here, and so is
//! what the processes of a service do that runs as another user.
//!
//! A set-uid program runs as root with whatever words its user likes, and may stand in a
//! service's cgroup (a user's cron job): it is no daemon.
use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    Process,
    cgroups::{Cgroups, Seat},
    short,
};
use crate::{
    cgroups,
    model::{command::Command, control::is_of_cluster, impostors::Doubt, pod_cgroup::PodRoots},
    sys::file,
};

/// kubelet's, see `podLogsDir` of its configuration.
const LOGS: &str = "var/log/pods";
/// Folders that are looked at; kubelet's own limit is 110 pods.
const MOST_PODS: usize = 20_000;

pub struct Believer {
    logs: PathBuf,
    first: Cgroups,
    roots: PodRoots,
    /// Namespaces of pods, by UID.
    pods: HashMap<String, Option<String>>,
}

/// What a daemon was started with.
pub struct Started<'a> {
    /// One of the names that were asked for.
    pub name: &'a str,
    pub command: Command,
    /// More of its command line was left out.
    pub cut: bool,
}

impl Believer {
    pub fn new(root: &Path) -> Self {
        Self {
            logs: root.join(LOGS),
            first: Cgroups::read(&root.join("proc/1/cgroup")),
            roots: cgroups::pod_roots(root),
            pods: HashMap::new(),
        }
    }

    /// Whether it may say what it is; else why not.
    pub fn trusts(&mut self, process: &Process) -> Result<(), Doubt> {
        if process.users() != Some([0; 4]) {
            return Err(Doubt::NoService);
        }
        if process.program().is_none_or(|program| program.set_uid) {
            return Err(Doubt::SetUid);
        }
        match process.cgroups().seat(&self.first, &self.roots) {
            Seat::Service | Seat::First => Ok(()),
            Seat::Pod(uid) => self.trusts_pod(uid),
            Seat::Elsewhere => Err(Doubt::NoService),
        }
    }

    fn trusts_pod(&mut self, uid: String) -> Result<(), Doubt> {
        match self.namespace(uid) {
            Some(namespace) if is_of_cluster(namespace) => Ok(()),
            Some(namespace) => Err(Doubt::OtherPod(namespace.to_owned())),
            None => Err(Doubt::UnknownPod),
        }
    }

    /// Of the pod with that UID, where kubelet says so.
    pub fn namespace(&mut self, uid: String) -> Option<&str> {
        let logs = &self.logs;
        let known = { self.pods.entry(uid) }.or_insert_with_key(|uid| namespace(logs, uid));
        known.as_deref()
    }

    /// What it was started with, if it may be believed and one of these is its name.
    pub fn started<'a>(&mut self, process: &Process, names: &[&'a str]) -> Option<Started<'a>> {
        let program = process.program()?;
        self.trusts(process).ok()?;
        let (arguments, cut) = process.arguments();
        let first = arguments.first().map_or("", |first| short(first));
        let called = |name: &&&str| **name == first || **name == program.name;
        let name = names.iter().find(called)?;
        // It may have become another program meanwhile.
        self.trusts(process).ok()?;
        let command = Command {
            pid: process.pid,
            arguments,
            unit: process.cgroups().unit(&self.first, &self.roots),
        };
        Some(Started { name, command, cut })
    }

    /// UID and container, where it is a pod's.
    pub fn pod(&self, process: &Process) -> Option<(String, String)> {
        process.cgroups().pod(&self.roots)
    }
}

/// Of the pod with that UID, where one folder says so.
fn namespace(logs: &Path, uid: &str) -> Option<String> {
    let of_root = |meta: &fs::Metadata| meta.is_dir() && meta.uid() == 0;
    let theirs = |meta: &fs::Metadata| of_root(meta) && meta.mode() & 0o022 == 0;
    fs::metadata(logs).ok().filter(theirs)?;
    let mut entries = file::entries(logs, MOST_PODS).into_iter();
    entries.find_map(|entry| {
        let name = entry.file_name();
        let (of, id) = name.to_str()?.rsplit_once('_')?;
        (id == uid).then_some(())?;
        fs::symlink_metadata(entry.path()).ok().filter(of_root)?;
        let (namespace, _) = of.split_once('_')?;
        // What a namespace's name is made of (RFC 1123).
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = namespace.len() <= 63 && namespace.chars().all(valid);
        fits.then(|| namespace.to_owned())
    })
}
