//! Drops whose rows are gone: the kernel's table forgets flows to make room for others, and what
//! they had counted goes on counting at the place where they died.
use std::collections::HashMap;

use netdiag_common::loss::{DropKey, Dropped};

/// Places that are remembered: a kernel drops packets at some hundreds, on some links.
const PLACES: usize = 1024;

#[derive(Default)]
pub(super) struct Rest {
    /// The table as it was read last.
    before: HashMap<DropKey, Dropped>,
    /// By place, what was in rows that are gone.
    gone: HashMap<DropKey, Dropped>,
}

impl Rest {
    /// Adds to a reading what earlier ones had and it has no more.
    pub fn add_to(&mut self, rows: &mut Vec<(DropKey, Dropped)>) {
        let now: HashMap<DropKey, Dropped> = rows.iter().copied().collect();
        for (key, was) in std::mem::take(&mut self.before) {
            // A row that came back counts anew.
            if now.get(&key).is_none_or(|is| is.packets < was.packets) {
                self.keep(&key.rest(), &was);
            }
        }
        self.before = now;
        for (key, dropped) in rows.iter_mut().filter(|(key, _)| key.is_rest()) {
            if let Some(gone) = self.gone.get(key) {
                join(dropped, gone);
            }
        }
        let here = |place: &&DropKey| !self.before.contains_key(place);
        let missing: Vec<_> = self.gone.keys().filter(here).copied().collect();
        rows.extend(missing.into_iter().map(|place| (place, self.gone[&place])));
    }

    fn keep(&mut self, place: &DropKey, was: &Dropped) {
        if let Some(gone) = self.gone.get_mut(place) {
            return join(gone, was);
        }
        // Past the last place, the packets are still in the counter of all drops.
        if self.gone.len() < PLACES {
            self.gone.insert(*place, *was);
        }
    }
}

fn join(into: &mut Dropped, other: &Dropped) {
    into.packets = into.packets.saturating_add(other.packets);
    into.bytes = into.bytes.saturating_add(other.bytes);
    into.first = into.first.min(other.first);
    into.last = into.last.max(other.last);
    into.largest = into.largest.max(other.largest);
    into.tcp_flags |= other.tcp_flags;
}

#[cfg(test)]
mod tests {
    use netdiag_common::flow::FlowKey;

    use super::*;

    fn row(port: u16, packets: u64) -> (DropKey, Dropped) {
        let flow = FlowKey {
            source_port: port,
            family: 4,
            ..FlowKey::default()
        };
        let key = DropKey {
            flow,
            location: 7,
            reason: 8,
            netns: 9,
            ..DropKey::default()
        };
        let dropped = Dropped {
            packets,
            bytes: packets * 10,
            first: 5,
            last: 6,
            ..Dropped::default()
        };
        (key, dropped)
    }

    fn rest(packets: u64) -> (DropKey, Dropped) {
        let (key, dropped) = row(0, packets);
        (key.rest(), dropped)
    }

    fn read(rest: &mut Rest, mut rows: Vec<(DropKey, Dropped)>) -> Vec<(DropKey, Dropped)> {
        rest.add_to(&mut rows);
        rows
    }

    #[test]
    fn what_is_gone_goes_on_counting_at_its_place() {
        let mut it = Rest::default();
        assert_eq!(read(&mut it, vec![row(1, 4), row(2, 3)]).len(), 2);
        assert_eq!(
            read(&mut it, vec![row(2, 5), row(3, 1)]),
            [row(2, 5), row(3, 1), rest(4)]
        );
        // With what the kernel counts there, and once.
        for _ in 0..2 {
            let read = read(&mut it, vec![row(2, 5), row(3, 1), rest(100)]);
            assert_eq!(read, [row(2, 5), row(3, 1), rest(104)]);
        }
    }

    #[test]
    fn a_row_that_came_back_counts_anew() {
        let mut it = Rest::default();
        read(&mut it, vec![row(1, 40)]);
        assert_eq!(read(&mut it, vec![row(1, 2)]), [row(1, 2), rest(40)]);
        assert_eq!(read(&mut it, vec![row(1, 3)]), [row(1, 3), rest(40)]);
        assert_eq!(read(&mut it, vec![]), [rest(43)]);
    }

    #[test]
    fn the_sum_never_falls() {
        let mut it = Rest::default();
        let readings = [
            vec![row(1, 4), rest(9)],
            vec![row(2, 1)],
            vec![row(1, 1), rest(2)],
            vec![],
            vec![rest(1)],
        ];
        let mut before = 0;
        for rows in readings {
            let sum = read(&mut it, rows).iter().map(|(_, d)| d.packets).sum();
            assert!(sum >= before, "{sum} after {before}");
            before = sum;
        }
        assert_eq!(before, 4 + 9 + 1 + 1 + 2 + 1);
    }
}
