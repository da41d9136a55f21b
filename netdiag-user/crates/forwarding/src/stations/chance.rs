//! Rules that choose one of several ways by chance (`statistic`, `numgen`, `jhash`), or of which nobody can tell whether
//! they take a packet (`limit`, `quota`): the station is gone through once more for each of them.
use std::net::IpAddr;

use netdiag_model::world::End;

use super::{Next, Walker};
use crate::way::{Does, Share, Station, Step, Unknown, Walk};

/// So many times in one station what nobody can tell is gone through both ways.
const MOST_EITHER: usize = 4;

/// What there was before a station.
pub(super) struct Before<'w> {
    walk: Walk<'w>,
    from: Next<'w>,
    asking: usize,
    agreeing: usize,
    given_up: Option<(End, IpAddr)>,
}

impl<'w> Walker<'w> {
    pub(super) fn before(&self, walk: &Walk<'w>, from: &Next<'w>) -> Before<'w> {
        Before {
            walk: walk.clone(),
            from: from.clone(),
            asking: self.asking.borrow().len(),
            agreeing: self.agreeing.borrow().len(),
            given_up: self.given_up.get(),
        }
    }

    /// By each of the ways that it may take next, behind those that it has taken there.
    pub(super) fn each_way(
        &self,
        walk: &mut Walk<'w>,
        before: Before<'w>,
        (shares, taken): (&[Share], &[usize]),
    ) -> Result<(), Unknown> {
        if shares.contains(&Share::UNKNOWN) && taken.len() >= MOST_EITHER {
            return Err(Unknown::Undecided);
        }
        let mut branches = Vec::new();
        let mut packet = None;
        for (way, share) in shares.iter().enumerate() {
            self.asking.borrow_mut().truncate(before.asking);
            self.agreeing.borrow_mut().truncate(before.agreeing);
            self.given_up.set(before.given_up);
            let mut branch = before.walk.branch();
            let taken = [taken, &[way]].concat();
            self.goes_by(&mut branch, Ok(before.from.clone()), taken)?;
            packet = packet.or(branch.steps.first().map(|step| (step.netns, step.packet)));
            branches.push((*share, branch));
        }
        *walk = before.walk;
        let (netns, packet) = packet.ok_or(Unknown::Undecided)?;
        let step = Step {
            netns,
            station: Station::Hook,
            by: None,
            does: Does::Chooses(branches),
            packet,
        };
        self.push(walk, step)
    }
}
