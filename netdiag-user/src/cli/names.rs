//! Symbols and drop reasons of the running kernel.
use std::{path::Path, sync::Arc};

use crate::{
    kernel::symbols::Symbols,
    model::{observation::Observation, reason::Reasons},
    pipeline::facts::Names,
};

/// Shared by the scene that names places, and the session that looks up new ones.
#[derive(Clone)]
pub struct KernelNames {
    symbols: Arc<Symbols>,
    reasons: Arc<Reasons>,
}

impl KernelNames {
    pub fn new(root: &Path, reasons: Reasons) -> Self {
        Self {
            symbols: Arc::new(Symbols::new(root)),
            reasons: Arc::new(reasons),
        }
    }

    /// Where packets die for the first time is looked up at once, and not one after the other.
    pub fn learn(&self, observation: &Observation) {
        let dropped = observation.drops.iter().map(|(key, _)| key.location);
        let sampled = observation.events.iter().map(|event| event.location);
        let places = dropped.chain(sampled).filter(|place| *place != 0);
        self.symbols.learn(places);
    }
}

impl Names for KernelNames {
    fn symbol(&self, address: u64) -> String {
        self.symbols.name(address)
    }

    fn reasons(&self) -> &Reasons {
        &self.reasons
    }
}
