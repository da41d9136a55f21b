//! Work of which some is done side by side.
use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// Works at each, so many at a time, and hands over each result as soon as it is there.
pub fn side_by_side<T: Sync, R: Send>(
    all: &[T],
    jobs: usize,
    work: impl Fn(&T) -> R + Sync,
    mut finish: impl FnMut(&T, R),
) {
    let (next, work) = (AtomicUsize::new(0), &work);
    let (done, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (done, next) = (done.clone(), &next);
            scope.spawn(move || {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let _ = done.send((one, work(one)));
                }
            });
        }
        drop(done);
        for (one, result) in results {
            finish(one, result);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_worked_at_once() {
        for jobs in [0, 1, 3, 20] {
            let all: Vec<usize> = (0..10).collect();
            let mut seen = Vec::new();
            side_by_side(&all, jobs, |n| n * n, |n, square| seen.push((*n, square)));
            seen.sort_unstable();
            let wanted: Vec<_> = all.iter().map(|n| (*n, n * n)).collect();
            assert_eq!(seen, wanted);
        }
    }
}
