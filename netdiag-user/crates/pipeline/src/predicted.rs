//! The ways of a conversation that nobody has begun yet, there and back, computed from what was read alone.
use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{
    Prepared,
    packet::{Packet, Start},
    walk,
    way::{Does, Step, Walk},
};

use crate::{
    conversation::{self, Conversation},
    facts::Facts,
    model::{flow, world::End},
    tried::ends,
};

/// What would be sent.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub flow: FlowKey,
    /// From the IP header on, there and back.
    pub bytes: u32,
    /// As its sender's socket, or whoever led it here, marked it.
    pub mark: u32,
}

/// Its ways.
pub struct Foreseen<'w> {
    pub request: Walk<'w>,
    /// From wherever that may come to.
    pub replies: Vec<Walk<'w>>,
    /// There are others, of which nobody knows where they begin.
    pub lacks: bool,
}

/// What they come to.
pub enum Came<'s, 'w> {
    /// And so does what is answered.
    Arrives,
    /// Some of it, or all, at that step.
    Stops {
        step: &'s Step<'w>,
        /// It is what is answered.
        answer: bool,
        /// Others of its ways get further.
        partly: bool,
    },
    /// At that step, where there is one.
    Untold(Option<&'s Step<'w>>),
}

impl Facts<'_> {
    /// Nothing where nobody knows where it would begin.
    pub fn foreseen<'w>(
        &self,
        prepared: &'w Prepared<'w>,
        question: &Question,
    ) -> Option<Foreseen<'w>> {
        let begins = conversation::start(self, prepared.world, &question.flow)
            .or_else(|| self.elsewhere(prepared, &question.flow))?;
        let packet = Packet {
            mark: question.mark,
            ..conversation::unsent(self, &question.flow, question.bytes)
        };
        let request = walk(prepared, begins, packet);
        let of = Conversation {
            first: question.flow,
            answer: true,
        };
        let of = (of, question.bytes);
        let (replies, lacks) = conversation::unsent_answers(self, prepared, of, &request);
        Some(Foreseen {
            request,
            replies,
            lacks,
        })
    }

    /// Where that comes in which somebody sends who is not on this node: by the link that leads to him.
    fn elsewhere(&self, prepared: &Prepared<'_>, flow: &FlowKey) -> Option<Start> {
        let (source, destination) = flow::ends(flow);
        let index = self.from_to(source, destination).iif?;
        let netns = self.node.netns;
        conversation::coming_back(prepared.world, End { netns, index }, flow)
    }
}

impl<'w> Foreseen<'w> {
    /// Where some of it goes where nothing was read.
    pub fn leaves(&self) -> Option<&Step<'w>> {
        let leaves = |step: &&Step<'_>| matches!(step.does, Does::Leaves { .. });
        ends(&self.request).into_iter().find(leaves)
    }

    pub fn came(&self) -> Came<'_, 'w> {
        let there = ends(&self.request);
        if let Some(came) = stopped(&there, false) {
            return came;
        }
        let back: Vec<&Step<'w>> = self.replies.iter().flat_map(ends).collect();
        match stopped(&back, true) {
            Some(came) => came,
            None if self.lacks => Came::Untold(None),
            None => Came::Arrives,
        }
    }
}

/// Nothing where all of them get somewhere.
fn stopped<'s, 'w>(ends: &[&'s Step<'w>], answer: bool) -> Option<Came<'s, 'w>> {
    let refused = |step: &&&Step<'_>| matches!(step.does, Does::Refuses(_));
    let untold = |step: &&&Step<'_>| matches!(step.does, Does::Unknown(_));
    if let Some(step) = ends.iter().find(refused) {
        let partly = !ends.iter().all(|step| refused(&step));
        return Some(Came::Stops {
            step,
            answer,
            partly,
        });
    }
    match ends.iter().find(untold) {
        Some(step) => Some(Came::Untold(Some(step))),
        None => ends.is_empty().then_some(Came::Untold(None)),
    }
}
