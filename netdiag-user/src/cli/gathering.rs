//! Finding things out beside the watching: each want on a thread of its own, asked again while it
//! is wanted.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    host::gather::{Places, gather},
    model::gather::{Gathered, Piece, Want},
};

/// What could not be found out is tried again after this long.
const RETRY: Duration = Duration::from_secs(2);
/// Threads at once; what is wanted beyond that waits for the next tick.
const AT_ONCE: usize = 4;

/// How long an audit waits for answers.
const PATIENCE: Duration = Duration::from_secs(10);

type Answer = (Want, Result<Piece, String>);

pub struct Gathering {
    places: Places,
    /// Until when the answer to each want is good; none while it is being found out.
    asked: BTreeMap<Want, Option<Instant>>,
    sender: mpsc::UnboundedSender<Answer>,
    answers: mpsc::UnboundedReceiver<Answer>,
}

impl Gathering {
    pub fn new(places: Places) -> Self {
        let (sender, answers) = mpsc::unbounded_channel();
        Self {
            places,
            asked: BTreeMap::new(),
            sender,
            answers,
        }
    }

    /// Starts finding out what was not found out lately.
    pub fn start(&mut self, wants: BTreeSet<Want>) {
        for want in wants {
            let fresh = |until: &Option<Instant>| until.is_none_or(|until| Instant::now() < until);
            if self.going_on() >= AT_ONCE || self.asked.get(&want).is_some_and(fresh) {
                continue;
            }
            self.asked.insert(want.clone(), None);
            let (places, sender) = (self.places.clone(), self.sender.clone());
            tokio::task::spawn_blocking(move || {
                let piece = gather(&want, &places);
                // Nobody waits for it any more when the run has ended.
                let _ = sender.send((want, piece));
            });
        }
    }

    /// Finds all of it out, and comes back when it is answered or has taken too long.
    pub async fn settle(&mut self, wants: BTreeSet<Want>, gathered: &mut Gathered) {
        let all = async {
            for want in &wants {
                self.start(BTreeSet::from([want.clone()]));
                if self.going_on() >= AT_ONCE || Some(want) == wants.last() {
                    self.answered(gathered).await;
                }
            }
        };
        let _ = tokio::time::timeout(PATIENCE, all).await;
        for want in wants {
            if !gathered.has(&want) {
                let why = format!("no answer within {} s", PATIENCE.as_secs());
                gathered.insert(want, Err(why));
            }
        }
    }

    /// Finds these out once more, however lately they were, and waits for it: for those who judge
    /// once and need what holds now.
    pub async fn anew(&mut self, wants: BTreeSet<Want>, gathered: &mut Gathered) {
        for want in wants {
            let (places, own) = (self.places.clone(), want.clone());
            let found = tokio::task::spawn_blocking(move || gather(&own, &places));
            if let Ok(Ok(piece)) = tokio::time::timeout(PATIENCE, found).await {
                gathered.insert(want, piece);
            }
        }
    }

    /// Waits for everything that is being found out.
    async fn answered(&mut self, gathered: &mut Gathered) {
        while self.going_on() > 0 {
            let Some((want, piece)) = self.answers.recv().await else {
                return;
            };
            self.asked.insert(want.clone(), Some(Instant::now()));
            gathered.insert(want, piece);
        }
    }

    fn going_on(&self) -> usize {
        self.asked.values().filter(|at| at.is_none()).count()
    }

    /// Takes what has been answered.
    pub fn collect(&mut self, gathered: &mut Gathered) {
        while let Ok((want, piece)) = self.answers.try_recv() {
            let good = piece.as_ref().map_or(RETRY, |piece| want.again(piece));
            self.asked.insert(want.clone(), Some(Instant::now() + good));
            gathered.insert(want, piece);
        }
    }
}
