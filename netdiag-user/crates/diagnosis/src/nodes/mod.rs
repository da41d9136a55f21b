//! Recordings of several nodes as one verdict.
mod incident;
mod merge;
#[cfg(test)]
mod tests;

pub use merge::joined;

use super::{diagnoser::Diagnoser, verdict::overflowed};
use crate::{
    model::observation::Observation,
    pipeline::{
        join::{Side, ledger::Ledger, own},
        scene::Scene,
    },
};

/// What one recording came to.
pub struct Recorded {
    pub scene: Scene,
    /// The last reading.
    pub last: Observation,
    pub ledger: Ledger,
    pub judge: Diagnoser,
}

impl Recorded {
    pub fn side(&self) -> Side<'_> {
        let run = &self.scene.run;
        Side {
            node: &self.scene.node,
            ledger: &self.ledger,
            clock: self.scene.clock,
            started: run.started,
            ended: self.last.now,
            own: own(&self.scene.node, &self.scene.pods),
            sees: run.hooks > 0 && (self.ledger.sees() || !run.blind),
            partly: run.partly,
            forgot: self.ledger.full || overflowed(&self.last),
        }
    }

    /// The same recording, whatever its file is called.
    pub fn same_as(&self, other: &Self) -> bool {
        let which = |it: &Self| {
            let (scene, node) = (&it.scene, &it.scene.node);
            (
                node.name.clone(),
                node.netns,
                scene.run.started,
                scene.clock.wall,
            )
        };
        which(self) == which(other)
    }
}
