//! Rules that choose one of several ways by chance (`statistic`, `numgen`, `jhash`), or of which nobody can tell whether
//! they take a packet (`limit`, `quota`): the station is gone through once more for each of them.
use std::net::IpAddr;

use netdiag_model::world::End;

use super::{Next, Walker};
use crate::way::{Does, Mark, Share, Station, Step, Unknown, Walk};

/// So many times in one station what nobody can tell is gone through both ways.
const MOST_EITHER: usize = 6;

/// What there was before a station.
pub(super) struct Before<'w> {
    walk: Mark,
    from: Next<'w>,
    asking: usize,
    agreeing: usize,
    given_up: Option<(End, IpAddr)>,
}

impl<'w> Walker<'w> {
    pub(super) fn before(&self, walk: &Walk<'w>, from: &Next<'w>) -> Before<'w> {
        Before {
            walk: walk.mark(),
            from: from.clone(),
            asking: self.asking.borrow().len(),
            agreeing: self.agreeing.borrow().len(),
            given_up: self.given_up.get(),
        }
    }

    /// By each of the ways that it may take next, behind those that it has taken there.
    pub(super) fn each_way(
        &self,
        walk: &mut Walk<'w>,
        before: Before<'w>,
        (shares, taken): (&[Share], &[usize]),
    ) -> Result<(), Unknown> {
        if shares.contains(&Share::UNKNOWN) && taken.len() >= MOST_EITHER {
            return Err(Unknown::Undecided);
        }
        walk.go_back(before.walk);
        let mut branches = Vec::new();
        let mut packet = None;
        for (way, share) in shares.iter().enumerate() {
            self.asking.borrow_mut().truncate(before.asking);
            self.agreeing.borrow_mut().truncate(before.agreeing);
            self.given_up.set(before.given_up);
            let mut branch = walk.branch();
            let taken = [taken, &[way]].concat();
            let gone = self.goes_by(&mut branch, Ok(before.from.clone()), taken);
            self.ends_alone(walk, &mut branch, gone)?;
            packet = packet.or(branch.steps.first().map(|step| (step.netns, step.packet)));
            branches.push((*share, branch));
        }
        if shares.contains(&Share::UNKNOWN)
            && let Some(one) = alike(&mut branches)
        {
            walk.goes_like(one);
            return Ok(());
        }
        let mut steps = branches.iter().flat_map(|(_, branch)| &branch.steps);
        if steps.any(|step| step.packet.is_in_parts()) {
            let what = "several parts, each of which a rule may take or not";
            return Err(Unknown::NotModelled(what.into()));
        }
        let (netns, packet) = packet.ok_or(Unknown::Undecided)?;
        let step = Step {
            netns,
            station: Station::Hook,
            by: None,
            does: Does::Chooses(branches),
            packet,
        };
        self.push(walk, step)
    }
}

/// One for all of them, where it makes no difference which of them is gone: what rules counted on some of them alone, they
/// may have counted.
fn alike<'w>(branches: &mut Vec<(Share, Walk<'w>)>) -> Option<Walk<'w>> {
    let (_, first) = branches.first()?;
    let like = |other: &Walk<'w>| {
        let state = |walk: &Walk<'w>| (walk.failing, walk.telling);
        other.steps == first.steps
            && other.learned == first.learned
            && other.heard == first.heard
            && state(other) == state(first)
    };
    if !branches.iter().all(|(_, branch)| like(branch)) {
        return None;
    }
    let mut rest = branches.drain(..).map(|(_, branch)| branch);
    let mut one = rest.next()?;
    for other in rest {
        let sure = without(&one.counted, &without(&one.counted, &other.counted));
        let all = |walk: &Walk<'w>| [walk.counted.as_slice(), &walk.perhaps].concat();
        let (own, others) = (all(&one), all(&other));
        let most = [without(&others, &own), own].concat();
        one.perhaps = without(&most, &sure);
        one.counted = sure;
    }
    Some(one)
}

/// Those of all that are left where each of these takes one like it.
fn without<T: Clone + PartialEq>(all: &[T], these: &[T]) -> Vec<T> {
    let mut left = all.to_vec();
    for one in these {
        if let Some(at) = left.iter().position(|it| it == one) {
            left.remove(at);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn each_takes_one_like_it() {
        assert_eq!(without(&[1, 1, 2], &[1, 3]), [1, 2]);
        assert_eq!(without(&[1, 2], &[2, 1, 1]), [0; 0]);
    }
}
