//! What the kernel did with a packet.
use crate::{shoot::Told, witness::Sighting};

/// What became of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    pub sightings: Vec<Sighting>,
    pub delivered: Vec<usize>,
    pub told: Told,
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "  its sender was told: {:?}", self.told)?;
        for seen in &self.sightings {
            let way = if seen.outgoing { "out of" } else { "in at" };
            writeln!(
                f,
                "  s{} {way} device {}: {} mark {:#x}",
                seen.space, seen.device, seen.header, seen.mark
            )?;
        }
        for space in &self.delivered {
            writeln!(f, "  delivered in s{space}")?;
        }
        Ok(())
    }
}
