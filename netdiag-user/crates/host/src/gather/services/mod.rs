//! What the node does for Services: rules of iptables, nftables and IPVS, and what the processes
//! here were told. One file a source.
mod environments;
mod iptables;
mod ipvs;
mod nftables;
mod told;

use std::path::Path;

use anyhow::{Context, Result};
use netdiag_lang::mark;

use super::rulesets::{self, kernel::Tables};
use crate::{model::services::Services, sys::file};

/// Most bytes of what IPVS lists: a line of some 60 for each backend.
const LARGEST: usize = 32 << 20;

/// Services of this thread's namespace; processes are looked up under `root`.
pub fn services(root: &Path) -> Result<Services> {
    let mut found = Services::default();
    let mut listed = nftables::Listed::default();
    let xt = rulesets::nft(Tables::WithMaps, &mut listed)?;
    listed.close(&mut found);
    rulesets::saved(xt, &["-c"], |program, lines| {
        iptables::read(lines, program, &mut found)
    })?;
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
