//! How often the kernel's tables are read: four times a second, and down to once in two and a half
//! seconds where very much is in them. It goes by what was read and not by the time that it takes: a
//! busy machine sees no less.
use std::time::{Duration, Instant};

use netdiag_common::config::counter;

use crate::model::observation::Observation;

/// Ticks between two readings at most, but in a crowd: the rules are asked once a second then.
const MOST: u64 = 4;
/// The same in a crowd: two and a half seconds.
const LONGEST: u64 = 10;
/// Rows of a crowd that one tick is for: then two readings come to one judgement of it
/// (`diagnosis::crowd`), and that is no later for them.
const CROWD: u64 = 2_048;
/// Rows that one tick more is for: judging five hundred takes milliseconds, and four times as many
/// are what a node under a storm has all the time.
const ROWS: u64 = 512;
/// Flows that may come between two readings. The table gives the places of those that were quiet for
/// longest to new ones, and whoever comes and goes unread is missed.
const NEW: u64 = 12_288;

/// Ticks from one time that memory is given back to the next, at least: what is needed again is
/// fetched again.
const SETTLED: u64 = 120;

/// Neighbours and forwarding entries change without a link event: the node is read again this often.
const REFRESH: Duration = Duration::from_secs(5);
/// And this often where nothing has been lost and no link has changed for a while: what could have gone
/// wrong unseen harms nobody yet, and reading a node is most of what watching it in peace costs.
const RARELY: Duration = Duration::from_secs(20);
/// From then on: longer than a diagnosis takes, and shorter than a healthy node goes without any drop.
const PEACE: Duration = Duration::from_secs(20);

/// How long nothing has gone wrong.
pub struct Peace {
    since: Instant,
    lost: u64,
}

impl Peace {
    pub fn from(now: Instant) -> Self {
        Self {
            since: now,
            lost: 0,
        }
    }

    /// Something changed on the node.
    pub fn end(&mut self, now: Instant) {
        self.since = now;
    }

    /// What has been lost until now.
    pub fn losses(&mut self, now: Instant, lost: u64) {
        if std::mem::replace(&mut self.lost, lost) != lost {
            self.end(now);
        }
    }

    pub fn lasts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= PEACE
    }

    /// Whether what rules ask for beside the readings is found out again where it is due: in peace only
    /// after the node was read.
    pub fn gathers(&self, now: Instant, read_at: Instant) -> bool {
        !self.lasts(now) || now.saturating_duration_since(read_at) < REFRESH
    }

    /// How old what is known of the node may become.
    pub fn refresh(&self, now: Instant) -> Duration {
        match self.lasts(now) {
            true => RARELY,
            false => REFRESH,
        }
    }
}

/// The ticks until the next reading.
#[derive(Default)]
pub struct Readings {
    left: u64,
    /// From the reading before the last one to that.
    ticks: u64,
    /// Flows that had come by then.
    added: u64,
    /// Ticks since the last reading at which nothing was new.
    quiet: u64,
    /// Ticks until memory may be given back again.
    settled: u64,
}

impl Readings {
    /// Whether it is quiet enough to let go of what the last reading needed: code, above all.
    pub fn settles(&mut self) -> bool {
        self.settled = self.settled.saturating_sub(1);
        let settles = self.settled == 0 && self.quiet + 1 == MOST;
        if settles {
            self.settled = SETTLED;
        }
        settles
    }

    /// Whether this tick is none of a reading's.
    pub fn rest(&mut self) -> bool {
        let rests = self.left > 0;
        self.left = self.left.saturating_sub(1);
        rests
    }

    /// Whether this tick needs no reading, since nothing happened: time passes for the rules, which
    /// are asked once a second then, too.
    pub fn wait(&mut self) -> bool {
        self.quiet += 1;
        self.quiet < MOST
    }

    /// Whether nothing happened since the last reading.
    pub fn were_quiet(&self) -> bool {
        self.quiet >= MOST
    }

    /// What a reading had, for when the next one is due: the tables' rows, whatever is kept of them.
    pub fn read(&mut self, rows: usize, observation: &Observation) {
        let added = observation.counter(counter::FLOWS_ADDED);
        let new = added.saturating_sub(self.added) / self.ticks.max(1);
        let in_time = NEW / new.max(1);
        let rows = rows as u64;
        let ticks = (rows / ROWS).min(MOST).max((rows / CROWD).min(LONGEST));
        self.ticks = ticks.min(in_time).max(1);
        self.added = added;
        self.left = self.ticks - 1;
        self.quiet = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks from each of these readings to the next, by their rows and the flows that came.
    fn ticks(readings: &[(usize, u64)]) -> Vec<usize> {
        let (mut all, mut added) = (Readings::default(), 0);
        let next = |(rows, new): &(usize, u64)| {
            let mut observation = Observation::default();
            added += new;
            observation.counters[counter::FLOWS_ADDED as usize] = added;
            all.read(*rows, &observation);
            1 + std::iter::from_fn(|| all.rest().then_some(())).count()
        };
        readings.iter().map(next).collect()
    }

    #[test]
    fn many_rows_are_read_once_a_second_and_a_crowd_less_often() {
        assert_eq!(ticks(&[(0, 0), (500, 0), (1_024, 0)]), [1, 1, 2]);
        assert_eq!(ticks(&[(4_096, 0), (8_192, 0), (12_288, 0)]), [4, 4, 6]);
        assert_eq!(ticks(&[(24_576, 0), (90_000, 0)]), [10, 10], "a crowd");
        assert_eq!(ticks(&[(24_576, 0), (100, 0)]), [10, 1], "fewer again");
    }

    #[test]
    fn where_nothing_happens_there_is_one_reading_a_second() {
        let mut all = Readings::default();
        for _ in 0..2 {
            let waits: Vec<bool> = (0..4).map(|_| all.wait()).collect();
            assert_eq!(waits, [true, true, true, false]);
            assert!(all.were_quiet());
            all.read(0, &Observation::default());
            assert!(!all.were_quiet());
        }
        // What happens is read at once.
        assert!(all.wait() && !all.were_quiet());
    }

    #[test]
    fn in_peace_the_node_is_read_rarely_and_at_once_when_it_ends() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut peace = Peace::from(begun);
        assert_eq!(peace.refresh(after(19)), REFRESH);
        assert_eq!(peace.refresh(after(20)), RARELY);
        peace.losses(after(70), 0);
        assert!(peace.lasts(after(70)), "none is lost");
        assert!(peace.gathers(after(74), after(70)) && !peace.gathers(after(75), after(70)));
        peace.losses(after(80), 3);
        assert!(peace.gathers(after(80), after(70)));
        assert_eq!(peace.refresh(after(80)), REFRESH);
        peace.losses(after(90), 3);
        assert!(!peace.lasts(after(99)) && peace.lasts(after(100)));
        peace.end(after(110));
        assert!(!peace.lasts(after(129)));
    }

    #[test]
    fn memory_is_given_back_in_quiet_now_and_then() {
        let mut all = Readings::default();
        let mut times = 0;
        for _ in 0..2 * SETTLED {
            times += u64::from(all.settles());
            if !all.wait() {
                all.read(0, &Observation::default());
            }
        }
        assert_eq!(times, 2);
        let mut busy = Readings::default();
        assert!(!busy.settles());
        busy.read(0, &Observation::default());
        assert!(!busy.settles(), "there is traffic");
    }

    #[test]
    fn what_comes_and_goes_is_read_in_time() {
        assert_eq!(ticks(&[(24_576, 10_000)]), [1], "in a quarter of a second");
        // The second time these are the flows of a whole second.
        assert_eq!(ticks(&[(8_192, 3_072), (8_192, 12_288)]), [4, 4]);
        assert_eq!(ticks(&[(8_192, 3_072), (8_192, 24_576)]), [4, 2]);
    }
}
