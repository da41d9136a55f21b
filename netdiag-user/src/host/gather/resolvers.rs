//! resolv.conf as the processes of each network namespace see it: through the root of one of
//! them (proc(5)), because only kubelet knows what it wrote there.
use std::{collections::BTreeMap, io, path::Path};

use anyhow::{Context, Result};

use crate::{
    host::namespaces,
    model::{dns, gather::Resolver},
    sys::file::{self, PROCESSES},
};

/// Namespaces beyond this are left out; kubelet's own limit is 110 pods.
const MOST: usize = 2048;
/// resolv.conf(5) takes three servers and, in older libcs, six search domains; the rest of a longer
/// file says nothing to anybody's libc.
const LARGEST: usize = 4 * 1024;
const FILE: &str = "etc/resolv.conf";

/// One for each namespace of which a process could be asked, the node's own first.
pub fn resolvers(root: &Path) -> Result<Vec<Resolver>> {
    let own = namespaces::own().context("asking for the own namespace")?;
    let mut found = BTreeMap::new();
    let mut all = Vec::new();
    if let Ok(text) = read(root) {
        all.push(dns::resolver(own, &text));
    }
    let processes = file::list(&root.join("proc"), PROCESSES).context("listing processes")?;
    for process in processes.entries.iter().map(|entry| entry.path()) {
        if found.len() >= MOST {
            break;
        }
        let Some(netns) = namespaces::mounted(&process.join("ns/net")) else {
            continue;
        };
        if netns == own || found.contains_key(&netns) {
            continue;
        }
        if let Ok(text) = read(&process.join("root")) {
            found.insert(netns, dns::resolver(netns, &text));
        }
    }
    all.extend(found.into_values());
    Ok(all)
}

/// Reads the file as a process with that root would: its links lead nowhere outside, and what is
/// no plain file is not waited for.
fn read(root: &Path) -> io::Result<String> {
    let (bytes, _) = file::start_within(root, Path::new(FILE), LARGEST)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
