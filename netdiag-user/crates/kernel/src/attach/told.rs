//! What is not covered, for the verdict.
use std::collections::HashMap;

use netdiag_lang::{english, mark};

use super::{Hooks, proof::Silence};
use crate::model::verdict::NotChecked;

/// Links that are told by their names; of a node with a thousand of them, the number says enough.
const NAMED: usize = 8;

/// What could not be covered, or is not yet.
pub fn not_covered(hooks: &Hooks) -> Vec<NotChecked> {
    let mut rows = told(&hooks.failed);
    rows.extend(told(&hooks.proof.told(Silence::Blind)));
    let awaited = hooks.awaited.len();
    if awaited > 0 {
        let what = english!("packets on {awaited} links");
        rows.push(NotChecked::new(what, mark!("they are being attached")));
    }
    rows
}

/// What goes past the hooks by a way that is known, and is no fault.
pub fn bypassed(hooks: &Hooks) -> Vec<NotChecked> {
    let ways = [
        (
            hooks.proof.redirected(),
            mark!(
                "bypassed: another program hands them to the pods past the link's hooks (bpf_redirect_peer)"
            ),
        ),
        (
            hooks.proof.told(Silence::Xdp).len(),
            mark!(
                "bypassed: an XDP program takes them before the link's hooks, or sends them past those"
            ),
        ),
    ];
    let row = |(past, why): (usize, &'static str)| {
        let what = english!("packets of {} links", past);
        (past > 0).then(|| NotChecked::new(what, why))
    };
    ways.into_iter().filter_map(row).collect()
}

pub(super) fn told(failed: &HashMap<String, String>) -> Vec<NotChecked> {
    let mut all: Vec<_> = failed.iter().collect();
    all.sort();
    let (named, others) = all.split_at(all.len().min(NAMED));
    let row = |(name, why): &(&String, &String)| {
        NotChecked::new(english!("packets on {name}"), why.as_str())
    };
    let mut rows: Vec<_> = named.iter().map(row).collect();
    if let Some((_, why)) = others.first() {
        let what = english!("packets on {} more links", others.len());
        rows.push(NotChecked::new(what, why.as_str()));
    }
    rows
}
