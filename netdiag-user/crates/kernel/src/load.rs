//! Loads the programs one by one: a rejection takes away one feature, with a sentence.
use netdiag_lang::mark;

pub(super) mod each;

use std::path::Path;

use anyhow::{Context, Result};
use aya::{
    Btf as AyaBtf, Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Array, MapError},
};
use aya_log::EbpfLogger;
use netdiag_common::{
    config::{FOLLOWED, HopSettings, Offsets},
    filter::SELECTION,
    hop::Limit,
};

use super::{
    flush::{self, Flush},
    offsets,
    reading::Reading,
    refusal::{self, BadObject},
    sizes,
    types::KernelTypes,
};
use crate::model::{address::Prefix, reason::Reasons, verdict::NotChecked};

/// And which when the hooks are there: layer-3 tunnels are rare.
const LATER: [&str; 2] = ["l3_ingress", "l3_egress"];

/// How a program reaches the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Attached per link, see [`super::attach`].
    Tc,
    /// With the tracepoint's name.
    BtfTracepoint(&'static str),
    /// Run when a reading asks for it.
    Flush,
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
        feature: "OOM-killed processes",
    },
];

/// Without it the others are loaded to go without the front cache.
pub(super) const FLUSH: Entry = Entry {
    program: flush::NAME,
    kind: Kind::Flush,
    feature: "the front cache",
};

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
    pub(super) flush: Flush,
    pub(super) settings: HopSettings,
    /// Of routes and ports, what the programs were told last, and how many found no room.
    pub(super) limits: (Vec<(Prefix, Limit)>, Vec<u16>, usize),
    /// By slot, the links whose sequences are followed at the level flows.
    pub(super) followed: Vec<u32>,
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
    /// How structs are read at tracepoints.
    pub reading: Reading,
}

impl Asked {
    /// Without messages.
    pub fn quietly(packets: u32) -> Self {
        Self {
            set: Set::Tracing,
            packets,
            debug: false,
            ring: None,
            reading: Reading::Auto,
        }
    }
}

/// Loads what this kernel takes.
pub fn load(root: &Path, asked: &Asked) -> Result<Programs> {
    let mut missing = Vec::new();
    let btf = match KernelTypes::read(root) {
        Ok(btf) => Some(btf),
        Err(e) => {
            let why = format!("{e:#}");
            missing.push(NotChecked::new(mark!("drops and socket retransmits"), why));
            None
        }
    };
    let (offsets, reasons) = match &btf {
        Some(KernelTypes { ours: btf, .. }) => (
            Some(offsets::offsets(btf, asked.reading.is_plain(root))?),
            Reasons::new(btf.enumeration("skb_drop_reason").unwrap_or_default()),
        ),
        None => (None, Reasons::default()),
    };
    // Nothing is relocated by the kernel's types: the offsets are all that is asked of them.
    let ebpf = load_with(offsets, None, asked, 1)?;
    let btf = btf.map(KernelTypes::ayas).transpose()?;
    let mut programs = Programs {
        ebpf,
        set: asked.set,
        reasons,
        missing,
        tracepoints: 0,
        flush: Flush::default(),
        settings: HopSettings::default(),
        limits: Default::default(),
        followed: vec![0; FOLLOWED as usize],
        unread: super::read::Unread::default(),
        delivered: 0,
        logger: None,
    };
    if let Err(e) = programs.load_each(btf.as_ref(), &[FLUSH]) {
        log::info!("no front cache: {e:#}");
        // With it goes all that was loaded beside it.
        programs.ebpf = load_with(offsets, None, asked, 0)?;
        programs.tracepoints = 0;
        programs.load_each(btf.as_ref(), &[])?;
    }
    if asked.debug {
        programs.logger = Some(EbpfLogger::init(&mut programs.ebpf)?);
    }
    programs.ignore_normal_reasons()?;
    Ok(programs)
}

/// With the front cache where processors can be asked for what they have counted, and without where
/// not: then each packet costs more and nothing else changes.
pub(super) fn load_object(
    offsets: Option<Offsets>,
    btf: Option<&AyaBtf>,
    asked: &Asked,
) -> Result<Ebpf> {
    let mut ebpf = load_with(offsets, btf, asked, 1)?;
    match flush::load(&mut ebpf) {
        Ok(()) => Ok(ebpf),
        Err(e) => {
            log::info!("no front cache: {e:#}");
            load_with(offsets, btf, asked, 0)
        }
    }
}

fn load_with(
    offsets: Option<Offsets>,
    btf: Option<&AyaBtf>,
    asked: &Asked,
    cache: u32,
) -> Result<Ebpf> {
    let room = (sizes::new_drops(), sizes::new_flows());
    // aya-log's number for debug messages; 0 turns all of them off.
    let level: u8 = if asked.debug { 4 } else { 0 };
    let mut loader = EbpfLoader::new();
    loader.btf(btf).verifier_log_level(log_level());
    loader.override_global("AYA_LOG_LEVEL", &level, true);
    loader.override_global("FILTER", &asked.packets, true);
    loader.override_global("NEW_DROPS", &room.0, true);
    loader.override_global("NEW_FLOWS", &room.1, true);
    loader.override_global("CACHE", &cache, true);
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
    /// Loads them with those beside, which are all needed.
    fn load_each(&mut self, btf: Option<&AyaBtf>, beside: &[Entry]) -> Result<()> {
        let now = |entry: &&Entry| !LATER.contains(&entry.program);
        let fits = |entry: &&Entry| now(entry) && (entry.kind == Kind::Tc || btf.is_some());
        self.load_some(fits, btf, beside)
    }

    /// Loads what few nodes have links for, once everything else is attached.
    pub fn load_rest(&mut self) {
        let later = |entry: &&Entry| LATER.contains(&entry.program);
        // Nothing is needed beside them.
        let _ = self.load_some(later, None, &[]);
    }

    fn load_some(
        &mut self,
        fits: impl Fn(&&Entry) -> bool,
        btf: Option<&AyaBtf>,
        beside: &[Entry],
    ) -> Result<()> {
        let wanted: Vec<&Entry> = self.set.entries().iter().filter(fits).collect();
        let all: Vec<&Entry> = wanted.iter().copied().chain(beside).collect();
        let mut loaded = each::load_at_once(&mut self.ebpf, &all, btf);
        for entry in beside {
            let loaded = loaded.remove(entry.program);
            loaded
                .with_context(|| format!("no program {} in the eBPF object", entry.program))??;
        }
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
        Ok(())
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
        let map = map.ok_or_else(|| BadObject::no_map(name))?;
        M::try_from(map).map_err(|_| BadObject::other_map(name).into())
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
