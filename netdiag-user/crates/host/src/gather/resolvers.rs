//! resolv.conf as the processes of each pod's network namespace see it: through the root of one of
//! them (proc(5)), because only kubelet knows what it wrote there.
//!
//! Anybody may have namespaces, and a file there that says anything. A pod's are those of processes
//! in a pod's cgroup, and those that a link of the node leads into; others are not looked at.
use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use anyhow::{Context, Result};
use netdiag_lang::{english, mark};

use super::{
    Found,
    processes::{self, Believer, Process},
};
use crate::{
    links,
    listing::NODE,
    model::{dns, gather::Resolver, verdict::NotChecked},
    namespaces,
    nsids::Nsids,
    owner::{self, Crowds, Owner},
    sys::file,
};

/// Namespaces beyond this are left out; kubelet's own limit is 110 pods.
const MOST: usize = 2048;
/// resolv.conf(5) takes three servers and, in older libcs, six search domains; the rest of a longer
/// file says nothing to anybody's libc.
const LARGEST: usize = 4 * 1024;
const FILE: &str = "etc/resolv.conf";
const KUBELET: &str = "var/lib/kubelet/config.yaml";

/// One for each pod's namespace of which a process could be asked, the node's own first.
pub fn resolvers(root: &Path) -> Result<Found<Vec<Resolver>>> {
    let own = namespaces::own().context(mark!("asking for the own namespace"))?;
    let mut all = Vec::new();
    let (bytes, _) = file::start_within(root, Path::new(FILE), LARGEST).unwrap_or_default();
    if !bytes.is_empty() {
        all.push(resolver(own, &bytes));
    }
    all.extend(kubelets(root));
    let mut pods = Pods {
        own,
        most: MOST,
        linked: linked(root),
        ..Pods::default()
    };
    let unseen = processes::each(root, |process, believer| pods.look(process, believer));
    let left = pods.left(unseen.beyond);
    all.extend(pods.found.into_values());
    Ok((all, left))
}

/// Namespaces that the node's links lead into.
fn linked(root: &Path) -> HashSet<u32> {
    let find = || {
        let links = links::links(&NODE, false)?;
        let wanted = links.nsids.values().copied().collect();
        Nsids::default().find(root, &wanted)
    };
    let found = find().map(|peers| peers.linked().collect());
    found.unwrap_or_else(|e| {
        log::debug!("asking where links lead: {e:#}");
        HashSet::new()
    })
}

/// What kubelet writes for pods, by its configuration, which is root's.
fn kubelets(root: &Path) -> Option<Resolver> {
    let bytes = file::of_root(&root.join(KUBELET), file::CONFIG).ok()?;
    let resolver = dns::of_kubelet(&String::from_utf8_lossy(&bytes));
    (!resolver.servers.is_empty()).then_some(resolver)
}

fn resolver(netns: u32, bytes: &[u8]) -> Resolver {
    dns::resolver(netns, &String::from_utf8_lossy(bytes))
}

/// What was found so far.
#[derive(Debug, Default)]
struct Pods {
    own: u32,
    most: usize,
    linked: HashSet<u32>,
    found: BTreeMap<u32, Resolver>,
    crowds: Crowds,
    /// Namespaces that there was no room for.
    more: HashSet<u32>,
}

impl Pods {
    fn look(&mut self, process: &Process, believer: &Believer) {
        let pod = || believer.pod(process).map(|(uid, _)| uid);
        if self.wants(process.netns, pod)
            && let Ok(bytes) = process.start_within(Path::new(FILE), LARGEST)
        {
            self.found
                .insert(process.netns, resolver(process.netns, &bytes));
        }
    }

    /// Whether a process of that namespace is to be asked, by the pod that it is of.
    fn wants(&mut self, netns: u32, pod: impl FnOnce() -> Option<String>) -> bool {
        if netns == self.own || self.found.contains_key(&netns) {
            return false;
        }
        if !self.linked.contains(&netns) {
            let Some(uid) = pod() else { return false };
            if !self.crowds.takes(Owner::Pod(uid), netns) {
                return false;
            }
        }
        let room = self.found.len() < self.most;
        if !room {
            self.more.insert(netns);
        }
        room
    }

    fn left(&self, unseen: usize) -> Vec<NotChecked> {
        let rows = [
            (
                self.more.len(),
                format!(
                    "resolv.conf in {} network namespaces of pods beyond the first {}",
                    self.more.len(),
                    self.most
                ),
                mark!("no more are read").to_owned(),
            ),
            (
                self.crowds.left(),
                format!(
                    "resolv.conf in {} network namespaces of pods",
                    self.crowds.left()
                ),
                english!("their pods have more than {} each", owner::MOST),
            ),
            (
                unseen,
                english!("resolv.conf of {unseen} processes"),
                mark!("there are too many to look at each").to_owned(),
            ),
        ];
        let left = rows.into_iter().filter(|(count, ..)| *count > 0);
        left.map(|(_, what, why)| NotChecked::new(what, why))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const POD: u32 = 1_000_000;

    fn pods(most: usize) -> Pods {
        Pods {
            own: 1,
            most,
            linked: HashSet::from([2, 3]),
            ..Pods::default()
        }
    }

    impl Pods {
        /// Whether a process there, of that pod, is asked; it always answers.
        fn asks(&mut self, netns: u32, pod: Option<&str>) -> bool {
            let asks = self.wants(netns, || pod.map(str::to_owned));
            if asks {
                self.found.insert(netns, resolver(netns, b""));
            }
            asks
        }
    }

    #[test]
    fn strangers_namespaces_take_no_room() {
        let mut pods = pods(3);
        assert!((10..5000).all(|netns| !pods.asks(netns, None)));
        assert!(!pods.asks(1, Some("a")), "the node's own");
        assert!(pods.asks(2, None), "a link leads there");
        assert!(pods.asks(POD, Some("a")) && !pods.asks(POD, Some("a")));
        assert_eq!(pods.left(0), []);
        assert!(pods.asks(3, Some("a")));
        assert!(!pods.asks(POD + 1, Some("b")) && !pods.asks(POD + 1, Some("b")));
        let told = "resolv.conf in 1 network namespaces of pods beyond the first 3";
        assert_eq!(pods.left(0)[0].what, told);
    }

    #[test]
    fn one_pods_crowd_hides_no_other() {
        let mut pods = pods(MOST);
        let asked = (0..5000).filter(|n| pods.asks(POD + n, Some("a"))).count();
        assert_eq!(asked, owner::MOST);
        assert!(pods.asks(2, Some("a")) && pods.asks(4, Some("b")));
        let told = pods.left(3);
        let told: Vec<_> = told.iter().map(|row| row.what.as_str()).collect();
        assert_eq!(
            told,
            [
                "resolv.conf in 4984 network namespaces of pods",
                "resolv.conf of 3 processes"
            ]
        );
    }

    #[test]
    fn kubelets_configuration_is_roots() {
        let node = tempfile::tempdir().expect("a folder");
        let path = node.path().join(KUBELET);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, "clusterDNS:\n- 10.96.0.10\n").expect("written");
        let told = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).expect("set");
            kubelets(node.path()).is_some()
        };
        let root = nix::unistd::geteuid().is_root();
        assert_eq!([told(0o600), told(0o666)], [root, false]);
    }
}
