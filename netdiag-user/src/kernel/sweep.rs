//! Takes away what a killed netdiag left: only what its ledger says, only with our mark, and a
//! qdisc only when nobody else's filter is on it.
use std::fs::File;

use anyhow::{Context, Result};
use rtnetlink::Handle;

use super::{
    attach::HANDLE_MARK,
    ledger::{self, Entry, Ledger},
    tc,
};
use crate::host::namespaces;

/// What was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub filters: u64,
    pub qdiscs: u64,
    /// Qdiscs of ours that stay because of somebody else's filter.
    pub kept: u64,
    /// Processes whose leavings were looked at.
    pub runs: u64,
}

/// Sweeps after every netdiag that is gone, in whichever namespace it ran.
pub fn orphans() -> Result<Swept> {
    let mut total = Swept::default();
    for ledger in ledger::orphans() {
        let swept =
            one(&ledger).with_context(|| format!("cleaning up after pid {}", ledger.pid))?;
        total.filters += swept.filters;
        total.qdiscs += swept.qdiscs;
        total.kept += swept.kept;
        total.runs += 1;
        ledger.remove();
    }
    Ok(total)
}

/// Sweeps after one, on a thread that enters its namespace. A namespace that no longer exists
/// took its links with it.
fn one(ledger: &Ledger) -> Result<Swept> {
    let own = namespaces::own() == Some(ledger.netns);
    let root = std::path::Path::new("/");
    let all = || {
        namespaces::all(root)
            .into_iter()
            .find(|n| n.inode == ledger.netns)
    };
    let file = match (own, all()) {
        (true, _) => None,
        (false, Some(namespace)) => Some(File::open(&namespace.path)?),
        (false, None) => return Ok(Swept::default()),
    };
    let ledger = ledger.clone();
    let thread = std::thread::spawn(move || {
        if let Some(file) = file {
            nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET)
                .context("entering the namespace")?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().context("opening netlink")?;
            tokio::spawn(connection);
            links(&handle, &ledger).await
        })
    });
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the sweeping thread panicked"))?
}

/// Sweeps the links of one ledger in the handle's namespace.
pub async fn links(handle: &Handle, ledger: &Ledger) -> Result<Swept> {
    let mut swept = Swept::default();
    for entry in &ledger.entries {
        // The index may have gone to another link since.
        let same = nix::net::if_::if_nametoindex(entry.interface.as_str());
        if same.ok() != Some(entry.ifindex) {
            continue;
        }
        sweep_link(handle, ledger, entry, &mut swept).await?;
    }
    Ok(swept)
}

async fn sweep_link(
    handle: &Handle,
    ledger: &Ledger,
    entry: &Entry,
    swept: &mut Swept,
) -> Result<()> {
    let filters = tc::filters(handle, entry.ifindex).await?;
    for filter in filters
        .iter()
        .filter(|f| f.handle == ledger.handle && marked(f.handle))
    {
        tc::delete_filter(handle, entry.ifindex, *filter)
            .await
            .with_context(|| format!("deleting our filter on {}", entry.interface))?;
        swept.filters += 1;
    }
    if !entry.qdisc_ours || !tc::has_clsact(handle, entry.ifindex).await? {
        return Ok(());
    }
    if tc::filters(handle, entry.ifindex).await?.is_empty() {
        let deleted = tc::delete_clsact(handle, entry.ifindex).await;
        // Another netdiag that ends at the same time may have been quicker.
        if deleted.is_err() && tc::has_clsact(handle, entry.ifindex).await? {
            return deleted;
        }
        swept.qdiscs += 1;
    } else {
        swept.kept += 1;
    }
    Ok(())
}

fn marked(handle: u32) -> bool {
    handle >> 16 == u32::from(HANDLE_MARK)
}
