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
    model::{flow, world},
    tried::{Comes, End, Opened, ends, is_astray, led_out, opening, sent, stopped},
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

impl Facts<'_> {
    /// The rules that have to let it pass for it to arrive, in the order in which it comes to them; nothing where it does not
    /// come to them, or has to do with more of them than one changes.
    pub fn opened(&self, question: &Question) -> Vec<Opened> {
        let mut opened = Vec::new();
        let comes: Comes<'_> = &|prepared| Some(self.foreseen(prepared, question)?.end());
        let then = opening(self.prepared(), comes, (&mut opened, &|_| Some(())));
        match then {
            Some(_) => opened,
            None => Vec::new(),
        }
    }

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
        conversation::coming_back(prepared.world, world::End { netns, index }, flow)
    }
}

impl<'w> Foreseen<'w> {
    /// The last steps of all its branches there.
    pub fn last(&self) -> Vec<&Step<'w>> {
        ends(&self.request)
    }

    /// The same of what is answered.
    pub fn last_back(&self) -> Vec<&Step<'w>> {
        self.replies.iter().flat_map(ends).collect()
    }

    /// Where some of it goes where nothing was read.
    pub fn leaves(&self) -> Option<&Step<'w>> {
        let leaves = |step: &&Step<'_>| matches!(step.does, Does::Leaves { .. });
        self.last().into_iter().find(leaves)
    }

    /// What they come to.
    pub fn end(&self) -> End<'w> {
        let there = self.last();
        if let Some(end) = stopped(&there, false, false) {
            return end;
        }
        let back = self.last_back();
        if let Some(end) = stopped(&back, true, self.lacks) {
            return end;
        }
        let request = std::slice::from_ref(&self.request);
        let out = self.replies.iter().flat_map(sent).collect();
        End::Arrives {
            astray: is_astray(&self.request, &back),
            out: led_out(&there, request, out),
        }
    }
}
