//! Pods as the kernel alone shows them: kubelet names a pod's cgroup by its UID, the runtime a
//! container's by its id, whatever the driver (`kubepods/…/pod<uid>/<id>`, or slices and scopes)
//! and the cgroup version; and a process of it leads to the pod's network namespace.
//!
//! A pod's own name is its host name, which the runtime gives its processes. Its namespace is
//! nowhere to be seen. What the processes themselves could have changed is believed only so far.
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{feed::Feed, kept::Kept, said_by};
use crate::{
    host::namespaces,
    model::{
        control,
        pod::{Container, Origin, Pod},
    },
    sys::file,
};

/// How often /proc is looked through where nothing changes on the node's links.
const AGAIN: Duration = Duration::from_secs(2);
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
/// Processes that are looked at; a node of 110 pods has a few thousand.
const MOST: usize = 50_000;
/// Clock ticks a second, as /proc tells times (USER_HZ).
const TICKS: u64 = 100;

/// Until nobody listens.
pub async fn follow(root: PathBuf, feed: Feed, kick: Arc<Notify>) {
    let mut kept = Kept::default();
    while !feed.is_closed() {
        let (place, before, begun) = (root.clone(), kept, Instant::now());
        let read = tokio::task::spawn_blocking(move || look(&place, before)).await;
        let Ok(read) = read else { return };
        kept = read;
        feed.say(kept.all());
        let pause = AFTERWARDS.max(begun.elapsed() * SHARE);
        tokio::select! {
            () = feed.closed() => return,
            () = tokio::time::sleep(AGAIN) => {}
            () = kick.notified() => tokio::time::sleep(pause).await,
        }
    }
}

fn look(root: &Path, mut kept: Kept) -> Kept {
    let nodes = [
        namespaces::own(),
        namespaces::inode(&root.join("proc/1/ns/net")),
    ];
    let now = super::now();
    let mut pods: BTreeMap<(String, u32), Pod> = BTreeMap::new();
    let mut containers = HashMap::new();
    for pid in processes(root) {
        let Some(process) = Process::read(root, pid) else {
            continue;
        };
        let in_nodes = nodes.contains(&Some(process.netns));
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
    kept
}

struct Process {
    uid: String,
    container: String,
    netns: u32,
    started: Option<u64>,
}

impl Process {
    fn read(root: &Path, pid: u32) -> Option<Self> {
        let folder = root.join(format!("proc/{pid}"));
        let text = file::text(&folder.join("cgroup"), file::SMALL).ok()?;
        let (uid, container) = text.lines().find_map(of_pod)?;
        Some(Self {
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
fn of_pod(line: &str) -> Option<(String, String)> {
    control::pod_and_container(line.splitn(3, ':').nth(2)?)
}

fn processes(root: &Path) -> Vec<u32> {
    let entries = file::entries(&root.join("proc"), file::PROCESSES).into_iter();
    let numbers = entries.filter_map(|e| e.file_name().to_str()?.parse().ok());
    let mut numbers: Vec<u32> = numbers.take(MOST).collect();
    numbers.sort_unstable();
    numbers
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
            look(root.path(), Kept::default()).all()
        };
        assert_eq!(begun(MOVING / 2), []);
        let pods = begun(2 * MOVING);
        assert!(pods.len() == 1 && pods[0].host_network, "{pods:#?}");
    }
}
