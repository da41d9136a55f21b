//! What goes on in several copies: as many ways at once, of which each has its own end.
use std::net::IpAddr;

use netdiag_model::world::{End, device::Device};

use super::{Going, Next, Walker};
use crate::{
    packet::Packet,
    prepared::Space,
    way::{Does, How, Station, Step, Subject, Unknown, Walk},
};

impl<'w> Walker<'w> {
    /// By each of them; one alone is no copy. A question goes all these ways in one walk, the last of them not inside of
    /// the others.
    pub(super) fn all_of<T: Clone>(
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
        if walk.heard.is_some() && !all.is_empty() {
            let mut waiting = Vec::new();
            let midst = (walk.failing, walk.telling);
            for one in all.drain(..) {
                (walk.failing, walk.telling) = midst;
                let before = walk.steps.len();
                let next = goes(walk, one.clone());
                self.goes_on(walk, next)?;
                waiting.extend(unanswered(walk, before).map(|whom| (whom, one)));
            }
            (walk.failing, walk.telling) = midst;
            if waiting.is_empty() {
                return goes(walk, last);
            }
            let next = goes(walk, last);
            self.goes_on(walk, next)?;
            walk.waited();
            // Who waited for a neighbour that another copy has taught meanwhile goes on.
            for ((at, whom), one) in waiting {
                if walk.learned.of(at, whom).is_some() {
                    let next = goes(walk, one);
                    self.goes_on(walk, next)?;
                }
            }
            return Ok(Next::Ended);
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

/// The neighbour that nobody answered for at the end of what went since, and the device that it is behind.
fn unanswered(walk: &Walk<'_>, since: usize) -> Option<(End, IpAddr)> {
    walk.steps.get(since..)?.iter().find_map(|step| {
        let Does::Refuses(How::NoNeighbour(whom)) = step.does else {
            return None;
        };
        let index = match step.by? {
            Subject::Device(device) => device.index,
            Subject::Neighbour(neighbour) => neighbour.device,
            _ => return None,
        };
        let netns = step.netns;
        Some((End { netns, index }, whom))
    })
}
