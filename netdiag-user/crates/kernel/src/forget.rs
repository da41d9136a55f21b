//! Takes rows out of the tables that nothing was added to for long: whoever watches for weeks would
//! read them with every reading. Counting goes on meanwhile; of what comes back a new row is made, as
//! of what the kernel evicts.
use anyhow::Result;
use aya::{Pod, maps::HashMap};
use netdiag_common::{dns::Dns, loss::DropKey};

use super::load::Programs;
use crate::model::observation::Observation;

impl Programs {
    /// Takes out what `reading` has and was touched last before that time (`CLOCK_MONOTONIC` ns). Tells
    /// which rows of drops went: the next reading has them nowhere, not even at their place.
    pub fn forget(&mut self, reading: &Observation, before: u64) -> Result<Vec<DropKey>> {
        let flows = self.take("FLOWS", &reading.flows, before, |row| row.last)?;
        let outers = self.take("OUTERS", &reading.outers, before, |row| row.last)?;
        let errors = self.take("ICMP_ERRORS", &reading.icmp_errors, before, |row| row.last)?;
        let touched = |row: &Dns| row.last_query.max(row.last_answer);
        let dns = self.take("DNS", &reading.dns, before, touched)?;
        let again = self.take("RETRANSMITS", &reading.retransmits, before, |row| row.last)?;
        let drops = self.take("DROPS", &reading.drops, before, |row| row.last)?;
        // What comes again before the next reading is found as what is new.
        self.unread.flows.forget(&flows);
        self.unread.outers.forget(&outers);
        self.unread.icmp_errors.forget(&errors);
        self.unread.dns.forget(&dns);
        self.unread.retransmits.forget(&again);
        self.unread.drops.forget(&drops);
        Ok(drops)
    }

    /// Returns those that are gone. A row that was added to since the reading stays.
    fn take<K: Pod, V: Pod>(
        &mut self,
        name: &str,
        rows: &[(K, V)],
        before: u64,
        last: impl Fn(&V) -> u64,
    ) -> Result<Vec<K>> {
        let mut map: HashMap<_, K, V> = self.map(name)?;
        let mut gone = Vec::new();
        for (key, row) in rows.iter().filter(|(_, row)| last(row) < before) {
            // Of one that is not there its place alone is remembered, on our side.
            let now = map.get(key, 0);
            if now.is_ok_and(|now| last(&now) > last(row)) {
                continue;
            }
            let _ = map.remove(key);
            gone.push(*key);
        }
        Ok(gone)
    }
}
