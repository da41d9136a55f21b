//! Attaches the hop programs to links. tcx on the few infrastructure hooks, and on pods' links
//! while those are few: cheapest per packet, it goes with its process, and the link's queues run
//! on. clsact where pods are many, and everywhere on kernels before 6.6: each tcx attachment waits
//! for an RCU grace period under rtnl, which on a thousand veths keeps pods from starting. clsact
//! is quick, but a new qdisc stops the link for a moment (`dev_deactivate`, net/sched/sch_generic.c:
//! a packet of a busy pod may be lost), and it stays after a kill, hence the ledger.
use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result};
use aya::programs::{
    LinkOrder, Program, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLinkId, TcAttachOptions, TcHandle},
};
use rtnetlink::Handle;

use super::{
    ledger::{Entry, Ledger},
    load::{Programs, Set},
    sweep,
};
use crate::model::{
    node::{Link, Node},
    roles::{Role, role},
    verdict::NotChecked,
};

/// Upper half of our filters' handles: "nd". The lower half tells processes apart.
pub const HANDLE_MARK: u16 = 0x6e64;

/// As long as pods' links are so few, tcx on all of them takes half a second (~12 ms a hook).
const FEW: usize = 24;

/// Before others' filters, since theirs may end the walk.
const FIRST: u16 = 1;

/// Programs that fit a link.
fn programs(set: Set, link: &Link, role: Role) -> (&'static str, &'static str) {
    match (set, link.ethernet, role) {
        (Set::Empty, ..) => ("empty", "empty"),
        (Set::Tracing, false, _) => ("l3_ingress", "l3_egress"),
        (Set::Tracing, true, Role::Uplink) => ("uplink_ingress", "uplink_egress"),
        (Set::Tracing, true, _) => ("hop_ingress", "hop_egress"),
    }
}

/// A link that is covered.
struct Covered {
    name: String,
    /// Programs and links of aya's, to detach by.
    links: Vec<(&'static str, SchedClassifierLinkId)>,
}

/// The links that are covered now.
pub struct Hooks {
    covered: HashMap<u32, Covered>,
    ledger: Ledger,
    /// Links whose clsact qdisc another netdiag created that still runs here.
    others: HashSet<(u32, String)>,
    handle: Handle,
    /// Links that could not be covered, by name.
    pub failed: HashMap<String, String>,
    /// The kernel has it, as far as is known.
    tcx: bool,
    /// Pods' links are few enough for it.
    few: bool,
}

impl Hooks {
    pub fn new(netns: u32, handle: Handle) -> Result<Self> {
        let low = (std::process::id() & 0xffff) as u16;
        let mark = u32::from(TcHandle::new(HANDLE_MARK, low.max(1)));
        Ok(Self {
            covered: HashMap::new(),
            ledger: Ledger::open(netns, mark)?,
            others: HashSet::new(),
            handle,
            failed: HashMap::new(),
            tcx: true,
            few: true,
        })
    }

    /// Hooks attached now, ingress and egress counted apart.
    pub fn count(&self) -> u64 {
        self.covered.values().map(|c| c.links.len() as u64).sum()
    }

    /// Covers the node's links as they are now: new ones are attached to, those that are gone or
    /// changed their programs are let go.
    pub fn follow(
        &mut self,
        programs: &mut Programs,
        node: &Node,
        wanted: &dyn Fn(&Link) -> bool,
    ) -> Result<()> {
        let targets: Vec<(&Link, Role)> = node
            .links
            .iter()
            .filter(|l| wanted(l))
            .filter_map(|l| role(node, l).map(|r| (l, r)))
            .collect();
        self.few = targets.iter().filter(|(_, r)| *r == Role::Pod).count() <= FEW;
        let set = programs.set;
        let stays = |index: u32, covered: &Covered| {
            targets.iter().any(|(l, r)| {
                let (ingress, _) = self::programs(set, l, *r);
                l.index == index && covered.links.iter().any(|(name, _)| *name == ingress)
            })
        };
        let gone: Vec<u32> = self
            .covered
            .iter()
            .filter(|(index, covered)| !stays(**index, covered))
            .map(|(index, _)| *index)
            .collect();
        for index in gone {
            self.release(programs, index);
        }
        let covered = &self.covered;
        let new = targets
            .into_iter()
            .filter(|(l, _)| !covered.contains_key(&l.index))
            .collect::<Vec<_>>();
        if !new.is_empty() {
            self.others = self.ledger.qdiscs_of_others();
        }
        for (link, role) in new {
            self.cover(programs, link, role);
        }
        Ok(())
    }

    fn cover(&mut self, programs: &mut Programs, link: &Link, role: Role) {
        match self.attach(programs, link, role) {
            Ok(links) => {
                self.failed.remove(&link.name);
                let name = link.name.clone();
                self.covered.insert(link.index, Covered { name, links });
            }
            // A link that vanished between the listing and now is no failure.
            Err(e) if !exists(&link.name) => log::debug!("{} went away: {e:#}", link.name),
            Err(e) => {
                self.failed.insert(link.name.clone(), format!("{e:#}"));
            }
        }
    }

    fn attach(
        &mut self,
        programs: &mut Programs,
        link: &Link,
        role: Role,
    ) -> Result<Vec<(&'static str, SchedClassifierLinkId)>> {
        let (ingress, egress) = self::programs(programs.set, link, role);
        let sides = [
            (ingress, TcAttachType::Ingress),
            (egress, TcAttachType::Egress),
        ];
        if self.tcx && (self.few || role != Role::Pod) {
            match attach_tcx(programs, link, &sides) {
                Ok(links) => return Ok(links),
                Err(e) if !exists(&link.name) => return Err(e),
                Err(e) => {
                    log::debug!("no tcx on this kernel, clsact instead: {e:#}");
                    self.tcx = false;
                }
            }
        }
        self.attach_clsact(programs, link, &sides)
    }

    fn attach_clsact(
        &mut self,
        programs: &mut Programs,
        link: &Link,
        sides: &[(&'static str, TcAttachType); 2],
    ) -> Result<Vec<(&'static str, SchedClassifierLinkId)>> {
        // Written down before the filters come. A kill between adding the qdisc and noting it as
        // ours leaves an empty qdisc: the other order could take away somebody else's.
        self.record(link, false)?;
        let ours = match tc::qdisc_add_clsact(&link.name) {
            Ok(()) => true,
            // Of two that trace at once the last to end takes away what the first created.
            Err(e) if tc_exists(&e) => self.others.contains(&(link.index, link.name.clone())),
            Err(e) => return Err(e).context("adding a clsact qdisc"),
        };
        self.record(link, ours)?;
        let mut links = Vec::new();
        for (name, side) in sides {
            let id = attach_filter(programs, link, name, *side, self.ledger.handle)?;
            links.push((*name, id));
        }
        Ok(links)
    }

    fn record(&mut self, link: &Link, qdisc_ours: bool) -> Result<()> {
        let same = |e: &Entry| e.ifindex == link.index && e.interface == link.name;
        match self.ledger.entries.iter_mut().find(|e| same(e)) {
            Some(entry) => entry.qdisc_ours |= qdisc_ours,
            None => self.ledger.entries.push(Entry {
                ifindex: link.index,
                interface: link.name.clone(),
                qdisc_ours,
            }),
        }
        self.ledger.save()
    }

    fn release(&mut self, programs: &mut Programs, index: u32) {
        let Some(covered) = self.covered.remove(&index) else {
            return;
        };
        for (name, id) in covered.links {
            let detached = classifier(programs, name).map(|tc| tc.detach(id));
            if let Ok(Err(e)) = detached {
                log::debug!("{}: {e}", covered.name);
            }
        }
    }

    /// Detaches everything and takes away the qdiscs that we created.
    pub async fn close(mut self, programs: &mut Programs) {
        let indexes: Vec<u32> = self.covered.keys().copied().collect();
        for index in indexes {
            self.release(programs, index);
        }
        match sweep::links(&self.handle, &self.ledger).await {
            Ok(_) => self.ledger.remove(),
            Err(e) => log::warn!("{e:#}"),
        }
    }
}

fn exists(name: &str) -> bool {
    nix::net::if_::if_nametoindex(name).is_ok()
}

fn tc_exists(error: &tc::TcError) -> bool {
    match error {
        tc::TcError::NetlinkError(e) => e.raw_os_error() == Some(libc::EEXIST),
        tc::TcError::AlreadyAttached => true,
        _ => false,
    }
}

fn classifier<'a>(programs: &'a mut Programs, name: &str) -> Result<&'a mut SchedClassifier> {
    match programs.ebpf.program_mut(name) {
        Some(Program::SchedClassifier(tc)) => Ok(tc),
        _ => anyhow::bail!("the eBPF object has no tc program {name}"),
    }
}

fn attach_tcx(
    programs: &mut Programs,
    link: &Link,
    sides: &[(&'static str, TcAttachType); 2],
) -> Result<Vec<(&'static str, SchedClassifierLinkId)>> {
    let mut links = Vec::new();
    for (name, side) in sides {
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = classifier(programs, name)?
            .attach_with_options(&link.name, *side, options)
            .with_context(|| format!("attaching to {} by tcx", link.name))?;
        links.push((*name, id));
    }
    Ok(links)
}

fn attach_filter(
    programs: &mut Programs,
    link: &Link,
    name: &str,
    side: TcAttachType,
    mark: u32,
) -> Result<SchedClassifierLinkId> {
    let clsact = |priority| {
        TcAttachOptions::Netlink(NlOptions {
            priority,
            handle: TcHandle::from(mark),
            classid: None,
        })
    };
    // A priority takes one kind of filter only. Where another kind holds the first, tcx comes
    // before all of clsact; kernels without it have us come last.
    let ways = [
        clsact(FIRST),
        TcAttachOptions::TcxOrder(LinkOrder::first()),
        clsact(HANDLE_MARK),
    ];
    let mut last = None;
    for options in ways {
        match classifier(programs, name)?.attach_with_options(&link.name, side, options) {
            Ok(id) => return Ok(id),
            Err(e) => last = Some(e),
        }
    }
    let error = last.map_or_else(
        || anyhow::anyhow!("no priority is free"),
        anyhow::Error::new,
    );
    Err(error.context(format!("attaching to {} by clsact", link.name)))
}

/// What could not be covered, for the verdict.
pub fn not_covered(hooks: &Hooks) -> Vec<NotChecked> {
    told(&hooks.failed)
}

/// Links that are told by their names; of a node with a thousand of them, the number says enough.
const NAMED: usize = 8;

fn told(failed: &HashMap<String, String>) -> Vec<NotChecked> {
    let mut all: Vec<_> = failed.iter().collect();
    all.sort();
    let (named, others) = all.split_at(all.len().min(NAMED));
    let row = |(name, why): &(&String, &String)| {
        NotChecked::new(format!("packets on {name}"), why.as_str())
    };
    let mut rows: Vec<_> = named.iter().map(row).collect();
    if let Some((_, why)) = others.first() {
        let what = format!("packets on {} more links", others.len());
        rows.push(NotChecked::new(what, why.as_str()));
    }
    rows
}
