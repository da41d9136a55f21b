//! Who is connected. Nobody waits for a place: where there are too many, whoever has most of them loses
//! one, and one that asked for nothing yet before others. So neither idle connections nor slow readers
//! keep kubelet's probes or a scraper away.
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::task::AbortHandle;

/// Connections at once.
const MOST: usize = 64;

struct Visit {
    from: IpAddr,
    /// Its request has come.
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

/// In the order that they came.
#[derive(Default)]
pub struct Visits(Vec<Visit>);

impl Visits {
    /// Lets one in, for whom another may have to go.
    pub fn take(&mut self, from: IpAddr, start: impl FnOnce(Arc<AtomicBool>) -> AbortHandle) {
        self.0.retain(|visit| !visit.task.is_finished());
        if self.0.len() >= MOST
            && let Some(at) = self.last_in_line()
        {
            self.0.remove(at).task.abort();
        }
        let asked = Arc::new(AtomicBool::new(false));
        let task = start(asked.clone());
        self.0.push(Visit { from, asked, task });
    }

    /// The oldest that asked for nothing, of the address that has most; else its oldest.
    fn last_in_line(&self) -> Option<usize> {
        let mut of_each: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for visit in &self.0 {
            *of_each.entry(visit.from).or_default() += 1;
        }
        let (crowd, _) = of_each.into_iter().max_by_key(|(_, many)| *many)?;
        let all = self.0.iter().enumerate();
        let of_crowd = all.filter(|(_, visit)| visit.from == crowd);
        let first = of_crowd.min_by_key(|(at, visit)| (visit.asked.load(Ordering::Relaxed), *at));
        first.map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_has_most_places_loses_one() {
        let mut visits = Visits::default();
        let mut all = Vec::new();
        let mut take = |from: [u8; 4], asks: bool| {
            visits.take(from.into(), |asked| {
                asked.store(asks, Ordering::Relaxed);
                let task = tokio::spawn(std::future::pending::<()>());
                let handle = task.abort_handle();
                all.push(task);
                handle
            });
            all.len() - 1
        };
        let scraper = take([10, 0, 0, 1], true);
        let reads = take([10, 0, 0, 9], true);
        for _ in 2..MOST {
            take([10, 0, 0, 9], false);
        }
        let probe = take([10, 0, 0, 2], false);
        for _ in 0..1000 {
            take([10, 0, 0, 9], false);
        }
        // The runtime ends them in turns.
        for _ in 0..all.len() {
            tokio::task::yield_now().await;
        }
        for one in [scraper, reads, probe, all.len() - 1] {
            assert!(!all[one].is_finished(), "{one} was sent away");
        }
        let left = all.iter().filter(|task| !task.is_finished());
        assert_eq!(left.count(), MOST);
    }
}
