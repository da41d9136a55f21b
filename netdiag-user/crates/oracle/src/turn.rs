//! One packet of a conversation: what was computed of it, and what became of it.
use netdiag_forwarding::{Prepared, packet::Packet, way::Memory};

use crate::{
    expect::{self, Expected, Prediction},
    fate::Fate,
    set::Set,
    shoot::Told,
    shots::is_link_local,
    traffic::Shot,
};

/// One packet of a conversation, and what became of it.
pub struct Turn {
    pub shot: Shot,
    /// What was learned of those before.
    pub memory: Memory,
    pub prediction: Prediction,
    pub fate: Fate,
}

impl Turn {
    pub fn agrees(&self) -> bool {
        self.prediction.unknown.is_none() && agrees(&self.prediction, &self.fate)
    }

    /// The ways that it may have gone.
    pub fn ways(&self) -> impl Iterator<Item = &Expected> {
        let all = self.prediction.ways.iter();
        all.filter(|way| is(way, &self.fate))
    }

    pub fn contradicts(&self) -> bool {
        self.prediction.unknown.is_none() && !agrees(&self.prediction, &self.fate)
    }

    /// The port that it was seen to come from.
    fn sport(&self, space: usize, packet: &Packet) -> Option<u16> {
        let Some(ports) = packet.chosen else {
            return Some(packet.sport);
        };
        let to = (packet.source, packet.destination, packet.dport);
        let mut seen = self.fate.sightings.iter().filter(|seen| {
            let header = seen.header;
            let same = (header.source, header.destination, header.dport) == to;
            seen.space == space && same && ports.has(header.sport)
        });
        seen.next().map(|seen| seen.header.sport)
    }

    /// What who got it sends back, in the world that its ways have made.
    pub fn answered(
        &self,
        prepared: &Prepared<'_>,
        set: &Set,
    ) -> Option<(Shot, Memory, Prediction)> {
        if !self.shot.talks || !self.agrees() {
            return None;
        }
        let ways = self.ways();
        let mut answer: Option<(Shot, Memory, Prediction)> = None;
        for way in ways {
            let [(space, packet)] = way.arrived.as_slice() else {
                return None;
            };
            // Nobody can be bound to an address of a link's own without the link.
            if [packet.source, packet.destination]
                .iter()
                .any(is_link_local)
            {
                return None;
            }
            let port = self.sport(*space, packet)?;
            let shot = self.shot.answered(*space, packet, port);
            let prediction = expect::predict(prepared, set, &shot, &way.memory);
            match &mut answer {
                None => answer = Some((shot, way.memory.clone(), prediction)),
                Some((other, ..)) if *other != shot => return None,
                Some((.., known)) => known.or(prediction),
            }
        }
        answer
    }
}

/// Whether it went one of the ways that it may go.
pub fn agrees(prediction: &Prediction, fate: &Fate) -> bool {
    prediction.ways.iter().any(|way| is(way, fate))
}

/// Whether it went one of them and more cannot follow that would make it another, of which rules would have counted
/// otherwise: what is dropped by chance is a part of what goes on.
pub fn is_over(prediction: &Prediction, fate: &Fate) -> bool {
    let went: Vec<_> = prediction.ways.iter().filter(|way| is(way, fate)).collect();
    let mut longer = prediction.ways.iter().filter(|way| {
        let more = way.sightings.len() > fate.sightings.len();
        more && went.iter().all(|one| one.counted != way.counted)
    });
    !went.is_empty() && longer.next().is_none()
}

pub fn is(way: &Expected, fate: &Fate) -> bool {
    let mut sightings = way.sightings.clone();
    sightings.sort();
    let mut delivered = way.delivered.clone();
    delivered.sort_unstable();
    let told = way.told.unwrap_or(Told::Sent);
    let seen = fate.sightings.iter().map(|seen| way.unchosen(*seen));
    let mut seen: Vec<_> = seen.collect();
    seen.sort();
    sightings == seen && delivered == fate.delivered && told == fate.told
}
