//! What was read before and is still so: sets' elements, each set of which is a question of its own to the kernel. A
//! node's Services by nftables make one of every Service.
use std::{
    os::fd::RawFd,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::{
    model::world::ruleset::{Ruleset, Set, Table},
    sys::socket,
};

/// Readings that somebody still holds, at most.
const MOST: usize = 64;

/// A namespace's own number, which no other ever has (SO_NETNS_COOKIE, Linux 5.14).
type Cookie = u64;

/// The rules of a namespace, as long as nobody changes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    of: Cookie,
    generation: u32,
}

impl Moment {
    /// Nothing where a kernel does not tell, or where rules may change without a word of it.
    pub(super) fn of(socket: RawFd, generation: u32) -> Option<Self> {
        let of = socket::netns_cookie(socket).ok()?;
        (generation != 0).then_some(Self { of, generation })
    }

    /// Whether these are the rules of then, and what they lead to hangs on nothing that changes beside them: tables of
    /// iptables' own, sets of ipset, and maps that packets fill.
    pub fn says_all(self, rules: &Ruleset) -> bool {
        let fleeting = |table: &Table| {
            let filled = |set: &Set| set.map && set.dynamic;
            table.legacy || table.sets.iter().any(filled)
        };
        let steady = rules.ipsets.is_empty() && !rules.tables.iter().any(fleeting);
        steady && rules.generation == self.generation
    }
}

struct Kept {
    of: Cookie,
    comments: bool,
    rules: Weak<Ruleset>,
}

static LAST: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// The rules of that generation, where somebody still has them; and what they say of themselves, where that is wanted.
pub fn before(socket: RawFd, generation: u32, comments: bool) -> Option<Arc<Ruleset>> {
    let cookie = socket::netns_cookie(socket).ok()?;
    let all = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |kept: &&Kept| kept.of == cookie && (kept.comments || !comments);
    let mut rules = all
        .iter()
        .filter(same)
        .filter_map(|kept| kept.rules.upgrade());
    rules.find(|rules| generation != 0 && rules.generation == generation)
}

/// Remembers them for as long as somebody holds them. Who reads them for a moment takes none from who keeps them.
pub fn keep(socket: RawFd, rules: &Arc<Ruleset>, comments: bool) {
    let Ok(of) = socket::netns_cookie(socket) else {
        return;
    };
    let mut all = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|kept| {
        let now = |held: Arc<Ruleset>| kept.of != of || held.generation == rules.generation;
        kept.rules.upgrade().is_some_and(now)
    });
    if all.len() < MOST {
        all.push(Kept {
            of,
            comments,
            rules: Arc::downgrade(rules),
        });
    }
}

/// The same set as it was then, where packets change nothing in it: no element comes, goes or counts by itself.
pub fn same<'a>(
    before: &'a Ruleset,
    (table, number): (&Table, usize),
    set: &Set,
) -> Option<&'a Set> {
    let own = |other: &&Table| {
        !other.legacy && (other.family, &other.name) == (table.family, &table.name)
    };
    let had = before.tables.iter().find(own)?.sets.get(number)?;
    let counts = had.elements.iter().any(|one| !one.expressions.is_empty());
    let whole = had.name == set.name && !had.partly && !counts;
    (whole && !set.dynamic && !had.dynamic).then_some(had)
}
