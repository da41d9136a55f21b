//! Attaches the hop programs to links. tcx on the few infrastructure hooks, and on pods' links
//! while those are few: cheapest per packet, it goes with its process, and the link's queues run
//! on. clsact where pods are many, and everywhere on kernels before 6.6: each tcx attachment waits
//! for an RCU grace period under rtnl, which on a thousand veths keeps pods from starting. clsact
//! is quick, but a new qdisc stops the link for a moment (`dev_deactivate`, net/sched/sch_generic.c:
//! a packet of a busy pod may be lost), and it stays after a kill, hence the ledger. Where others have
//! tcx programs it is tcx whatever their number: what those let pass never comes to clsact's filters.
mod again;
mod others;
mod proof;
#[cfg(test)]
mod tests;
mod told;

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Instant,
};

use anyhow::{Context, Result};
use aya::programs::Program;

use again::Again;
pub use others::has_others;
use proof::Proof;
pub use told::{bypassed, not_covered};

use super::{
    ledger::{Entry, Ledger},
    load::{Programs, Set},
    rtnl::Rtnl,
    sweep,
    tc::{self, Filter, Side},
    watch::Watch,
};
use crate::{
    model::{
        filter,
        node::{Link, Node},
        roles::{Outline, Role, Roles},
    },
    sys::bpf::{self, Way},
};

/// Upper half of our filters' handles: "nd". The lower half tells processes apart.
pub const HANDLE_MARK: u16 = 0x6e64;

/// As long as pods' links are so few, tcx on all of them takes half a second (~12 ms a hook).
const FEW: usize = 24;

/// Links that are given clsact qdiscs before any of them gets its filters.
const AT_ONCE: usize = 64;

/// Before others' filters, since theirs may end the walk.
const FIRST: u16 = 1;

/// Those that a filter of ours can have.
pub const PRIORITIES: [u16; 2] = [FIRST, HANDLE_MARK];

/// Programs that fit a link.
fn programs(set: Set, link: &Link, role: Role) -> (&'static str, &'static str) {
    match (set, link.ethernet, role) {
        (Set::Empty, ..) => ("empty", "empty"),
        (Set::Tracing, false, _) => ("l3_ingress", "l3_egress"),
        (Set::Tracing, true, Role::Uplink) => ("uplink_ingress", "uplink_egress"),
        (Set::Tracing, true, _) => ("hop_ingress", "hop_egress"),
    }
}

/// One program on one side of a link, by what takes it off again.
enum Hook {
    /// For as long as it is held.
    Tcx(OwnedFd),
    Clsact(Filter),
}

/// With its program's name.
type Named = (&'static str, Hook);

/// A link that is covered.
struct Covered {
    name: String,
    hooks: Vec<Named>,
    /// When what it was covered for was asked or told.
    known: Instant,
}

/// The programs that links can have.
#[derive(Default)]
struct Attachable {
    /// Held apart from what loaded them, so that a link need not wait until that has time.
    fds: HashMap<String, OwnedFd>,
    /// The kernel's numbers of them.
    numbers: Vec<u32>,
}

impl Attachable {
    fn new(programs: &Programs) -> Self {
        let mut all = Self::default();
        for (name, program) in programs.ebpf.programs() {
            let Program::SchedClassifier(tc) = program else {
                continue;
            };
            let fd = tc
                .fd()
                .ok()
                .and_then(|fd| fd.as_fd().try_clone_to_owned().ok());
            all.fds.extend(fd.map(|fd| (name.to_owned(), fd)));
            all.numbers.extend(tc.info().ok().map(|info| info.id()));
        }
        all
    }

    fn fd(&self, name: &str) -> Result<&OwnedFd> {
        let fd = self.fds.get(name);
        fd.with_context(|| format!("the kernel was not given a tc program {name}"))
    }
}

/// The links that are covered now.
pub struct Hooks {
    programs: Attachable,
    set: Set,
    /// Globs of the links that somebody asked for; none where all are.
    only: Vec<String>,
    /// Of the last reading.
    outline: Outline,
    covered: HashMap<u32, Covered>,
    ledger: Ledger,
    /// Links whose clsact qdisc another netdiag created that still runs here, once that was asked.
    others: Option<HashSet<(u32, String)>>,
    /// Links that were given a clsact qdisc, or why not, until they are covered.
    qdiscs: HashMap<u32, Result<()>>,
    rtnl: Rtnl,
    watch: Watch,
    /// Links that could not be covered, by name.
    pub failed: HashMap<String, String>,
    /// The kernel has it, as far as is known.
    tcx: bool,
    /// Pods' links are few enough for it.
    few: bool,
    /// Links that are given their programs in the background.
    awaited: HashSet<u32>,
    again: Again,
    proof: Proof,
    closed: bool,
}

impl Hooks {
    /// In this thread's namespace.
    pub fn new(netns: u32, programs: &Programs, only: &[String]) -> Result<Self> {
        let low = (std::process::id() & 0xffff).max(1);
        let mark = u32::from(HANDLE_MARK) << 16 | low;
        let set = programs.set;
        let proof = Proof::new(programs);
        let programs = Attachable::new(programs);
        Ok(Self {
            ledger: Ledger::open(netns, mark, programs.numbers.clone())?,
            programs,
            set,
            only: only.to_vec(),
            outline: Outline::default(),
            covered: HashMap::new(),
            others: None,
            qdiscs: HashMap::new(),
            rtnl: Rtnl::new(),
            watch: Watch::new(),
            failed: HashMap::new(),
            tcx: true,
            few: true,
            awaited: HashSet::new(),
            again: Again::default(),
            proof,
            closed: false,
        })
    }

    /// There are more of them than at first.
    pub fn know(&mut self, programs: &Programs) {
        self.programs = Attachable::new(programs);
        self.ledger.programs.clone_from(&self.programs.numbers);
    }

    /// Hooks attached now, ingress and egress counted apart.
    pub fn count(&self) -> u64 {
        self.covered.values().map(|c| c.hooks.len() as u64).sum()
    }

    /// Covers the few links that all packets pass, before much is known of the node.
    pub fn cover_first(&mut self, node: &Node, begun: Instant) {
        let mut targets = self.targets(node);
        self.outline = Outline::new(node);
        targets.retain(|(link, role)| link.ethernet && *role != Role::Pod);
        self.add(targets, begun);
    }

    /// Covers the node's links as they were when reading them began: new ones are attached to, those
    /// that are gone or changed their programs are let go. What was covered since is newer. Returns those
    /// that are better covered in the background: each tcx hook of theirs takes its time.
    pub fn follow(&mut self, node: &Node, begun: Instant) -> Vec<Link> {
        let mut targets = self.targets(node);
        self.outline = Outline::new(node);
        self.few = targets.iter().filter(|(_, r)| *r == Role::Pod).count() <= FEW;
        let set = self.set;
        let ingress = |(link, role): &(&Link, Role)| (link.index, programs(set, link, *role).0);
        let ingress: HashMap<u32, &str> = targets.iter().map(ingress).collect();
        let stays = |index: &u32, covered: &Covered| {
            let wanted = ingress.get(index);
            let has = covered.hooks.iter().any(|(name, _)| Some(name) == wanted);
            has || covered.known > begun
        };
        let gone = self.covered.iter().filter(|(i, c)| !stays(i, c));
        let gone: Vec<u32> = gone.map(|(index, _)| *index).collect();
        for index in gone {
            self.release(index);
        }
        self.prove(node, begun);
        let later = self.later(&mut targets);
        self.add(targets, begun);
        later
    }

    /// Covers a link that has just come or changed, by what the kernel said of it alone: a pod's first
    /// packets are what shows whether it was set up well. Lets go of none: not everything is known.
    pub fn cover_new(&mut self, link: &Link) {
        if self.closed {
            return;
        }
        let known = self.outline.hear(link);
        let known = known.iter().filter(|(link, _)| self.wants(link));
        let targets = known.map(|(link, role)| (link, *role)).collect();
        self.few &= self.covered.len() <= FEW;
        self.add(targets, Instant::now());
    }

    /// The links that are to be covered.
    fn targets<'a>(&self, node: &'a Node) -> Vec<(&'a Link, Role)> {
        let roles = Roles::new(node);
        let links = node.links.iter().filter(|link| self.wants(link));
        links
            .filter_map(|link| Some((link, roles.of(link)?)))
            .collect()
    }

    fn wants(&self, link: &Link) -> bool {
        let asked = |pattern: &String| filter::glob(pattern, &link.name);
        self.only.is_empty() || self.only.iter().any(asked)
    }

    fn add(&mut self, mut new: Vec<(&Link, Role)>, known: Instant) {
        let now = Instant::now();
        new.retain(|(link, _)| {
            !self.covered.contains_key(&link.index) && !self.again.waits(link.index, now)
        });
        self.others = None;
        // The few that all packets pass come first.
        new.sort_by_key(|(_, role)| *role == Role::Pod);
        for some in new.chunks(AT_ONCE) {
            let by_clsact = some
                .iter()
                .filter(|(link, role)| !self.takes_tcx(link, *role));
            let by_clsact: Vec<&Link> = by_clsact.map(|(link, _)| *link).collect();
            self.give_qdiscs(&by_clsact);
            for (link, role) in some {
                self.cover(link, *role, known);
            }
        }
        self.qdiscs.clear();
    }

    fn cover(&mut self, link: &Link, role: Role, known: Instant) {
        self.awaited.remove(&link.index);
        match self.attach(link, role) {
            Ok(hooks) => {
                self.failed.remove(&link.name);
                self.again.covered(link.index);
                let name = link.name.clone();
                let covered = Covered { name, hooks, known };
                self.covered.insert(link.index, covered);
            }
            // A link that vanished between the listing and now is no failure.
            Err(e) if !exists(&link.name, link.index) => {
                log::debug!("{} went away: {e:#}", link.name)
            }
            Err(e) => {
                self.failed.insert(link.name.clone(), format!("{e:#}"));
            }
        }
    }

    fn attach(&mut self, link: &Link, role: Role) -> Result<Vec<Named>> {
        let (ingress, egress) = programs(self.set, link, role);
        let sides = [(ingress, Side::Ingress), (egress, Side::Egress)];
        if self.takes_tcx(link, role) {
            match self.attach_both(link, &sides) {
                Ok(hooks) => return Ok(hooks),
                Err(e) if !exists(&link.name, link.index) => return Err(e),
                Err(e) => {
                    log::debug!("no tcx on this kernel, clsact instead: {e:#}");
                    self.tcx = false;
                }
            }
        }
        self.attach_clsact(link, &sides)
    }

    fn attach_clsact(
        &mut self,
        link: &Link,
        sides: &[(&'static str, Side); 2],
    ) -> Result<Vec<Named>> {
        if !self.qdiscs.contains_key(&link.index) {
            self.give_qdiscs(&[link]);
        }
        if let Some(Err(e)) = self.qdiscs.remove(&link.index) {
            return Err(e);
        }
        let mut hooks = Vec::new();
        for (name, side) in sides {
            let hook = self.attach_filter(link, name, *side)?;
            hooks.push((*name, hook));
        }
        self.hear();
        Ok(hooks)
    }

    /// Gives links clsact qdiscs where they have none. Written down before the filters come, for many
    /// at a time, because it is the whole ledger that is written. A kill between adding the qdiscs
    /// and noting them as ours leaves empty ones: the other order could take away somebody else's.
    fn give_qdiscs(&mut self, links: &[&Link]) {
        if links.is_empty() {
            return;
        }
        links.iter().for_each(|link| self.note(link, false));
        let failed = |e: anyhow::Error| format!("{e:#}");
        let written = self.ledger.save().map_err(failed);
        let mut given: HashMap<u32, Result<bool, String>> = HashMap::new();
        for link in links {
            let made = written.clone().and_then(|()| self.give_qdisc(link));
            if made == Ok(true) {
                self.note(link, true);
            }
            given.insert(link.index, made);
        }
        let written = written.and_then(|()| self.ledger.save().map_err(failed));
        let of = |given: Result<bool, String>| {
            given
                .and_then(|_| written.clone())
                .map_err(anyhow::Error::msg)
        };
        let given = given.into_iter().map(|(index, given)| (index, of(given)));
        self.qdiscs.extend(given);
    }

    /// Whether the link's qdisc is ours to take away.
    fn give_qdisc(&mut self, link: &Link) -> Result<bool, String> {
        match tc::add_clsact(&mut self.rtnl, link.index) {
            Ok(()) => Ok(true),
            // Of two that trace at once the last to end takes away what the first created.
            Err(e) if e.is(&[libc::EEXIST]) => {
                let ledger = &self.ledger;
                let others = self.others.get_or_insert_with(|| ledger.qdiscs_of_others());
                Ok(others.contains(&(link.index, link.name.clone())))
            }
            Err(e) => Err(format!("adding a clsact qdisc: {e}")),
        }
    }

    /// A priority takes one kind of filter only. Where another kind holds the first, tcx comes
    /// before all of clsact; kernels without it have us come last.
    fn attach_filter(&mut self, link: &Link, name: &str, side: Side) -> Result<Hook> {
        let program = self.programs.fd(name)?;
        let fd = program.as_raw_fd();
        let handle = self.ledger.handle;
        let filter = |priority| Filter {
            side,
            priority,
            handle,
        };
        let rtnl = &mut self.rtnl;
        let mut add = |filter| tc::add_filter(rtnl, link.index, filter, fd, name).map(|()| filter);
        if let Ok(filter) = add(filter(FIRST)) {
            return Ok(Hook::Clsact(filter));
        }
        if let Ok(held) = attach_tcx(program, link, side) {
            return Ok(Hook::Tcx(held));
        }
        let last = add(filter(HANDLE_MARK)).map(Hook::Clsact);
        last.with_context(|| format!("attaching to {} by clsact", link.name))
    }

    fn attach_both(&self, link: &Link, sides: &[(&'static str, Side); 2]) -> Result<Vec<Named>> {
        let both = sides.iter().map(|(name, side)| {
            let held = attach_tcx(self.programs.fd(name)?, link, *side)?;
            Ok((*name, Hook::Tcx(held)))
        });
        both.collect()
    }

    /// Notes on which links others changed qdiscs or filters: those qdiscs stay.
    pub fn hear(&mut self) {
        let heard = self.watch.hear(&self.rtnl.ports);
        let mut news = false;
        self.again.hear(&heard);
        for entry in &mut self.ledger.entries {
            let touched = !entry.others && heard.touches(entry.ifindex);
            entry.others |= touched;
            news |= touched;
        }
        // What a kill would forget is known to this run all the same.
        if news && let Err(e) = self.ledger.save() {
            log::debug!("{e:#}");
        }
    }

    fn note(&mut self, link: &Link, qdisc_ours: bool) {
        let same = |e: &Entry| e.ifindex == link.index && e.interface == link.name;
        match self.ledger.entries.iter_mut().find(|e| same(e)) {
            Some(entry) => entry.qdisc_ours |= qdisc_ours,
            None => self.ledger.entries.push(Entry {
                ifindex: link.index,
                interface: link.name.clone(),
                qdisc_ours,
                others: false,
            }),
        }
    }

    fn release(&mut self, index: u32) {
        let Some(covered) = self.covered.remove(&index) else {
            return;
        };
        self.proof.forget(index);
        let filters = covered
            .hooks
            .into_iter()
            .filter_map(|(_, hook)| match hook {
                Hook::Tcx(held) => {
                    drop(held);
                    None
                }
                Hook::Clsact(filter) => Some(filter),
            });
        for filter in filters {
            let ours = &self.ledger.programs;
            if let Err(e) = tc::delete_ours(&mut self.rtnl, index, filter, ours) {
                log::debug!("{}: {e}", covered.name);
            }
        }
        // Gone with all that was on it.
        if !exists(&covered.name, index) {
            self.ledger.entries.retain(|e| e.ifindex != index);
        }
    }

    /// Detaches everything and takes away the qdiscs that we created. Nothing is covered after that.
    pub fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.hear();
        let indexes: Vec<u32> = self.covered.keys().copied().collect();
        for index in indexes {
            self.release(index);
        }
        let swept = sweep::links(&mut self.rtnl, &mut self.watch, &self.ledger);
        if swept.troubles.is_empty() {
            return self.ledger.remove();
        }
        for trouble in swept.troubles {
            log::warn!("{trouble}");
        }
    }
}

/// A beginning that fails leaves the node as it was found, too.
impl Drop for Hooks {
    fn drop(&mut self) {
        self.close();
    }
}

/// Pods' links have names that come again: it is gone where another one has its name.
fn exists(name: &str, index: u32) -> bool {
    nix::net::if_::if_nametoindex(name).is_ok_and(|now| now == index)
}

fn attach_tcx(program: &OwnedFd, link: &Link, side: Side) -> Result<OwnedFd> {
    let way = match side {
        Side::Ingress => Way::TcxIngress,
        Side::Egress => Way::TcxEgress,
    };
    let held = bpf::hold_on_link(link.index, program, way);
    held.with_context(|| format!("attaching to {} by tcx", link.name))
}
