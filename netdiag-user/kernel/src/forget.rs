//! Takes rows out of the tables that nothing was added to for long: whoever watches for weeks would
//! read them with every reading. Counting goes on meanwhile; of what comes back a new row is made, as
//! of what the kernel evicts.
use anyhow::Result;
use aya::{Pod, maps::HashMap};
use netdiag_common::loss::{DropKey, Dropped};

use super::load::Programs;
use crate::model::observation::Observation;

impl Programs {
    /// Takes out what `reading` has and was touched last before that time (`CLOCK_MONOTONIC` ns). Tells
    /// which rows of drops went: the next reading has them nowhere, not even at their place.
    pub fn forget(&mut self, reading: &Observation, before: u64) -> Result<Vec<DropKey>> {
        let old = |last: u64| last < before;
        self.take("FLOWS", &reading.flows, |row| old(row.last))?;
        self.take("OUTERS", &reading.outers, |row| old(row.last))?;
        self.take("ICMP_ERRORS", &reading.icmp_errors, |row| old(row.last))?;
        self.take("DNS", &reading.dns, |row| {
            old(row.last_query.max(row.last_answer))
        })?;
        self.take("RETRANSMITS", &reading.retransmits, |row| old(row.last))?;
        let drops = self.take_drops(&reading.drops, before)?;
        self.unread.drops.forget(&drops);
        Ok(drops)
    }

    fn take<K: Pod, V: Pod>(
        &mut self,
        name: &str,
        rows: &[(K, V)],
        is_old: impl Fn(&V) -> bool,
    ) -> Result<()> {
        let mut map: HashMap<_, K, V> = self.map(name)?;
        for (key, _) in rows.iter().filter(|(_, row)| is_old(row)) {
            // The kernel may have evicted it.
            let _ = map.remove(key);
        }
        Ok(())
    }

    /// A row that was added to since the reading stays.
    fn take_drops(&mut self, rows: &[(DropKey, Dropped)], before: u64) -> Result<Vec<DropKey>> {
        let mut map: HashMap<_, DropKey, Dropped> = self.map("DROPS")?;
        let mut gone = Vec::new();
        for (key, row) in rows.iter().filter(|(_, row)| row.last < before) {
            // Of one that is not there its place alone is remembered, on our side.
            let now = map.get(key, 0);
            if now.is_ok_and(|now| now.last > row.last) {
                continue;
            }
            let _ = map.remove(key);
            gone.push(*key);
        }
        Ok(gone)
    }
}
