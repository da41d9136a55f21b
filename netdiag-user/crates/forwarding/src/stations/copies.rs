//! What goes on in several copies: as many ways at once, of which each has its own end.
use std::{cell::RefCell, net::IpAddr};

use netdiag_model::world::{End, device::Device};

use super::{Going, Next, Walker};
use crate::{
    packet::Packet,
    prepared::Space,
    way::{Does, Families, How, Station, Step, Subject, Unknown, Walk},
};

impl<'w> Walker<'w> {
    /// By each of them; one alone is no copy. A question goes all these ways in one walk, the last of them not inside of
    /// the others.
    pub(super) fn all_of<T: Clone>(
        &self,
        walk: &mut Walk<'w>,
        (space, station, by): (&Space<'w>, Station, &'w Device),
        packet: Packet,
        mut all: Vec<T>,
        goes: impl Fn(&mut Walk<'w>, T) -> Result<Next<'w>, Unknown>,
    ) -> Going<'w> {
        let Some(last) = all.pop() else {
            return Ok(Next::Ended);
        };
        if all.is_empty() {
            return goes(walk, last);
        }
        all.push(last);
        if walk.heard.is_some() {
            let each = Each {
                midst: (walk.failing, walk.telling),
                goes: &goes,
                notes: station == Station::Encap,
                waited: RefCell::default(),
            };
            return match each.notes {
                true => self.all_at_once(walk, &each, &all),
                false => self.one_by_one(walk, &each, &all, Vec::new()),
            };
        }
        let mut copies: Vec<Walk<'w>> = Vec::new();
        for one in all {
            let mut copy = walk.branch();
            // Whoever gets two of them tracks the second one as a packet of the same connection.
            for before in &copies {
                copy.learned.learn_begun(&before.learned);
            }
            let next = goes(&mut copy, one);
            self.goes_on(&mut copy, next)?;
            copies.push(copy);
        }
        self.ends(
            walk,
            Step {
                netns: space.netns,
                station,
                by: Some(Subject::Device(by)),
                does: Does::Copies(copies),
                packet,
            },
        )
    }

    /// A tunnel has sent all of them before the first comes anywhere: whom each waits for is asked for already where
    /// another teaches who that is.
    fn all_at_once<T: Clone>(
        &self,
        walk: &mut Walk<'w>,
        each: &Each<'_, 'w, T>,
        all: &[T],
    ) -> Going<'w> {
        walk.queued.get_or_insert_default();
        let before = walk.clone();
        let next = self.one_by_one(walk, each, all, Vec::new());
        self.goes_on(walk, next)?;
        let waited = each.waited.take();
        if waited.is_empty() {
            return Ok(Next::Ended);
        }
        *walk = before;
        let asking = self.asking.borrow().len();
        self.asking.borrow_mut().extend(waited);
        let next = self.one_by_one(walk, each, all, Vec::new());
        let ended = self.goes_on(walk, next);
        self.asking.borrow_mut().truncate(asking);
        ended.map(|()| Next::Ended)
    }

    /// The first of them, and the others after it.
    fn one_by_one<T: Clone>(
        &self,
        walk: &mut Walk<'w>,
        each: &Each<'_, 'w, T>,
        all: &[T],
        waiting: Vec<Waiting<T>>,
    ) -> Going<'w> {
        let Some((one, rest)) = all.split_first() else {
            return self.taught(walk, each, waiting);
        };
        (walk.failing, walk.telling) = each.midst;
        let before = walk.steps.len();
        let next = (each.goes)(walk, one.clone());
        if rest.is_empty() && waiting.is_empty() && !each.notes {
            return next;
        }
        self.goes_on(walk, next)?;
        self.after(walk, (before, true), each, (one, rest), waiting)
    }

    /// The rest after one of them: in each of the ways that it may have gone, since what was learned there is what
    /// the next one meets. Whom nobody answered for in some of them alone, another copy does not find asked for.
    fn after<T: Clone>(
        &self,
        walk: &mut Walk<'w>,
        (before, always): (usize, bool),
        each: &Each<'_, 'w, T>,
        (one, rest): (&T, &[T]),
        mut waiting: Vec<Waiting<T>>,
    ) -> Going<'w> {
        let unanswered = unanswered(walk, before);
        let waits = unanswered.filter(|_| always);
        each.waited.borrow_mut().extend(waits);
        waiting.extend(unanswered.map(|whom| (whom, one.clone())));
        let mut new = walk.steps.iter_mut().skip(before);
        let chosen = new.find_map(|step| match &mut step.does {
            Does::Chooses(branches) => Some(branches),
            _ => None,
        });
        let Some(branches) = chosen else {
            return self.one_by_one(walk, each, rest, waiting);
        };
        let mut whom = branches
            .iter()
            .map(|(_, branch)| self::unanswered(branch, 0));
        let first = whom.next().flatten();
        let always = first.is_some() && whom.all(|other| other == first);
        let told = |branch: &Walk<'_>| {
            let last = branch.last().map(|step| &step.does);
            !matches!(last, Some(Does::Unknown(_)))
        };
        // Nobody knows what the next one meets behind what nobody can tell.
        for (_, branch) in branches.iter_mut().filter(|(_, branch)| told(branch)) {
            let next = self.after(branch, (0, always), each, (one, rest), waiting.clone());
            self.goes_on(branch, next)?;
        }
        Ok(Next::Ended)
    }

    /// Who waited for a neighbour that another copy has taught meanwhile goes on.
    fn taught<T: Clone>(
        &self,
        walk: &mut Walk<'w>,
        each: &Each<'_, 'w, T>,
        waiting: Vec<Waiting<T>>,
    ) -> Going<'w> {
        walk.waited();
        for ((at, whom), one) in waiting {
            if walk.learned.of(at, whom).is_some() {
                let next = (each.goes)(walk, one);
                self.goes_on(walk, next)?;
            }
        }
        Ok(Next::Ended)
    }
}

/// How each copy goes, and what its sender is in the midst of.
struct Each<'a, 'w, T> {
    midst: (Option<(End, IpAddr)>, Families),
    goes: &'a dyn Fn(&mut Walk<'w>, T) -> Result<Next<'w>, Unknown>,
    /// Whether it matters whom they waited for.
    notes: bool,
    waited: RefCell<Vec<(End, IpAddr)>>,
}

/// A copy that nobody answered for, and whom it waits for behind which device.
type Waiting<T> = ((End, IpAddr), T);

/// The neighbour that nobody answered for at the end of what went since, and the device that it is behind.
fn unanswered(walk: &Walk<'_>, since: usize) -> Option<(End, IpAddr)> {
    walk.steps.get(since..)?.iter().find_map(|step| {
        let Does::Refuses(How::NoNeighbour(whom)) = step.does else {
            return None;
        };
        let index = match step.by? {
            Subject::Device(device) => device.index,
            Subject::Neighbour(neighbour) => neighbour.device,
            _ => return None,
        };
        let netns = step.netns;
        Some((End { netns, index }, whom))
    })
}
