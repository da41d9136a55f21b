//! The canary's rounds: one is dropped, and looked for with the next tick.
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    agent::{
        canary::Canary,
        sight::{Change, Sight},
    },
    cli::session::Session,
    model::verdict::NotChecked,
};

/// Before it is looked for: the kernel may throw it away a little later than it was sent.
const LATER: Duration = Duration::from_millis(500);

pub struct Rounds {
    canary: Canary,
    every: Duration,
    next: Instant,
    /// When one was dropped, and how many had been seen by then.
    open: Option<(Instant, u64)>,
}

impl Rounds {
    /// Nothing where no canary can live here, or none is wanted.
    pub async fn begin(every: Option<Duration>) -> Option<Self> {
        let every = every?;
        match Canary::new().await {
            Ok(canary) => Some(Self {
                canary,
                every,
                next: Instant::now(),
                open: None,
            }),
            Err(error) => {
                log::warn!("no canary, so nothing tells whether drops are still seen: {error:#}");
                None
            }
        }
    }

    /// What is due of it now.
    pub async fn tick(&mut self, session: &mut Session, sight: &mut Sight) -> Result<()> {
        let now = Instant::now();
        if let Some((dropped, before)) = self.open
            && now.duration_since(dropped) >= LATER
        {
            self.open = None;
            let seen = session.canaries()? > before;
            if let Some(change) = sight.round(seen) {
                tell(session, change);
            }
        }
        if now >= self.next && self.open.is_none() {
            self.next = now + self.every;
            let before = session.canaries()?;
            match self.canary.drop_one().await {
                Ok(()) => self.open = Some((Instant::now(), before)),
                Err(error) => log::warn!("the canary's packet was not dropped: {error:#}"),
            }
        }
        Ok(())
    }
}

fn tell(session: &mut Session, change: Change) {
    match change {
        Change::Blind => {
            let why = "packets that netdiag drops itself are not seen any more";
            log::error!("blind: {why}; `netdiag doctor` says what this kernel allows");
            session.sees(Some(NotChecked::new("dropped packets", why)));
        }
        Change::Sees => {
            log::warn!("drops are seen again");
            session.sees(None);
        }
    }
}
