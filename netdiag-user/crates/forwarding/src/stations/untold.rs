//! What nobody can tell ends the way, or that one of several ways on which it is met.
use netdiag_model::world::Netns;

use super::Walker;
use crate::{
    packet::Packet,
    way::{Does, Station, Step, Subject, Unknown, Walk},
};

impl<'w> Walker<'w> {
    /// The step that it ends with, behind one that is known.
    pub(super) fn untold(
        &self,
        (netns, station): (Netns, Station),
        unknown: Unknown,
        packet: Packet,
    ) -> Step<'w> {
        let filter = self.undecided.get();
        let (station, by) = match unknown {
            Unknown::Undecided => (
                filter.map_or(station, |_| Station::Hook),
                filter.map(Subject::Filter),
            ),
            Unknown::Beyond(Some(_)) => (Station::Neighbour, None),
            _ => (station, None),
        };
        Step {
            netns,
            station,
            by,
            does: Does::Unknown(unknown),
            packet,
        }
    }

    /// One of several ways ends alone where nobody can tell what becomes of it there. All of them do where that decides
    /// about more than this way (whom a question reaches, whether keys are agreed on), and where nothing is left to walk by.
    pub(super) fn ends_alone(
        &self,
        walk: &Walk<'w>,
        branch: &mut Walk<'w>,
        gone: Result<(), Unknown>,
    ) -> Result<(), Unknown> {
        let Err(unknown) = gone else { return Ok(()) };
        let asks = branch.heard.is_some()
            || !self.asking.borrow().is_empty()
            || !self.agreeing.borrow().is_empty();
        if asks || matches!(unknown, Unknown::Chance(_) | Unknown::TooLong) {
            return Err(unknown);
        }
        let Some(last) = branch.last().or(walk.last()) else {
            return Err(unknown);
        };
        let step = self.untold((last.netns, last.station), unknown, last.packet);
        self.push(branch, step)
    }
}

#[cfg(test)]
mod tests;
