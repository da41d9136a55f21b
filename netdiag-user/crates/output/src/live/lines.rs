//! Events that people read as one line.
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use netdiag_lang::t;

use super::flow;
use crate::{
    model::{
        event::{Detail, EventFlow, LiveEvent},
        roles::Role,
        verdict::PodRole,
    },
    style::clean,
};

/// What a healthy node shows all day, and netdiag's own statistics, are for programs.
fn for_people(event: &LiveEvent) -> bool {
    !matches!(
        event.detail,
        Detail::Stats { .. } | Detail::Foreign | Detail::Drop { harmless: true, .. }
    )
}

/// Events that read as one line: what one flow shows at each hop, what a socket and the wire say
/// of the same retransmits, what all flows of one wrong outer address show.
pub struct Line {
    pub event: LiveEvent,
    places: Vec<(Option<Role>, String)>,
    pub count: u64,
}

impl Line {
    fn new(event: LiveEvent) -> Self {
        let place = event.interface.clone().map(|name| (event.role, name));
        Self {
            count: event.count,
            places: place.into_iter().collect(),
            event,
        }
    }

    fn add(&mut self, event: LiveEvent) {
        let place = event.interface.clone().map(|name| (event.role, name));
        let known = place.as_ref().is_some_and(|p| self.places.contains(p));
        self.count = match event.detail {
            Detail::VxlanSourceMismatch { .. } => self.count.saturating_add(event.count),
            // The same packets, seen at one more place.
            _ => self.count.max(event.count),
        };
        if let (Some(place), false) = (place, known) {
            self.places.push(place);
        }
        // The socket knows whether the packet was dropped here.
        if matches!(event.detail, Detail::Retransmit { drop: Some(_), .. }) {
            self.event = event;
        }
    }

    /// The places in the order of the packets' way: pods' links first when a pod of this node
    /// sends, last when one receives.
    pub fn way(&self) -> String {
        let mut places = self.places.clone();
        places.sort();
        let sender = self.event.pods.first();
        let leaves =
            sender.is_some_and(|p| p.role == Some(PodRole::Source) && p.interface.is_some());
        if !leaves {
            places.reverse();
        }
        let names: Vec<_> = places.iter().map(|(_, name)| clean(name)).collect();
        names.join(" ")
    }

    /// The flow that stands for the line; one of many says nothing.
    pub fn flow(&self) -> String {
        let mixed = matches!(self.event.detail, Detail::VxlanSourceMismatch { .. });
        match mixed && self.count > self.event.count {
            true => t!("{} and others", flow(&self.event)),
            false => flow(&self.event),
        }
    }
}

/// What events of one line have in common; nothing where one stands for itself.
fn key(event: &LiveEvent) -> Option<(&'static str, Option<&EventFlow>, Option<String>)> {
    use Detail::{Dns, Retransmit, VxlanSourceMismatch};
    let (name, flow) = (event.detail.name(), event.flow.as_ref());
    match &event.detail {
        VxlanSourceMismatch { .. } => {
            let what = format!("{:?} {:?}", event.detail, event.interface);
            Some((name, None, Some(what)))
        }
        // Many questions share a flow.
        Dns { .. } => Some((name, None, Some(format!("{:?}", event.detail)))),
        Retransmit { .. } => Some((name, flow, None)),
        _ => {
            let here = event.interface.is_some();
            flow.map(|flow| (name, Some(flow), here.then(String::new)))
        }
    }
}

/// The lines of one moment.
#[derive(Default)]
pub struct Lines {
    hash: RandomState,
    lines: Vec<Line>,
    /// Which line takes what; those past the last line that is kept are a number only.
    known: HashMap<u64, usize>,
    /// Lines so far, kept or not.
    all: usize,
}

impl Lines {
    /// Adds an event to its line, or begins one as long as there are fewer than `most`.
    pub fn take(&mut self, event: LiveEvent, most: usize) {
        if !for_people(&event) {
            return;
        }
        let key = key(&event).map(|key| self.hash.hash_one(key));
        let at = key.and_then(|key| self.known.get(&key).copied());
        match at {
            Some(at) => {
                if let Some(line) = self.lines.get_mut(at) {
                    line.add(event);
                }
            }
            None => {
                self.known.extend(key.map(|key| (key, self.all)));
                self.all += 1;
                if self.lines.len() < most {
                    self.lines.push(Line::new(event));
                }
            }
        }
    }

    /// Those of this moment, and how many there is no room for.
    pub fn end(&mut self) -> (Vec<Line>, usize) {
        let lines = std::mem::take(&mut self.lines);
        let more = self.all - lines.len();
        self.known = HashMap::new();
        self.all = 0;
        (lines, more)
    }
}
