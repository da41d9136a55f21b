//! What the node does for Services: rules of iptables, nftables and IPVS, and what the processes
//! here were told. One file a source.
mod iptables;
mod ipvs;
mod nftables;
mod told;

use std::path::Path;

use anyhow::{Context, Result};

use super::rulesets;
use crate::model::services::Services;

/// Services of this thread's namespace; processes are looked up under `root`.
pub fn services(root: &Path) -> Result<Services> {
    let mut found = Services::default();
    let rules = rulesets::list(&["-c"])?;
    nftables::read(&rules.nft, &mut found).context("reading what nft lists")?;
    for saved in &rules.saved {
        iptables::read(&saved.text, saved.engine, &mut found);
    }
    let net = Path::new("/proc/thread-self/net");
    let virtual_servers = std::fs::read_to_string(net.join("ip_vs")).unwrap_or_default();
    ipvs::read(&virtual_servers, &mut found);
    told::read(root, &mut found);
    Ok(found)
}
