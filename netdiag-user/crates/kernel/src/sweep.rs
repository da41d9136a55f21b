//! Takes away what a killed netdiag left: only what its ledger says, only with our mark, and a
//! qdisc only when it is certain that nobody else has used it. On any doubt an empty one stays:
//! it costs next to nothing, and its deletion takes everybody's filters along.
use anyhow::{Context, Result};

use super::{
    attach::{HANDLE_MARK, PRIORITIES},
    ledger::{self, Entry, Ledger},
    rtnl::{Failure, Rtnl},
    tc::{self, Filter, SIDES},
    watch::{Heard, Watch},
};
use crate::{host::namespaces, sys::file};

/// What was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub filters: u64,
    pub qdiscs: u64,
    /// Qdiscs of ours that stay because others use them.
    pub kept: u64,
    /// Processes whose leavings were looked at.
    pub runs: u64,
    /// What could not be done or is not certain, a sentence each.
    pub troubles: Vec<String>,
}

impl Swept {
    fn add(&mut self, other: Self) {
        self.filters += other.filters;
        self.qdiscs += other.qdiscs;
        self.kept += other.kept;
        self.runs += other.runs;
        self.troubles.extend(other.troubles);
    }
}

const UNHEARD: &str = "what others did meanwhile was not all heard";

/// Sweeps after every netdiag that is gone, in whichever namespace it ran. What cannot be swept is
/// told, and its ledger stays for the next time.
pub fn orphans() -> Swept {
    let (ledgers, broken) = ledger::orphans();
    let mut total = Swept {
        troubles: broken,
        ..Swept::default()
    };
    for ledger in ledgers {
        let mut swept = one(&ledger).unwrap_or_else(|error| Swept {
            troubles: vec![format!("{error:#}")],
            ..Swept::default()
        });
        swept.runs = 1;
        if swept.troubles.is_empty() {
            ledger.remove();
        }
        for trouble in &mut swept.troubles {
            *trouble = format!("cleaning up after pid {}: {trouble}", ledger.pid);
        }
        total.add(swept);
    }
    total
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
        (false, Some(namespace)) => Some(file::namespace(&namespace.path)?),
        (false, None) => return Ok(Swept::default()),
    };
    let ledger = ledger.clone();
    let thread = std::thread::spawn(move || {
        if let Some(file) = file {
            nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET)
                .context("entering the namespace")?;
        }
        Ok(links(&mut Rtnl::new(), &mut Watch::new(), &ledger))
    });
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the sweeping thread panicked"))?
}

/// Sweeps the links of one ledger in the namespace that `rtnl` asks. Others are listened to from
/// before the first look until the moment before a qdisc goes.
pub fn links(rtnl: &mut Rtnl, watch: &mut Watch, ledger: &Ledger) -> Swept {
    let mut swept = Swept::default();
    let mut heard = watch.hear(&rtnl.ports);
    let mut ours = Vec::new();
    for entry in ledger.entries.iter().filter(|e| is_there(e)) {
        match filters(rtnl, ledger, entry) {
            Ok(deleted) => swept.filters += deleted,
            Err(failure) => {
                let what = format!("a filter of netdiag's stays on {}", entry.interface);
                swept.troubles.push(format!("{what}: {failure}"));
            }
        }
        if entry.qdisc_ours {
            ours.push(entry);
        }
    }
    if ours.is_empty() {
        return swept;
    }
    let clsacts = match tc::clsacts(rtnl) {
        Ok(clsacts) => clsacts,
        Err(failure) => {
            swept.troubles.push(format!("qdiscs stay: {failure}"));
            return swept;
        }
    };
    let mut empty = Vec::new();
    for entry in ours {
        let Some(clsact) = clsacts.get(&entry.ifindex) else {
            continue;
        };
        match tc::is_bare(rtnl, entry.ifindex) {
            Ok(bare) if bare && !entry.others && !clsact.shared => empty.push(entry),
            Ok(_) => swept.kept += 1,
            Err(failure) => swept.troubles.push(stays(entry, &failure)),
        }
    }
    // Looked at once more: who replaces a filter takes the old one off first.
    for entry in empty {
        let bare = tc::is_bare(rtnl, entry.ifindex);
        hear(rtnl, watch, &mut heard);
        match bare {
            Ok(true) if heard.lost => swept.troubles.push(stays(entry, &UNHEARD)),
            Ok(true) if !heard.links.contains(&entry.ifindex) => {
                delete(rtnl, watch, entry, &mut swept);
            }
            Ok(_) => swept.kept += 1,
            Err(failure) => swept.troubles.push(stays(entry, &failure)),
        }
    }
    swept
}

fn delete(rtnl: &mut Rtnl, watch: &mut Watch, entry: &Entry, swept: &mut Swept) {
    match tc::delete_clsact(rtnl, entry.ifindex) {
        Ok(deleted) => swept.qdiscs += u64::from(deleted),
        Err(failure) => swept.troubles.push(stays(entry, &failure)),
    }
    // Between the last look and the deletion is an instant that nothing closes.
    if watch.hear(&rtnl.ports).links.contains(&entry.ifindex) {
        let name = &entry.interface;
        let why = "somebody changed it in the instant in which it was deleted";
        swept
            .troubles
            .push(format!("the clsact qdisc of {name}: {why}"));
    }
}

fn hear(rtnl: &Rtnl, watch: &mut Watch, heard: &mut Heard) {
    let more = watch.hear(&rtnl.ports);
    heard.links.extend(more.links);
    heard.lost |= more.lost;
}

fn stays(entry: &Entry, failure: &impl std::fmt::Display) -> String {
    let name = &entry.interface;
    format!("the clsact qdisc of {name} stays, whether it is empty is not known: {failure}")
}

/// The index may have gone to another link since.
fn is_there(entry: &Entry) -> bool {
    let index = nix::net::if_::if_nametoindex(entry.interface.as_str());
    index.ok() == Some(entry.ifindex)
}

/// Deletes our filters by their names alone: that needs no list.
fn filters(rtnl: &mut Rtnl, ledger: &Ledger, entry: &Entry) -> Result<u64, Failure> {
    let mut deleted = 0;
    if ledger.handle >> 16 != u32::from(HANDLE_MARK) {
        return Ok(deleted);
    }
    for side in SIDES {
        for priority in PRIORITIES {
            let filter = Filter {
                side,
                priority,
                handle: ledger.handle,
            };
            let gone = tc::delete_ours(rtnl, entry.ifindex, filter, &ledger.programs)?;
            deleted += u64::from(gone);
        }
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests;
