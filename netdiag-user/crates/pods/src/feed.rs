//! Where a source that runs by itself leaves what it knows. Whoever reads it never waits.
use std::time::Duration;

use tokio::sync::watch::{self, Receiver, Sender};

use crate::model::pod::Pod;

/// Pods of one source at most; a cluster has fewer than 150,000, a node a few hundred.
const MOST: usize = 65_536;
/// How long the first reading waits for sources to speak: so many slices of two seconds in all. A
/// machine that stands still for longer than that uses up one of them, and the sources, which
/// stood still too, have the others.
const SLICES: u32 = 20;
const SLICE: Duration = Duration::from_millis(100);

/// A source's last words.
#[derive(Clone, Debug, Default)]
pub struct SourceState {
    pub pods: Vec<Pod>,
    /// Pods that were not taken, for there were too many.
    pub refused: usize,
    /// Network namespaces that were left out, for their pods have too many.
    pub crowds: usize,
    /// What it did not look at: a sentence.
    pub partial: Option<String>,
    /// When they were last heard, `CLOCK_MONOTONIC` ns; nothing before the first time.
    pub at: Option<u64>,
    /// Why it says nothing now: a sentence. What it said before still counts.
    pub problem: Option<String>,
}

impl SourceState {
    /// It has said something, or why not.
    pub fn settled(&self) -> bool {
        self.at.is_some() || self.problem.is_some()
    }
}

/// The source's end.
pub struct Publisher(Sender<SourceState>);

pub type Subscription = Receiver<SourceState>;

pub fn feed() -> (Publisher, Subscription) {
    let (sender, receiver) = watch::channel(SourceState::default());
    (Publisher(sender), receiver)
}

impl Publisher {
    /// All that it knows now, in place of what it said before.
    pub fn say(&self, pods: Vec<Pod>) {
        self.say_all(pods, 0, None, 0);
    }

    /// The same where it left out some by itself.
    pub fn say_part(&self, pods: Vec<Pod>, left_out: usize) {
        self.say_all(pods, left_out, None, 0);
    }

    /// The same where it did not look everywhere, and left out so many namespaces of pods that have
    /// too many. Returns whether that is news.
    pub fn say_but(&self, pods: Vec<Pod>, partial: Option<String>, crowds: usize) -> bool {
        self.say_all(pods, 0, partial, crowds)
    }

    fn say_all(
        &self,
        mut pods: Vec<Pod>,
        left_out: usize,
        partial: Option<String>,
        crowds: usize,
    ) -> bool {
        let refused = left_out + pods.len().saturating_sub(MOST);
        pods.truncate(MOST);
        self.0.send_if_modified(|said| {
            let same = said.pods == pods
                && said.refused == refused
                && (&said.partial, said.crowds) == (&partial, crowds);
            let new = !same || said.problem.is_some() || said.at.is_none();
            *said = SourceState {
                pods,
                refused,
                partial,
                crowds,
                at: Some(super::now()),
                problem: None,
            };
            new
        })
    }

    /// It cannot say anything now. One sentence.
    pub fn fail(&self, why: impl Into<String>) {
        let why = why.into();
        self.0.send_if_modified(|said| {
            let new = said.problem.as_ref() != Some(&why);
            said.problem = Some(why);
            new
        });
    }

    /// Nobody listens any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// Waits until all have spoken, but not for long.
pub async fn settle(listeners: impl Iterator<Item = &mut Subscription>) {
    let mut all = std::pin::pin!(async {
        for listener in listeners {
            // One that has ended has said what it had to.
            let _ = listener.wait_for(SourceState::settled).await;
        }
    });
    for _ in 0..SLICES {
        if tokio::time::timeout(SLICE, &mut all).await.is_ok() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_that_stands_still_takes_nobodys_turn() {
        let (feed, mut listener) = feed();
        let settling = settle([&mut listener].into_iter());
        let source = async {
            tokio::time::sleep(SLICE / 2).await;
            // Nobody runs for as long as all slices are.
            std::thread::sleep(SLICE * (SLICES + 1));
            tokio::time::sleep(SLICE / 2).await;
            feed.say(vec![Pod::default()]);
        };
        tokio::join!(settling, source);
        assert!(listener.borrow().settled());
        let (silent, mut listener) = super::feed();
        settle([&mut listener].into_iter()).await;
        assert!(!listener.borrow().settled(), "not for ever");
        drop(silent);
    }

    #[tokio::test]
    async fn what_was_said_outlives_a_failure() {
        let (feed, mut listener) = feed();
        assert!(!listener.borrow().settled());
        feed.say(vec![Pod::default()]);
        feed.fail("nobody answers");
        settle([&mut listener].into_iter()).await;
        let said = listener.borrow_and_update().clone();
        assert_eq!((said.pods.len(), said.problem.is_some()), (1, true));
        feed.say(vec![Pod::default()]);
        assert!(listener.has_changed().expect("a feed"));
        assert_eq!(listener.borrow_and_update().problem, None);
        feed.say(vec![Pod::default()]);
        assert!(!listener.has_changed().expect("a feed"), "nothing new");
    }
}
