//! Which pod a process is of, by its cgroup's path: it names the pod's UID and the container's id,
//! but whoever is given a part of the hierarchy (Delegate=, a container of LXC's) names cgroups below
//! it as he likes (Documentation/admin-guide/cgroup-v2.rst, "Delegation"). So what stands above the
//! pod's part must be kubelet's, and stand where kubelet puts it.
use crate::control::{container_id, pod_of};

/// What kubelet calls the cgroups above its pods', of either driver (pkg/kubelet/cm/qos_container_manager_linux.go);
/// `kubelet` is the root that kind gives it.
const KUBELETS: [&str; 6] = [
    "kubelet",
    "kubepods",
    "kubepods-burstable",
    "kubepods-besteffort",
    "burstable",
    "besteffort",
];
/// Slices of services that only root can write into.
const SLICES: [&str; 2] = ["system.slice", "runtime.slice"];
/// Services of theirs below which a runtime puts pods where it and kubelet disagree about the
/// driver.
const RUNTIMES: [&str; 11] = [
    "containerd.service",
    "crio.service",
    "docker.service",
    "k0scontroller.service",
    "k0sworker.service",
    "k3s-agent.service",
    "k3s.service",
    "rke2-agent.service",
    "rke2-server.service",
    "snap.microk8s.daemon-containerd.service",
    "snap.microk8s.daemon-kubelite.service",
];
/// Where the first process puts itself, below the cgroup that is the machine's: systemd, and k3s in
/// a container.
const FIRST: [&str; 2] = ["init.scope", "init"];

/// Where on this node kubelet's cgroups begin.
#[derive(Clone, Debug)]
pub struct PodRoots {
    /// The deepest first.
    all: Vec<Vec<String>>,
    /// How systemd's slices below what was named begin: `a-b-` of `/a.slice/a-b.slice`.
    named: Option<String>,
}

impl Default for PodRoots {
    /// At the root of all.
    fn default() -> Self {
        Self::new("", None)
    }
}

impl PodRoots {
    /// `first` is the first process's /proc/1/cgroup: in a node that is a container it is not at the
    /// root. `named` is kubelet's `--cgroup-root`, below that or at the root.
    pub fn new(first: &str, named: Option<&str>) -> Self {
        let mut all = vec![Vec::new()];
        all.extend(first.lines().filter_map(machines));
        let named = named.map(parts).filter(|named| !named.is_empty());
        if let Some(named) = &named {
            let below = |root: &Vec<String>| {
                let named = named.iter().map(|part| (*part).to_owned());
                root.iter().cloned().chain(named).collect()
            };
            all.extend(all.iter().map(below).collect::<Vec<_>>());
        }
        all.sort_by_key(|root| std::cmp::Reverse(root.len()));
        let slice = |named: Vec<&str>| Some(format!("{}-", plain(named.last()?)));
        Self {
            all,
            named: named.and_then(slice),
        }
    }

    /// UID of the pod and id of the container whose cgroup it is, or is below of: the outermost,
    /// because a container may make cgroups of any name below its own.
    pub fn pod_and_container(&self, path: &str) -> Option<(String, String)> {
        let parts = parts(path);
        let is_above = |root: &&Vec<String>| {
            parts.len() >= root.len() && root.iter().zip(&parts).all(|(a, b)| a == b)
        };
        let root = self.all.iter().find(is_above)?;
        let (_, below) = parts.split_at_checked(root.len())?;
        let mut below = match below {
            [slice, runtime, rest @ ..] if SLICES.contains(slice) && RUNTIMES.contains(runtime) => {
                rest
            }
            all => all,
        };
        while let [part, rest @ ..] = below {
            // One name for each of a pod's levels, where the runtime took a slice's for a cgroup's.
            let (first, colons) = part.split_once(':').unwrap_or((part, ""));
            if let Some(uid) = self.pod(first) {
                let mut inside = colons.split(':').chain(rest.iter().copied());
                return Some((uid, inside.find_map(container_id)?.to_owned()));
            }
            if !self.is_kubelets(part) {
                return None;
            }
            below = rest;
        }
        None
    }

    fn pod(&self, part: &str) -> Option<String> {
        let uid = pod_of(part)?;
        let (above, _) = part.rsplit_once("pod")?;
        let is_slice = || {
            above
                .strip_suffix('-')
                .is_some_and(|it| self.is_kubelets(it))
        };
        (above.is_empty() || is_slice()).then_some(uid)
    }

    fn is_kubelets(&self, part: &str) -> bool {
        let name = plain(part);
        let of_named = self.named.as_deref().and_then(|it| name.strip_prefix(it));
        let names = [Some(name), name.strip_prefix("kubelet-"), of_named];
        names.into_iter().flatten().any(|it| KUBELETS.contains(&it))
    }
}

/// The cgroup of the machine whose first process has this line of /proc/1/cgroup.
fn machines(line: &str) -> Option<Vec<String>> {
    let mut parts = parts(line.splitn(3, ':').nth(2)?);
    parts.pop_if(|last| FIRST.contains(last));
    Some(parts.into_iter().map(str::to_owned).collect())
}

/// Who looks from within a cgroup namespace of his own sees `..` for what is above his: cgroups
/// that he is in himself, where nobody but who put him there names others.
fn parts(path: &str) -> Vec<&str> {
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts.skip_while(|part| *part == "..").collect()
}

fn plain(part: &str) -> &str {
    part.strip_suffix(".slice").unwrap_or(part)
}

#[cfg(test)]
mod tests;
