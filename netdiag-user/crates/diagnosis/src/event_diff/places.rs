//! What was told of drops, flow by flow and place by place. The kernel forgets flows, and what they had
//! counted goes on counting in the row for all others at their place: of that row only what no
//! flow's events have told already is new.
use std::collections::HashMap;

use netdiag_common::loss::DropKey;

use super::gain;
use crate::{model::total::add, pipeline::facts::Loss};

#[derive(Default)]
pub(super) struct Told {
    rows: HashMap<DropKey, u64>,
    /// In all, by place.
    places: HashMap<DropKey, u64>,
}

impl Told {
    /// What is new, flows first: what is left at their place is the others'.
    pub fn news<'l>(&self, losses: &'l [Loss]) -> Vec<(&'l Loss, u64)> {
        let mut allowed = self.allowed(losses);
        let mut take = |loss: &'l Loss, new: u64| {
            let left = allowed.get_mut(&loss.key.rest());
            let count = left.map_or(new, |left| {
                let count = new.min(*left);
                *left -= count;
                count
            });
            (count > 0).then_some((loss, count))
        };
        let (flows, rests) = (|l: &&Loss| !l.key.is_rest(), |l: &&Loss| l.key.is_rest());
        let flows = losses.iter().filter(flows);
        let mut news: Vec<_> = flows.filter_map(|l| take(l, self.gain(l))).collect();
        news.extend(
            losses
                .iter()
                .filter(rests)
                .filter_map(|l| take(l, u64::MAX)),
        );
        news
    }

    fn gain(&self, loss: &Loss) -> u64 {
        match loss.dropped.packets {
            0 => 0,
            now => gain(&self.rows, &loss.key, now),
        }
    }

    /// So many were told of it.
    pub fn tell(&mut self, loss: &Loss, count: u64) {
        self.rows.insert(loss.key, loss.dropped.packets);
        add(self.places.entry(loss.key.rest()).or_default(), count);
    }

    /// What may be told of each place whose kernel's row is there.
    fn allowed(&self, losses: &[Loss]) -> HashMap<DropKey, u64> {
        let rests = losses.iter().filter(|l| l.key.is_rest());
        let mut allowed: HashMap<DropKey, u64> = rests.map(|l| (l.key, 0)).collect();
        if allowed.is_empty() {
            return allowed;
        }
        for loss in losses {
            if let Some(sum) = allowed.get_mut(&loss.key.rest()) {
                add(sum, loss.dropped.packets);
            }
        }
        for (place, sum) in &mut allowed {
            *sum = sum.saturating_sub(self.places.get(place).copied().unwrap_or(0));
        }
        allowed
    }

    /// Rows that left the table need not be remembered, and places where none is.
    pub fn forget<V>(&mut self, rows: &[(DropKey, V)]) {
        super::keep(&mut self.rows, rows.iter().map(|(key, _)| *key));
        super::keep(&mut self.places, rows.iter().map(|(key, _)| key.rest()));
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::{flow::FlowKey, loss::Dropped};

    use super::*;

    fn loss(client: u16, packets: u64) -> Loss {
        let flow = FlowKey {
            source_port: client,
            family: 4,
            ..FlowKey::default()
        };
        let key = DropKey {
            flow,
            location: 7,
            ..DropKey::default()
        };
        Loss {
            key: if client == 0 { key.rest() } else { key },
            dropped: Dropped {
                packets,
                ..Dropped::default()
            },
            reason: String::new(),
            location: String::new(),
            interface: None,
            inside: None,
            harmless: false,
            forged: None,
        }
    }

    fn tell(told: &mut Told, losses: &[Loss]) -> u64 {
        let news = told.news(losses);
        news.iter()
            .for_each(|(loss, count)| told.tell(loss, *count));
        news.iter().map(|(_, count)| count).sum()
    }

    #[test]
    fn what_was_told_of_a_flow_is_not_told_again_of_its_place() {
        let mut told = Told::default();
        assert_eq!(tell(&mut told, &[loss(1, 4), loss(2, 3)]), 7);
        // The first one's row is gone, another came.
        let reading = [loss(2, 5), loss(3, 1), loss(0, 4)];
        assert_eq!(tell(&mut told, &reading), 3);
        assert_eq!(tell(&mut told, &reading), 0);
        assert_eq!(tell(&mut told, &[loss(2, 5), loss(0, 5)]), 0);
        assert_eq!(tell(&mut told, &[loss(2, 6), loss(0, 11)]), 7);
    }

    #[test]
    fn a_flow_that_came_back_is_told_once() {
        let mut told = Told::default();
        assert_eq!(tell(&mut told, &[loss(1, 4)]), 4);
        assert_eq!(tell(&mut told, &[loss(1, 2), loss(0, 4)]), 2);
        assert_eq!(tell(&mut told, &[loss(1, 9), loss(0, 4)]), 7);
    }
}
