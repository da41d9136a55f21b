//! What becomes of packets where each rule of netfilter's that refuses them lets them pass: a fix is tried on the computed
//! way, before anybody is told of it.
use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{
    Prepared,
    packet::Packet,
    way::{Does, Filter, Station, Step, Subject},
};

use crate::{
    conversation::{self, Conversation},
    facts::Facts,
    model::{gather::Asks, world::Netns},
    taker::{Taker, taker},
};

/// Rules that one conversation is let pass: whoever needs more has another plan than this.
const MOST: usize = 4;

/// A rule, or a chain's policy, that has to let it pass.
#[derive(Clone, Debug)]
pub struct Opened {
    pub netns: Netns,
    pub by: Taker,
    /// What the rule itself asks for.
    pub asks: Asks,
    /// As it comes there.
    pub packet: Packet,
    /// It is what is answered.
    pub answer: bool,
}

/// A conversation that some rules let pass.
#[derive(Clone, Debug)]
pub struct Tried<T> {
    /// In the order in which it comes to them.
    pub opened: Vec<Opened>,
    pub then: Then<T>,
}

/// Where it comes to behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then<T> {
    /// It is answered, or leaves this node and its answers pass, as far as they come back by the same link.
    Arrives,
    /// Something else stops it.
    Stops(T),
    Untold,
}

/// What is told of a step that stops it.
type Tell<'t, T> = &'t dyn Fn(&Step<'_>) -> Option<T>;

impl Facts<'_> {
    /// A conversation there and back; nothing where no rule refuses it as computed, or nobody knows where it began.
    pub fn let_through<T>(
        &self,
        flow: &FlowKey,
        largest: u32,
        tell: Tell<'_, T>,
    ) -> Option<Tried<T>> {
        let question = Conversation {
            answer: false,
            ..Conversation::of(self, flow)
        };
        let mut opened = Vec::new();
        let of = (question, largest);
        let then = self.opening(self.prepared(), of, (&mut opened, tell))?;
        (!opened.is_empty()).then_some(Tried { opened, then })
    }

    fn opening<T>(
        &self,
        prepared: &Prepared<'_>,
        of: (Conversation, u32),
        (opened, tell): (&mut Vec<Opened>, Tell<'_, T>),
    ) -> Option<Then<T>> {
        let (conversation, _) = of;
        let ways = conversation::expected(self, prepared, of)?;
        let ends: Vec<&Step<'_>> = ways.all.iter().flat_map(conversation::ends).collect();
        let refused = ends.iter().find_map(|step| Some((*step, refusing(step)?)));
        if let Some((step, filter)) = refused {
            if opened.len() == MOST {
                return Some(Then::Untold);
            }
            opened.push(Opened {
                netns: step.netns,
                by: taker(filter, false),
                asks: filter.asks(),
                packet: step.packet,
                answer: conversation.answer,
            });
            let prepared = prepared.letting(step.netns, filter, &step.packet);
            return self.opening(&prepared, of, (opened, tell));
        }
        let stops = |step: &&&Step<'_>| matches!(step.does, Does::Refuses(_));
        if let Some(step) = ends.iter().find(stops) {
            return Some(tell(step).map_or(Then::Untold, Then::Stops));
        }
        let untold = |step: &&Step<'_>| matches!(step.does, Does::Unknown(_));
        if ends.is_empty() || ways.lacks || ends.iter().any(untold) {
            return Some(Then::Untold);
        }
        match conversation.answer {
            true => Some(Then::Arrives),
            false => {
                let back = (conversation.its_answer(), 0);
                self.opening(prepared, back, (opened, tell))
            }
        }
    }
}

fn refusing<'w>(step: &Step<'w>) -> Option<Filter<'w>> {
    match step.by? {
        Subject::Filter(filter)
            if step.station == Station::Hook && matches!(step.does, Does::Refuses(_)) =>
        {
            Some(filter)
        }
        _ => None,
    }
}
