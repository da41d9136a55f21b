//! Counts from one moment on. Hooks are attached one after the other: what passed meanwhile was
//! counted at some hops and not at others, and would read as loss between them.
use std::collections::{HashMap, HashSet};

use netdiag_common::{
    flow::FlowKey,
    hop::{FlowHop, FlowHopKey},
};

use crate::model::observation::Observation;

/// What was counted before.
pub struct Since {
    before: HashMap<FlowHopKey, FlowHop>,
}

impl Since {
    pub fn new(reading: &Observation) -> Self {
        Self {
            before: reading.flows.iter().copied().collect(),
        }
    }

    /// Leaves what passed since then; flows of which nothing did are gone.
    pub fn leave(&self, reading: &mut Observation) {
        for (key, hop) in &mut reading.flows {
            if let Some(before) = self.before.get(key) {
                take(hop, before);
            }
        }
        let passed = reading.flows.iter().filter(|(_, hop)| hop.packets > 0);
        let passed: HashSet<FlowKey> = passed.map(|(key, _)| key.flow).collect();
        reading.flows.retain(|(key, _)| passed.contains(&key.flow));
    }
}

fn take(hop: &mut FlowHop, before: &FlowHop) {
    // Its place was given to another meanwhile, and it came anew.
    if hop.first != before.first || hop.packets < before.packets {
        return;
    }
    hop.packets = hop.packets.saturating_sub(before.packets);
    hop.bytes = hop.bytes.saturating_sub(before.bytes);
    hop.retransmits = hop.retransmits.saturating_sub(before.retransmits);
    hop.later_fragments = hop.later_fragments.saturating_sub(before.later_fragments);
    hop.resets = hop.resets.saturating_sub(before.resets);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{POD, UPLINK, at, tcp};

    #[test]
    fn what_passed_before_is_not_counted() {
        let (going_on, over) = (
            tcp("10.0.0.1", "10.0.0.2", 80),
            tcp("10.0.0.1", "10.0.0.2", 81),
        );
        let passed = |flow, link, packets: u64| at(flow, link, true, 0, |h| h.packets = packets);
        let reading = |flows: Vec<_>| Observation {
            flows,
            ..Observation::default()
        };
        let since = Since::new(&reading(vec![
            passed(going_on, POD, 3),
            passed(going_on, UPLINK, 20),
            passed(over, POD, 9),
        ]));
        let mut now = reading(vec![
            passed(going_on, POD, 13),
            passed(going_on, UPLINK, 30),
            passed(over, POD, 9),
        ]);
        since.leave(&mut now);
        let left: Vec<u64> = now.flows.iter().map(|(_, hop)| hop.packets).collect();
        assert_eq!(left, [10, 10]);
    }
}
