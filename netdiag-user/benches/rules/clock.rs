//! Processor time of this thread, which others on the machine take nothing from.
use std::{hint::black_box, time::Duration};

use nix::time::{ClockId, clock_gettime};

/// Odd, so that one of them is the middle.
const ROUNDS: usize = 7;
/// What takes so long is measured fewer times.
const LONG: Duration = Duration::from_secs(2);

fn now() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.expect("a thread's clock").into()
}

pub fn median<T>(mut run: impl FnMut() -> T) -> Duration {
    let mut times = Vec::new();
    while times.len() < ROUNDS {
        let begun = now();
        black_box(run());
        times.push(now() - begun);
        if times.iter().sum::<Duration>() > LONG && times.len() % 2 == 1 {
            break;
        }
    }
    times.sort();
    times[times.len() / 2]
}
