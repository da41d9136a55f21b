//! Loads the programs one by one: a rejection takes away one feature, with a sentence.
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Mutex,
};

use anyhow::{Context, Result, bail};
use aya::{
    Btf as AyaBtf, Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{
        Array, HashMap as BpfHashMap, MapData, MapError,
        lpm_trie::{Key, LpmTrie},
    },
    programs::{Program, ProgramError},
};
use aya_log::EbpfLogger;
use netdiag_common::{
    config::{HopSettings, MAX_VXLAN_PORTS, NETNS_NODE, NETNS_POD, Offsets},
    filter::{Rules, SELECTION},
    hop::Limit,
};

use super::{
    btf::Btf,
    offsets,
    refusal::{self, Broken},
    sizes, version,
};
use crate::model::{
    address::{Prefix, to_wire},
    reason::Reasons,
    selection::Selected,
    verdict::NotChecked,
};
use crate::sys::file;

/// Most bytes of a kernel's types: distributions' have some six million.
const LARGEST_BTF: usize = 64 << 20;

/// Programs that are loaded at once at most: a node's processors have other work.
const LOADERS: usize = 4;

/// How a program reaches the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Attached per link, see [`super::attach`].
    Tc,
    /// With the tracepoint's name.
    BtfTracepoint(&'static str),
}

/// One program: what is lost without it.
pub(super) struct Entry {
    pub program: &'static str,
    kind: Kind,
    feature: &'static str,
}

/// Which programs go to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    Tracing,
    /// Programs that do nothing, at the same hooks: what the hooks alone cost.
    Empty,
}

impl Set {
    fn entries(self) -> &'static [Entry] {
        match self {
            Self::Tracing => &PROGRAMS,
            Self::Empty => &EMPTY,
        }
    }
}

/// Every program that traces. None is required: each takes its own feature with it.
pub(super) const PROGRAMS: [Entry; 9] = [
    Entry {
        program: "hop_ingress",
        kind: Kind::Tc,
        feature: "packets entering Ethernet hops",
    },
    Entry {
        program: "hop_egress",
        kind: Kind::Tc,
        feature: "packets leaving Ethernet hops",
    },
    Entry {
        program: "uplink_ingress",
        kind: Kind::Tc,
        feature: "packets entering uplinks",
    },
    Entry {
        program: "uplink_egress",
        kind: Kind::Tc,
        feature: "packets leaving uplinks",
    },
    Entry {
        program: "l3_ingress",
        kind: Kind::Tc,
        feature: "packets entering layer-3 tunnels",
    },
    Entry {
        program: "l3_egress",
        kind: Kind::Tc,
        feature: "packets leaving layer-3 tunnels",
    },
    Entry {
        program: "kfree_skb",
        kind: Kind::BtfTracepoint("kfree_skb"),
        feature: "dropped packets",
    },
    Entry {
        program: "tcp_retransmit_skb",
        kind: Kind::BtfTracepoint("tcp_retransmit_skb"),
        feature: "retransmits by sockets",
    },
    Entry {
        program: "mark_victim",
        kind: Kind::BtfTracepoint("mark_victim"),
        feature: "processes killed for want of memory",
    },
];

const EMPTY: [Entry; 2] = [
    Entry {
        program: "empty",
        kind: Kind::Tc,
        feature: "the cost of hops",
    },
    Entry {
        program: "empty_kfree_skb",
        kind: Kind::BtfTracepoint("kfree_skb"),
        feature: "the cost of drops",
    },
];

/// Names of the programs that links can have.
pub fn on_links() -> impl Iterator<Item = &'static str> {
    let all = PROGRAMS.iter().chain(&EMPTY);
    all.filter(|it| it.kind == Kind::Tc).map(|it| it.program)
}

/// The loaded kernel side.
pub struct Programs {
    pub(super) ebpf: Ebpf,
    pub(super) set: Set,
    pub reasons: Reasons,
    /// Features that this kernel does not give, with why.
    pub missing: Vec<NotChecked>,
    /// Tracepoints attached.
    pub tracepoints: u64,
    /// Passes the programs' own messages on, where they are wanted.
    pub(super) unread: super::read::Unread,
    /// Records taken from the ring.
    pub(super) delivered: u64,
    pub(super) logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

/// What the programs are told before they are loaded.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub set: Set,
    /// What is asked of each packet (bits of [`netdiag_common::filter`]).
    pub packets: u32,
    /// Turns on the programs' own messages.
    pub debug: bool,
    /// Bytes of the ring, where they are not the usual ones.
    pub ring: Option<u32>,
}

impl Asked {
    /// Without messages.
    pub fn quietly(packets: u32) -> Self {
        Self {
            set: Set::Tracing,
            packets,
            debug: false,
            ring: None,
        }
    }
}

/// Loads what this kernel takes.
pub fn load(root: &Path, asked: &Asked) -> Result<Programs> {
    let mut missing = Vec::new();
    let btf = match kernel_btf(root) {
        Ok(btf) => Some(btf),
        Err(e) => {
            let why = format!("{e:#}");
            missing.push(NotChecked::new("drops and socket retransmits", why));
            None
        }
    };
    let (offsets, reasons) = match &btf {
        Some((btf, _)) => (
            Some(offsets::offsets(btf)?),
            Reasons::new(btf.enumeration("skb_drop_reason").unwrap_or_default()),
        ),
        None => (None, Reasons::default()),
    };
    let mut ebpf = load_object(offsets, btf.as_ref().map(|(_, aya)| aya), asked)?;
    let logger = if asked.debug {
        Some(EbpfLogger::init(&mut ebpf)?)
    } else {
        None
    };
    let mut programs = Programs {
        ebpf,
        set: asked.set,
        reasons,
        missing,
        tracepoints: 0,
        unread: super::read::Unread::default(),
        delivered: 0,
        logger,
    };
    programs.load_each(btf.as_ref().map(|(_, aya)| aya));
    programs.ignore_normal_reasons()?;
    Ok(programs)
}

/// The running kernel's BTF, for our walker and for aya.
pub fn kernel_btf(root: &Path) -> Result<(Btf, AyaBtf)> {
    let path = root.join("sys/kernel/btf/vmlinux");
    let bytes = file::read(&path, LARGEST_BTF).with_context(|| {
        format!(
            "this kernel has no BTF at {} (CONFIG_DEBUG_INFO_BTF)",
            path.display()
        )
    })?;
    let aya =
        AyaBtf::parse(&bytes, aya::Endianness::default()).context("parsing the kernel's BTF")?;
    Ok((Btf::parse(bytes).context("reading the kernel's BTF")?, aya))
}

pub(super) fn load_object(
    offsets: Option<Offsets>,
    btf: Option<&AyaBtf>,
    asked: &Asked,
) -> Result<Ebpf> {
    // aya-log's number for debug messages; 0 turns all of them off.
    let level: u8 = if asked.debug { 4 } else { 0 };
    let mut loader = EbpfLoader::new();
    loader.btf(btf).verifier_log_level(log_level());
    loader.override_global("AYA_LOG_LEVEL", &level, true);
    loader.override_global("FILTER", &asked.packets, true);
    let new_drops = sizes::new_drops();
    loader.override_global("NEW_DROPS", &new_drops, true);
    if let Some(offsets) = &offsets {
        loader.override_global("OFFSETS", offsets, true);
    }
    for (name, entries) in sizes::wanted(sizes::possible_cpus()?, asked.packets & SELECTION != 0) {
        loader.map_max_entries(name, entries);
    }
    if let Some(bytes) = asked.ring {
        loader.map_max_entries("EVENTS", bytes);
    }
    let object = aya::include_bytes_aligned!(env!("NETDIAG_BPF_OBJECT"));
    loader.load(object).map_err(refusal::of_object)
}

/// The verifier's log is wanted with -v only, and costs when it is.
fn log_level() -> VerifierLogLevel {
    if log::log_enabled!(log::Level::Info) {
        VerifierLogLevel::VERBOSE | VerifierLogLevel::STATS
    } else {
        VerifierLogLevel::STATS
    }
}

impl Programs {
    fn load_each(&mut self, btf: Option<&AyaBtf>) {
        let traces = version::survives_stale_pointers();
        if btf.is_some() && !traces {
            let what = "drops, retransmits by sockets and processes killed for want of memory";
            self.missing
                .push(NotChecked::new(what, version::NO_TRACEPOINTS));
        }
        let fits = |entry: &&Entry| entry.kind == Kind::Tc || (btf.is_some() && traces);
        let wanted: Vec<&Entry> = self.set.entries().iter().filter(fits).collect();
        let mut loaded = load_at_once(&mut self.ebpf, &wanted, btf);
        for entry in wanted {
            let loaded = loaded.remove(entry.program);
            match loaded.context("missing from the eBPF object").flatten() {
                Ok(()) if entry.kind != Kind::Tc => self.tracepoints += 1,
                Ok(()) => {}
                Err(e) => {
                    log::info!("{}: {e:#}", entry.program);
                    let why = format!("program {} was not accepted: {}", entry.program, short(&e));
                    self.missing.push(NotChecked::new(entry.feature, why));
                }
            }
        }
    }

    fn ignore_normal_reasons(&mut self) -> Result<()> {
        let normal: Vec<u32> = self.reasons.normal().collect();
        let mut map: Array<_, u8> = self.map("IGNORED_REASONS")?;
        for reason in normal {
            // Reasons of subsystems lie above the table; none of them is normal.
            let _ = map.set(reason, 1, 0);
        }
        Ok(())
    }

    pub(super) fn map<'a, M>(&'a mut self, name: &str) -> Result<M>
    where
        M: TryFrom<&'a mut aya::maps::Map, Error = MapError>,
    {
        let map = self.ebpf.map_mut(name);
        let map = map.ok_or_else(|| Broken::no_map(name))?;
        M::try_from(map).map_err(|_| Broken::other_map(name).into())
    }

    /// Tells the programs which namespaces are this node's. Returns how many of the pods' the table
    /// had no room for: those that are in it stay.
    pub fn set_namespaces(&mut self, node: u32, pods: &BTreeSet<u32>) -> Result<usize> {
        let mut map: BpfHashMap<_, u32, u8> = self.map("NETNS")?;
        let old: Vec<u32> = map.keys().flatten().collect();
        for gone in old.iter().filter(|n| **n != node && !pods.contains(n)) {
            let _ = map.remove(gone);
        }
        map.insert(node, NETNS_NODE, 0)
            .context("naming the node's namespace")?;
        let others = pods.iter().filter(|pod| **pod != node);
        Ok(others
            .filter(|pod| map.insert(**pod, NETNS_POD, 0).is_err())
            .count())
    }

    /// What `--filter` says.
    pub fn set_rules(&mut self, rules: &Rules) -> Result<()> {
        let mut map: Array<_, Rules> = self.map("RULES")?;
        map.set(0, rules, 0).context("writing the filter")
    }

    /// Whose packets are asked for. An entry that stays is never absent, and new ones come before
    /// old ones go: each packet is judged as before the change or as after it. Returns how many
    /// there was no room for.
    pub fn select(&mut self, selected: &Selected) -> Result<usize> {
        let addresses = replace(self.map("SELECTED")?, &selected.addresses);
        let places = replace(self.map("SELECTED_PLACES")?, &selected.places);
        Ok(addresses + places)
    }

    /// Replaces the longest-prefix table. Entries that stay are never absent meanwhile. Returns
    /// how many routes the table had no room for.
    pub fn set_limits(&mut self, rows: &[(Prefix, Limit)], vxlan_ports: &[u16]) -> Result<usize> {
        let mut map: LpmTrie<_, [u8; 16], Limit> = self.map("LIMITS")?;
        let key = |p: &Prefix| Key::new(u32::from(p.wire_length()), to_wire(p.address));
        let old: Vec<Key<[u8; 16]>> = map.keys().flatten().collect();
        let refused =
            |(prefix, limit): &&(Prefix, Limit)| map.insert(&key(prefix), limit, 0).is_err();
        let refused = rows.iter().filter(refused).count();
        let same = |a: &Key<[u8; 16]>, b: &Key<[u8; 16]>| {
            a.prefix_len() == b.prefix_len() && a.data() == b.data()
        };
        for gone in old
            .iter()
            .filter(|o| !rows.iter().any(|(p, _)| same(o, &key(p))))
        {
            let _ = map.remove(gone);
        }
        let smallest = rows.iter().map(|(_, l)| l.bytes).filter(|b| *b > 0).min();
        let mut settings = HopSettings {
            smallest_limit: smallest.unwrap_or(0),
            ..HopSettings::default()
        };
        for (slot, port) in settings
            .vxlan_ports
            .iter_mut()
            .zip(vxlan_ports.iter().take(MAX_VXLAN_PORTS))
        {
            *slot = *port;
        }
        let mut map: Array<_, HopSettings> = self.map("HOP_SETTINGS")?;
        map.set(0, settings, 0)
            .context("writing the hops' settings")?;
        Ok(refused)
    }
}

fn replace<K: aya::Pod + Ord>(
    mut map: BpfHashMap<&mut MapData, K, u8>,
    wanted: &BTreeSet<K>,
) -> usize {
    let old: BTreeSet<K> = map.keys().flatten().collect();
    let refused = |key: &&K| map.insert(**key, 1, 0).is_err();
    let refused = wanted.difference(&old).filter(refused).count();
    for gone in old.difference(wanted) {
        let _ = map.remove(gone);
    }
    refused
}

/// The kernel verifies each for up to a tenth of a second, on as many processors as there are.
fn load_at_once(
    ebpf: &mut Ebpf,
    wanted: &[&Entry],
    btf: Option<&AyaBtf>,
) -> HashMap<&'static str, Result<()>> {
    let entry = |name: &str| wanted.iter().find(|entry| entry.program == name).copied();
    let programs = ebpf.programs_mut();
    let programs = programs.filter_map(|(name, program)| Some((entry(name)?, program)));
    let left = Mutex::new(programs.collect::<Vec<_>>());
    let next = || left.lock().ok()?.pop();
    let load = || {
        let one = |(entry, program): (&Entry, _)| (entry.program, load_one(program, entry, btf));
        std::iter::from_fn(next).map(one).collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(LOADERS));
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(load)).collect();
        let mut all: HashMap<_, _> = load().into_iter().collect();
        let theirs = others.into_iter().filter_map(|thread| thread.join().ok());
        all.extend(theirs.flatten());
        all
    })
}

fn load_one(program: &mut Program, entry: &Entry, btf: Option<&AyaBtf>) -> Result<()> {
    match program {
        // Attached to links, later.
        Program::SchedClassifier(tc) => tc.load().map_err(refusal::of_program),
        program => {
            accept(program, entry, btf.context("no BTF")?).map_err(refusal::of_program)?;
            let Program::BtfTracePoint(program) = program else {
                bail!("of an unknown kind");
            };
            program.attach().context("attaching").map(drop)
        }
    }
}

/// Has the kernel verify a program.
pub(super) fn accept(
    program: &mut Program,
    entry: &Entry,
    btf: &AyaBtf,
) -> Result<(), ProgramError> {
    match (program, entry.kind) {
        (Program::SchedClassifier(tc), Kind::Tc) => tc.load(),
        (Program::BtfTracePoint(program), Kind::BtfTracepoint(tracepoint)) => {
            program.load(tracepoint, btf)
        }
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// The first line of an error: verifier logs do not belong into a sentence.
fn short(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::link_filters::OWN;

    #[test]
    fn no_own_program_is_taken_for_somebody_elses() {
        assert!(on_links().eq(OWN));
        // The kernel keeps 15 characters (BPF_OBJ_NAME_LEN).
        assert!(OWN.iter().all(|name| name.len() < 16));
    }
}
