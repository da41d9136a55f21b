//! What the node does for Services: rules of netfilter, IPVS, and what the processes here were told.
//! One file a source.
mod environments;
mod ipvs;
mod rules;
mod told;

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result};
use netdiag_lang::mark;

use crate::{
    model::services::Services,
    stack::{
        self,
        ruleset::{self, Moment, Most},
    },
};

/// Rules that are read, and elements of their sets and maps: some ten thousand Services.
const MOST: Most = Most {
    rules: 1 << 18,
    elements: 1 << 18,
    comments: true,
};

/// Virtual and real servers of IPVS: 5,000 Services with a hundred endpoints each.
const VIRTUAL: usize = 1 << 19;

/// Services of this thread's namespace; processes are looked up under `root`.
pub fn services(root: &Path) -> Result<Services> {
    let mut found = by_rules()?;
    let servers = stack::ipvs::servers(Path::new("/"), VIRTUAL);
    let servers = servers.context(mark!("reading what IPVS lists"))?;
    let servers = servers.context(mark!("IPVS lists more than is read"))?;
    ipvs::read(&servers, &mut found);
    told::read(root, &mut found);
    Ok(found)
}

/// What the rules said when they were read last, some ten thousand of them: nothing else as long as nobody changes one.
static LAST: Mutex<Option<(Moment, Services)>> = Mutex::new(None);

fn by_rules() -> Result<Services> {
    let now = ruleset::moment();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, found)) = last.as_ref().filter(|(then, _)| Some(*then) == now) {
        return Ok(found.clone());
    }
    *last = None;
    let listed = ruleset::whole(MOST)?;
    let mut found = Services::default();
    rules::read(&listed, &mut found)?;
    let now = now.filter(|now| now.says_all(&listed));
    *last = now.map(|now| (now, found.clone()));
    Ok(found)
}
