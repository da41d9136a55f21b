//! The page of metrics: OpenMetrics, or the text format of older scrapers.
pub mod families;
mod open_metrics;
mod text;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use netdiag_common::config::counter;
use prometheus_client::registry::Registry;

use crate::{
    meter::Meter,
    model::{observation::Observation, own::OwnCost},
    pipeline::agreement,
    sending::{Noticed, Sending},
    sight::Sight,
    standing::Standing,
};

pub use text::Format;

/// What the page shows, as of the last reading.
#[derive(Debug)]
pub struct State {
    pub meter: Meter,
    pub standing: Standing,
    pub losses: Losses,
    pub cost: OwnCost,
    pub hooks: u64,
    pub sight: Sight,
    /// Where something is to be sent.
    pub sending: Option<Arc<Sending>>,
    /// Where Kubernetes Events are told.
    pub noticed: Option<Noticed>,
    /// How computed ways compare with what is seen.
    pub agreement: agreement::Counts,
    /// Why not all is seen that should be; nothing where it is.
    pub blind: Option<String>,
    /// Findings told at most.
    pub most: usize,
    /// Version, kernel and node.
    pub build: [String; 3],
    /// When the agent went round last; nothing before its hooks are there.
    pub alive: Option<Instant>,
}

impl State {
    /// Before the first reading.
    pub fn new(most: usize, standing: Standing) -> Self {
        Self {
            meter: Meter::new(most),
            standing,
            losses: Losses::default(),
            cost: OwnCost::default(),
            hooks: 0,
            sight: Sight::default(),
            sending: None,
            noticed: None,
            agreement: agreement::Counts::new(),
            blind: None,
            most,
            build: Default::default(),
            alive: None,
        }
    }
}

/// What was not seen, or not kept. None of them falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    pub ring_full: u64,
    pub evicted_flows: u64,
    pub evicted_others: u64,
    pub interrupted: u64,
    pub unstored_drops: u64,
    pub unkept_packets: u64,
    pub foreign: u64,
}

impl Losses {
    pub fn read(&mut self, reading: &Observation) {
        let mut grow = |to: fn(&mut Self) -> &mut u64, now: u64| {
            let known = to(self);
            *known = now.max(*known);
        };
        grow(|it| &mut it.ring_full, reading.counter(counter::RING_FULL));
        grow(|it| &mut it.evicted_flows, reading.evicted_flows);
        grow(|it| &mut it.evicted_others, reading.evicted_others);
        grow(|it| &mut it.interrupted, reading.recursion_misses);
        grow(
            |it| &mut it.unstored_drops,
            reading.counter(counter::DROPS_UNSTORED),
        );
        grow(
            |it| &mut it.unkept_packets,
            reading.counter(counter::HOPS_UNKEPT),
        );
        grow(|it| &mut it.foreign, reading.counter(counter::FOREIGN));
    }
}

/// The state that the agent writes and the server reads.
#[derive(Clone, Debug)]
pub struct Page(Arc<Mutex<State>>);

impl Page {
    pub fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are as good as before whoever held it ended.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it, for a scraper.
    pub fn write(&self, format: Format) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(open_metrics::Families(self.clone())));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(format.of(text))
    }
}

#[cfg(test)]
mod tests;
