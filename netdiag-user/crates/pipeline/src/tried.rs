//! What becomes of packets where each rule of netfilter's that refuses them lets them pass: a fix is tried on the computed
//! way, before anybody is told of it.
use std::collections::BTreeSet;

use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{
    Prepared,
    connection::{Tracked, Tracking},
    packet::Packet,
    way::{Does, Filter, Station, Step, Subject, Walk},
};

use crate::{
    conversation::{self, Conversation},
    facts::Facts,
    model::{
        flow::{TCP, UDP},
        gather::{Asks, Pass},
        world::Netns,
    },
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

impl Opened {
    /// What has to pass there: this packet, by its addresses and the server's port.
    pub fn pass(&self) -> Pass {
        let packet = &self.packet;
        let port = if self.answer {
            packet.sport
        } else {
            packet.dport
        };
        let established = |tracked| {
            let state = Tracking::Established;
            matches!(tracked, Tracked::Is { state: is, .. } if is == state)
        };
        Pass {
            ipv6: packet.is_ipv6(),
            source: Some(packet.source),
            destination: Some(packet.destination),
            protocol: packet.protocol,
            port: [TCP, UDP].contains(&packet.protocol).then_some(port),
            answer: self.answer,
            established: established(packet.tracked),
        }
    }
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

/// Where it comes to in a world.
pub(super) type Comes<'c> = &'c dyn for<'w> Fn(&'w Prepared<'w>) -> Option<End<'w>>;

/// Where a conversation comes to, there and back.
pub enum End<'w> {
    /// As [`Then::Arrives`].
    Arrives {
        /// What is answered leaves by another link than the question came by: its other end may not know it there.
        astray: bool,
        /// The devices that lead it out of what was read, there and back: what becomes of it beyond them is known of those
        /// alone that it was seen to leave by.
        out: BTreeSet<(Netns, u32)>,
    },
    Stops {
        step: Box<Step<'w>>,
        /// It is what is answered.
        answer: bool,
        /// Others of its ways get further.
        partly: bool,
    },
    /// At that step, where there is one.
    Untold(Option<Box<Step<'w>>>),
}

impl Facts<'_> {
    /// A conversation there and back; nothing where no rule refuses it as computed, or nobody knows where it began.
    pub fn let_through<T>(
        &self,
        flow: &FlowKey,
        largest: u32,
        tell: Tell<'_, T>,
    ) -> Option<Tried<T>> {
        let of = (asking(self, flow), largest);
        let comes: Comes<'_> = &|prepared| self.end_of(prepared, of);
        let mut opened = Vec::new();
        let then = opening(self.prepared(), comes, (&mut opened, tell))?;
        (!opened.is_empty()).then_some(Tried { opened, then })
    }

    /// Where it comes to in a world, where its packets are of that size at least; nothing where nobody knows where it began.
    pub fn end_in<'w>(
        &self,
        prepared: &'w Prepared<'w>,
        (flow, largest): (&FlowKey, u32),
    ) -> Option<End<'w>> {
        self.end_of(prepared, (asking(self, flow), largest))
    }

    fn end_of<'w>(&self, prepared: &'w Prepared<'w>, of: (Conversation, u32)) -> Option<End<'w>> {
        let (conversation, _) = of;
        let ways = conversation::expected(self, prepared, of)?;
        let ends: Vec<&Step<'_>> = ways.all.iter().flat_map(ends).collect();
        if let Some(end) = stopped(&ends, conversation.answer, ways.lacks) {
            return Some(end);
        }
        match conversation.answer {
            true => Some(End::Arrives {
                astray: is_astray(&ways.request, &ends),
                out: ways.all.iter().flat_map(sent).collect(),
            }),
            false => {
                let mut end = self.end_of(prepared, (conversation.its_answer(), 0));
                if let Some(End::Arrives { out, .. }) = &mut end {
                    *out = led_out(&ends, &ways.all, std::mem::take(out));
                }
                end
            }
        }
    }
}

/// Lets it pass the rules that refuse it, one behind the other.
pub(super) fn opening<T>(
    prepared: &Prepared<'_>,
    comes: Comes<'_>,
    (opened, tell): (&mut Vec<Opened>, Tell<'_, T>),
) -> Option<Then<T>> {
    let (step, answer) = match comes(prepared)? {
        End::Stops { step, answer, .. } => (step, answer),
        End::Arrives { .. } => return Some(Then::Arrives),
        End::Untold(_) => return Some(Then::Untold),
    };
    let Some(filter) = refusing(&step) else {
        return Some(tell(&step).map_or(Then::Untold, Then::Stops));
    };
    if opened.len() == MOST {
        return Some(Then::Untold);
    }
    opened.push(Opened {
        netns: step.netns,
        by: taker(filter, false),
        asks: filter.asks(),
        packet: step.packet,
        answer,
    });
    let prepared = prepared.letting(step.netns, filter, &step.packet);
    opening(&prepared, comes, (opened, tell))
}

/// Nothing where all of them get somewhere. A rule comes before what is none: it can let it pass.
pub(super) fn stopped<'w>(ends: &[&Step<'w>], answer: bool, lacks: bool) -> Option<End<'w>> {
    let boxed = |step: &&Step<'w>| Box::new((*step).clone());
    let stops = |step: &&&Step<'_>| matches!(step.does, Does::Refuses(_));
    let rule = ends.iter().find(|step| refusing(step).is_some());
    if let Some(step) = rule.or_else(|| ends.iter().find(stops)) {
        return Some(End::Stops {
            step: boxed(step),
            answer,
            partly: !ends.iter().all(|step| stops(&step)),
        });
    }
    let untold = |step: &&&Step<'_>| matches!(step.does, Does::Unknown(_));
    match ends.iter().find(untold) {
        Some(step) => Some(End::Untold(Some(boxed(step)))),
        None => (ends.is_empty() || lacks).then_some(End::Untold(None)),
    }
}

/// The devices that lead it out, there and back; none where what is asked stays here: that comes to the same, whatever way
/// its answers take.
pub(super) fn led_out(
    there: &[&Step<'_>],
    ways: &[Walk<'_>],
    back: BTreeSet<(Netns, u32)>,
) -> BTreeSet<(Netns, u32)> {
    let leaves = |step: &&Step<'_>| matches!(step.does, Does::Leaves { .. });
    match there.iter().any(leaves) {
        true => ways.iter().flat_map(sent).chain(back).collect(),
        false => BTreeSet::new(),
    }
}

/// The last steps of all its branches; of copies those that get somewhere, if any does.
pub(super) fn ends<'a, 'w>(walk: &'a Walk<'w>) -> Vec<&'a Step<'w>> {
    let of = |step: &'a Step<'w>| match &step.does {
        Does::Copies(copies) => {
            let all: Vec<_> = copies.iter().flat_map(ends).collect();
            let gets = |step: &&Step<'_>| matches!(step.does, Does::Delivers | Does::Leaves { .. });
            match all.iter().any(gets) {
                true => all.into_iter().filter(|step| gets(step)).collect(),
                false => all,
            }
        }
        Does::Chooses(branches) => branches.iter().flat_map(|(_, it)| ends(it)).collect(),
        Does::Refuses(_) | Does::Delivers | Does::Leaves { .. } | Does::Unknown(_) => vec![step],
        _ => Vec::new(),
    };
    walk.steps.iter().flat_map(of).collect()
}

/// The devices that it is sent by.
pub(super) fn sent(walk: &Walk<'_>) -> BTreeSet<(Netns, u32)> {
    let of = |step: &Step<'_>| match &step.does {
        Does::Sends { device, .. } | Does::Leaves { device } => {
            BTreeSet::from([(step.netns, *device)])
        }
        Does::Copies(copies) => copies.iter().flat_map(sent).collect(),
        Does::Chooses(branches) => branches.iter().flat_map(|(_, it)| sent(it)).collect(),
        _ => BTreeSet::new(),
    };
    walk.steps.iter().flat_map(of).collect()
}

/// Whether what came in from elsewhere is answered by another link.
pub(super) fn is_astray(request: &Walk<'_>, ends: &[&Step<'_>]) -> bool {
    let Some(first) = request.steps.first() else {
        return false;
    };
    let Does::Comes { device: came } = first.does else {
        return false;
    };
    let elsewhere = |step: &&&Step<'_>| match step.does {
        Does::Leaves { device } => step.netns == first.netns && device != came,
        _ => false,
    };
    ends.iter().any(|step| elsewhere(&step))
}

fn asking(facts: &Facts<'_>, flow: &FlowKey) -> Conversation {
    Conversation {
        answer: false,
        ..Conversation::of(facts, flow)
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
