//! Which pod an interface or an address belongs to. Each source is a file of its own and yields
//! the same [`Pod`]; a source that is not there costs nothing.
pub mod cni;
pub mod file;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{
    host::namespaces,
    model::{
        node::Node,
        pod::{Pod, PodIndex},
        roles::{Role, role},
        verdict::NotChecked,
    },
};

/// Where `--pods` says to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Everything that is there.
    Auto,
    Cni,
    File(PathBuf),
}

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cni" => Ok(Self::Cni),
            "" => Err("--pods takes auto, cni or a file".into()),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// Reads pods again and again, as they come and go.
pub struct Pods {
    source: Source,
    root: PathBuf,
    cni_dirs: Vec<PathBuf>,
    /// Pods of a file, which is read once.
    fixed: Vec<Pod>,
}

impl Pods {
    /// Fails where a file was named and cannot be used.
    pub fn open(source: Source, root: &Path, cni_dir: Option<&Path>) -> Result<Self> {
        let fixed = match &source {
            Source::File(path) => file::read(path)?,
            Source::Auto | Source::Cni => Vec::new(),
        };
        let cni_dirs = match cni_dir {
            Some(dir) => vec![dir.to_owned()],
            None => cni::DEFAULT_DIRS.iter().map(|d| root.join(d)).collect(),
        };
        Ok(Self {
            source,
            root: root.to_owned(),
            cni_dirs,
            fixed,
        })
    }

    /// The verdict's word where no source names any pod.
    pub fn unknown(&self, index: &PodIndex) -> Option<NotChecked> {
        let source = match &self.source {
            Source::File(path) => path.display().to_string(),
            Source::Auto | Source::Cni => "the CNI result cache".into(),
        };
        index.is_empty().then(|| NotChecked {
            what: "pod names".into(),
            why: format!("{source} names none; --pods FILE gives them"),
        })
    }

    /// The pods as they are now, completed by what the node itself shows: a pod's interface by
    /// its namespace or route, its addresses by its namespace.
    pub fn index(&self, node: &Node) -> PodIndex {
        let mut pods = self.fixed.clone();
        if !matches!(self.source, Source::File(_)) {
            pods.extend(
                self.cni_dirs
                    .iter()
                    .flat_map(|dir| cni::read(dir, &self.root)),
            );
        }
        for pod in &mut pods {
            complete(pod, node);
        }
        PodIndex::new(pods)
    }
}

fn complete(pod: &mut Pod, node: &Node) {
    let pod_links = || {
        node.links
            .iter()
            .filter(|l| role(node, l) == Some(Role::Pod))
    };
    if pod.interface.is_none() {
        let by_netns = pod_links().find(|l| pod.netns.is_some() && l.peer_netns == pod.netns);
        let by_address = || {
            pod_links().find(|l| {
                l.peer_netns
                    .and_then(|inode| node.pod_side(inode))
                    .is_some_and(|side| side.addresses.iter().any(|a| pod.addresses.contains(a)))
            })
        };
        pod.interface = by_netns.or_else(by_address).map(|l| l.name.clone());
    }
    let link = pod_links().find(|l| Some(&l.name) == pod.interface.as_ref());
    if let Some(link) = link {
        pod.netns = pod.netns.or(link.peer_netns);
    } else {
        // Named by its source, but no link of this node: the pod is elsewhere.
        pod.interface = None;
    }
    let side = pod.netns.and_then(|inode| node.pod_side(inode));
    for address in side.iter().flat_map(|s| &s.addresses) {
        if !pod.addresses.contains(address) {
            pod.addresses.push(*address);
        }
    }
}

/// Inode of the namespace file that a source names, under the root where it is a host path.
fn netns_inode(root: &Path, path: &str) -> Option<u32> {
    let under_root = root.join(path.trim_start_matches('/'));
    namespaces::inode(&under_root).or_else(|| namespaces::inode(Path::new(path)))
}
