//! Drops whose rows are gone: the kernel's table forgets flows to make room for others, and what
//! they had counted goes on counting at the place where they died.
use std::collections::{HashMap, HashSet};

use netdiag_common::loss::{DropKey, Dropped};

use crate::model::observation::join;

/// Places that are remembered: a kernel drops packets at some hundreds, on some links.
const PLACES: usize = 1024;

#[derive(Default)]
pub(super) struct Rest {
    /// The table as it was read last, in order: a flood's takes megabytes, and is kept once.
    before: Vec<(DropKey, Dropped)>,
    /// By place, what was in rows that are gone.
    gone: HashMap<DropKey, Dropped>,
    /// Rows that readings had and the one before each had not.
    found: u64,
}

impl Rest {
    /// Adds to a reading what earlier ones had and it has no more. Tells how many rows no reading
    /// had, of so many that were added.
    pub fn add_to(&mut self, rows: &mut Vec<(DropKey, Dropped)>, added: u64) -> u64 {
        rows.sort_unstable_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
        self.compare(rows);
        self.remember(rows);
        let mut missing = self.gone.clone();
        for (key, dropped) in rows.iter_mut().filter(|(key, _)| key.is_rest()) {
            if let Some(gone) = missing.remove(key) {
                join(dropped, &gone);
            }
        }
        rows.extend(missing);
        added.saturating_sub(self.found)
    }

    /// Rows of the last reading.
    pub fn len(&self) -> usize {
        self.before.len()
    }

    /// These rows were taken out of the table, and are remembered nowhere.
    pub fn forget(&mut self, gone: &[DropKey]) {
        let gone: HashSet<&DropKey> = gone.iter().collect();
        self.before.retain(|(key, _)| !gone.contains(key));
        self.gone.retain(|place, _| !gone.contains(place));
    }

    /// Notes what is new, and what is gone.
    fn compare(&mut self, rows: &[(DropKey, Dropped)]) {
        let before = std::mem::take(&mut self.before);
        let mut now = rows.iter().peekable();
        for (key, was) in &before {
            while now.next_if(|(k, _)| order(k) < order(key)).is_some() {
                self.found += 1;
            }
            let is = now.next_if(|(k, _)| k == key);
            // A row that came back counts anew.
            if is.is_none_or(|(_, is)| is.packets < was.packets) {
                self.keep(&key.rest(), was);
            }
        }
        self.found += now.count() as u64;
        self.before = before;
    }

    fn remember(&mut self, rows: &[(DropKey, Dropped)]) {
        self.before.clear();
        self.before.shrink_to(2 * rows.len());
        // Of a flood's table, doubling would leave megabytes empty.
        self.before.reserve_exact(rows.len());
        self.before.extend_from_slice(rows);
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

fn order(key: &DropKey) -> impl Ord + '_ {
    let place = (key.location, key.reason, key.netns, key.ifindex);
    (place, &key.flow)
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
        rest.add_to(&mut rows, 0);
        rows
    }

    #[test]
    fn rows_that_no_reading_had_are_counted() {
        let mut it = Rest::default();
        let mut lost = |mut rows: Vec<_>, added| it.add_to(&mut rows, added);
        assert_eq!(lost(vec![row(3, 1), row(1, 4)], 2), 0);
        assert_eq!(
            lost(vec![row(2, 1), row(1, 5)], 3),
            0,
            "3 was read before it went"
        );
        assert_eq!(lost(vec![row(2, 1)], 5), 2, "two came and went in between");
        assert_eq!(
            lost(vec![row(2, 1), row(0, 1)], 5),
            1,
            "found before it was counted"
        );
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
            assert_eq!(read, [rest(104), row(2, 5), row(3, 1)]);
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
    fn what_was_taken_out_is_counted_nowhere() {
        let mut it = Rest::default();
        read(&mut it, vec![row(1, 4), row(2, 3)]);
        assert_eq!(read(&mut it, vec![row(1, 4)]), [row(1, 4), rest(3)]);
        it.forget(&[row(1, 4).0]);
        assert_eq!(read(&mut it, vec![]), [rest(3)]);
        it.forget(&[rest(0).0]);
        assert_eq!(read(&mut it, vec![]), []);
        // What comes back is new.
        assert_eq!(read(&mut it, vec![row(1, 1)]), [row(1, 1)]);
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
