//! What goes on in several copies: as many ways at once, of which each has its own end.
use netdiag_model::world::device::Device;

use super::{Going, Next, Walker};
use crate::{
    packet::Packet,
    prepared::Space,
    way::{Does, Station, Step, Subject, Unknown, Walk},
};

impl<'w> Walker<'w> {
    /// By each of them; one alone is no copy. A question goes all these ways in one walk, the last of them not inside of
    /// the others.
    pub(super) fn all_of<T>(
        &self,
        walk: &mut Walk<'w>,
        (space, station, by): (&Space<'w>, Station, &'w Device),
        packet: Packet,
        mut all: Vec<T>,
        goes: impl Fn(&mut Walk<'w>, T) -> Result<Next<'w>, Unknown>,
    ) -> Going<'w> {
        let Some(last) = all.pop() else {
            return Ok(Next::Ended);
        };
        if walk.heard.is_some() {
            for one in all.drain(..) {
                let next = goes(walk, one);
                self.goes_on(walk, next)?;
            }
        }
        if all.is_empty() {
            return goes(walk, last);
        }
        all.push(last);
        let mut copies = Vec::new();
        for one in all {
            let mut copy = walk.branch();
            let next = goes(&mut copy, one);
            self.goes_on(&mut copy, next)?;
            copies.push(copy);
        }
        self.ends(
            walk,
            Step {
                netns: space.netns,
                station,
                by: Some(Subject::Device(by)),
                does: Does::Copies(copies),
                packet,
            },
        )
    }
}
