//! Which namespace is behind a link's peer: the kernel gives an id of its own (nsid), and tells
//! the id of any namespace that one can open (RTM_GETNSID).
use std::{
    collections::HashMap,
    fs::File,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        nsid::{NsidAttribute, NsidMessage},
    },
};

/// A namespace that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub inode: u32,
    pub path: PathBuf,
}

/// Namespaces, and by which ids links name them.
#[derive(Clone, Debug, Default)]
pub struct PeerNamespaces {
    by_id: HashMap<i32, u32>,
    /// No link leads into some.
    paths: HashMap<u32, PathBuf>,
}

impl PeerNamespaces {
    pub fn inode(&self, id: i32) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    pub fn path(&self, inode: u32) -> Option<&Path> {
        self.paths.get(&inode).map(PathBuf::as_path)
    }
}

/// Inode of a namespace file.
pub fn inode(path: &Path) -> Option<u32> {
    u32::try_from(std::fs::metadata(path).ok()?.ino()).ok()
}

/// The same where it is one: when a namespace is no longer mounted there, or out of our sight, an
/// ordinary file stays.
pub fn mounted(path: &Path) -> Option<u32> {
    let file = std::fs::metadata(path).ok()?;
    let own = std::fs::metadata("/proc/thread-self/ns/net").ok()?;
    let inode = u32::try_from(file.ino()).ok()?;
    (file.dev() == own.dev()).then_some(inode)
}

/// Inode of the namespace that this thread is in.
pub fn own() -> Option<u32> {
    inode(Path::new("/proc/thread-self/ns/net"))
}

/// Every namespace that can be found under `root`: the named ones, and those of processes. One
/// path per inode, a named one where there is one.
pub fn all(root: &Path) -> Vec<Namespace> {
    let mut found: HashMap<u32, PathBuf> = HashMap::new();
    for folder in ["run/netns", "var/run/netns", "run/docker/netns"] {
        for entry in std::fs::read_dir(root.join(folder))
            .into_iter()
            .flatten()
            .flatten()
        {
            if let Some(inode) = inode(&entry.path()) {
                found.entry(inode).or_insert_with(|| entry.path());
            }
        }
    }
    for entry in std::fs::read_dir(root.join("proc"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let is_process = entry
            .file_name()
            .to_string_lossy()
            .bytes()
            .all(|b| b.is_ascii_digit());
        let path = entry.path().join("ns/net");
        if let (true, Some(inode)) = (is_process, inode(&path)) {
            found.entry(inode).or_insert(path);
        }
    }
    found
        .into_iter()
        .map(|(inode, path)| Namespace { inode, path })
        .collect()
}

/// Asks the kernel by which id this namespace knows each of the others.
pub async fn peers(handle: &Handle, root: &Path) -> PeerNamespaces {
    let mut found = PeerNamespaces::default();
    for namespace in all(root) {
        let Ok(file) = File::open(&namespace.path) else {
            continue;
        };
        if let Some(id) = id(handle, &file).await {
            found.by_id.insert(id, namespace.inode);
        }
        found.paths.insert(namespace.inode, namespace.path);
    }
    found
}

async fn id(handle: &Handle, file: &File) -> Option<i32> {
    let mut message = NsidMessage::default();
    let fd = u32::try_from(file.as_raw_fd()).ok()?;
    message.attributes.push(NsidAttribute::Fd(fd));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(message));
    request.header.flags = NLM_F_REQUEST;
    let mut answers = handle.clone().request(request).ok()?;
    while let Some(answer) = answers.next().await {
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) = answer.payload
        else {
            continue;
        };
        let id = answer.attributes.iter().find_map(|a| match a {
            NsidAttribute::Id(id) => Some(*id),
            _ => None,
        });
        // -1: this namespace has no id for that one, so no link of ours leads there.
        return id.filter(|id| *id >= 0);
    }
    None
}
