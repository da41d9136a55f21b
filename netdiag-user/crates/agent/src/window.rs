//! What was seen in the last minutes. The view begins at one of two earlier readings: when the later
//! of them is old enough it takes the place of the earlier one, and what came before it is forgotten,
//! as if the run had begun there.
use std::time::Duration;

use netdiag_common::loss::DropKey;

use crate::{
    baseline::Baseline,
    model::{node::Node, observation::Observation},
    pipeline::scene::Scene,
};

pub struct Window {
    /// The view is as long as this at least, once there was time, and twice as long at most.
    shortest: u64,
    base: Baseline,
    next: Option<(Baseline, Node)>,
}

impl Window {
    /// A view of at most `longest` that begins with the run.
    pub fn new(longest: Duration, scene: &Scene) -> Self {
        let base = Baseline::nothing(scene.run.started);
        Self {
            shortest: u64::try_from(longest.as_nanos() / 2).unwrap_or(u64::MAX),
            base,
            next: None,
        }
    }

    /// Where the view begins, `CLOCK_MONOTONIC` ns.
    pub fn since(&self) -> u64 {
        self.base.at
    }

    /// Takes note of a reading, and moves the beginning along where it is time to: `scene` is then
    /// compared with the node as it was there. Says whether it moved.
    pub fn slide(&mut self, reading: &Observation, scene: &mut Scene) -> bool {
        let newest = self.next.as_ref().map_or(self.base.at, |(next, _)| next.at);
        if reading.now.saturating_sub(newest) < self.shortest {
            return false;
        }
        let next = (Baseline::new(reading), scene.node.clone());
        let Some((base, node)) = self.next.replace(next) else {
            return false;
        };
        scene.run.started = base.at;
        scene.start = node;
        self.base = base;
        true
    }

    /// What of a reading was seen since the view's beginning.
    pub fn view(&self, reading: &Observation) -> Observation {
        self.base.since(reading)
    }

    /// These rows were taken out of the kernel's table.
    pub fn forget(&mut self, gone: &[DropKey]) {
        self.base.forget(gone);
        if let Some((next, _)) = &mut self.next {
            next.forget(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pipeline::testing::{POD, lost, tcp},
        testing::scene,
    };

    const SECOND: u64 = 1_000_000_000;

    /// So many packets were dropped until then.
    fn reading(second: u64, packets: u64) -> Observation {
        let flow = tcp("10.0.0.1", "10.0.0.2", 80);
        Observation {
            now: second * SECOND,
            drops: vec![lost(flow, 0, POD, packets, 0)],
            ..Observation::default()
        }
    }

    /// Packets in the view, second by second, of a fault that drops one each second until it ends.
    fn views(longest: u64, end: u64, seconds: u64) -> Vec<u64> {
        let mut scene = scene();
        let mut window = Window::new(Duration::from_secs(longest), &scene);
        let seen = |second: u64| {
            let reading = reading(second, second.min(end));
            window.slide(&reading, &mut scene);
            assert_eq!(scene.run.started, window.since());
            let view = window.view(&reading);
            view.drops.iter().map(|(_, row)| row.packets).sum()
        };
        (1..=seconds).map(seen).collect()
    }

    #[test]
    fn a_view_is_never_shorter_than_half_and_never_longer_than_all_of_it() {
        for longest in [10, 60] {
            let views = views(longest, u64::MAX, 10 * longest);
            let later = &views[longest as usize..];
            assert!(
                later.iter().all(|n| (longest / 2..=longest).contains(n)),
                "{later:?}"
            );
        }
    }

    #[test]
    fn what_is_over_leaves_the_view_in_time() {
        for end in 100..140 {
            let views = views(20, end, 200);
            let last = views.iter().rposition(|n| *n > 0).expect("it was seen") as u64 + 1;
            assert!((end..end + 20).contains(&last), "{end}: {last}");
        }
    }
}
