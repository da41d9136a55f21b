//! The CNI result cache: one JSON file per pod and network, written by libcni (`cniCacheV1`,
//! containernetworking/cni libcni/api.go). It names pod, host interface, namespace, addresses.
use std::{
    collections::HashMap,
    net::IpAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::Deserialize;
use tokio::{io::unix::AsyncFd, sync::Notify};

use super::{Options, clock::Clock, feed::Publisher, kept::Kept, said_by};
use crate::{
    model::{
        address::Prefix,
        pod::{Origin, Pod, PodInterface},
    },
    sys::{
        file::{self, CONFIG},
        readable::readable,
    },
};

/// Where containerd (1.6 to 2.1) and others keep it, under the root.
pub const DEFAULT_DIRS: [&str; 2] = ["var/lib/cni/results", "var/lib/cni/cache/results"];

/// A result file larger than this is none.
const LARGEST: u64 = CONFIG as u64;
/// Result files of one folder: a pod has one for each of its networks, and another for loopback.
const MOST: usize = 16_384;
/// Names of Kubernetes' objects are no longer (RFC 1123), and no id or UID is.
const LONGEST: usize = 253;
/// Addresses of one result.
const MOST_ADDRESSES: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    container_id: Option<String>,
    #[serde(default)]
    if_name: String,
    #[serde(default)]
    network_name: Option<String>,
    #[serde(default)]
    cni_args: Vec<(String, String)>,
    result: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
}

#[derive(Deserialize)]
struct Interface {
    name: String,
    #[serde(default)]
    sandbox: String,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
}

/// How often the folders are looked at where nothing tells of changes.
const AGAIN: Duration = Duration::from_secs(2);
/// A result is written in a few steps.
const BURST: Duration = Duration::from_millis(2);
/// Two writes that are closer to each other can have the same time: files take the clock's as of
/// the last tick (`current_time`, fs/inode.c), some network file systems a whole second's.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// Until nobody listens. Looks again as soon as a file is written or removed, as links change,
/// and now and then.
pub async fn follow(mut cache: Cache, feed: Publisher, kick: Arc<Notify>) {
    let mut notes = None;
    while !feed.is_closed() {
        if notes.is_none() {
            notes = cache.listen();
        }
        cache.look();
        match cache.missing() {
            Some(why) => feed.fail(why),
            None => feed.say_part(cache.kept.all(), cache.left_out),
        }
        tokio::select! {
            () = feed.closed() => return,
            () = kick.notified() => {}
            () = tokio::time::sleep(AGAIN) => {}
            () = written(&notes) => {}
        }
        tokio::time::sleep(BURST).await;
    }
}

/// Something happened to a result file.
async fn written(notes: &Option<AsyncFd<OwnedFd>>) {
    let Some(notes) = notes else {
        return std::future::pending().await;
    };
    if let Ok(mut ready) = notes.readable().await {
        // What it was is seen in the folder.
        let _ = nix::unistd::read(notes.get_ref(), &mut [0; 4096]);
        ready.clear_ready();
    }
}

/// The cache, each file of which is read until it is whole.
pub struct Cache {
    dirs: Vec<PathBuf>,
    root: PathBuf,
    files: HashMap<PathBuf, Seen>,
    kept: Kept,
    /// Files beyond those that are read, at least.
    left_out: usize,
}

/// What was in a file that was written then.
struct Seen {
    written: Option<SystemTime>,
    /// Whether it was read so long after that no later write can have the same time.
    last: bool,
    /// None where it names no pod.
    pod: Option<Pod>,
}

impl Seen {
    /// Half a result names nobody.
    fn still_is(&self, written: Option<SystemTime>) -> bool {
        self.written == written && (self.last || self.pod.is_some())
    }
}

/// A clock that was set back tells nothing about how old a file is.
fn is_old(written: Option<SystemTime>) -> bool {
    let age = written.and_then(|written| written.elapsed().ok());
    age.is_some_and(|age| age > CLOCK_STEP)
}

impl Cache {
    pub fn new(options: &Options) -> Self {
        let root = &options.root;
        let dirs = match &options.cni_dir {
            Some(dir) => vec![dir.clone()],
            None => DEFAULT_DIRS.iter().map(|d| root.join(d)).collect(),
        };
        Self {
            dirs,
            root: root.clone(),
            files: HashMap::new(),
            kept: Kept::default(),
            left_out: 0,
        }
    }

    /// Why there is none: a sentence. One can come with the first pod.
    fn missing(&self) -> Option<String> {
        let none = !self.dirs.iter().any(|dir| dir.is_dir());
        none.then(|| match self.dirs.as_slice() {
            [one] => format!("there is no folder {}", one.display()),
            _ => "no CNI result cache is in its usual places".to_owned(),
        })
    }

    /// Nothing before a folder is there.
    fn listen(&self) -> Option<AsyncFd<OwnedFd>> {
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        let notes = Inotify::init(flags).ok()?;
        let what = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        let watched = self
            .dirs
            .iter()
            .filter(|dir| notes.add_watch(*dir, what).is_ok());
        (watched.count() > 0).then(|| readable(OwnedFd::from(notes)).ok())?
    }

    /// Pods of every readable result file; a file that is no result is passed over.
    fn look(&mut self) {
        let mut files = HashMap::new();
        let folders = self.dirs.iter().flat_map(|dir| file::list(dir, MOST));
        let folders: Vec<_> = folders.collect();
        self.left_out = folders.iter().filter(|folder| folder.more).count();
        for entry in folders.into_iter().flat_map(|folder| folder.entries) {
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() || meta.len() > LARGEST {
                continue;
            }
            let (path, written) = (entry.path(), meta.modified().ok());
            let known = self.files.remove(&path).filter(|s| s.still_is(written));
            let known = known.unwrap_or_else(|| Seen {
                last: is_old(written),
                pod: self.result(&path, written),
                written,
            });
            files.insert(path, known);
        }
        self.files = files;
        let named = self.files.iter();
        let named = named.filter_map(|(path, seen)| Some((path, seen.pod.clone()?)));
        let named = named.map(|(path, pod)| (path.display().to_string(), pod));
        self.kept.update(super::now(), named.collect());
    }

    /// The plugins have done their work when it is written: no process of the pod runs before.
    fn result(&self, path: &Path, written: Option<SystemTime>) -> Option<Pod> {
        let mut pod = result(path, &self.root)?;
        let wall = written?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
        let clock = Clock::new(super::now());
        pod.from = i64::try_from(wall)
            .ok()
            .and_then(|wall| clock.monotonic(wall));
        Some(pod)
    }
}

fn result(path: &Path, root: &Path) -> Option<Pod> {
    let pod = parse(&file::read(path, CONFIG).ok()?, root);
    if pod.is_none() {
        log::debug!("{} names no pod", path.display());
    }
    pod
}

/// How many pods a folder's files name.
pub fn count(dir: &Path, root: &Path) -> usize {
    let options = Options {
        root: root.to_owned(),
        cni_dir: Some(dir.to_owned()),
        ..Options::default()
    };
    let mut cache = Cache::new(&options);
    cache.look();
    cache.kept.all().len()
}

fn parse(bytes: &[u8], root: &Path) -> Option<Pod> {
    let cache: File = serde_json::from_slice(bytes).ok()?;
    // Runtimes keep the loopback plugin's result too.
    if cache.if_name == "lo" {
        return None;
    }
    let argument = |name: &str| {
        let found = cache.cni_args.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.clone())
            .filter(|v| !v.is_empty() && v.len() <= LONGEST)
    };
    let inside = |i: &&Interface| !i.sandbox.is_empty() && i.name != "lo";
    let pod_side = cache.result.interfaces.iter().find(inside);
    // The bridge plugin lists bridge, host veth, pod interface: the host side is the last one
    // that is in no sandbox.
    let host_side = cache
        .result
        .interfaces
        .iter()
        .rfind(|i| i.sandbox.is_empty());
    let addresses = cache
        .result
        .ips
        .iter()
        .filter_map(|ip| address(&ip.address));
    let addresses: Vec<IpAddr> = addresses.take(MOST_ADDRESSES).collect();
    let short = |name: &String| name.len() <= LONGEST;
    let host = host_side.map(|i| i.name.clone()).filter(short);
    let interface = PodInterface {
        name: Some(cache.if_name).filter(short).unwrap_or_default(),
        host: host.clone(),
        index: None,
        addresses: addresses.clone(),
        network: cache.network_name.filter(short),
    };
    Some(Pod {
        namespace: argument("K8S_POD_NAMESPACE")?,
        name: argument("K8S_POD_NAME")?,
        uid: argument("K8S_POD_UID"),
        sandbox: cache.container_id.filter(|id| !id.is_empty() && short(id)),
        addresses,
        interface: host,
        netns: pod_side.and_then(|i| super::netns_inode(root, &i.sandbox)),
        interfaces: vec![interface],
        sources: said_by(Origin::Cni),
        ..Pod::default()
    })
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse::<Prefix>().ok().map(|p| p.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = r#"{"kind":"cniCacheV1","containerId":"c0","ifName":"eth0",
        "networkName":"cbr0","cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAMESPACE","shop"],
        ["K8S_POD_NAME","cart-1"]],"result":{"cniVersion":"0.4.0","interfaces":[
        {"name":"cni0","mac":"02:00:00:00:00:01"},{"name":"veth1","mac":"02:00:00:00:00:02"},
        {"name":"eth0","sandbox":"/run/netns/none-such"}],
        "ips":[{"version":"4","interface":2,"address":"10.1.0.5/24","gateway":"10.1.0.1"}]}}"#;

    #[test]
    fn a_result_names_the_pod_and_its_host_interface() {
        let pod = parse(RESULT.as_bytes(), Path::new("/")).expect("a pod");
        assert_eq!(
            (pod.namespace.as_str(), pod.name.as_str()),
            ("shop", "cart-1")
        );
        assert_eq!(pod.interface.as_deref(), Some("veth1"));
        assert_eq!(
            pod.addresses,
            ["10.1.0.5".parse::<IpAddr>().expect("valid")]
        );
    }

    #[test]
    fn names_longer_than_any_are_none() {
        let long = "x".repeat(LONGEST + 1);
        let of = |from: &str| parse(RESULT.replace(from, &long).as_bytes(), Path::new("/"));
        assert!(of("cart-1").is_none());
        assert_eq!(of("veth1").expect("a pod").interface, None);
        assert_eq!(of("c0").expect("a pod").sandbox, None);
    }

    #[test]
    fn a_result_that_was_half_written_a_tick_ago_is_read_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("result");
        let mut cache = Cache::new(&Options {
            cni_dir: Some(dir.path().to_owned()),
            ..Options::default()
        });
        let now = SystemTime::now();
        let mut write = |text: &str| {
            std::fs::write(&path, text).expect("written");
            let file = file::plain(&path);
            file.and_then(|f| f.set_modified(now)).expect("dated");
            cache.look();
            cache.kept.all().len()
        };
        assert_eq!(write(""), 0);
        assert_eq!(write(RESULT), 1);
    }

    #[test]
    fn what_is_no_result_names_none() {
        assert!(parse(b"{", Path::new("/")).is_none());
        assert!(parse(br#"{"result":{}}"#, Path::new("/")).is_none());
    }
}
