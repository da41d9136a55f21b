//! What the node does for Services: rules of netfilter, IPVS, and what the processes here were told.
//! One file a source.
mod environments;
mod ipvs;
mod rules;
mod told;

use std::path::Path;

use anyhow::{Context, Result};
use netdiag_lang::mark;

use crate::{
    model::services::Services,
    stack::ruleset::{self, Most},
    sys::file,
};

/// Rules that are read, and elements of their sets and maps: some ten thousand Services.
const MOST: Most = Most {
    rules: 1 << 18,
    elements: 1 << 18,
    comments: true,
};
/// Most bytes of what IPVS lists: a line of some 60 for each backend.
const LARGEST: usize = 32 << 20;

/// Services of this thread's namespace; processes are looked up under `root`.
pub fn services(root: &Path) -> Result<Services> {
    let mut found = Services::default();
    let listed = ruleset::whole(MOST)?;
    rules::read(&listed, &mut found)?;
    let net = Path::new("/proc/thread-self/net");
    let virtual_servers = match file::kernel(&net.join("ip_vs"), LARGEST) {
        // Without its module there is no such file.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        listed => listed.context(mark!("reading what IPVS lists"))?,
    };
    ipvs::read(&virtual_servers, &mut found);
    told::read(root, &mut found);
    Ok(found)
}
