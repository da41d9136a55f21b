//! Others' tcx programs: what those let pass never comes to clsact's filters, and what runs before ours may
//! keep it from them.
use aya::programs::{SchedClassifier, TcAttachType};

use super::Hooks;
use crate::{
    load,
    model::{node::Link, roles::Role},
    tc::{SIDES, Side},
};

impl Hooks {
    /// Where others have tcx programs, filters of clsact's may never run.
    pub(super) fn takes_tcx(&self, link: &Link, role: Role) -> bool {
        self.tcx && (self.few || role != Role::Pod || self.others_by_tcx(link))
    }

    /// Takes out pods' links that are to get tcx although they are many.
    pub(super) fn later(&mut self, targets: &mut Vec<(&Link, Role)>) -> Vec<Link> {
        let mut later = Vec::new();
        targets.retain(|(link, role)| {
            let here = self.few || *role != Role::Pod || self.covered.contains_key(&link.index);
            let here = here || !self.others_by_tcx(link);
            if !here {
                later.push((*link).clone());
            }
            here
        });
        self.awaited = later.iter().map(|link| link.index).collect();
        later
    }

    /// Whether somebody's tcx program runs before ours, or, where ours is a filter, at all: what it
    /// passes on may never come to us.
    pub(super) fn tcx_before(&self, name: &str, side: Side, ours: &[u32]) -> bool {
        let programs = match self.tcx {
            true => by_tcx(name, side),
            false => return false,
        };
        let before = programs.iter().take_while(|(id, _)| !ours.contains(id));
        before.into_iter().any(|(_, netdiags)| !netdiags)
    }

    /// Whether others have tcx programs on the link: filters of clsact's come after those.
    fn others_by_tcx(&self, link: &Link) -> bool {
        let sides = SIDES.iter().filter(|_| self.tcx);
        let mut programs = sides.flat_map(|side| by_tcx(&link.name, *side));
        programs.any(|(_, netdiags)| !netdiags)
    }
}

/// Whether others have tcx programs on that side.
pub fn has_others(link: &str, side: Side) -> bool {
    by_tcx(link, side).iter().any(|(_, netdiags)| !netdiags)
}

/// The programs on one side, the first to run first, and whether each is some netdiag's: those pass on
/// what they see.
fn by_tcx(link: &str, side: Side) -> Vec<(u32, bool)> {
    let side = match side {
        Side::Ingress => TcAttachType::Ingress,
        Side::Egress => TcAttachType::Egress,
    };
    let Ok((_, programs)) = SchedClassifier::query_tcx(link, side) else {
        return Vec::new();
    };
    let named = |name: Option<&str>| load::on_links().any(|ours| name == Some(ours));
    let all = programs.iter();
    all.map(|it| (it.id(), named(it.name_as_str()))).collect()
}
