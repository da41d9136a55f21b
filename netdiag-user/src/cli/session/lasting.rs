//! What a session that goes on for weeks does beside: it forgets, and says how it is.
use std::{collections::BTreeSet, time::Instant};

use anyhow::Result;
use netdiag_common::loss::DropKey;
use netdiag_lang::{english, mark};

use super::Session;
use crate::{
    kernel::attach,
    model::{
        gather::{Piece, Want},
        observation::Observation,
        own::OwnCost,
        verdict::NotChecked,
    },
};

impl Session {
    /// Takes what was touched last before that time out of the programs' tables; tells which drops.
    pub fn forget(&mut self, reading: &Observation, before: u64) -> Result<Vec<DropKey>> {
        self.programs.forget(reading, before)
    }

    /// Forgets what was found out beside, but for these.
    pub fn keep_answers(&mut self, wants: &BTreeSet<Want>) {
        self.gathering.keep(wants);
        self.scene.gathered.keep(wants);
    }

    /// What was read in turns, of before anybody asked, will do until it is read anew.
    pub(super) fn take_turns(&mut self, wants: &BTreeSet<Want>) {
        for want in wants {
            let Want::Stack(netns) = want else {
                continue;
            };
            let gathered = &mut self.scene.gathered;
            let had = self.turns.stack(*netns).filter(|_| !gathered.has(want));
            if let Some(stack) = had {
                let piece = Piece::Stack(Box::new((*stack).clone()));
                gathered.insert(want.clone(), Ok(piece));
            }
        }
    }

    /// What it took until now.
    pub fn cost(&self) -> OwnCost {
        self.account.cost(Instant::now(), self.programs.costs())
    }

    /// Whether all that is seen is written to a file.
    pub fn records(&self) -> bool {
        self.recorder.is_some()
    }

    /// Where to look.
    pub fn place(&self) -> &crate::cli::options::NodeRootArgs {
        &self.scope.place
    }

    /// How many canaries were seen dropped until now.
    pub fn canaries(&mut self) -> Result<u64> {
        self.programs.canaries()
    }

    /// Its own drops are not seen any more, or are again.
    pub fn sees(&mut self, why_not: Option<NotChecked>) {
        self.unseen = why_not;
        self.scene.run = self.run();
    }

    /// What the programs' tables had no room for.
    pub(super) fn no_room(&self) -> Vec<NotChecked> {
        let mut rows = Vec::new();
        if self.unjudged > 0 {
            rows.push(NotChecked::new(
                english!("oversize packets towards {} routes", self.unjudged),
                mark!("this node has more routes than the table of limits takes"),
            ));
        }
        if self.unnamed > 0 {
            rows.push(NotChecked::new(
                english!("drops in {} network namespaces of pods", self.unnamed),
                mark!("this node has more network namespaces than the programs' table takes"),
            ));
        }
        rows
    }

    /// Why not all is seen that should be, where it is not.
    pub fn blind(&self) -> Option<String> {
        if !self.scene.run.blind {
            return None;
        }
        let mut rows: Vec<NotChecked> = self.unseen.iter().cloned().collect();
        rows.extend(self.programs.missing.iter().cloned());
        let hooks = self.covering.hooks();
        rows.extend(attach::not_covered(&hooks));
        if hooks.count() == 0 {
            rows.push(super::no_links());
        }
        drop(hooks);
        let first = rows.first().map(|row| format!("{}: {}", row.what, row.why));
        Some(first.unwrap_or_else(|| "not every packet of this node can be seen".into()))
    }
}
