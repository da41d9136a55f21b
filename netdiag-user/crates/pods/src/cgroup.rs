//! Pods as the kernel alone shows them: kubelet names a pod's cgroup by its UID, the runtime a
//! container's by its id, whatever the driver (`kubepods/…/pod<uid>/<id>`, or slices and scopes)
//! and the cgroup version; and a process of it leads to the pod's network namespace.
//!
//! A pod's own name is its host name, which the runtime gives its processes. Its namespace is
//! nowhere to be seen. What the processes themselves could have changed is believed only so far.
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{feed::Publisher, kept::Kept, said_by};
use crate::{
    host::{
        cgroups, namespaces,
        owner::{Crowds, Owner},
    },
    model::{
        pod::{Container, Origin, Pod},
        pod_cgroup::PodRoots,
    },
    sys::file,
};

/// How often /proc is looked through where nothing changes on the node's links.
const AGAIN: Duration = Duration::from_secs(2);
/// And where looking found nothing new that often: each process costs a file, and what comes without a
/// link is a container that starts again or a pod of the node's own network.
const RARELY: Duration = Duration::from_secs(10);
const SAME: u32 = 10;
/// A pod's processes start a little after its link is there.
const AFTERWARDS: Duration = Duration::from_millis(150);
/// Where many pods come and go, looking takes a tenth of one CPU's time at most.
const SHARE: u32 = 10;
/// A container's first process begins in the node's own network namespace, and the runtime moves
/// it: who is there for longer belongs there. A slow machine takes a second.
const MOVING: u64 = 2_000_000_000;
/// A process's environment that is looked at; HOSTNAME stands near its beginning.
const LARGEST: usize = 64 << 10;
/// Of the file that holds a host name.
const NAME: usize = 256;
/// Clock ticks a second, as /proc tells times (USER_HZ).
const TICKS: u64 = 100;

/// Where processes are looked for.
#[derive(Clone, Debug)]
pub struct Place {
    pub root: PathBuf,
    /// The cgroup that the node's pods are below; nothing where all of the machine's are the node's.
    pub below: Option<String>,
}

impl Place {
    /// Read at each look: the first process of a container may go to a cgroup of its own.
    fn roots(&self) -> PodRoots {
        cgroups::pod_roots_below(&self.root, self.below.as_deref())
    }
}

/// Until nobody listens.
pub async fn follow(at: Place, feed: Publisher, kick: Arc<Notify>) {
    let (mut kept, mut same) = (Kept::default(), 0_u32);
    while !feed.is_closed() {
        let (place, before, begun) = (at.clone(), kept, Instant::now());
        let read = tokio::task::spawn_blocking(move || look(&place, before)).await;
        let Ok((read, more, crowds)) = read else {
            return;
        };
        kept = read;
        same = match feed.say_but(kept.all(), more.then(unseen), crowds) {
            true => 0,
            false => same.saturating_add(1),
        };
        let (usual, kicked) = pauses(begun.elapsed(), same);
        tokio::select! {
            () = feed.closed() => return,
            () = tokio::time::sleep(usual) => {}
            () = kick.notified() => {
                same = 0;
                tokio::time::sleep(kicked).await;
            }
        }
    }
}

/// How long to leave /proc alone after a look that took so long, and found what so many before it had
/// found: as a rule, and where links changed.
fn pauses(look: Duration, same: u32) -> (Duration, Duration) {
    let kicked = AFTERWARDS.max(look.saturating_mul(SHARE));
    let usual = if same < SAME { AGAIN } else { RARELY };
    (usual.max(kicked), kicked)
}

/// What is said of processes that are not looked at.
fn unseen() -> String {
    format!(
        "more than {} processes run here: pods of the others are not known",
        file::PROCESSES
    )
}

/// Pods, whether there are more processes than were looked at, and how many namespaces of pods
/// were left out.
fn look(place: &Place, mut kept: Kept) -> (Kept, bool, usize) {
    let root = place.root.as_path();
    let roots = place.roots();
    let nodes = [
        namespaces::own(),
        namespaces::inode(&root.join("proc/1/ns/net")),
    ];
    let now = super::now();
    let mut pods: BTreeMap<(String, u32), Pod> = BTreeMap::new();
    let mut containers = HashMap::new();
    let (processes, more) = processes(root);
    let all = processes.into_iter();
    let mut all: Vec<_> = all
        .filter_map(|pid| Process::read(place, &roots, pid))
        .collect();
    let nodes = |process: &Process| nodes.contains(&Some(process.netns));
    let crowds = thin_out(&mut all, nodes);
    for process in all {
        let pid = process.pid;
        let in_nodes = nodes(&process);
        if in_nodes && process.is_younger(MOVING, now) {
            continue;
        }
        let key = (process.uid.clone(), process.netns);
        let pod = pods.entry(key).or_insert_with(|| process.pod());
        pod.host_network = in_nodes;
        pod.from = pod.from.min(process.started);
        if pod.name.is_empty() && !pod.host_network {
            pod.name = host_name(root, pid).unwrap_or_default();
        }
        // The first process of a container is the one with the lowest number, as a rule.
        if containers.insert(process.container.clone(), pid).is_none() {
            pod.containers.push(Container {
                id: process.container,
                pid: Some(pid),
                process: super::process(root, pid),
                ..Container::default()
            });
        }
    }
    let rows = pods.into_iter().map(|((uid, netns), mut pod)| {
        let key = format!("{uid} {netns}");
        if pod.host_network {
            pod.netns = None;
        }
        if let Some(before) = kept.get(&key) {
            pod.sources.clone_from(&before.sources);
            pod.from = before.from;
        }
        (key, pod)
    });
    let rows = rows.collect();
    kept.update(now, rows);
    (kept, more, crowds)
}

/// Leaves each pod the namespaces that its oldest processes are in: its own is among them, the
/// runtime made it for the pod's first one. Says how many others there are. The node's count for
/// none.
fn thin_out(all: &mut Vec<Process>, nodes: impl Fn(&Process) -> bool) -> usize {
    let mut crowds = Crowds::default();
    let mut oldest: Vec<&Process> = all.iter().collect();
    oldest.sort_by_key(|process| process.started);
    let takes = |process: &&Process| {
        let owner = Owner::Pod(process.uid.clone());
        nodes(process) || crowds.takes(owner, process.netns)
    };
    let taken = oldest.into_iter().filter(takes);
    let taken: HashSet<u32> = taken.map(|process| process.pid).collect();
    all.retain(|process| taken.contains(&process.pid));
    crowds.left()
}

struct Process {
    pid: u32,
    uid: String,
    container: String,
    netns: u32,
    started: Option<u64>,
}

impl Process {
    fn read(place: &Place, roots: &PodRoots, pid: u32) -> Option<Self> {
        let folder = place.root.join(format!("proc/{pid}"));
        let text = file::text(&folder.join("cgroup"), file::SMALL).ok()?;
        let below = place.below.as_deref().unwrap_or_default();
        let mut paths = text
            .lines()
            .filter_map(path)
            .filter(|it| is_below(it, below));
        let (uid, container) = paths.find_map(|path| roots.pod_and_container(path))?;
        Some(Self {
            pid,
            uid,
            container,
            netns: namespaces::inode(&folder.join("ns/net"))?,
            started: started(&folder),
        })
    }

    fn is_younger(&self, age: u64, now: u64) -> bool {
        self.started
            .is_some_and(|started| now.saturating_sub(started) < age)
    }

    fn pod(&self) -> Pod {
        Pod {
            uid: Some(self.uid.clone()),
            netns: Some(self.netns),
            from: self.started,
            sources: said_by(Origin::Cgroup),
            ..Pod::default()
        }
    }
}

/// A line of /proc/PID/cgroup: `NUMBER:CONTROLLERS:PATH`.
fn path(line: &str) -> Option<&str> {
    line.splitn(3, ':').nth(2)
}

fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

/// Whether a cgroup is below another: wherever that is itself, as who looks from within a cgroup
/// namespace of his own, or from outside of one, sees more or less of the way to it.
fn is_below(path: &str, other: &str) -> bool {
    let (path, other) = (parts(path), parts(other));
    other.is_empty() || path.windows(other.len()).any(|some| some == other)
}

/// Their numbers, and whether there are more.
fn processes(root: &Path) -> (Vec<u32>, bool) {
    first(&root.join("proc"), file::PROCESSES)
}

fn first(proc: &Path, most: usize) -> (Vec<u32>, bool) {
    let Ok(folder) = file::list(proc, most) else {
        return (Vec::new(), false);
    };
    let entries = folder.entries.into_iter();
    let numbers = entries.filter_map(|e| e.file_name().to_str()?.parse().ok());
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    (numbers, folder.more)
}

/// Field 22 of /proc/PID/stat, in ticks since the machine started.
fn started(folder: &Path) -> Option<u64> {
    let (bytes, _) = file::start(&folder.join("stat"), file::SMALL).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let fields = text.rsplit_once(')')?.1;
    let ticks: u64 = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(ticks.saturating_mul(1_000_000_000 / TICKS))
}

/// The host name of its UTS namespace, which a thread of our own enters.
fn uts_name(folder: &Path) -> Option<String> {
    let file = file::namespace(&folder.join("ns/uts")).ok()?;
    let own = namespaces::inode(Path::new("/proc/thread-self/ns/uts"));
    if namespaces::inode(&folder.join("ns/uts")) == own {
        return None;
    }
    let thread = std::thread::Builder::new().name("uts".into());
    let asked = thread.spawn(move || {
        nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWUTS).ok()?;
        let name = nix::sys::utsname::uname().ok()?;
        Some(name.nodename().to_string_lossy().into_owned())
    });
    asked.ok()?.join().ok()?
}

/// As the runtime gave it: to the namespace, to the environment, and to the file that it mounts.
fn host_name(root: &Path, pid: u32) -> Option<String> {
    let folder = root.join(format!("proc/{pid}"));
    let by_environment = || {
        let (environment, _) = file::start(&folder.join("environ"), LARGEST).ok()?;
        let said = environment.split(|b| *b == 0);
        let said = { said }.find_map(|word| word.strip_prefix(b"HOSTNAME="));
        said.map(|name| String::from_utf8_lossy(name).into_owned())
    };
    let by_file = || {
        let bytes = file::within(&folder.join("root"), Path::new("etc/hostname"), NAME);
        Some(String::from_utf8_lossy(&bytes.ok()?).into_owned())
    };
    let name = uts_name(&folder).or_else(by_environment).or_else(by_file)?;
    let name = name.trim().to_owned();
    // What a host name is made of (RFC 1123).
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    (!name.is_empty() && name.len() <= 253 && name.chars().all(valid)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_pod(line: &str) -> Option<(String, String)> {
        PodRoots::default().pod_and_container(path(line)?)
    }

    const UID: &str = "0c4e7e2a-5e9e-4b5e-9a43-1f1b1d2c3e4f";

    #[test]
    fn both_drivers_and_versions_are_understood() {
        let id = "a".repeat(64);
        let under = UID.replace('-', "_");
        let slice = format!(
            "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{under}.slice"
        );
        let paths = [
            format!("4:memory:/kubepods/besteffort/pod{UID}/{id}"),
            format!("0::/{slice}/cri-containerd-{id}.scope"),
            format!("1:name=systemd:/{slice}/crio-{id}.scope"),
            format!(
                "0::/system.slice/containerd.service/kubepods-pod{under}.slice:cri-containerd:{id}"
            ),
        ];
        for path in paths {
            assert_eq!(of_pod(&path), Some((UID.to_owned(), id.clone())), "{path}");
        }
        assert_eq!(of_pod("0::/user.slice/session-1.scope"), None);
        let named_so = format!("0::/lxc.payload.x/kubepods/pod{UID}/{id}");
        assert_eq!(of_pod(&named_so), None);
    }

    #[test]
    fn pods_of_another_node_of_the_machine_are_not_ours() {
        let pod = "/a/kubelet.slice/kubepods/pod1/c";
        for ours in ["", "/", "/a", "a", "/a/kubelet.slice/", "kubelet.slice"] {
            assert!(is_below(pod, ours), "{ours}");
        }
        for others in ["/b", "/kubelet", "/a/kubepods", "c/d"] {
            assert!(!is_below(pod, others), "{others}");
        }
        assert!(is_below("/../../docker-9.scope/a/kubepods/pod1/c", "/a"));
    }

    #[test]
    fn a_pods_own_namespace_is_found_among_thousands_that_it_made() {
        let process = |pid: u32, uid: &str, started: u64| Process {
            pid,
            uid: uid.to_owned(),
            container: "c".into(),
            netns: 1_000_000 - pid,
            started: Some(started),
        };
        // Numbers of processes begin anew some day.
        let mut all: Vec<_> = (0..5000).map(|n| process(n, "a", 100)).collect();
        all.extend([process(5000, "a", 7), process(5001, "b", 200)]);
        all.push(process(5002, "a", 300));
        let most = crate::host::owner::MOST;
        let nodes = |p: &Process| p.pid == 5002;
        assert_eq!(thin_out(&mut all, nodes), 5001 - most);
        let of = |uid: &str| all.iter().filter(|p| p.uid == uid).count();
        assert_eq!((of("a"), of("b")), (most + 1, 1));
        assert!(all.iter().any(|p| p.pid == 5000), "the oldest");
    }

    #[test]
    fn who_is_not_looked_at_is_told() {
        let root = tempfile::tempdir().expect("a folder");
        for pid in ["7", "8", "9"] {
            std::fs::create_dir(root.path().join(pid)).expect("made");
        }
        assert_eq!(first(root.path(), 3), (vec![7, 8, 9], false));
        let (some, more) = first(root.path(), 2);
        assert_eq!((some.len(), more), (2, true));
    }

    #[test]
    fn a_slow_look_rests_for_its_share() {
        let [soon, second] = [Duration::from_millis(1), Duration::from_secs(1)];
        assert_eq!(pauses(soon, 0), (AGAIN, AFTERWARDS));
        assert_eq!(pauses(second, 0), (second * SHARE, second * SHARE));
    }

    #[test]
    fn where_nothing_is_new_the_next_look_is_later() {
        let look = Duration::from_millis(1);
        assert_eq!(pauses(look, SAME - 1).0, AGAIN);
        assert_eq!(pauses(look, SAME), (RARELY, AFTERWARDS));
    }

    /// This test's own namespace is the node's, for those who ask.
    #[test]
    fn a_process_that_has_just_begun_is_not_yet_where_it_belongs() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("proc/4711");
        std::fs::create_dir_all(folder.join("ns")).expect("made");
        std::os::unix::fs::symlink("/proc/self/ns/net", folder.join("ns/net")).expect("made");
        let id = "a".repeat(64);
        let cgroup = format!("0::/kubepods/pod{UID}/{id}\n");
        std::fs::write(folder.join("cgroup"), cgroup).expect("written");
        let begun = |ago: u64| {
            let ticks = (super::super::now() - ago) / (1_000_000_000 / TICKS);
            let fields = "0 ".repeat(18);
            let stat = format!("4711 (runc:[1:CHILD]) S {fields}{ticks} 0");
            std::fs::write(folder.join("stat"), stat).expect("written");
            let place = Place {
                root: root.path().to_owned(),
                below: None,
            };
            look(&place, Kept::default()).0.all()
        };
        assert_eq!(begun(MOVING / 2), []);
        let pods = begun(2 * MOVING);
        assert!(pods.len() == 1 && pods[0].host_network, "{pods:#?}");
    }
}
