//! resolv.conf as the processes of each network namespace see it: through the root of one of
//! them (proc(5)), because only kubelet knows what it wrote there.
use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::Mode,
};

use crate::{
    host::namespaces,
    model::{dns, gather::Resolver},
};

/// Namespaces beyond this are left out; kubelet's own limit is 110 pods.
const MOST: usize = 512;
/// resolv.conf(5) takes three servers and, in older libcs, six search domains.
const LARGEST: u64 = 16 * 1024;

/// One for each namespace of which a process could be asked, the node's own first.
pub fn resolvers(root: &Path) -> Result<Vec<Resolver>> {
    let own = namespaces::own().context("asking for the own namespace")?;
    let mut found = BTreeMap::new();
    let mut all = Vec::new();
    if let Ok(text) = std::fs::read_to_string(root.join("etc/resolv.conf")) {
        all.push(dns::resolver(own, &text));
    }
    let processes = std::fs::read_dir(root.join("proc")).context("listing processes")?;
    for process in processes.flatten().map(|entry| entry.path()) {
        let Some(netns) = namespaces::inode(&process.join("ns/net")) else {
            continue;
        };
        if netns == own || found.len() >= MOST || found.contains_key(&netns) {
            continue;
        }
        if let Ok(text) = read(&process.join("root")) {
            found.insert(netns, dns::resolver(netns, &text));
        }
    }
    all.extend(found.into_values());
    Ok(all)
}

/// Reads the file as the process would: its links lead nowhere outside of its root, and what is
/// no plain file is not waited for.
fn read(root: &PathBuf) -> Result<String> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(root, directory, Mode::empty()).context("opening a process's root")?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(&root, "etc/resolv.conf", how).context("opening resolv.conf")?);
    let plain = file.metadata().context("asking what it is")?.is_file();
    anyhow::ensure!(plain, "resolv.conf is no file");
    let mut text = String::new();
    file.take(LARGEST)
        .read_to_string(&mut text)
        .context("reading resolv.conf")?;
    Ok(text)
}
