//! What a piece of work took of the processors: its own thread, the threads that it waited for, and
//! the programs that it ran. What merely waits costs nobody anything.
use std::{cell::Cell, time::Duration};

use nix::time::{ClockId, clock_gettime};

thread_local! {
    /// Of others, on this thread's behalf.
    static OTHERS: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Does the work, and says what it took.
pub fn of<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = spent();
    let done = work();
    (done, spent().saturating_sub(before))
}

/// Counts what somebody else took for this thread: a program that it ran, a thread that it joined.
pub fn add(cost: Duration) {
    OTHERS.set(OTHERS.get().saturating_add(cost));
}

fn spent() -> Duration {
    let own = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Into::into);
    OTHERS.get().saturating_add(own)
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, thread};

    use super::*;

    /// Works for as long as that of this thread's processor time.
    fn busy(time: Duration) {
        let start = spent();
        while spent() - start < time {
            black_box(start);
        }
    }

    #[test]
    fn work_costs_and_waiting_does_not() {
        let some = Duration::from_millis(20);
        let ((), waited) = of(|| thread::sleep(some * 5));
        assert!(waited < some, "{waited:?}");
        let ((), worked) = of(|| busy(some));
        assert!(worked >= some, "{worked:?}");
        let ((), others) = of(|| {
            let theirs = thread::spawn(move || of(|| busy(some)).1).join();
            add(theirs.expect("no panic"));
        });
        assert!(others >= some, "{others:?}");
    }
}
