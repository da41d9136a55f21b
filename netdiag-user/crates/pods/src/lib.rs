//! Which pod an interface or an address belongs to. Each source is a file of its own and yields
//! what it knows of each [`Pod`]; `join` makes one index of it. A source that is not there
//! costs nothing.
mod cgroup;
mod clock;
pub mod cni;
mod complete;
use netdiag_lang::{english, mark};

#[cfg(feature = "cri")]
mod cri;
pub mod feed;
pub mod file;
mod join;
mod kept;
mod kubernetes;
mod past;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Result, bail};
use netdiag_host as host;
use netdiag_model as model;
use netdiag_sys as sys;
use tokio::sync::Notify;

use crate::{
    host::{link_times::LinkTimes, namespaces, owner},
    model::{
        cluster::Cluster,
        node::Node,
        pod::{Known, Origin, Pod, PodIndex, SourceUse},
        verdict::NotChecked,
    },
    sys::file::SMALL,
};
use feed::Subscription;
use past::Past;

/// Where `--pods` says to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Everything that is there.
    #[default]
    Auto,
    One(Origin),
    File(PathBuf),
    /// Interfaces and addresses only.
    None,
}

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = SOURCES.iter().find(|origin| origin.name() == text);
        match (text, one) {
            (_, Some(origin)) => Ok(Self::One(*origin)),
            ("auto", _) => Ok(Self::Auto),
            ("none", _) => Ok(Self::None),
            ("", _) => {
                Err("--pods takes auto, kubernetes, cri, cni, cgroup, none or a file".into())
            }
            (path, _) => Ok(Self::File(path.into())),
        }
    }
}

/// As it is typed.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::One(origin) => f.write_str(origin.name()),
            Self::File(path) => path.display().fmt(f),
            Self::None => f.write_str("none"),
        }
    }
}

/// Those that `auto` looks for.
const SOURCES: [Origin; 4] = [Origin::Kubernetes, Origin::Cri, Origin::Cni, Origin::Cgroup];

/// Where to look, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub source: Source,
    pub root: PathBuf,
    pub cni_dir: Option<PathBuf>,
    /// This node's pods are below that cgroup.
    pub cgroup_root: Option<String>,
    pub cri_socket: Option<PathBuf>,
    /// This node's name in the cluster, where it was said.
    pub node_name: Option<String>,
    /// What the Kubernetes API says, or why there is none.
    pub api: Option<Result<Pictures, String>>,
}

/// Everything that the API says, again and again.
pub type Pictures = tokio::sync::watch::Receiver<Arc<Cluster>>;

/// Reads pods again and again, as they come and go.
pub struct Pods {
    source: Source,
    /// Pods of a file, which is read once.
    fixed: Vec<Pod>,
    /// Sources that run by themselves.
    heard: Vec<(Origin, Subscription)>,
    kicks: Kicks,
    past: Past,
    times: LinkTimes,
    /// Sources that are not there, and why.
    absent: Vec<(Origin, String)>,
}

impl Pods {
    /// Fails where a source was named and cannot be used.
    pub async fn open(options: Options) -> Result<Self> {
        let mut pods = Self {
            source: options.source.clone(),
            fixed: Vec::new(),
            heard: Vec::new(),
            kicks: Kicks::default(),
            past: Past::default(),
            times: LinkTimes::default(),
            absent: Vec::new(),
        };
        match &options.source {
            Source::File(path) => pods.fixed = file::read(path)?,
            Source::One(origin) => pods.start(*origin, &options),
            Source::Auto => SOURCES.iter().for_each(|o| pods.start(*o, &options)),
            Source::None => {}
        }
        feed::settle(pods.heard.iter_mut().map(|(_, listener)| listener)).await;
        if let Source::One(origin) = &options.source
            && let Some(why) = pods.missing(*origin)
        {
            bail!("--pods {}: {why}", origin.name());
        }
        Ok(pods)
    }

    fn start(&mut self, origin: Origin, options: &Options) {
        match start(origin, options, &mut self.kicks) {
            Ok(listener) => self.heard.push((origin, listener)),
            Err(why) => self.absent.push((origin, why)),
        }
    }

    /// Why a source says nothing, where it never did.
    fn missing(&self, origin: Origin) -> Option<String> {
        let absent = self.absent.iter().find(|(o, _)| *o == origin);
        let silent = || {
            let (_, listener) = self.heard.iter().find(|(o, _)| *o == origin)?;
            let said = listener.borrow();
            said.problem.clone().filter(|_| said.at.is_none())
        };
        absent.map(|(_, why)| why.clone()).or_else(silent)
    }

    /// When this node's links came and went, as far as somebody notes it there.
    pub fn link_times(&self) -> LinkTimes {
        self.times.clone()
    }

    /// What to tell when this node's links change.
    pub fn kicks(&self) -> Kicks {
        self.kicks.clone()
    }

    /// Whether a source has said something new since the last index.
    pub fn changed(&self) -> bool {
        let new = |(_, listener): &(_, Subscription)| listener.has_changed().unwrap_or(false);
        self.heard.iter().any(new)
    }

    /// The pods as they are now, completed by what the node itself shows.
    pub fn index(&mut self, node: &Node) -> PodIndex {
        let mut said = self.fixed.clone();
        for (_, listener) in &mut self.heard {
            said.extend_from_slice(&listener.borrow_and_update().pods);
        }
        let mut pods = join::join(said);
        let sight = complete::Sight::new(node);
        for pod in &mut pods {
            self.past.bury(pod, &self.times);
            sight.complete(pod);
        }
        PodIndex::new(self.past.follow(pods, &self.times, now()))
    }

    /// The sources that names come from, how many pods each knows, and when it was last heard.
    pub fn used(&self) -> Vec<SourceUse> {
        let one = |source, pods, at| SourceUse { source, pods, at };
        let fixed = match &self.source {
            Source::File(_) => Some(one(Origin::File, self.fixed.len(), None)),
            _ => None,
        };
        let heard = self.heard.iter().filter_map(|(origin, listener)| {
            let said = listener.borrow();
            let there = said.pods.iter().filter(|pod| pod.gone.is_none());
            Some(one(*origin, there.count(), Some(said.at?)))
        });
        fixed.into_iter().chain(heard).collect()
    }

    /// The verdict's words where no source names any pod, and where one says less than it could.
    pub fn not_checked(&self, index: &PodIndex) -> Vec<NotChecked> {
        let mut rows: Vec<_> = self.unknown(index).into_iter().collect();
        for (origin, listener) in &self.heard {
            let said = listener.borrow();
            let what = || english!("pods by {}", origin.name());
            if let Some(problem) = &said.problem {
                rows.push(NotChecked::new(what(), problem.clone()));
            }
            if let Some(partial) = &said.partial {
                rows.push(NotChecked::new(what(), partial.clone()));
            }
            if said.refused > 0 {
                let why = english!("at least {} more than there is room for", said.refused);
                rows.push(NotChecked::new(what(), why));
            }
            if said.crowds > 0 {
                let what = english!("{} network namespaces of pods", said.crowds);
                let why = english!("their pods have more than {} each", owner::MOST);
                rows.push(NotChecked::new(what, why));
            }
        }
        if self.past.forgotten() > 0 {
            let what = english!("drops of {} pods that are gone", self.past.forgotten());
            rows.push(NotChecked::new(
                what,
                mark!("more came and went than are remembered"),
            ));
        }
        rows.extend(unlinked(index));
        let absent = &self.absent;
        if !absent.is_empty() {
            let names: Vec<_> = absent.iter().map(|(o, _)| o.name()).collect();
            let why: Vec<_> = absent.iter().map(|(_, why)| why.as_str()).collect();
            let what = match names.as_slice() {
                [one, other] => english!("pods by {one} and {other}"),
                _ => english!("pods by {}", names.join(" and ")),
            };
            rows.push(NotChecked::new(what, why.join("; ")));
        }
        rows
    }

    fn unknown(&self, index: &PodIndex) -> Option<NotChecked> {
        let what = match &self.source {
            Source::File(path) => path.display().to_string(),
            Source::One(origin) => english!("the source {}", origin.name()),
            Source::Auto => mark!("no source").into(),
            Source::None => {
                return Some(NotChecked::new(
                    mark!("pod names"),
                    mark!("--pods none was given"),
                ));
            }
        };
        let named = index.iter().any(|pod| !pod.name.is_empty());
        let why = || match &self.source {
            Source::Auto => english!("{what} named a pod; pass --pods FILE"),
            _ => english!("{what} named no pod; pass --pods FILE"),
        };
        (!named).then(|| NotChecked::new(mark!("pod names"), why()))
    }
}

/// Pods on this node that have a network and no link here: their device was moved in, or shares
/// one of the node's (ipvlan, macvlan, SR-IOV).
fn unlinked(index: &PodIndex) -> Option<NotChecked> {
    let without = index.iter().filter(|pod| pod.is_linkless());
    let without: Vec<_> = without.map(Pod::title).collect();
    let few = without.get(..3).unwrap_or(&without).join(", ");
    (!without.is_empty()).then(|| {
        NotChecked::new(
            english!("packets of {} pods at a link of their own", without.len()),
            english!(
                "{few}: no link of this node leads there (ipvlan, macvlan, a device moved in); the \
                 node's own devices show what leaves it"
            ),
        )
    })
}

/// Starts a source that runs by itself; the error is a sentence of why it is not there.
fn start(origin: Origin, options: &Options, kicks: &mut Kicks) -> Result<Subscription, String> {
    match origin {
        Origin::Kubernetes => match &options.api {
            Some(api) => api.clone().map(kubernetes::listen),
            None => Err("no Kubernetes API was given or found".into()),
        },
        Origin::Cri => runtime(options, kicks),
        Origin::Cni => {
            let (feed, listener) = feed::feed();
            tokio::spawn(cni::follow(cni::Cache::new(options), feed, kicks.add()));
            Ok(listener)
        }
        Origin::Cgroup => {
            let (feed, listener) = feed::feed();
            let place = cgroup::Place {
                root: options.root.clone(),
                below: options.cgroup_root.clone(),
            };
            tokio::spawn(cgroup::follow(place, feed, kicks.add()));
            Ok(listener)
        }
        Origin::File | Origin::Node => Err(format!(
            "{} is no source that runs by itself",
            origin.name()
        )),
    }
}

#[cfg(feature = "cri")]
fn runtime(options: &Options, kicks: &mut Kicks) -> Result<Subscription, String> {
    let socket = match &options.cri_socket {
        Some(socket) => Some(socket.clone()),
        None => netdiag_cri::find(&options.root),
    };
    let socket = socket.ok_or(mark!("no CRI socket is in its usual places"))?;
    let (feed, listener) = feed::feed();
    let kick = kicks.add();
    tokio::spawn(cri::follow(socket, options.root.clone(), feed, kick));
    Ok(listener)
}

#[cfg(not(feature = "cri"))]
fn runtime(_: &Options, _: &mut Kicks) -> Result<Subscription, String> {
    Err("this netdiag was built without CRI".into())
}

/// Wakes the sources that look again when something changes on the node.
#[derive(Clone, Default)]
pub struct Kicks(Vec<Arc<Notify>>);

impl Kicks {
    fn add(&mut self) -> Arc<Notify> {
        let kick = Arc::new(Notify::new());
        self.0.push(kick.clone());
        kick
    }

    /// There is something new to find.
    pub fn kick(&self) {
        self.0.iter().for_each(|kick| kick.notify_one());
    }
}

/// What a process calls itself.
fn process(root: &Path, pid: u32) -> Option<String> {
    let name = sys::file::kernel(&root.join(format!("proc/{pid}/comm")), SMALL).ok()?;
    Some(name.trim_end().to_owned())
}

/// A pod's only source so far, from now on.
fn said_by(source: Origin) -> Vec<Known> {
    vec![Known { source, at: now() }]
}

/// `CLOCK_MONOTONIC` in ns.
pub fn now() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let now = now.map_or(std::time::Duration::ZERO, std::time::Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Inode of the namespace file that a source names, under the root where it is a host path.
fn netns_inode(root: &Path, path: &str) -> Option<u32> {
    let under_root = root.join(path.trim_start_matches('/'));
    namespaces::mounted(&under_root).or_else(|| namespaces::mounted(Path::new(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(source: &str) -> Options {
        Options {
            source: source.parse().expect("a source"),
            root: "/no-such-root".into(),
            ..Options::default()
        }
    }

    #[test]
    fn pods_without_a_link_here_are_told() {
        let mut pod = Pod {
            namespace: "shop".into(),
            name: "cart".into(),
            netns: Some(77),
            ..Pod::default()
        };
        let told = |pod: &Pod| unlinked(&PodIndex::new(vec![pod.clone()]));
        assert!(
            told(&pod)
                .expect("told")
                .why
                .starts_with("shop/cart: no link")
        );
        pod.interface = Some("veth0".into());
        assert_eq!(told(&pod), None);
    }

    #[tokio::test]
    async fn what_a_source_did_not_look_at_is_told() {
        let mut pods = Pods::open(options("none")).await.expect("opened");
        let (feed, listener) = feed::feed();
        pods.heard.push((Origin::Cgroup, listener));
        let rows = |pods: &Pods| pods.not_checked(&PodIndex::default()).len();
        feed.say_but(Vec::new(), None, 0);
        let before = rows(&pods);
        feed.say_but(Vec::new(), Some("more run".into()), 0);
        assert_eq!(rows(&pods), before + 1);
        let told = pods.not_checked(&PodIndex::default());
        let told = told.iter().find(|row| row.why == "more run");
        assert_eq!(told.map(|row| row.what.as_str()), Some("pods by cgroup"));
    }

    #[tokio::test]
    async fn a_named_source_that_is_missing_is_an_error() {
        for source in ["cni", "/no/such/file"] {
            assert!(Pods::open(options(source)).await.is_err(), "{source}");
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_told() {
        let mut pods = Pods::open(options("auto")).await.expect("opened");
        let index = pods.index(&Node::default());
        let rows = pods.not_checked(&index);
        assert_eq!(rows.len(), 3, "{rows:?}");
        assert!(rows[0].what == mark!("pod names") && rows[2].why.contains("CRI socket"));
        assert!(rows[1].why.contains("CNI result cache"));
    }
}
